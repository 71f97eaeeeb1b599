"""The page of `zvc69 info`: one stream, frame by frame."""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from zvc69_cli.measure.page import (
    Bar,
    Bars,
    Cell,
    Facts,
    Frames,
    Row,
    Run,
    RunGroup,
    Section,
    Table,
    Tile,
    Tiles,
    page_html,
)
from zvc69_cli.pipeline.inspect import FrameFacts, StreamReport

MAX_KEYFRAMES: Final = 300


def info_html(report: StreamReport, facts: tuple[tuple[str, str], ...]) -> str:
    """The whole page.

    report  with its frames
    facts   more to be said of the stream, as names and texts
    """
    shown = sorted(report.frames, key=lambda frame: frame.pts)
    sections: list[Section] = [_tiles(report, shown)]
    if report.problems:
        problems = tuple(("problem", each) for each in report.problems)
        sections.append(Facts(title="What is wrong", items=problems))
    if shown:
        sections += [_frames(shown), _kinds(report, shown), _shares(report, shown), _keyframes(report, shown)]
    sections.append(Facts(title="The stream", items=facts))
    video = report.header.video
    return page_html(
        PurePath(report.name).name,
        f"{video.width}x{video.height}, {video.bit_depth} bits, {report.frame_count} frames, {report.duration_s:.2f} s",
        sections,
    )


def _tiles(report: StreamReport, shown: list[FrameFacts]) -> Tiles:
    keys = sum(frame.kind.name == "I" for frame in shown)
    predicted = sum(frame.payload_bytes for frame in shown if frame.kind.name != "I")
    motion = sum(frame.motion_bytes for frame in shown)
    video = report.header.video
    bits = report.payload_bytes * 8 / max(1, report.frame_count * video.width * video.height)
    items = [
        Tile(name="kb/s of video", value=f"{report.video_kbps:.1f}"),
        Tile(name="bits a pixel", value=f"{bits:.4f}"),
        Tile(name="keyframes", value=str(keys)),
        Tile(
            name="of P and B frames is motion",
            value=f"{100 * motion / predicted:.1f} %" if predicted else "none",
        ),
    ]
    if report.problems:
        items.append(Tile(name="problems", value=str(len(report.problems)), tone="bad"))
    return Tiles(title="At a glance", items=tuple(items))


def _frames(shown: list[FrameFacts]) -> Frames:
    run = Run(
        name="this stream",
        codec=0,
        kinds=tuple(frame.kind.name for frame in shown),
        bytes=tuple(frame.payload_bytes for frame in shown),
        motion=tuple(frame.motion_bytes for frame in shown),
        q=tuple(frame.q for frame in shown),
    )
    return Frames(title="Frame by frame", groups=(RunGroup(title="", runs=(run,)),))


def _kinds(report: StreamReport, shown: list[FrameFacts]) -> Table:
    of_kinds = [
        (kind.name, tally, [frame for frame in shown if frame.kind is kind]) for kind, tally in report.kinds
    ]
    of_layers = [
        (f"layer {layer}", tally, [frame for frame in shown if frame.temporal_layer == layer])
        for layer, tally in report.layers
    ]
    rows = []
    for name, tally, frames in (*of_kinds, *of_layers):
        motion = sum(frame.motion_bytes for frame in frames)
        share = f"{100 * tally.size_bytes / max(1, report.payload_bytes):.1f}"
        motion_share = f"{100 * motion / tally.size_bytes:.1f}" if tally.size_bytes else ""
        cells = [name, str(tally.frames), f"{tally.mean_bytes:.0f}", share, f"{tally.mean_q:.2f}", motion_share]
        rows.append(Row(cells=tuple(Cell(text=text) for text in cells)))
    return Table(
        title="By kind and by layer",
        columns=("frames", "how many", "mean bytes", "share, %", "mean q", "motion, %"),
        rows=tuple(rows),
    )


def _shares(report: StreamReport, shown: list[FrameFacts]) -> Bars:
    motion = sum(frame.motion_bytes for frame in shown)
    parts = [("motion", motion), ("pictures", report.payload_bytes - motion)]
    parts += [("audio and subtitles", report.copied_bytes)] if report.copied else []
    parts += [("container", report.overhead_bytes)] if report.overhead_bytes is not None else []
    total = max(1, sum(size for _, size in parts))
    items = tuple(
        Bar(name=name, value=size, text=f"{size} bytes, {100 * size / total:.1f} %") for name, size in parts
    )
    return Bars(title="Where the bytes are", items=items)


def _keyframes(report: StreamReport, shown: list[FrameFacts]) -> Table:
    video = report.header.video
    keys = [(number, frame) for number, frame in enumerate(shown) if frame.kind.name == "I"]
    ends = [number for number, _ in keys[1:]] + [len(shown)]
    rows = []
    for (number, frame), end in list(zip(keys, ends, strict=True))[:MAX_KEYFRAMES]:
        group = shown[number:end]
        size = sum(each.payload_bytes for each in group)
        seconds = float((frame.pts - shown[0].pts) * video.time_base)
        cells = [str(number), f"{seconds:.3f}", str(len(group)), str(frame.payload_bytes), str(size)]
        rows.append(Row(cells=tuple(Cell(text=text) for text in cells)))
    more = len(keys) - MAX_KEYFRAMES
    return Table(
        title="Keyframes",
        note=f"The first {MAX_KEYFRAMES}; there are {more} more." if more > 0 else "",
        columns=("frame", "at, s", "frames to the next", "its bytes", "bytes to the next"),
        rows=tuple(rows),
    )
