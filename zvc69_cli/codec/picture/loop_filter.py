"""The strength of the loop filter, which an encoder chooses for each frame."""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.motion.fields import Motion
from zvc69_cli.codec.networks import F32
from zvc69_cli.codec.rate.quality import chroma_weight
from zvc69_cli.codec.residual.context import vector_steps

STRENGTH_UNIT: Final = 128  # the strength that adds the whole correction
MAX_STRENGTH: Final = 255
# A filter that removes less of the error than this share is left off: a decoder saves its time.
_LEAST_GAIN: Final = 0.002


def best_strength(products: F32, squares: F32, errors: F32, q_256: int) -> int:
    """The strength of least weighted error, 0..255; 0 is off.

    products  float32 [3], of Y, U and V: sums of what the picture lacks times the correction
    squares   sums of the squared correction
    errors    sums of the squared error without it
    """
    luma, chroma = 1.0, 4 * chroma_weight(q_256) / 0.75  # a chroma plane has a quarter of the samples
    weights = np.array([luma, chroma, chroma])
    product, square, error = (float(weights @ each) for each in (products, squares, errors))
    if square <= 0 or product <= 0:
        return 0
    strength = int(np.clip(round(STRENGTH_UNIT * product / square), 0, MAX_STRENGTH))
    share = strength / STRENGTH_UNIT
    gain = 2 * share * product - share * share * square
    return strength if gain > _LEAST_GAIN * error else 0


def edge_planes(motions: tuple[Motion, ...]) -> F32:
    """How far the vectors of neighbouring blocks differ, as the filter sees it: float32 [4, h, w].

    For the first and the last reference, from the left and from the upper neighbour: log2(1 + difference) / 4.
    """
    steps = [each for motion in (motions[0], motions[-1]) for each in vector_steps(motion.fields[-1])]
    planes: F32 = np.log2(1 + np.stack(steps).astype(np.float32)).astype(np.float32)
    return planes / np.float32(4)
