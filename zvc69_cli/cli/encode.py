"""`zvc69 encode`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.options import (
    completing,
    file_arguments,
    input_and_output,
    overwrite_options,
    run_options,
    settings_options,
    several_inputs,
    typed_flags,
)
from zvc69_cli.cli.report import progress, show_messages
from zvc69_cli.cli.terminal import overwrite_policy, printing, standard_pipes, write_json
from zvc69_cli.errors import UsageError
from zvc69_cli.pipeline.presets import DEFAULT_PRESET, PRESET_NUMBERS, TUNES
from zvc69_cli.pipeline.resolve import ENCODE_SETTINGS, Choices, EncodeOptions, choose_encode, options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zvc69_cli.cli.frame_rows import FrameRows
    from zvc69_cli.cli.several import Ended
    from zvc69_cli.cli.summary import Quality
    from zvc69_cli.frames import Frame
    from zvc69_cli.pipeline.coding import Compare
    from zvc69_cli.pipeline.engine import Engines
    from zvc69_cli.pipeline.several import Job
    from zvc69_cli.pipeline.stop import StopRequest

SUFFIX: Final = ".zvc69"

_TUNES = [name for name, tune in TUNES.items() if tune.values]


@click.command(
    epilog="Every flag of a config file can be set as ZVC69_SOME_FLAG too, as can --preset, --tune and --config. "
    "Later wins: preset, tune, config file, variable, what is typed."
)
@file_arguments
@click.option(
    "--preset",
    metavar="NAME|FILE",
    shell_complete=completing(PRESET_NUMBERS),
    help="How much work to spend: ultrafast, fast, medium, slow, veryslow, x265's other names or its numbers 0..9, "
    f"or a file of one's own. [default {DEFAULT_PRESET}]",
)
@click.option(
    "--tune",
    metavar="|".join(_TUNES),
    shell_complete=completing(_TUNES),
    help="Settings for a purpose: " + "; ".join(f"{name}: {TUNES[name].why}" for name in _TUNES),
)
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="A TOML file of flags, as --print-config writes it; may be given more than once, the later winning.",
)
@settings_options(*ENCODE_SETTINGS)
@overwrite_options
@click.option("--print-config", is_flag=True, help="Print every flag's value and who chose it; encode nothing.")
@click.option("--dry-run", is_flag=True, help="Look at everything, say what would be done; write nothing.")
@run_options
@click.pass_obj
@click.pass_context
def encode_command(
    ctx: click.Context,
    engines: Engines | None,
    /,
    paths: tuple[str, ...],
    in_name: str | None,
    out_name: str | None,
    output_dir: str | None,
    configs: tuple[str, ...],
    overwrite: bool,
    no_overwrite: bool,
    print_config: bool,
    dry_run: bool,
    log_level: str,
    quiet: bool,
    **flags: Any,
) -> None:
    """Encode a video to .zvc69.

    IN is any video file, or - for y4m or raw video on standard input; OUT is a file, or - for standard output.
    With --output-dir DIR every name is an input: a.mp4 becomes DIR/a.zvc69.
    """
    show_messages(log_level, is_quiet=quiet)
    if print_config:
        _print_config(choose_encode(typed_flags(flags), os.environ, configs=configs))
        return
    if output_dir is None:
        source, target = input_and_output(paths, in_name, out_name)
    else:
        names = several_inputs(paths, in_name, out_name)
    may_overwrite = overwrite_policy(overwrite=overwrite, no_overwrite=no_overwrite)
    options = options_of(choose_encode(typed_flags(flags), os.environ, configs=configs))
    if output_dir is not None:
        ctx.exit(_encode_several(names, output_dir, options, engines, may_overwrite, quiet, dry_run=dry_run))
    if options.report.json and target == "-":
        raise UsageError(
            "--json", "cannot go with an output on standard output", "Write to a file, or leave --json out."
        )
    if dry_run:
        _dry_run(source, target, options, engines)
        return

    from zvc69_cli.cli.signals import stopping_gently

    with stopping_gently() as stop:
        ended = _encode(source, target, options, engines, may_overwrite, stop, is_quiet=quiet)
    if options.report.json:
        write_json(ended.facts)
    if ended.complaint is not None:
        raise ended.complaint


def _encode(
    source: str,
    target: str,
    options: EncodeOptions,
    engines: Engines | None,
    may_overwrite: Callable[[str], bool],
    stop: StopRequest,
    *,
    is_quiet: bool,
) -> Ended:
    """Encode one file and say what became of it."""
    from zvc69_cli.cli.frame_rows import opened_rows
    from zvc69_cli.cli.several import Ended
    from zvc69_cli.cli.summary import Quality, encode_facts, missed_promise, say_encode_summary
    from zvc69_cli.pipeline.encode import encode

    if options.rate.quality_target is not None:
        from zvc69_cli.measure.quality_target import reach_quality

        options = reach_quality(source, options, engines)
    report = options.report
    quality = Quality(with_ssim=report.ssim) if report.psnr or report.ssim else None
    with (
        opened_rows(report.csv, source, target, may_overwrite) as rows,
        progress(is_shown=report.progress and not is_quiet) as watch,
    ):
        stats = encode(
            source,
            target,
            options,
            pipes=standard_pipes(),
            may_overwrite=may_overwrite,
            engines=engines,
            stop=stop,
            watch=watch,
            compare=_compared(quality, rows, with_psnr=report.psnr),
            record=rows.add if rows else None,
        )
    if not is_quiet:
        say_encode_summary(target, options, stats, quality)
    return Ended(
        frames=stats.frames,
        wall_s=stats.wall_s,
        size_bytes=stats.stream_bytes,
        facts=encode_facts(target, options, stats, quality),
        complaint=missed_promise(target, stats) if report.strict else None,
    )


def _encode_several(
    names: Sequence[str],
    folder: str,
    options: EncodeOptions,
    engines: Engines | None,
    may_overwrite: Callable[[str], bool],
    is_quiet: bool,
    *,
    dry_run: bool,
) -> int:
    """Encode every file into a folder with networks that are loaded once; returns the exit code."""
    from zvc69_cli.cli.several import allowed_to_replace, check_folder, run_jobs
    from zvc69_cli.cli.signals import stopping_gently
    from zvc69_cli.cli.summary import ENCODE_SCHEMA
    from zvc69_cli.pipeline.engine import InstalledEngines
    from zvc69_cli.pipeline.several import WarmEngines, jobs_for

    for flag, value in (("--csv", options.report.csv), ("--stats", options.rate.stats)):
        if value:
            raise UsageError(
                flag, "names one file, for several inputs", "Leave it out, or encode one at a time."
            )
    jobs = jobs_for(names, folder, SUFFIX)
    check_folder(folder)
    warm = WarmEngines(engines or InstalledEngines())
    if dry_run:
        for job in jobs:
            _dry_run(job.in_name, job.out_name, options, warm, is_one_of_several=True)
        return 0
    with stopping_gently() as stop:
        may_replace = allowed_to_replace(jobs, may_overwrite)

        def work(job: Job) -> Ended:
            return _encode(job.in_name, job.out_name, options, warm, may_replace, stop, is_quiet=is_quiet)

        return run_jobs(jobs, work, stop, schema=ENCODE_SCHEMA, as_json=options.report.json, is_quiet=is_quiet)


def _print_config(choices: Choices) -> None:
    from zvc69_cli.pipeline.config_text import config_text

    options_of(choices)  # what could not be had is refused, not printed
    text = config_text(choices)
    with printing():
        click.echo(text, nl=False)


def _compared(quality: Quality | None, rows: FrameRows | None, *, with_psnr: bool) -> Compare | None:
    """Whom to show a frame and what became of it."""
    if quality is None:
        return None
    counted = quality

    def compare(original: Frame, shown: Frame) -> None:
        psnr = counted.add(original, shown)
        if rows is not None and with_psnr:
            rows.compare(original, psnr)

    return compare


def _dry_run(
    source: str,
    target: str,
    options: EncodeOptions,
    engines: Engines | None,
    *,
    is_one_of_several: bool = False,
) -> None:
    from zvc69_cli.cli.dry_run import dry_run_facts, dry_run_lines
    from zvc69_cli.pipeline.dry_run import look_at

    found = look_at(source, target, options, pipes=standard_pipes(), engines=engines)
    if options.report.json:
        write_json(dry_run_facts(found, options), in_a_line=is_one_of_several)
        return
    with printing():
        for line in dry_run_lines(found, options):
            click.echo(line)
