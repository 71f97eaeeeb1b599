"""The page of `zvc69 bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zvc69_cli.measure.page import (
    Cell,
    CurveLine,
    CurvePanel,
    CurvePoint,
    Curves,
    Facts,
    Frames,
    Picture,
    Row,
    Run,
    RunGroup,
    Scene,
    Section,
    Slider,
    SpeedPoint,
    Speeds,
    Table,
    Tile,
    Tiles,
    data_uris,
    page_html,
)
from zvc69_cli.measure.peer_bench import TESTED, BenchResult
from zvc69_cli.measure.peer_figures import (
    Figure,
    against_anchor,
    against_peers,
    anchor_of,
    mean_gain,
    mean_rate,
    mean_speed,
    scales_of,
    speeds,
)
from zvc69_cli.measure.quality import Scale

LEVEL: Final = 1.0  # percent of bits that are called level


def bench_html(result: BenchResult) -> str:
    """The whole page."""
    clips = result.clips
    figures = against_peers(result)
    sections: list[Section] = []
    if figures:
        sections.append(_tiles(result, figures))
    sections += [
        _curves(result),
        *_bd_tables(result, figures),
        *_speeds(result),
        _slider(result),
        _frames(result),
    ]
    sections.append(_how(result))
    frames = " or ".join(dict.fromkeys(str(clip.frame_count) for clip in clips))
    return page_html(
        f"{TESTED} beside its peers",
        f"{len(clips)} {'clip' if len(clips) == 1 else 'clips'}, the first {frames} frames of each. Every figure is of "
        "a real stream that was decoded again; bits are of the whole stream, without what an encoder writes about "
        "itself.",
        sections,
    )


def _tiles(result: BenchResult, figures: tuple[Figure, ...]) -> Tiles:
    scale = scales_of(result)[0]
    items = []
    for peer in result.codecs[1:]:
        percent = mean_rate(each for each in figures if each.anchor == peer and each.scale == scale.name)
        if percent is not None:
            items.append(Tile(name=f"bits against {peer}", value=f"{percent:+.1f} %", tone=_tone(percent)))
    return Tiles(
        title="At equal quality",
        note=f"Mean BD-rate of {TESTED} over the clips in {scale.title}: below 0 it needs fewer bits.",
        items=tuple(items),
    )


def _curves(result: BenchResult) -> Curves:
    panels = []
    for clip in result.clips:
        lines = []
        for codec in clip.codecs:
            points = tuple(
                CurvePoint(
                    label=each.label,
                    bits_per_pixel=each.bits_per_pixel,
                    kbps=each.kbps,
                    values={series.name: series.mean for series in each.quality.main},
                )
                for each in clip.curve(codec)
            )
            lines.append(CurveLine(codec=result.codecs.index(codec), points=points))
        panels.append(
            CurvePanel(
                title=f"{clip.name}, {clip.width}x{clip.height}, {clip.frame_count} frames", lines=tuple(lines)
            )
        )
    return Curves(
        title="Quality against rate",
        note="Up and to the left is better. Point at a mark for its values; choose a name to hide its curve.",
        codecs=result.codecs,
        measures=scales_of(result),
        panels=tuple(panels),
    )


def _bd_tables(result: BenchResult, figures: tuple[Figure, ...]) -> list[Section]:
    if not figures:
        return []
    return [
        _bd_table(
            result,
            figures,
            "BD-rate",
            f"Bits that {TESTED} needs more (+) or fewer (-) than each peer at equal quality, percent. ? marks curves "
            "that share less than half of their qualities, none those that share none.",
            _rate_cell,
            lambda some: _percent(mean_rate(some)),
        ),
        _bd_table(
            result,
            figures,
            "BD-PSNR and its like",
            f"Quality that {TESTED} has more (+) or less (-) than each peer at equal rate, in the unit of the measure; "
            "of SSIM and MS-SSIM in decibels of what is missing to 1.",
            _gain_cell,
            lambda some: _gain(mean_gain(some)),
        ),
    ]


def _bd_table(
    result: BenchResult,
    figures: tuple[Figure, ...],
    title: str,
    note: str,
    cell: Callable[[Figure], Cell],
    mean: Callable[[list[Figure]], Cell],
) -> Table:
    peers = result.codecs[1:]
    rows: list[Row] = []
    for scale in scales_of(result):
        name = f"{scale.title}, {scale.unit}" if scale.unit else scale.title
        for clip in result.clips:
            own = {each.anchor: each for each in figures if (each.clip, each.scale) == (clip.name, scale.name)}
            cells = (cell(own[peer]) if peer in own else Cell(text="none", tone="faint") for peer in peers)
            rows.append(Row(cells=(Cell(text=clip.name), Cell(text=name, tone="faint"), *cells)))
        means = (
            mean([each for each in figures if (each.anchor, each.scale) == (peer, scale.name)])
            for peer in peers
        )
        rows.append(Row(cells=(Cell(text="mean"), Cell(text=name), *means), strong=True))
    columns = ("clip", "measure", *peers)
    return Table(title=title, note=note, columns=columns, rows=tuple(rows))


def _rate_cell(figure: Figure) -> Cell:
    cell = _percent(figure.rate.percent)
    if not figure.rate.is_narrow:
        return cell
    hint = f"the curves share {100 * figure.rate.overlap:.0f} % of their qualities"
    return Cell(text=f"{cell.text} ?", tone=cell.tone, hint=hint)


def _gain_cell(figure: Figure) -> Cell:
    return _gain(figure.gain)


def _percent(percent: float | None) -> Cell:
    if percent is None:
        return Cell(text="none", tone="faint", hint="the curves share no quality")
    return Cell(text=f"{percent:+.1f}", tone=_tone(percent))


def _gain(gain: float | None) -> Cell:
    if gain is None:
        return Cell(text="none", tone="faint", hint="the curves share no rate")
    return Cell(text=f"{gain:+.2f}", tone="good" if gain > 0 else "bad")


def short(number: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _tone(percent: float) -> str:
    return "" if abs(percent) < LEVEL else "good" if percent < 0 else "bad"


def _speeds(result: BenchResult) -> list[Section]:
    all_speeds = speeds(result)
    codecs = [codec for codec in result.codecs if any(each.codec == codec for each in all_speeds)]
    rows = []
    for codec in codecs:
        own = {each.clip: each for each in all_speeds if each.codec == codec}
        cells = [
            Cell(text=f"{short(own[clip.name].encode_fps)} / {short(own[clip.name].decode_fps)}")
            if clip.name in own
            else Cell(text="none", tone="faint")
            for clip in result.clips
        ]
        mean = " / ".join(short(fps) for fps in mean_speed(all_speeds, codec))
        rows.append(Row(cells=(Cell(text=codec), *cells, Cell(text=mean))))
    table = Table(
        title="Speed",
        note=f"Frames a second, encoded / decoded, over all rates. {result.machine}.",
        columns=("codec", *(clip.name for clip in result.clips), "mean"),
        rows=tuple(rows),
    )
    chart = _speed_chart(result, scales_of(result)[0])
    return [table] if chart is None else [chart, table]


def _speed_chart(result: BenchResult, scale: Scale) -> Speeds | None:
    anchor = anchor_of(result)
    if not anchor:
        return None
    figures = against_anchor(result, scale, anchor)
    all_speeds = speeds(result)
    points = []
    for number, codec in enumerate(result.codecs):
        rate = 0.0 if codec == anchor else mean_rate(each for each in figures if each.codec == codec)
        if rate is not None and any(each.codec == codec for each in all_speeds):
            encode_fps, decode_fps = mean_speed(all_speeds, codec)
            points.append(
                SpeedPoint(name=codec, codec=number, encode_fps=encode_fps, decode_fps=decode_fps, bd_rate=rate)
            )
    return Speeds(
        title="Speed against efficiency",
        note=f"Mean BD-rate against {anchor} in {scale.title}, fewer bits above; faster to the right.",
        anchor=anchor,
        points=tuple(points),
    )


def _slider(result: BenchResult) -> Slider:
    """The original and every codec at zvc69's middle rate, on each clip."""
    pngs = [
        png for clip in result.clips for png in (clip.original_png, *(each.crop_png for each in clip.equal))
    ]
    uris = iter(data_uris(pngs))
    scale = scales_of(result)[0].name
    scenes = []
    for clip in result.clips:
        pictures = [Picture(name="original", detail="as it was", src=next(uris))]
        for each in clip.equal:
            series = each.quality.find(scale)
            quality = (
                "" if series is None else f", {series.values[clip.crop_frame]:.2f} {series.scale.unit}".rstrip()
            )
            detail = f"{each.kbps:.0f} kb/s{quality}"
            pictures.append(Picture(name=each.codec, detail=detail, src=next(uris)))
        # zvc69 to the right at first, the usual anchor to its left.
        scenes.append(
            Scene(
                title=f"{clip.name}, frame {clip.crop_frame}",
                width=clip.crop[2],
                height=clip.crop[3],
                pictures=(*pictures[:1], *pictures[2:], pictures[1]),
            )
        )
    return Slider(
        title="Look for yourself, at equal rate",
        note=f"The busiest part of the middle frame, each codec at about the rate of {TESTED} there. Drag the edge, or "
        "use the arrow keys.",
        scenes=tuple(scenes),
    )


