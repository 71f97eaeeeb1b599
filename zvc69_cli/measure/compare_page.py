"""The page of `zvc69 compare`: figures, quality frame by frame, and the worst frame to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from zvc69_cli.measure.compare import Compared
from zvc69_cli.measure.page import (
    Cell,
    Facts,
    Frames,
    Picture,
    Row,
    Run,
    RunGroup,
    Scene,
    Section,
    Slider,
    Table,
    busiest_part,
    crop_of,
    data_uris,
    page_html,
    png_of,
)
from zvc69_cli.measure.quality import SCALES

CROP_WIDTH: Final = 480
CROP_HEIGHT: Final = 270


def compare_html(reference: str, compared: Sequence[Compared]) -> str:
    """One page on all that was compared with one reference."""
    names = [PurePath(each.name).name for each in compared]
    sections: list[Section] = [_table(compared, names), _frames(compared, names), _slider(compared, names)]
    notes = [note for each in compared for note in (*each.notes, *each.quality.missing)]
    if notes:
        sections.append(Facts(title="Notes", items=tuple(("", note) for note in dict.fromkeys(notes))))
    first = compared[0]
    size = f"{first.worst.reference.y.shape[1]}x{first.worst.reference.y.shape[0]}"
    return page_html(
        f"Compared with {PurePath(reference).name}",
        f"{size}, {first.quality.frame_count} frames; means over frames, the lowest frame beside them.",
        sections,
    )


def _table(compared: Sequence[Compared], names: Sequence[str]) -> Table:
    scales = [scale for scale in SCALES if any(each.quality.find(scale.name) for each in compared)]
    rows = [Row(cells=(Cell(text="kb/s"), *(Cell(text=f"{each.bitrate_kbps:.1f}") for each in compared)))]
    for scale in scales:
        cells = [Cell(text=f"{scale.title}{', ' + scale.unit if scale.unit else ''}")]
        for each in compared:
            series = each.quality.find(scale.name)
            if series is None:
                cells.append(Cell(text="none", tone="faint"))
                continue
            hint = f"frame {series.values.index(series.least)} is the lowest"
            cells.append(
                Cell(text=f"{series.mean:.{scale.decimals}f} ({series.least:.{scale.decimals}f})", hint=hint)
            )
        rows.append(Row(cells=tuple(cells), strong=scale.is_main))
    return Table(title="Quality", columns=("mean (lowest frame)", *names), rows=tuple(rows))


def _frames(compared: Sequence[Compared], names: Sequence[str]) -> Frames:
    runs = tuple(
        Run(
            name=name,
            codec=number,
            kinds=tuple(frame.kind.name for frame in each.stored),
            bytes=tuple(frame.payload_bytes for frame in each.stored),
            motion=tuple(frame.motion_bytes for frame in each.stored),
            q=tuple(frame.q for frame in each.stored),
            quality={series.name: series.values for series in each.quality.series},
        )
        for number, (each, name) in enumerate(zip(compared, names, strict=True))
    )
    measured = {series.name for each in compared for series in each.quality.series}
    return Frames(
        title="Frame by frame",
        groups=(RunGroup(title="", runs=runs),),
        measures=tuple(scale for scale in SCALES if scale.name in measured),
    )


def _slider(compared: Sequence[Compared], names: Sequence[str]) -> Slider:
    """Of each video its worst frame, beside what it should be."""
    pngs: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    for each in compared:
        original = each.worst.reference
        height, width = original.y.shape
        crop = min(CROP_WIDTH, width // 2 * 2), min(CROP_HEIGHT, height // 2 * 2)
        left, top = busiest_part(original, *crop)
        depth = 8 if original.y.dtype.itemsize == 1 else 10
        for frame in (original, each.worst.distorted):
            pngs.append(png_of(crop_of(frame, left, top, *crop), each.video.colour, *crop, depth))
        sizes.append(crop)
    uris = data_uris(pngs)
    scenes = tuple(
        Scene(
            title=f"{name}, frame {each.worst.number}",
            width=size[0],
            height=size[1],
            pictures=(
                Picture(name="reference", detail=f"frame {each.worst.number}", src=uris[2 * number]),
                Picture(name=name, detail=f"{each.worst.psnr_db:.2f} dB", src=uris[2 * number + 1]),
            ),
        )
        for number, (each, name, size) in enumerate(zip(compared, names, sizes, strict=True))
    )
    return Slider(
        title="The worst frame",
        note="The frame of the lowest PSNR, where it has most detail. Drag the edge, or use the arrow keys.",
        scenes=scenes,
    )
