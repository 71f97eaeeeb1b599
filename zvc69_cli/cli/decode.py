"""`zvc69 decode`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from zvc69_cli.cli.options import (
    file_arguments,
    input_and_output,
    overwrite_options,
    run_options,
    settings_options,
    typed_flags,
)
from zvc69_cli.cli.report import progress, say, show_messages
from zvc69_cli.cli.terminal import overwrite_policy, standard_pipes, write_json
from zvc69_cli.errors import DamagedStream, UsageError
from zvc69_cli.pipeline.resolve import DECODE_SETTINGS, resolve_decode

if TYPE_CHECKING:
    from zvc69_cli.pipeline.engine import Engines


@click.command(epilog="Every flag --some-flag can be set as ZVC69_SOME_FLAG too; what is typed wins.")
@file_arguments
@settings_options(*DECODE_SETTINGS)
@overwrite_options
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on standard output.")
@run_options
@click.pass_obj
def decode_command(
    engines: Engines | None,
    /,
    paths: tuple[str, ...],
    in_name: str | None,
    out_name: str | None,
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
    """
    show_messages(log_level, is_quiet=quiet)
    source, target = input_and_output(paths, in_name, out_name)
    may_overwrite = overwrite_policy(overwrite=overwrite, no_overwrite=no_overwrite)
    if as_json and target == "-":
        raise UsageError(
            "--json", "cannot go with an output on standard output", "Write to a file, or leave --json out."
        )
    options = resolve_decode(typed_flags(flags), os.environ)

    from zvc69_cli.cli.signals import stopping_gently
    from zvc69_cli.cli.summary import decode_facts, frames_text, say_decode_summary
    from zvc69_cli.pipeline.decode import decode

    with stopping_gently() as stop, progress(is_shown=not (quiet or no_progress)) as watch:
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
    if not quiet:
        say_decode_summary(target, stats)
        for problem in stats.problems:
            say(f"zvc69: warning: {source}: {problem}")
    if as_json:
        write_json(decode_facts(target, stats))
    if stats.concealed or stats.is_cut:
        damage = (
            [f"{frames_text(stats.concealed)} could not be decoded: the nearest one stands in for each"]
            if stats.concealed
            else []
        )
        if stats.is_cut:
            damage.append("the end is missing")
        raise DamagedStream(
            source,
            ", and ".join(damage),
            f"{target} holds all that could be saved, {frames_text(stats.frames)}.",
        )
