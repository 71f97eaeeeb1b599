"""The decoded picture buffer: what frames leave in its slots, and what later frames make of that.

source  FORMAT.md 4.3 and 6.7
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from zvc69_cli.codec.motion.fields import Motion, no_motion, scaled, time_ratio
from zvc69_cli.codec.plan.gop import SLOTS
from zvc69_cli.codec.quantised import QuantisedFrame
from zvc69_cli.codec.residual.context import ReferenceLevels, levels_left, no_levels
from zvc69_cli.frames import FrameKind

S = TypeVar("S")
T = TypeVar("T")

REFERENCE_COUNTS: Final = {FrameKind.I: 0, FrameKind.P: 1, FrameKind.B: 2}


class EmptySlot(LookupError):
    """Nothing lies in the slot that is asked for."""


class Slots(Generic[T]):
    """The slots; what a T is, is the owner's business."""

    def __init__(self) -> None:
        self._held: list[T | None] = [None] * SLOTS

    def __getitem__(self, slot: int) -> T:
        """What lies in a slot; raises EmptySlot."""
        held = self._held[slot] if 0 <= slot < SLOTS else None
        if held is None:
            raise EmptySlot(f"slot {slot} holds no picture")
        return held

    def store(self, value: T, kind: FrameKind, slot: int | None) -> None:
        """Keep what a frame leaves behind; an I frame empties every slot first."""
        if kind is FrameKind.I:
            self.empty()
        if slot is not None:
            self._held[slot] = value

    def empty(self, slot: int | None = None) -> None:
        """Empty one slot, or all."""
        for each in range(SLOTS) if slot is None else (slot,):
            self._held[each] = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim(Generic[S, T]):
    """A frame whose place in the order of coding is fixed, so that it can be worked on beside others.

    It refers only to frames that were claimed before it. So threads that take claims in order never wait in a circle.

    subject     what is to be worked on
    slots       that it refers to, in order of time
    references  what will lie in them, or why it never will
    outcome     what the frame leaves in its own slot, or why it leaves nothing
    """

    subject: S
    slots: tuple[int, ...] = ()
    references: tuple[Future[T], ...] = ()
    outcome: Future[T] = field(default_factory=Future)

    @property
    def is_ready(self) -> bool:
        """Whether it can be worked on without waiting."""
        return all(each.done() for each in self.references)


class ReferenceState(NamedTuple):
    """The integers that a frame leaves in its slot.

    span_ticks  its pts less that of its first reference; 1 where it has no motion
    motion      to its first reference
    levels      what they tell of the levels of this frame
    """

    pts: int
    span_ticks: int
    motion: Motion
    levels: ReferenceLevels


def in_order(
    numbers: Iterable[int], slots: Slots[T], pts_of: Callable[[T], int]
) -> tuple[tuple[int, ...], list[T]]:
    """The slots that a frame refers to in order of pts (then of number), and what lies in them; raises EmptySlot."""
    found = sorted((pts_of(slots[number]), number) for number in numbers)
    ordered = tuple(number for _, number in found)
    return ordered, [slots[number] for number in ordered]


def state_of(quantised: QuantisedFrame, references: Sequence[ReferenceState]) -> ReferenceState:
    """What a frame leaves behind."""
    if quantised.motion is None or quantised.residual is None:
        if references:
            height, width = references[0].motion.coded[1].shape
        else:
            _, height, width = quantised.latent.shape
        levels = no_levels(2 * height, 2 * width)
        return ReferenceState(quantised.pts, 1, no_motion(height, width), levels)
    span = ticks_between(references[0].pts, quantised.pts)
    levels = levels_left(quantised.residual.levels, quantised.q_256)
    return ReferenceState(quantised.pts, span, quantised.motion.motions[0], levels)


def ticks_between(earlier: int, later: int) -> int:
    """A distance in time; what is less than 1 counts as 1."""
    return max(1, later - earlier)


def first_prediction(pts: int, references: Sequence[ReferenceState]) -> Motion:
    """The predicted motion of a frame to its first reference: that of its last one, scaled to the distance."""
    first, last = references[0], references[-1]
    return scaled(last.motion, *time_ratio(ticks_between(first.pts, pts), last.span_ticks))


def second_prediction(motion: Motion, pts: int, references: Sequence[ReferenceState]) -> Motion:
    """The predicted motion of a frame to its last reference: that to its first, continued."""
    back, on = ticks_between(references[0].pts, pts), ticks_between(pts, references[-1].pts)
    numerator, denominator = time_ratio(on, back)
    return scaled(motion, -numerator, denominator)
