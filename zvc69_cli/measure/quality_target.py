"""The crf at which a video reaches a quality, found by encoding parts of it: what `--target-psnr|-ssim|-vmaf` do."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from zvc69_cli.errors import RuntimeUnavailable, UsageError
from zvc69_cli.frames import Frame
from zvc69_cli.measure.meters import Meters
from zvc69_cli.media.source import open_source
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import Engines
from zvc69_cli.pipeline.resolve import EncodeOptions

PARTS: Final = 3  # of a video, that are looked at
PART_FRAMES: Final = 25
MOST_PROBES: Final = 7
TOLERANCES: Final = {"psnr": 0.05, "ssim": 0.0005, "vmaf": 0.25}
_UNITS: Final = {"psnr": " dB", "ssim": "", "vmaf": ""}
LOWEST_CRF, HIGHEST_CRF = 0.0, 51.0
_FIRST_CRF: Final = 28.0
_STEP: Final = 0.1  # that a crf is rounded to

Probe = Callable[[float], float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The crf that comes nearest, and the quality of the parts there."""

    crf: float
    quality: float
    is_reached: bool


def reach_quality(in_name: str, options: EncodeOptions, engines: Engines | None = None) -> EncodeOptions:
    """The options with the crf at which the video has the quality that they ask for, and no target any more.

    Where no crf has it, the nearest is taken and a warning is logged.
    raises  UsageError for a pipe, RuntimeUnavailable where the metric cannot be had, and as `encode` does
    """
    target = options.rate.quality_target
    if target is None:
        return options
    metric, goal = target
    if in_name == "-":
        raise UsageError(
            f"--target-{metric}", "reads the input several times, and a pipe is read once", "Give a file."
        )
    _refuse_unavailable(metric, in_name, options)
    parts = list(_parts(in_name, options))

    def probe(crf: float) -> float:
        return measured_quality(in_name, _at(options, crf), parts, metric, engines)

    found = search_crf(probe, goal, TOLERANCES[metric])
    shown = f"{metric.upper()} {found.quality:.3f}{_UNITS[metric]}"
    if found.is_reached:
        _log.info("crf %g: %s in %d part%s", found.crf, shown, len(parts), "s" if parts[1:] else "")
    else:
        _log.warning("%s %g cannot be reached: crf %g has %s", metric.upper(), goal, found.crf, shown)
    return _at(options, found.crf)


def _refuse_unavailable(metric: str, in_name: str, options: EncodeOptions) -> None:
    """Before any work is done."""
    source = open_source(in_name, options.input)
    video = source.video
    source.close()
    with Meters(video, [metric]) as meters:
        if meters.missing:
            step = "Use --target-psnr, or install what is missing."
            raise RuntimeUnavailable(f"--target-{metric}", meters.missing[0], step)


def search_crf(probe: Probe, goal: float, tolerance: float) -> Found:
    """The crf whose quality comes nearest to the goal, of those tried; quality falls where crf rises.

    probe  the quality at a crf
    """
    known: dict[float, float] = {}
    low, high, crf = LOWEST_CRF, HIGHEST_CRF, _FIRST_CRF
    while len(known) < MOST_PROBES and crf not in known:
        known[crf] = quality = probe(crf)
        if abs(quality - goal) <= tolerance:
            break
        low, high = (crf, high) if quality > goal else (low, crf)
        crf = _next(known, low, high, goal)
    best = min(known, key=lambda each: abs(known[each] - goal))
    spread = abs(known[best] - goal)
    is_end = best in (LOWEST_CRF, HIGHEST_CRF) or spread > 8 * tolerance
    return Found(crf=best, quality=known[best], is_reached=spread <= tolerance or not is_end)


def measured_quality(
    in_name: str, options: EncodeOptions, parts: list[tuple[int, int]], metric: str, engines: Engines | None
) -> float:
    """The mean of a metric over the frames of some parts (first frame and count of each)."""
    values: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for seek, frames in parts:
            pairs: list[tuple[Frame, Frame]] = []
            part = replace(options, input=replace(options.input, seek=seek, frames=frames))
            encode(
                in_name,
                str(Path(folder) / "part.zvc69"),
                part,
                may_overwrite=lambda name: True,
                engines=engines,
                compare=lambda frame, shown, pairs=pairs: pairs.append((_owned(frame), shown)),  # type: ignore[misc]
            )
            values += _values(in_name, part, pairs, metric)
    return sum(values) / len(values)


def _values(
    in_name: str, options: EncodeOptions, pairs: list[tuple[Frame, Frame]], metric: str
) -> tuple[float, ...]:
    source = open_source(in_name, options.input)
    video = source.video
    source.close()
    with Meters(video, [metric]) as meters:
        for frame, shown in sorted(pairs, key=lambda pair: pair[0].pts):
            meters.add(frame, shown)
        return next(each.values for each in meters.finish().series if each.name == metric)


def _next(known: dict[float, float], low: float, high: float, goal: float) -> float:
    """Between the two nearest crfs that lie about the goal in a straight line; the ends where there are none."""
    above = [crf for crf in known if known[crf] > goal]
    below = [crf for crf in known if known[crf] <= goal]
    if not above or not below:
        return HIGHEST_CRF if above else LOWEST_CRF
    left, right = max(above), min(below)
    share = (known[left] - goal) / (known[left] - known[right])
    crf = left + (right - left) * min(0.9, max(0.1, share))
    return round(min(high, max(low, crf)) / _STEP) * _STEP


def _parts(in_name: str, options: EncodeOptions) -> Iterator[tuple[int, int]]:
    """First frame and count of parts spread over what is to be encoded; all of it where that is hardly more."""
    source = open_source(in_name, options.input)
    total = source.frame_count
    source.close()
    first, wanted = options.input.seek, PARTS * PART_FRAMES
    if total is None or total <= wanted:
        yield first, wanted if total is None else total
        return
    for number in range(PARTS):
        yield first + (2 * number + 1) * (total - PART_FRAMES) // (2 * PARTS), PART_FRAMES


def _at(options: EncodeOptions, crf: float) -> EncodeOptions:
    rate = replace(options.rate, target_psnr=None, target_ssim=None, target_vmaf=None)
    return replace(options, codec=replace(options.codec, crf=crf, qp=None), rate=rate)


def _owned(frame: Frame) -> Frame:
    """The frame with samples of its own, since a source may lend views into a picture."""
    return replace(frame, y=frame.y.copy(), u=frame.u.copy(), v=frame.v.copy())
