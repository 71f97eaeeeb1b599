"""`zvc69 compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.info import as_it_is
from zvc69_cli.cli.options import run_options, settings_options, typed_flags
from zvc69_cli.cli.report import progress, say, show_messages
from zvc69_cli.cli.terminal import make_console, printing, write_json
from zvc69_cli.errors import UsageError
from zvc69_cli.measure.settings import (
    MetricSettings,
    PairSettings,
    ReportSettings,
    RowSettings,
    check_report,
    fill,
)
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.measure.compare import Compared
    from zvc69_cli.pipeline.engine import Engines

_INPUT_FLAGS: Final = ("seek", "frames", "input-res", "fps", "input-csp", "input-depth")


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="REF DIST...")
@settings_options(MetricSettings, PairSettings)
@settings_options(InputSettings, only=_INPUT_FLAGS)
@settings_options(ReportSettings, RowSettings, RunSettings)
@run_options
@click.pass_obj
def compare_command(
    engines: Engines | None, /, paths: tuple[str, ...], log_level: str, quiet: bool, **flags: Any
) -> None:
    """Measure how far videos are from their reference.

    REF and each DIST are any videos, .zvc69 among them; one may be - for y4m on standard input. What describes raw
    yuv is taken for the files named .yuv or .raw.
    """
    show_messages(log_level, is_quiet=quiet)
    if len(paths) < 2:
        what = (
            "the reference and what to compare with it are missing"
            if not paths
            else "there is nothing to compare"
        )
        raise UsageError("REF DIST", what, "Name the reference first, then one file or more.")
    typed = typed_flags(flags)
    reports, rows = fill(ReportSettings, typed), fill(RowSettings, typed)
    metrics, pairing = fill(MetricSettings, typed), fill(PairSettings, typed)
    for where, name in (("--html", reports.html), ("--csv", rows.csv)):
        check_report(where, name, paths)

    from zvc69_cli.measure.compare import compare_files, csv_text, json_facts

    with progress(is_shown=reports.progress and not quiet) as watch:
        compared = compare_files(
            paths[0],
            paths[1:],
            part=fill(InputSettings, typed),
            pairing=pairing,
            metrics=metrics,
            run=fill(RunSettings, typed),
            engines=engines,
            watch=watch,
        )
    notes = [f"{each.name}: {note}" for each in compared for note in each.notes]
    if not quiet:
        for note in dict.fromkeys([*notes, *(note for each in compared for note in each.quality.missing)]):
            say(f"zvc69: {note}")
    if rows.csv:
        from zvc69_cli.measure.page import write_text

        write_text(rows.csv, csv_text(compared))
    if reports.html:
        from zvc69_cli.measure.compare_page import compare_html
        from zvc69_cli.measure.page import write_text

        write_text(reports.html, compare_html(paths[0], compared))
    if reports.json:
        write_json(json_facts(paths[0], compared))
        return
    with printing():
        _print_table(paths[0], compared)


def _print_table(reference: str, compared: tuple[Compared, ...]) -> None:
    from rich.table import Table

    from zvc69_cli.measure.quality import SCALES

    table = Table(
        title=as_it_is(f"against {reference}, means over frames (lowest frame)"), title_justify="left"
    )
    table.add_column("")
    for each in compared:
        table.add_column(as_it_is(each.name), justify="right")
    table.add_row("frames", *(str(each.quality.frame_count) for each in compared))
    table.add_row(
        "kb/s", *(f"{each.bitrate_kbps:.2f}" if each.bitrate_kbps else "not known" for each in compared)
    )
    for scale in SCALES:
        found = [each.quality.find(scale.name) for each in compared]
        if not any(found):
            continue
        digits = scale.decimals
        cells = (
            "none" if each is None else f"{each.mean:.{digits}f} ({each.least:.{digits}f})" for each in found
        )
        name = f"{scale.title}, {scale.unit}" if scale.unit else scale.title
        table.add_row(name, *cells, style="bold" if scale.is_main else None)
    make_console().print(table)
