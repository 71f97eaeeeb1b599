"""How a second pass shares its bits between easy and hard parts of a video.

At a constant q a part takes bits in proportion to how complex it is. The same bits give more where little is going on,
and there the eye sees more: so q is moved until bits go with complexity ** qcomp.

source  ratecontrol.c of x264 (Merritt), `--qcomp` of x265, where complexity is blurred in time as well
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.rate.model import Expected, RateClass

OCTAVE_Q: Final = 12.0  # indexes that double what a frame takes
MOST_Q: Final = 10.0
_BLUR_FRAMES: Final = 10.0  # standard deviation, in the order of coding
_LEAST_BITS: Final = 100.0


class _Group(NamedTuple):
    """An I frame, or a P frame with its B frames: frames first..end-1 in the order of coding."""

    first: int
    end: int
    bits: float  # of a frame, on average
    is_key: bool


def evened(frames: Sequence[Expected], base: float, qcomp: float) -> list[float]:
    """By how many q indexes each frame is to be better than at a constant q.

    frames  of the whole video, in the order of coding
    base    q at which their bits are compared
    qcomp   1 leaves q alone, 0 gives every part the same bits
    """
    if qcomp >= 1 or not frames:
        return [0.0] * len(frames)
    complexities = np.zeros(len(frames))
    for part in _parts(_groups(frames, base)):
        told = [group for group in part if not group.is_key] or part  # a keyframe says nothing of what moves
        middles = np.array([(group.first + group.end - 1) / 2 for group in told])
        bits = np.log2([max(_LEAST_BITS, group.bits) for group in told])
        lengths = np.array([group.end - group.first for group in told])
        for group in part:
            away = (group.first + group.end - 1) / 2 - middles
            # What is far away counts for nothing at all in floating point: the nearest is taken out of the exponent.
            weights = lengths * np.exp(((away**2).min() - away**2) / (2 * _BLUR_FRAMES**2))
            complexities[group.first : group.end] = (weights * bits).sum() / weights.sum()
    return _moves(complexities, qcomp)


def _moves(complexities: NDArray[np.float64], qcomp: float) -> list[float]:
    """From log2 of bits to q indexes."""
    better = OCTAVE_Q * (1 - qcomp) * (complexities.mean() - complexities)
    return [float(each) for each in np.clip(better, -MOST_Q, MOST_Q)]


def _groups(frames: Sequence[Expected], base: float) -> list[_Group]:
    firsts = [index for index, each in enumerate(frames) if each.rate_class in (RateClass.I, RateClass.P)]
    groups = []
    for first, end in zip(firsts, [*firsts[1:], len(frames)], strict=True):
        bits = sum(each.bits_at(base) for each in frames[first:end]) / (end - first)
        groups.append(_Group(first=first, end=end, bits=bits, is_key=frames[first].rate_class is RateClass.I))
    return groups


def _parts(groups: Sequence[_Group]) -> list[list[_Group]]:
    """Groups between which complexity is blurred: a keyframe after others that move begins a new part."""
    parts: list[list[_Group]] = [[]]
    for group in groups:
        if group.is_key and any(not each.is_key for each in parts[-1][-1:]):
            parts.append([])
        parts[-1].append(group)
    return parts
