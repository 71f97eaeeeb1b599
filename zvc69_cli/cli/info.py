"""`zvc69 info`."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.options import only_input, run_options
from zvc69_cli.cli.report import clock_text, show_messages
from zvc69_cli.cli.summary import frames_text
from zvc69_cli.cli.terminal import make_console, printing, standard_pipes, write_json
from zvc69_cli.codec.settings import Q_LEVELS
from zvc69_cli.errors import DamagedStream

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from zvc69_cli.pipeline.inspect import StreamReport

SCHEMA: Final = "zvc69-info/1"
_RANGES: Final = {0: "not said", 1: "limited", 2: "full"}


@click.command()
@click.argument("paths", nargs=-1, metavar="IN")
@click.option("-i", "--input", "in_name", metavar="IN", help="The input, instead of by place.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--frames", "with_frames", is_flag=True, help="Say it of every frame too.")
@click.option("--html", "html_name", metavar="OUT", default="", help="File for a page to look at in a browser.")
@run_options
def info_command(
    paths: tuple[str, ...],
    in_name: str | None,
    as_json: bool,
    with_frames: bool,
    html_name: str,
    log_level: str,
    quiet: bool,
) -> None:
    """Say what is in a .zvc69, and what is wrong with it.

    Ends with exit code 7 where something is damaged or missing.
    """
    show_messages(log_level, is_quiet=quiet)
    from zvc69_cli.pipeline.inspect import inspect

    name = only_input(paths, in_name)
    if html_name:
        from zvc69_cli.measure.settings import check_report

        check_report("--html", html_name, [name])
    report = inspect(name, pipes=standard_pipes(), with_frames=with_frames or bool(html_name))
    if html_name:
        from zvc69_cli.measure.info_page import info_html
        from zvc69_cli.measure.page import write_text

        write_text(html_name, info_html(report, tuple(_video_rows(report))))
    if as_json:
        write_json(_facts(report, with_frames=with_frames))
    else:
        with printing():
            _print_tables(report, with_frames=with_frames)
    more = len(report.problems) - 1
    if report.is_damaged:
        raise DamagedStream(
            report.name,
            " and ".join(report.problems[:1] + (f"{more} more problems",) * bool(more)),
            "`zvc69 decode --on-error conceal` writes what can be saved.",
        )


def _facts(report: StreamReport, *, with_frames: bool) -> dict[str, Any]:
    """What `info --json` prints; fractions as text, so that they stay exact."""
    header = report.header
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "name": report.name,
        "size_bytes": report.size_bytes,
        "complete": report.is_complete,
        "problems": list(report.problems),
        "video": asdict(header.video),
        "start_pts": header.start_pts,
        "frames": report.frame_count,
        "duration_s": report.duration_s,
        "video_kbps": report.video_kbps,
        "payload_bytes": report.payload_bytes,
        "copied_bytes": report.copied_bytes,
        "overhead_bytes": report.overhead_bytes,
        "kinds": {
            kind.name: {"packets": tally.frames, "size_bytes": tally.size_bytes, "mean_q": tally.mean_q}
            for kind, tally in report.kinds
        },
        "layers": {
            str(layer): {"packets": tally.frames, "size_bytes": tally.size_bytes, "mean_q": tally.mean_q}
            for layer, tally in report.layers
        },
        "keyint_frames": header.gop_frames,
        "longest_gop_frames": report.longest_gop,
        "b_frames": report.b_frames,
        "reorder_delay_frames": report.reorder_delay,
        "frame_headers": "full" if header.full_frame_headers else "compact",
        "base_q": header.base_q_256 / 256,
        "bundle": {
            "name": header.bundle_name,
            "sha256": header.bundle_sha256.hex(),
            "installed": _has_bundle(report),
        },
        "copied_streams": [
            {
                "number": each.number,
                "media": each.media,
                "codec": each.codec,
                "time_base": each.time_base,
                "language": each.language,
                "title": each.title,
                "default": each.default,
                **asdict(dict(report.copied)[each.number]),
            }
            if each.number in dict(report.copied)
            else {
                "number": each.number,
                "media": each.media,
                "codec": each.codec,
                "time_base": each.time_base,
                "language": each.language,
                "title": each.title,
                "default": each.default,
                "packets": 0,
                "size_bytes": 0,
            }
            for each in header.copied_streams
        ],
        "chapters": [asdict(each) for each in header.chapters],
        "tags": dict(header.tags),
        "settings": _note(header.settings_note),
    }
    if with_frames:
        facts["per_frame"] = [{**asdict(each), "kind": each.kind.name} for each in report.frames]
    exact: dict[str, Any] = _exact(facts)
    return exact


def _print_tables(report: StreamReport, *, with_frames: bool) -> None:
    console = make_console()
    console.print(_video_table(report))
    console.print(_size_table(report))
    if report.header.copied_streams:
        console.print(_streams_table(report))
    if with_frames:
        console.print(_frames_table(report))
    for problem in report.problems:
        console.print(as_it_is(f"problem: {problem}"), style="red")


def _video_table(report: StreamReport) -> Table:
    table = _facts_table(report.name)
    for name, text in _video_rows(report):
        table.add_row(as_it_is(name), as_it_is(text))
    return table


def _video_rows(report: StreamReport) -> list[tuple[str, str]]:
    """What the header says, as names and texts."""
    header, video = report.header, report.header.video
    rate = f"{float(video.frame_rate):.6g} fps ({video.frame_rate})" if video.frame_rate else "not said"
    colour = video.colour
    rows: list[tuple[str, str]] = []
    rows.append(("video", f"{video.width}x{video.height}, {video.bit_depth} bits, 4:2:0, {rate}"))
    rows.append(
        ("time", f"{clock_text(report.duration_s)} ({report.duration_s:.3f} s), base {video.time_base}")
    )
    if video.sample_aspect:
        rows.append(("sample aspect", f"{video.sample_aspect.numerator}:{video.sample_aspect.denominator}"))
    if video.rotation_degrees:
        rows.append(("rotation", f"{video.rotation_degrees} degrees clockwise"))
    rows.append(
        (
            "colour",
            f"primaries {colour.primaries}, transfer {colour.transfer}, matrix {colour.matrix} (H.273), "
            f"range {_RANGES.get(colour.colour_range, colour.colour_range)}, "
            f"chroma location {colour.chroma_location}",
        )
    )
    if video.mastering_display is not None:
        display = video.mastering_display
        rows.append(("mastering", f"{float(display.min_luminance):g}..{float(display.max_luminance):g} cd/m2"))
    if video.content_light is not None:
        rows.append(
            ("light", f"MaxCLL {video.content_light.max_content}, MaxFALL {video.content_light.max_average}")
        )
    is_here = "installed" if _has_bundle(report) else "NOT installed here"
    bundle = f"{header.bundle_name}, sha256 {header.bundle_sha256.hex()[:16]}..., {is_here}"
    rows.append(("bundle", bundle))
    note = _note(header.settings_note)
    if isinstance(note, dict):
        settings = note.get("settings")
        given = settings.items() if isinstance(settings, dict) else ()
        listed = "".join(f", {key} {_plain(value)}" for key, value in given if value is not None)
        rows.append(("made by", f"{note.get('program', '?')}, preset {note.get('preset', '?')}{listed}"))
    for key, value in header.tags:
        rows.append((f"tag {key}", value))
    if header.chapters:
        rows.append(("chapters", str(len(header.chapters))))
    complete = {True: "yes", False: "no: its encode was interrupted", None: "no: the end is missing"}
    rows.append(("complete", complete[report.is_complete]))
    return rows


def _size_table(report: StreamReport) -> Table:
    frames = report.frame_count
    table = _facts_table("sizes")
    for kind, tally in report.kinds:
        table.add_row(
            f"{kind.name} frames",
            f"{tally.frames}, {tally.size_bytes} bytes, {tally.mean_bytes:.0f} each, mean q {tally.mean_q:.2f}",
        )
    if len(report.layers) > 1:
        told = (f"{layer}: {tally.frames}, {tally.mean_bytes:.0f} each" for layer, tally in report.layers)
        table.add_row("layers", "; ".join(told))
    table.add_row("GOP", _gop_text(report))
    table.add_row("base q", f"{report.header.base_q_256 / 256:g} of {Q_LEVELS - 1}")
    table.add_row(
        "video", f"{report.video_kbps:.2f} kb/s, {report.payload_bytes} bytes in {frames_text(frames)}"
    )
    if report.copied:
        table.add_row("copied", f"{report.copied_bytes} bytes")
    if report.overhead_bytes is not None and report.size_bytes is not None:
        packets = frames + sum(tally.packets for _, tally in report.copied)
        each = f", {report.overhead_bytes / packets:.1f} a packet" if packets else ""
        table.add_row("container", f"{report.overhead_bytes} bytes{each}")
        table.add_row("file", f"{report.size_bytes} bytes")
    return table


def _gop_text(report: StreamReport) -> str:
    text = f"at most {frames_text(report.longest_gop)} from keyframe to keyframe"
    if report.b_frames:
        text += f", {report.b_frames} B in a row, reordering delay {frames_text(report.reorder_delay)}"
    return text


def _streams_table(report: StreamReport) -> Table:
    from rich.table import Table

    table = Table("stream", "media", "codec", "language", "title", "packets", "bytes", title="copied along")
    tallies = dict(report.copied)
    for each in report.header.copied_streams:
        tally = tallies.get(each.number)
        counts = (str(tally.packets), str(tally.size_bytes)) if tally else ("0", "0")
        told = (as_it_is(text) for text in (each.media, each.codec, each.language, each.title))
        table.add_row(str(each.number), *told, *counts)
    return table


def _frames_table(report: StreamReport) -> Table:
    from rich.table import Table

    columns = ("frame", "kind", "layer", "pts", "dts", "bytes", "motion, %", "filter", "q")
    table = Table(*columns, title="frames in coding order")
    for each in report.frames:
        numbers = (each.temporal_layer, each.pts, each.dts, each.payload_bytes)
        told = [str(number) for number in numbers]
        if each.filter_strength is None:
            told += ["", ""]
        else:
            told += [f"{100 * each.motion_bytes / each.payload_bytes:.0f}", str(each.filter_strength)]
        table.add_row(str(each.coding_index), each.kind.name, *told, f"{each.q:g}")
    return table


def as_it_is(text: str) -> Text:
    """Text of a file for a table: brackets are no markup in it, and nothing in it commands a terminal."""
    from rich.text import Text

    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _facts_table(title: str) -> Table:
    from rich.table import Table

    return Table(title=as_it_is(title), show_header=False, title_justify="left", expand=False)


def _has_bundle(report: StreamReport) -> bool:
    from zvc69_cli.errors import RuntimeUnavailable
    from zvc69_cli.runtime.bundle import find_bundle_by_hash

    try:
        find_bundle_by_hash(report.header.bundle_sha256, report.header.bundle_name)
    except RuntimeUnavailable:
        return False
    return True


def _note(text: str) -> Any:
    """The settings note as JSON; as it is where it is none, None where it is absent."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _plain(value: Any) -> str:
    """A setting as it is typed: on, 23, quarter."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _exact(value: Any) -> Any:
    """The same with every fraction as text."""
    if isinstance(value, dict):
        return {key: _exact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(each) for each in value]
    return str(value) if isinstance(value, Fraction) else value
