"""How many more bits one codec needs than another for the same quality, over a range of qualities."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zvc69_cli.errors import RuntimeUnavailable

INTERPOLATION: Final = "akima"
MIN_POINTS: Final = 3  # fewer are no curve
MIN_OVERLAP: Final = 0.5  # of the qualities that the two curves span together


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """One encode: bits a pixel, and how good it is; in dB where the measure has decibels."""

    bits_per_pixel: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BdRate:
    """A BD-rate and how much it says.

    percent  bits of the tested curve above the anchor's at equal quality; below 0 is a gain; None where the
             curves share no quality, or one of them has fewer than MIN_POINTS points
    overlap  part of all qualities, 0..1, that both curves reach
    """

    percent: float | None
    overlap: float

    @property
    def is_narrow(self) -> bool:
        """Whether the curves share less than MIN_OVERLAP, so that the figure says little."""
        return self.percent is not None and self.overlap < MIN_OVERLAP


def bd_rate(anchor: Sequence[RatePoint], tested: Sequence[RatePoint]) -> BdRate:
    """The BD-rate of `tested` against `anchor`; raises RuntimeUnavailable without the extra [measure]."""
    bjontegaard = _load()
    first, second = rising(anchor), rising(tested)
    if min(len(first), len(second)) < MIN_POINTS:
        return BdRate(percent=None, overlap=0.0)
    low = max(first[0].quality, second[0].quality)
    high = min(first[-1].quality, second[-1].quality)
    span = max(first[-1].quality, second[-1].quality) - min(first[0].quality, second[0].quality)
    if high <= low:
        return BdRate(percent=None, overlap=0.0)
    return BdRate(percent=_between(bjontegaard.bd_rate, first, second), overlap=(high - low) / span)


def bd_quality(anchor: Sequence[RatePoint], tested: Sequence[RatePoint]) -> float | None:
    """How much better `tested` is at equal rate, in the unit of its points (BD-PSNR where that is dB).

    returns  None where the curves share no rate, or one of them has fewer than MIN_POINTS points
    raises   RuntimeUnavailable without the extra [measure]
    """
    bjontegaard = _load()
    first, second = rising(anchor), rising(tested)
    if min(len(first), len(second)) < MIN_POINTS:
        return None
    low = max(first[0].bits_per_pixel, second[0].bits_per_pixel)
    if min(first[-1].bits_per_pixel, second[-1].bits_per_pixel) <= low:
        return None
    return _between(bjontegaard.bd_psnr, first, second)


def _between(
    measure: Callable[..., float], first: Sequence[RatePoint], second: Sequence[RatePoint]
) -> float | None:
    """What a function of the bjontegaard package says of two rising curves; None where that is no number."""
    found = measure(
        [point.bits_per_pixel for point in first],
        [point.quality for point in first],
        [point.bits_per_pixel for point in second],
        [point.quality for point in second],
        method=INTERPOLATION,
        require_matching_points=False,
        min_overlap=0,
    )
    return float(found) if math.isfinite(found) else None


def rising(points: Sequence[RatePoint]) -> list[RatePoint]:
    """The points in order of rate, without those that cost more than another and are no better."""
    kept: list[RatePoint] = []
    for point in sorted(points, key=lambda point: (point.bits_per_pixel, -point.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def mean_curve(curves: Sequence[Sequence[RatePoint]]) -> list[RatePoint]:
    """The mean rate and the mean quality of each setting over clips.

    curves  one a clip, each with the same settings in the same order
    raises  ValueError where the curves differ in length
    """
    return [
        RatePoint(
            bits_per_pixel=sum(point.bits_per_pixel for point in points) / len(points),
            quality=sum(point.quality for point in points) / len(points),
        )
        for points in zip(*curves, strict=True)
    ]


def require_bjontegaard() -> None:
    """Raises RuntimeUnavailable where no BD figure can be had, before hours go into what would need one."""
    _load()


def _load() -> Any:
    try:
        return importlib.import_module("bjontegaard")
    except ImportError as cause:
        raise RuntimeUnavailable(
            "BD-rate",
            f"the package bjontegaard cannot be imported ({cause})",
            "Install the measuring tools: `pip install 'zvc69[measure]'`.",
        ) from cause
