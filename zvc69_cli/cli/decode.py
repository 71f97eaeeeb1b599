"""`zvc69 decode`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.options import (
    file_arguments,
    input_and_output,
    overwrite_options,
    run_options,
    settings_options,
    several_inputs,
    typed_flags,
)
from zvc69_cli.cli.report import progress, say, show_messages
from zvc69_cli.cli.terminal import overwrite_policy, standard_pipes, write_json
from zvc69_cli.errors import DamagedStream, UsageError
from zvc69_cli.pipeline.resolve import DECODE_SETTINGS, resolve_decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from zvc69_cli.cli.several import Ended
    from zvc69_cli.pipeline.engine import Engines
    from zvc69_cli.pipeline.resolve import DecodeOptions
    from zvc69_cli.pipeline.several import Job
    from zvc69_cli.pipeline.stop import StopRequest

OUTPUT_FORMATS: Final = ("mp4", "mkv", "mov", "webm", "y4m", "yuv")


@click.command(epilog="Every flag --some-flag can be set as ZVC69_SOME_FLAG too; what is typed wins.")
@file_arguments
@click.option(
    "--output-format",
    metavar="|".join(OUTPUT_FORMATS),
    type=click.Choice(OUTPUT_FORMATS),
    help="What follows the dot in the names of the outputs in --output-dir; mp4 when left out, y4m with --y4m and yuv "
    "with --raw.",
)
@settings_options(*DECODE_SETTINGS)
@overwrite_options
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on standard output.")
@run_options
@click.pass_obj
@click.pass_context
def decode_command(
    ctx: click.Context,
    engines: Engines | None,
    /,
    paths: tuple[str, ...],
    in_name: str | None,
    out_name: str | None,
    output_dir: str | None,
    output_format: str | None,
    overwrite: bool,
    no_overwrite: bool,
    no_progress: bool,
    as_json: bool,
    log_level: str,
    quiet: bool,
    **flags: Any,
) -> None:
    """Decode a .zvc69 to a video.

    IN is a file, or - for standard input; OUT is a file (.y4m, .yuv, .mp4, .mkv), or - for y4m.
    With --output-dir DIR every name is an input: a.zvc69 becomes DIR/a.mp4.
    """
    show_messages(log_level, is_quiet=quiet)
    if output_dir is None:
        source, target = input_and_output(paths, in_name, out_name)
    else:
        names = several_inputs(paths, in_name, out_name)
    if output_dir is None and output_format is not None:
        raise UsageError("--output-format", "has no effect without --output-dir", "Name OUT with that ending.")
    may_overwrite = overwrite_policy(overwrite=overwrite, no_overwrite=no_overwrite)
    if as_json and output_dir is None and target == "-":
        raise UsageError(
            "--json", "cannot go with an output on standard output", "Write to a file, or leave --json out."
        )
    options = resolve_decode(typed_flags(flags), os.environ)

    from zvc69_cli.cli.several import allowed_to_replace, check_folder, run_jobs
    from zvc69_cli.cli.signals import stopping_gently
    from zvc69_cli.cli.summary import DECODE_SCHEMA
    from zvc69_cli.pipeline.engine import InstalledEngines
    from zvc69_cli.pipeline.several import WarmEngines, jobs_for

    shows = not (quiet or no_progress)
    if output_dir is None:
        with stopping_gently() as stop:
            ended = _decode(source, target, options, engines, may_overwrite, stop, shows=shows, is_quiet=quiet)
        if as_json:
            write_json(ended.facts)
        if ended.complaint is not None:
            raise ended.complaint
        return
    jobs = jobs_for(names, output_dir, _suffix(options, output_format))
    check_folder(output_dir)
    warm = WarmEngines(engines or InstalledEngines())
    with stopping_gently() as stop:
        may_replace = allowed_to_replace(jobs, may_overwrite)

        def work(job: Job) -> Ended:
            return _decode(
                job.in_name, job.out_name, options, warm, may_replace, stop, shows=shows, is_quiet=quiet
            )

        code = run_jobs(jobs, work, stop, schema=DECODE_SCHEMA, as_json=as_json, is_quiet=quiet)
    ctx.exit(code)


def _suffix(options: DecodeOptions, output_format: str | None) -> str:
    """How the names of several outputs end."""
    if output_format is not None:
        return f".{output_format}"
    if options.output.y4m:
        return ".y4m"
    return ".yuv" if options.output.raw else ".mp4"


def _decode(
    source: str,
    target: str,
    options: DecodeOptions,
    engines: Engines | None,
    may_overwrite: Callable[[str], bool],
    stop: StopRequest,
    *,
    shows: bool,
    is_quiet: bool,
) -> Ended:
    """Decode one file and say what became of it."""
    from zvc69_cli.cli.several import Ended
    from zvc69_cli.cli.summary import decode_facts, frames_text, say_decode_summary
    from zvc69_cli.pipeline.decode import decode

    with progress(is_shown=shows) as watch:
        stats = decode(
            source,
            target,
            options,
            pipes=standard_pipes(),
            may_overwrite=may_overwrite,
            engines=engines,
            stop=stop,
            watch=watch,
        )
    if not is_quiet:
        say_decode_summary(target, stats)
        for problem in stats.problems:
            say(f"zvc69: warning: {source}: {problem}")
    complaint = None
    if stats.concealed or stats.is_cut:
        damage = (
            [f"{frames_text(stats.concealed)} could not be decoded: the nearest one stands in for each"]
            if stats.concealed
            else []
        )
        if stats.is_cut:
            damage.append("the end is missing")
        complaint = DamagedStream(
            source,
            ", and ".join(damage),
            f"{target} holds all that could be saved, {frames_text(stats.frames)}.",
        )
    return Ended(
        frames=stats.frames, wall_s=stats.wall_s, facts=decode_facts(target, stats), complaint=complaint
    )
