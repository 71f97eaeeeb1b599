"""How large a frame becomes at a q: curves of the networks, and what the frames so far say of this video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from zvc69_cli.codec.settings import INTRA_Q_LEVELS, Q_LEVELS
from zvc69_cli.frames import FrameKind

TOP_Q: Final = Q_LEVELS - 1.0
TOP_INTRA_Q: Final = INTRA_Q_LEVELS - 1.0
# Ends of the base q: beyond them the offsets change nothing any more.
LOWEST_BASE: Final = -12.0
HIGHEST_BASE: Final = TOP_Q + 14.0


class RateClass(IntEnum):
    """Frames whose sizes follow one curve."""

    I = 0  # noqa: E741
    P = 1
    B = 2  # of the first layer
    B_DEEP = 3


# log2 of the bits that a luma sample takes at a q, for each unit of lookahead cost: means over seven clips of 17 frames
# that are not test clips, from 45 on over five of 13; B_DEEP beyond 52 goes on as steeply as the others.
# Nothing was measured beyond 79.
_CURVES: Final = {
    RateClass.I: ((0, 13, 23, 33, 43, 53, 65, 79), (-6.72, -5.66, -4.84, -4.06, -3.40, -2.83, -2.25, -1.72)),
    RateClass.P: (
        (0, 5, 15, 25, 35, 45, 53, 65, 79),
        (-6.21, -5.83, -5.07, -4.25, -3.38, -2.57, -1.95, -1.27, -0.70),
    ),
    RateClass.B: (
        (0, 8, 18, 28, 38, 48, 57, 69, 79),
        (-6.31, -5.75, -4.97, -4.08, -3.17, -2.38, -1.70, -0.99, -0.50),
    ),
    RateClass.B_DEEP: (
        (0, 4, 14, 24, 34, 44, 52, 64, 79),
        (-6.68, -6.44, -5.66, -4.74, -3.72, -2.75, -2.09, -1.10, -0.20),
    ),
}
_PARTS: Final = 16  # of a quality index, that tables of them have: they are asked a thousand times a group
_MEMORY: Final = 0.8  # of what was learnt, what is left at the next frame of the same class
_SHARED: Final = 1.0  # frames that what is known of all classes counts as


def top_q(rate_class: RateClass) -> float:
    """The highest q that frames of a class are coded at."""
    return TOP_INTRA_Q if rate_class is RateClass.I else TOP_Q


def _table(rate_class: RateClass) -> list[float]:
    """The curve of a class at every part of an index from 0 to TOP_Q.

    Beyond its last knot the curve goes on as steeply as between its last two, up to the class's highest q.
    """
    qs, logs = _CURVES[rate_class]
    slope = (logs[-1] - logs[-2]) / (qs[-1] - qs[-2])
    asked = np.minimum(np.arange((Q_LEVELS - 1) * _PARTS + 1) / _PARTS, top_q(rate_class))
    beyond = slope * np.maximum(0.0, asked - qs[-1])
    return [float(bits) for bits in 2.0 ** (np.interp(asked, qs, logs) + beyond)]


_TABLES: Final = {rate_class: _table(rate_class) for rate_class in RateClass}


def class_of(kind: FrameKind, temporal_layer: int) -> RateClass:
    """The curve that a frame follows."""
    if kind is FrameKind.I:
        return RateClass.I
    if kind is FrameKind.P:
        return RateClass.P
    return RateClass.B if temporal_layer <= 1 else RateClass.B_DEEP


def curve(rate_class: RateClass, q: float) -> float:
    """Bits a luma sample for each unit of cost, at a q in 0..127; that of I frames is flat beyond 79."""
    return _TABLES[rate_class][round(q * _PARTS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is known of a frame's size before it is coded.

    weight  bits are weight x curve(q)
    offset  of the frame's q from the base, in whole and broken indexes
    """

    rate_class: RateClass
    weight: float
    offset: float

    def q_at(self, base: float) -> float:
        """The frame's own q, 0..127; that of an I frame 0..79."""
        return min(top_q(self.rate_class), max(0.0, base + self.offset))

    def bits_at(self, base: float) -> float:
        """What it takes where the base q is this."""
        return self.weight * curve(self.rate_class, self.q_at(base))


class Demand:
    """What many frames take together, as a function of the base q; frames can be added and taken out again."""

    def __init__(self, frames: Iterable[Expected] = ()) -> None:
        self._weights: dict[tuple[RateClass, int], float] = {}
        for each in frames:
            self.add(each)

    def add(self, frame: Expected, share: float = 1.0) -> None:
        key = (frame.rate_class, round(frame.offset))
        self._weights[key] = max(0.0, self._weights.get(key, 0.0) + share * frame.weight)

    def remove(self, frame: Expected) -> None:
        self.add(frame, -1.0)

    def bits_at(self, base: float) -> float:
        """Bits of all of them where the base q is this."""
        total = 0.0
        for (rate_class, offset), weight in self._weights.items():
            total += weight * curve(rate_class, min(TOP_Q, max(0.0, base + offset)))
        return total


class SizeModel:
    """Learns what the lookahead's costs mean in this video, in bits.

    samples  luma samples of a frame
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._actual = dict.fromkeys(RateClass, 0.0)
        self._guessed = dict.fromkeys(RateClass, 0.0)
        self._frames = dict.fromkeys(RateClass, 0.0)
        self._all_actual = self._all_guessed = 0.0

    def expect(self, rate_class: RateClass, cost: float, offset: float) -> Expected:
        """What a frame of that lookahead cost will take."""
        weight = self._samples * cost * self._ratio(rate_class)
        return Expected(rate_class=rate_class, weight=weight, offset=offset)

    def learn(self, rate_class: RateClass, cost: float, q: float, bits: float) -> None:
        """Take note of a frame that was coded."""
        guessed = self._samples * cost * curve(rate_class, q)
        self._actual[rate_class] = _MEMORY * self._actual[rate_class] + bits
        self._guessed[rate_class] = _MEMORY * self._guessed[rate_class] + guessed
        self._frames[rate_class] = _MEMORY * self._frames[rate_class] + 1
        self._all_actual = 0.95 * self._all_actual + bits
        self._all_guessed = 0.95 * self._all_guessed + guessed

    @property
    def shared(self) -> float:
        """Actual bits over guessed ones, of the last frames of all classes."""
        return self._all_actual / self._all_guessed if self._all_guessed else 1.0

    def _ratio(self, rate_class: RateClass) -> float:
        """Actual bits over guessed ones: of the class, and of all classes as one more frame of it."""
        shared = self.shared
        frames = self._frames[rate_class]
        if not frames:
            return max(shared, 0.01)
        mean_guess = self._guessed[rate_class] / frames
        actual = self._actual[rate_class] + _SHARED * shared * mean_guess * _MEMORY**frames
        return float(max(actual / (self._guessed[rate_class] + _SHARED * mean_guess * _MEMORY**frames), 0.01))


def base_for(bits: float, *demands: tuple[Demand, float]) -> float:
    """The base q at which demands take so many bits together; the nearest end where none does.

    demands  each with how often it counts
    """
    low, high = LOWEST_BASE, HIGHEST_BASE
    for _ in range(18):
        middle = (low + high) / 2
        taken = sum(share * demand.bits_at(middle) for demand, share in demands)
        low, high = (middle, high) if taken < bits else (low, middle)
    return (low + high) / 2
