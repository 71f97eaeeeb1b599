"""`zvc69 encode`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from zvc69_cli.cli.options import (
    completing,
    file_arguments,
    input_and_output,
    overwrite_options,
    run_options,
    settings_options,
    typed_flags,
)
from zvc69_cli.cli.report import progress, show_messages
from zvc69_cli.cli.terminal import overwrite_policy, printing, standard_pipes, write_json
from zvc69_cli.errors import UsageError
from zvc69_cli.pipeline.presets import DEFAULT_PRESET, PRESET_NUMBERS, TUNES
from zvc69_cli.pipeline.resolve import ENCODE_SETTINGS, Choices, EncodeOptions, choose_encode, options_of

if TYPE_CHECKING:
    from zvc69_cli.cli.frame_rows import FrameRows
    from zvc69_cli.cli.summary import Quality
    from zvc69_cli.frames import Frame
    from zvc69_cli.pipeline.coding import Compare
    from zvc69_cli.pipeline.engine import Engines

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
def encode_command(
    engines: Engines | None,
    /,
    paths: tuple[str, ...],
    in_name: str | None,
    out_name: str | None,
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
    """
    show_messages(log_level, is_quiet=quiet)
    if print_config:
        _print_config(choose_encode(typed_flags(flags), os.environ, configs=configs))
        return
    source, target = input_and_output(paths, in_name, out_name)
    may_overwrite = overwrite_policy(overwrite=overwrite, no_overwrite=no_overwrite)
    options = options_of(choose_encode(typed_flags(flags), os.environ, configs=configs))
    if options.report.json and target == "-":
        raise UsageError(
            "--json", "cannot go with an output on standard output", "Write to a file, or leave --json out."
        )
    if dry_run:
        _dry_run(source, target, options, engines)
        return

    from zvc69_cli.cli.frame_rows import opened_rows
    from zvc69_cli.cli.signals import stopping_gently
    from zvc69_cli.cli.summary import Quality, check_promises, encode_facts, say_encode_summary
    from zvc69_cli.pipeline.encode import encode

    if options.rate.quality_target is not None:
        from zvc69_cli.measure.quality_target import reach_quality

        options = reach_quality(source, options, engines)
    report = options.report
    quality = Quality(with_ssim=report.ssim) if report.psnr or report.ssim else None
    with (
        opened_rows(report.csv, source, target, may_overwrite) as rows,
        stopping_gently() as stop,
        progress(is_shown=report.progress and not quiet) as watch,
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
    if not quiet:
        say_encode_summary(target, options, stats, quality)
    if report.json:
        write_json(encode_facts(target, options, stats, quality))
    if report.strict:
        check_promises(target, stats)


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


def _dry_run(source: str, target: str, options: EncodeOptions, engines: Engines | None) -> None:
    from zvc69_cli.cli.dry_run import dry_run_facts, dry_run_lines
    from zvc69_cli.pipeline.dry_run import look_at

    found = look_at(source, target, options, pipes=standard_pipes(), engines=engines)
    if options.report.json:
        write_json(dry_run_facts(found, options))
        return
    with printing():
        for line in dry_run_lines(found, options):
            click.echo(line)
