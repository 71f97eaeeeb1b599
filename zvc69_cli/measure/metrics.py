"""How far a decoded picture is from the picture that was encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from zvc69_cli.frames import Frame, Samples

EQUAL_DB: Final = 100.0  # what equal planes count, and the most that any plane counts
LUMA_WEIGHT: Final = 6
CHROMA_WEIGHT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanePsnr:
    """PSNR of the three planes of one frame, or the means of many: dB each."""

    y: float
    u: float
    v: float

    @property
    def weighted(self) -> float:
        """PSNR 6:1:1 in dB. The mean of this over frames is this of the means."""
        total = LUMA_WEIGHT * self.y + CHROMA_WEIGHT * (self.u + self.v)
        return total / (LUMA_WEIGHT + 2 * CHROMA_WEIGHT)


def plane_psnr(reference: Samples, distorted: Samples) -> float:
    """PSNR of one plane in dB, EQUAL_DB where the planes are equal.

    reference, distorted  same size; both uint8 (8 bits) or both uint16 (10 bits)
    raises                ValueError for planes that cannot be compared
    """
    if reference.shape != distorted.shape or reference.dtype != distorted.dtype:
        raise ValueError(
            f"planes {reference.shape} {reference.dtype} and {distorted.shape} {distorted.dtype} do not compare"
        )
    peak = 255 if reference.dtype == np.uint8 else 1023
    difference = np.subtract(reference, distorted, dtype=np.int32).ravel()
    squares = float(np.square(difference, dtype=np.int64).sum())
    if squares == 0:
        return EQUAL_DB
    return min(EQUAL_DB, 10 * float(np.log10(peak * peak * difference.size / squares)))


def frame_psnr(reference: Frame, distorted: Frame) -> PlanePsnr:
    """PSNR of each plane of one frame; raises ValueError as `plane_psnr` does."""
    return PlanePsnr(
        y=plane_psnr(reference.y, distorted.y),
        u=plane_psnr(reference.u, distorted.u),
        v=plane_psnr(reference.v, distorted.v),
    )


def psnr_611(reference: Frame, distorted: Frame) -> float:
    """(6 PSNR_Y + PSNR_U + PSNR_V) / 8 of one frame, in dB."""
    return frame_psnr(reference, distorted).weighted


def mean_of(each: Sequence[PlanePsnr]) -> PlanePsnr:
    """The means over frames; raises ValueError where there are none."""
    return _by_plane(each, lambda values: sum(values) / len(values))


def of_mean_error(each: Sequence[PlanePsnr]) -> PlanePsnr:
    """PSNR of the mean squared error over frames, what x264 calls global; raises ValueError where there are none."""
    return _by_plane(
        each, lambda values: -10 * float(np.log10(np.mean(np.power(10.0, -np.array(values) / 10))))
    )


def _by_plane(each: Sequence[PlanePsnr], of: Callable[[list[float]], float]) -> PlanePsnr:
    if not each:
        raise ValueError("no frames to compare")
    return PlanePsnr(
        y=of([psnr.y for psnr in each]), u=of([psnr.u for psnr in each]), v=of([psnr.v for psnr in each])
    )
