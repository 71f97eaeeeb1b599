"""How many more bits one codec needs than another for the same quality, over a range of qualities."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from zvc69_cli.errors import RuntimeUnavailable

INTERPOLATION: Final = "akima"
MIN_POINTS: Final = 3  # fewer are no curve
MIN_OVERLAP: Final = 0.5  # of the qualities that the two curves span together


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """One encode: bits a pixel, and PSNR 6:1:1 in dB."""

    bits_per_pixel: float
    psnr_db: float


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
    low = max(first[0].psnr_db, second[0].psnr_db)
    high = min(first[-1].psnr_db, second[-1].psnr_db)
    span = max(first[-1].psnr_db, second[-1].psnr_db) - min(first[0].psnr_db, second[0].psnr_db)
    if high <= low:
        return BdRate(percent=None, overlap=0.0)
    percent = bjontegaard.bd_rate(
        [point.bits_per_pixel for point in first],
        [point.psnr_db for point in first],
        [point.bits_per_pixel for point in second],
        [point.psnr_db for point in second],
        method=INTERPOLATION,
        require_matching_points=False,
        min_overlap=0,
    )
    return BdRate(percent=float(percent) if math.isfinite(percent) else None, overlap=(high - low) / span)


def rising(points: Sequence[RatePoint]) -> list[RatePoint]:
    """The points in order of rate, without those that cost more than another and are no better."""
    kept: list[RatePoint] = []
    for point in sorted(points, key=lambda point: (point.bits_per_pixel, -point.psnr_db)):
        if not kept or point.psnr_db > kept[-1].psnr_db:
            kept.append(point)
    return kept


def mean_curve(curves: Sequence[Sequence[RatePoint]]) -> list[RatePoint]:
    """The mean rate and the mean PSNR of each setting over clips.

    curves  one a clip, each with the same settings in the same order
    raises  ValueError where the curves differ in length
    """
    return [
        RatePoint(
            bits_per_pixel=sum(point.bits_per_pixel for point in points) / len(points),
            psnr_db=sum(point.psnr_db for point in points) / len(points),
        )
        for points in zip(*curves, strict=True)
    ]


def _load() -> Any:
    try:
        return importlib.import_module("bjontegaard")
    except ImportError as cause:
        raise RuntimeUnavailable(
            "BD-rate",
            f"the package bjontegaard cannot be imported ({cause})",
            "Install the measuring tools: `pip install 'zvc69[measure]'`.",
        ) from cause
