"""Keyframes that somebody asked for, by number or by time."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from zvc69_cli.errors import UsageError

_FRAME: Final = re.compile(r"(\d{1,12})f?", re.ASCII)
_SECONDS: Final = re.compile(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})s", re.ASCII)
_CLOCK: Final = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,6}(?:\.\d{0,9})?)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedKeys:
    """Which frames are to be keyframes.

    numbers  as watched, from 0
    times_s  seconds behind the first frame, rising: the first frame that is not before one of them
    """

    numbers: frozenset[int]
    times_s: tuple[Fraction, ...]

    @classmethod
    def parse(cls, text: str) -> ForcedKeys:
        """From "120,5s,1:30,0:02:10.5"; raises UsageError."""
        numbers, times = set(), set()
        for part in (each.strip() for each in text.split(",")):
            if not part:
                if text.strip():
                    raise _no_list(text)
                continue
            if found := _FRAME.fullmatch(part):
                numbers.add(int(found[1]))
            elif found := _SECONDS.fullmatch(part):
                times.add(Fraction(found[1]))
            elif found := _CLOCK.fullmatch(part):
                hours, minutes, seconds = int(found[1] or 0), int(found[2]), Fraction(found[3])
                times.add((hours * 60 + minutes) * 60 + seconds)
            else:
                raise _no_list(text)
        return cls(numbers=frozenset(numbers), times_s=tuple(sorted(times)))


class ForcedKeyWatch:
    """Tells of each frame of one video whether it was asked to be a keyframe."""

    def __init__(self, forced: ForcedKeys, time_base: Fraction) -> None:
        self._numbers = forced.numbers
        self._ticks = deque(time / time_base for time in forced.times_s)
        self._first_pts: int | None = None

    def is_due(self, number: int, pts: int) -> bool:
        """Whether this frame was; every frame is to be asked about, in the order of display."""
        if self._first_pts is None:
            self._first_pts = pts
        is_due = number in self._numbers
        while self._ticks and self._ticks[0] <= pts - self._first_pts:
            self._ticks.popleft()
            is_due = True
        return is_due


def _no_list(text: str) -> UsageError:
    return UsageError(
        "--force-key-frames",
        f"{text!r} is no list of frames and times",
        "Write frame numbers as 120 or 120f, times as 5s, 1:30 or 0:01:30.5, with commas between.",
    )
