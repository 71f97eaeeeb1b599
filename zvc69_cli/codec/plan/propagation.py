"""How much of a frame lives on in those that are predicted from it, so that its quality is worth more bits.

source  macroblock-tree of x264 (Garrett-Glaser, 2009), cutree of x265; here for whole frames, since the stream carries
        one q a frame
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from zvc69_cli.codec.plan.lookahead import LEAST_COST, FrameCosts, Prediction
from zvc69_cli.codec.plan.scenecut import BLOCK, F32
from zvc69_cli.codec.rate.model import RateClass

# Whole q indexes that one more octave of worth is worth, by the frame's curve.
WORTH_Q: Final = {RateClass.I: 2.0, RateClass.P: 2.0, RateClass.B: 2.0, RateClass.B_DEEP: 0.0}
# What eleven clips that are not test clips come to on average with a lookahead of 24 frames: there nothing moves.
USUAL_WORTH: Final = {RateClass.I: 2.1, RateClass.P: 2.1, RateClass.B: 0.68, RateClass.B_DEEP: 0.0}
MOST_WORTH_Q: Final = 12.0


def preferences(
    coding_indexes: Sequence[int], classes: Sequence[RateClass], costs: Sequence[FrameCosts]
) -> list[float]:
    """For each frame, in the order of coding, by how many q indexes it is to be better than its place makes it."""
    found = worths(coding_indexes, costs)
    more = (WORTH_Q[kind] * (worth - USUAL_WORTH[kind]) for kind, worth in zip(classes, found, strict=True))
    return [min(MOST_WORTH_Q, max(-MOST_WORTH_Q, each)) for each in more]


def worths(coding_indexes: Sequence[int], costs: Sequence[FrameCosts]) -> list[float]:
    """For each frame the mean over its blocks of log2(1 + what others take from the block / what it holds itself).

    coding_indexes, costs  of frames in the order of coding; what is referred to before them is left out
    """
    handed: dict[int, F32] = {}
    found = []
    for index, frame in zip(reversed(coding_indexes), reversed(costs), strict=True):
        own = frame.intra + np.float32(LEAST_COST)
        received = handed.pop(index, None)
        if received is None:
            received = np.zeros_like(own)
        found.append(float(np.log2(1 + received / own).mean()))
        if frame.predictions:
            _hand_on(frame, own, received, handed)
    return found[::-1]


def _hand_on(frame: FrameCosts, own: F32, received: F32, handed: dict[int, F32]) -> None:
    """What a frame takes from its references, theirs to be credited with; of two the better gets more."""
    share = 1 - np.minimum(frame.inter + np.float32(LEAST_COST), own) / own
    amount = (own + received) * share
    closeness = [1 / (each.error + np.float32(LEAST_COST)) for each in frame.predictions]
    total = np.sum(closeness, axis=0)
    for prediction, close in zip(frame.predictions, closeness, strict=True):
        into = handed.setdefault(prediction.reference, np.zeros_like(own))
        np.add.at(into, _places(prediction, into.shape), amount * close / total)


def _places(prediction: Prediction, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Rows and columns of the blocks that lie nearest to where each block comes from."""
    rows, columns = np.indices(shape)
    moved = np.rint(prediction.moves / BLOCK).astype(np.int64)
    return np.clip(rows + moved[0], 0, shape[0] - 1), np.clip(columns + moved[1], 0, shape[1] - 1)
