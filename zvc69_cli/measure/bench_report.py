"""The result of a bench as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from zvc69_cli.measure.bd_rate import BdRate
from zvc69_cli.measure.comparison import Comparison, Row, group_curve
from zvc69_cli.measure.store import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What was run: needed to run it again.

    codecs  name and settings of each
    notes   what was left out, and why
    """

    title: str
    bundle: str
    bundle_sha256: str
    codecs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def markdown(
    about: About,
    measurements: Sequence[Measurement],
    comparison: Comparison,
    sections: Sequence[str] = (),
) -> str:
    """Tables of BD-rates and of the mean curves, then `sections`, with the settings below them."""
    parts = [f"{comparison.tested} by itself. {about.title}."]
    if comparison.anchors:
        parts = [
            f"BD-rate of {comparison.tested} in percent (below 0: fewer bits at equal PSNR 6:1:1). {about.title}.",
            table(
                ["clip", *(anchor.title for anchor in comparison.anchors)],
                [_cells(row) for row in (*comparison.clips, *comparison.summaries)],
            ),
        ]
    parts += [*_rate_tables(measurements), *sections]
    parts += [f"- {name}: {settings}" for name, settings in about.codecs]
    parts += [f"- {note}" for note in about.notes]
    if any(each is not None and each.is_narrow for row in comparison.clips for each in row.bd_rates):
        parts.append("- ?: the two curves share less than half of their qualities, so the figure says little.")
    if any(anchor.as_written for anchor in comparison.anchors):
        parts.append(
            '- "with its text" counts what the encoder writes about itself (an SEI message with its options), '
            "which the other columns leave out; every file that it makes holds it."
        )
    return _joined(parts)


def json_text(
    about: About,
    measurements: Sequence[Measurement],
    comparison: Comparison,
    timings: Sequence[Measurement] = (),
) -> str:
    """Everything measured, and everything computed from it.

    timings  encodes that were made for their times
    """
    document = {
        "about": asdict(about),
        "bd_rates": asdict(comparison),
        "measurements": [_as_json(each) for each in measurements],
        "timings": [_as_json(each) for each in timings],
    }
    return json.dumps(document, indent=1) + "\n"


def _as_json(each: Measurement) -> dict[str, Any]:
    return {
        **asdict(each),
        "bits_per_pixel": each.bits_per_pixel,
        "bits_per_pixel_as_written": each.bits_per_pixel_as_written,
    }


def _rate_tables(measurements: Sequence[Measurement]) -> list[str]:
    """For each group, bits a pixel / dB of the mean curves, settings across."""
    tables: list[str] = []
    for group in dict.fromkeys(each.group for each in measurements):
        rows: list[list[str]] = []
        for codec in dict.fromkeys(each.codec for each in measurements if each.group == group):
            points = group_curve(measurements, group, codec)
            rows.append([codec, *(f"{point.bits_per_pixel:.4f} / {point.quality:.2f}" for point in points)])
        widest = max(len(row) for row in rows)
        filled = [row + [""] * (widest - len(row)) for row in rows]
        tables.append(f"Bits a pixel / PSNR 6:1:1 in dB, means over {group or 'clips'}:")
        tables.append(table(["codec", *(f"rate {number}" for number in range(1, widest))], filled))
    return tables


def _cells(row: Row) -> list[str]:
    return [row.title, *(_percent(each) for each in row.bd_rates)]


def _percent(each: BdRate | None) -> str:
    if each is None or each.percent is None:
        return "none"
    return f"{each.percent:+.1f}{' ?' if each.is_narrow else ''}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned for those who read it as text."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = [_line(head, widths), "|".join(["", *("-" * (width + 2) for width in widths), ""])]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join([first, *others])} |"


def _joined(parts: Sequence[str]) -> str:
    """Paragraphs apart, list items together."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += ("\n" if before.startswith("- ") and part.startswith("- ") else "\n\n") + part
    return text + "\n"