def _frames(result: BenchResult) -> Frames:
    groups = []
    for clip in result.clips:
        runs = tuple(
            Run(
                name=f"{each.codec} {each.label}",
                codec=result.codecs.index(each.codec),
                kinds=tuple(frame.kind for frame in each.stored),
                bytes=tuple(frame.size_bytes for frame in each.stored),
                motion=tuple(frame.motion_bytes for frame in each.stored),
                quality={series.name: series.values for series in each.quality.main},
            )
            for each in clip.equal
        )
        groups.append(RunGroup(title=clip.name, runs=runs))
    return Frames(
        title="Frame by frame, at equal rate",
        note="A P frame of AV1 and VP9 is any frame that refers to others.",
        groups=tuple(groups),
        measures=scales_of(result),
    )


def _how(result: BenchResult) -> Facts:
    encodes = [each for clip in result.clips for each in clip.encodes]
    kept = sum(each.is_kept for each in encodes)
    made = f"{len(encodes)} encodes from {min(each.made for each in encodes)} to {max(each.made for each in encodes)}"
    if kept:
        made += f"; {kept} of them were kept from earlier runs on this machine"
    items = [*result.settings, ("machine", result.machine), ("measured", made)]
    items += [
        ("clip", f"{clip.path}, {clip.width}x{clip.height}, {clip.frame_rate:g} frames a second")
        for clip in result.clips
    ]
    items += [("note", note) for note in result.notes]
    return Facts(title="How it was made", items=tuple(items))
