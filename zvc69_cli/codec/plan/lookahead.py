"""What a frame will cost, guessed from small pictures before anything is coded.

A block of a small picture is predicted from itself (its neighbours or its mean) and from the pictures that the frame
refers to, moved by whole small samples. What is left says how many bits the frame will want and how much of it a
frame hands on to those that are predicted from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.plan.gop import SLOTS, PlannedFrame
from zvc69_cli.codec.plan.scenecut import F32, errors_by_move, intra_errors, small_picture
from zvc69_cli.frames import FrameKind

REACH: Final = 3  # small samples that a block may have moved
# What no predictor saves: noise that is coded or left, in mean error of 8-bit samples of the small picture.
LEAST_COST: Final = 0.25

I16 = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """How the blocks of a small picture come out of one reference.

    reference  coding index of the frame that is referred to
    error      float32 [rows, columns]: mean error of each block, 8-bit samples
    moves      int16 [2, rows, columns]: where the block lies in the reference, y and x in small samples
    """

    reference: int
    error: F32
    moves: I16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameCosts:
    """What the lookahead knows of one frame.

    intra        float32 [rows, columns]: mean error of each block predicted from its own picture
    predictions  from each reference, in the order of the plan
    """

    intra: F32
    predictions: tuple[Prediction, ...]

    @property
    def inter(self) -> F32:
        """Mean error of each block in its cheapest way; between two references their mean is one more."""
        best = self.intra
        for each in self.predictions:
            best = np.minimum(best, each.error)
        return best

    @property
    def intra_mean(self) -> float:
        return float(self.intra.mean()) + LEAST_COST

    @property
    def inter_mean(self) -> float:
        return float(self.inter.mean()) + LEAST_COST


class Lookahead:
    """Looks at planned frames in the order of coding, and remembers the small pictures that lie in the slots."""

    def __init__(self, peak: int) -> None:
        self._peak = peak
        self._slots: list[tuple[int, F32] | None] = [None] * SLOTS

    def look(self, planned: PlannedFrame) -> FrameCosts:
        """The costs of the next frame in the order of coding."""
        picture = small_picture(planned.frame.y, self._peak)
        predictions = []
        for slot in planned.references:
            held = self._slots[slot]
            if held is not None:
                predictions.append(predict_blocks(picture, held[1], held[0]))
        if planned.kind is FrameKind.I:
            self._slots = [None] * SLOTS
        if planned.stored_in is not None:
            self._slots[planned.stored_in] = planned.coding_index, picture
        return FrameCosts(intra=intra_errors(picture), predictions=tuple(predictions))


def predict_blocks(picture: F32, reference: F32, coding_index: int) -> Prediction:
    """Each block from where it fits best within REACH; of equal ones the nearest.

    picture, reference  float32 of one size, whole blocks
    coding_index        of the reference
    """
    errors = errors_by_move(picture, reference, _MOVES)
    best = errors.argmin(0)
    error = np.take_along_axis(errors, best[None], 0)[0]
    moves = np.array(_MOVES, np.int16)[best].transpose(2, 0, 1)
    return Prediction(reference=coding_index, error=error, moves=moves)


_SPAN: Final = range(-REACH, REACH + 1)
_MOVES: Final = sorted(
    ((y, x) for y in _SPAN for x in _SPAN), key=lambda move: (abs(move[0]) + abs(move[1]), move)
)
