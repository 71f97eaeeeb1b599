"""When pictures are shown: the source's own times, mended only where they cannot be."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av

MAX_FRAME_RATE: Final = 1000


class Timeline:
    """Gives every picture a pts after the one before it.

    step   ticks from a picture to the next where nothing else says
    notes  gains a sentence at the first picture whose time was missing, and at the first that went backwards
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction | None, notes: list[str]) -> None:
        self.step = (
            max(1, round(1 / (frame_rate * time_base))) if frame_rate else max(1, round(1 / (25 * time_base)))
        )
        self._notes = notes
        self._noted: set[str] = set()
        self._last: int | None = None
        self._next = 0

    def place(self, picture: av.VideoFrame, number: int) -> tuple[int, int | None]:
        """The pts of a picture and its duration, None where the source does not say."""
        stated = picture.pts if picture.pts is not None else picture.dts
        pts = self._next if stated is None else stated
        if stated is None:
            self._note(
                "missing", f"frame {number} has no time: it is shown {self.step} ticks after the one before"
            )
        if self._last is not None and pts <= self._last:
            self._note(
                "backwards", f"frame {number} has the time {pts}, not after {self._last}: it is moved behind it"
            )
            pts = self._last + 1
        duration = picture.duration if picture.duration > 0 else None
        self._last, self._next = pts, pts + (duration or self.step)
        return pts, duration

    def _note(self, kind: str, sentence: str) -> None:
        if kind not in self._noted:
            self._noted.add(kind)
            self._notes.append(f"{sentence} (and so for every later one)")


def plausible_rate(rate: Fraction | None) -> Fraction | None:
    """A stream's frame rate, None where it is missing or only a clock's."""
    return rate if rate is not None and 0 < rate <= MAX_FRAME_RATE else None
