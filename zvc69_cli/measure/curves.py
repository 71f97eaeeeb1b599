"""Rate-distortion curves as a picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zvc69_cli.errors import OutputError, RuntimeUnavailable
from zvc69_cli.measure.bd_rate import RatePoint

COLUMNS: Final = 3
PANEL_INCHES: Final = (4.6, 3.5)
DOTS_AN_INCH: Final = 120
LINE_STYLES: Final = (("#d1242f", "o"), ("#0969da", "s"), ("#1a7f37", "^"), ("#8250df", "D"), ("#9a6700", "v"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One codec's points; lines of the same position are drawn alike in every panel."""

    name: str
    points: tuple[RatePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    lines: tuple[Line, ...]


def draw_curves(panels: Sequence[Panel], path: Path, title: str) -> None:
    """Write a picture with one panel a clip: bits a pixel across (logarithmic), PSNR 6:1:1 up.

    path    its suffix chooses the form: .png, .svg or .pdf
    raises  RuntimeUnavailable without the extra [measure], OutputError where the file cannot be written,
            ValueError where there is no panel
    """
    if not panels:
        raise ValueError("no panels to draw")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.4
    figure = _new_figure(figsize=size, layout="constrained", dpi=DOTS_AN_INCH)
    figure.suptitle(title)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        for line, (colour, marker) in zip(panel.lines, _styles(len(panel.lines)), strict=True):
            points = sorted(line.points, key=lambda point: point.bits_per_pixel)
            axes.plot(
                [point.bits_per_pixel for point in points],
                [point.quality for point in points],
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.4,
                label=line.name,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel("bits a pixel")
        axes.set_ylabel("PSNR 6:1:1, dB")
        axes.grid(visible=True, which="both", alpha=0.25)
        if number == 0:
            axes.legend(fontsize=8, loc="lower right")
    try:
        figure.savefig(path)
    except OSError as cause:
        raise OutputError(str(path), f"cannot be written: {cause}", "Name another --picture.") from cause


def _styles(count: int) -> list[tuple[str, str]]:
    return [LINE_STYLES[number % len(LINE_STYLES)] for number in range(count)]


def _new_figure(**options: Any) -> Any:
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as cause:
        raise RuntimeUnavailable(
            "curves",
            f"the package matplotlib cannot be imported ({cause})",
            "Install the measuring tools: `pip install 'zvc69[measure]'`.",
        ) from cause
    return figures.Figure(**options)
