"""Parts of a video, and single frames, that are to be coded otherwise than the rest: `--zones` and `--qpfile`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from zvc69_cli.codec.settings import Q_LEVELS
from zvc69_cli.errors import UsageError

HIGHEST_QP: Final = Q_LEVELS - 1
OCTAVE_Q: Final = 12.0  # indexes that double a frame's bits
LEAST_FACTOR, MOST_FACTOR = 0.01, 100.0
_KEYS: Final = "IiK"
_KINDS: Final = _KEYS + "PpBb"
_ZONE: Final = re.compile(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*([qb])\s*=\s*(\d+(?:\.\d+)?|\.\d+)\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Frames first..last as watched, both in it.

    qp      their constant quantiser index; None where it is a factor
    factor  of their bits
    """

    first: int
    last: int
    qp: float | None = None
    factor: float = 1.0

    @property
    def offset(self) -> float:
        """Whole and broken q indexes that the factor is worth."""
        return OCTAVE_Q * math.log2(self.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedFrame:
    """What a qpfile says of one frame: whether it is a keyframe, and its quantiser index, None where that is free."""

    is_key: bool
    qp: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOrders:
    """What is ordered of frames, by their number as watched."""

    zones: tuple[Zone, ...] = ()
    frames: tuple[tuple[int, ForcedFrame], ...] = ()

    @property
    def keys(self) -> frozenset[int]:
        """Frames that are to be keyframes."""
        return frozenset(number for number, forced in self.frames if forced.is_key)

    def __bool__(self) -> bool:
        return bool(self.zones or self.frames)

    def q_of(self, display_index: int, usual: float) -> float | None:
        """The q, 0..127, that is ordered for a frame; None where none is.

        usual  what a frame of its place has over the base: a zone's quantiser is a base, a single frame's its own
        """
        forced = next((each for number, each in self.frames if number == display_index), None)
        if forced is not None and forced.qp is not None:
            return HIGHEST_QP - forced.qp
        zone = self._zone_of(display_index)
        if zone is None or zone.qp is None:
            return None
        return min(float(HIGHEST_QP), max(0.0, HIGHEST_QP - zone.qp + usual))

    def offset_of(self, display_index: int) -> float:
        """By how many indexes a frame is moved."""
        zone = self._zone_of(display_index)
        return 0.0 if zone is None else zone.offset

    def _zone_of(self, display_index: int) -> Zone | None:
        return next((each for each in self.zones if each.first <= display_index <= each.last), None)


def parse_zones(text: str) -> tuple[Zone, ...]:
    """The zones of "FIRST,LAST,q=QP/FIRST,LAST,b=FACTOR"; raises UsageError naming the one that is wrong."""
    zones: list[Zone] = []
    for part in (each for each in text.split("/") if each.strip()):
        found = _ZONE.fullmatch(part)
        if not found:
            raise UsageError(
                "--zones", f"{part!r} is no zone", "Write FIRST,LAST,q=QP or FIRST,LAST,b=FACTOR, / between."
            )
        first, last, value = int(found[1]), int(found[2]), float(found[4])
        if last < first:
            raise UsageError("--zones", f"{part!r} ends before it begins", f"Write {last},{first}.")
        if zones and first <= zones[-1].last:
            raise UsageError(
                "--zones",
                f"{part!r} begins before the one before it has ended",
                "Sort them, and let none overlap.",
            )
        if found[3] == "q" and value > HIGHEST_QP:
            raise UsageError(
                "--zones", f"q={value:g} is out of range 0..{HIGHEST_QP}", f"Take the nearest, {HIGHEST_QP}."
            )
        if found[3] == "b" and not LEAST_FACTOR <= value <= MOST_FACTOR:
            raise UsageError(
                "--zones", f"b={value:g} is out of range {LEAST_FACTOR}..{MOST_FACTOR:g}", "Take 0.5 for half."
            )
        is_qp = found[3] == "q"
        zones.append(Zone(first=first, last=last, qp=value if is_qp else None, factor=1.0 if is_qp else value))
    return tuple(zones)


def parse_qpfile(lines: Iterable[str], where: str) -> tuple[tuple[int, ForcedFrame], ...]:
    """The frames of a qpfile as x264 has it: number, kind, and quantiser or -1, one a line; # begins a comment.

    raises  UsageError naming the line; P and B are taken as they are planned, since groups are pyramids
    """
    found: dict[int, ForcedFrame] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        at = f"{where}, line {number}"
        if len(words) not in (2, 3) or not words[0].isdecimal() or words[1] not in _KINDS:
            raise UsageError(
                at, f"{line.strip()!r} is no frame", "Write a number, I, K, P or B, and a quantiser or -1."
            )
        if int(words[0]) in found:
            raise UsageError(at, f"frame {words[0]} was there before", "Leave one of them out.")
        try:
            qp = float(words[2]) if len(words) == 3 else -1.0
        except ValueError as cause:
            raise UsageError(at, f"{words[2]!r} is no quantiser", f"Write 0..{HIGHEST_QP} or -1.") from cause
        if qp != -1 and not 0 <= qp <= HIGHEST_QP:
            raise UsageError(at, f"{words[2]} is out of range 0..{HIGHEST_QP}", "Write -1 to leave it open.")
        is_key = words[1] in _KEYS
        found[int(words[0])] = ForcedFrame(is_key=is_key, qp=None if qp == -1 else qp)
    return tuple(sorted(found.items(), key=lambda pair: pair[0]))
