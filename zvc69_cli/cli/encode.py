"""`zvc69 encode`."""

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
from zvc69_cli.cli.report import progress, show_messages
from zvc69_cli.cli.terminal import overwrite_policy, standard_pipes, write_json
from zvc69_cli.errors import UsageError
from zvc69_cli.pipeline.resolve import (
    DEFAULT_PRESET,
    ENCODE_SETTINGS,
    ENVIRONMENT_PREFIX,
    find_preset,
    resolve_encode,
)

if TYPE_CHECKING:
    from zvc69_cli.pipeline.engine import Engines


@click.command(epilog="Every flag --some-flag can be set as ZVC69_SOME_FLAG too; what is typed wins.")
@file_arguments
@click.option(
    "--preset", metavar="NAME", help=f"How much work to spend, ultrafast..veryslow. [default {DEFAULT_PRESET}]"
)
@settings_options(*ENCODE_SETTINGS)
@overwrite_options
@click.option("--psnr", is_flag=True, help="Measure the quality of what decoders will show, and print it.")
@click.option(
    "--no-info", is_flag=True, help="Do not store how the stream was made: equal settings, equal bytes."
)
@click.option("--no-progress", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on standard output.")
@run_options
@click.pass_obj
def encode_command(
    engines: Engines | None,
    /,
    paths: tuple[str, ...],
    in_name: str | None,
    out_name: str | None,
    preset: str | None,
    overwrite: bool,
    no_overwrite: bool,
    psnr: bool,
    no_info: bool,
    no_progress: bool,
    as_json: bool,
    log_level: str,
    quiet: bool,
    **flags: Any,
) -> None:
    """Encode a video to .zvc69.

    IN is any video file, or - for y4m or raw video on standard input; OUT is a file, or - for standard output.
    """
    show_messages(log_level, is_quiet=quiet)
    source, target = input_and_output(paths, in_name, out_name)
    may_overwrite = overwrite_policy(overwrite=overwrite, no_overwrite=no_overwrite)
    if as_json and target == "-":
        raise UsageError(
            "--json", "cannot go with an output on standard output", "Write to a file, or leave --json out."
        )
    variable = ENVIRONMENT_PREFIX + "PRESET"
    if preset is None and os.environ.get(variable):
        chosen = find_preset(os.environ[variable], where=variable)
    else:
        chosen = find_preset(DEFAULT_PRESET if preset is None else preset)
    options = resolve_encode(typed_flags(flags), chosen, os.environ, with_note=not no_info)

    from zvc69_cli.cli.signals import stopping_gently
    from zvc69_cli.cli.summary import Quality, encode_facts, say_encode_summary
    from zvc69_cli.pipeline.encode import encode

    quality = Quality() if psnr else None
    with stopping_gently() as stop, progress(is_shown=not (quiet or no_progress)) as watch:
        stats = encode(
            source,
            target,
            options,
            pipes=standard_pipes(),
            may_overwrite=may_overwrite,
            engines=engines,
            stop=stop,
            watch=watch,
            compare=quality.add if quality else None,
        )
    if not quiet:
        say_encode_summary(target, stats, quality)
    if as_json:
        write_json(encode_facts(target, options, stats, quality))
