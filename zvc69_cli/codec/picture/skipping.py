"""When a frame is not coded at all, but shows its first reference once more."""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.networks import F32, Picture
from zvc69_cli.codec.rate.quality import PLANE_WEIGHTS, error_price
from zvc69_cli.frames import Frame

LEAST_BITS: Final = 200  # what a frame costs in which nothing is coded, skipped frames apart


def picture_error(source: Picture, decoded: Picture, peak: int) -> float:
    """Mean squared error of a picture, planes by PLANE_WEIGHTS, of samples in 0..1.

    source   padded planes in 0..1
    decoded  padded planes in 0..peak
    """
    return sum(
        weight * _mean_square(np.asarray(wanted) - np.asarray(shown, np.float32) * np.float32(1 / peak))
        for weight, wanted, shown in zip(PLANE_WEIGHTS, source, decoded, strict=True)
    )


def pays_to_skip(error: float, reference_error: float, samples: int, q_256: int) -> bool:
    """Whether a frame that is coded no better than its reference is worth no bits.

    error            of the reference, shown in the frame's place
    reference_error  of the reference in its own place when it was coded. Coding would hardly end below it; and since
                     skipped frames hand it on as it is, small changes add up until one is coded
    samples          of luma
    """
    return error_price(q_256) * (error - reference_error) * samples < LEAST_BITS


def same_picture(one: Frame, other: Frame) -> bool:
    """Whether two frames are equal in every sample."""
    return all(np.array_equal(a, b) for a, b in ((one.y, other.y), (one.u, other.u), (one.v, other.v)))


def _mean_square(difference: F32) -> float:
    flat = difference.ravel()
    return float(flat @ flat) / flat.size
