"""What the first of two passes leaves to the second: how large each frame became at which q.

JSON, a line each: what was encoded and how, then the frames in the order of coding, then how many there were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from zvc69_cli.codec.rate.quality import highest_q_256
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import FrameKind

FORMAT: Final = "zvc69-stats/1"
_STEP: Final = "Run --pass 1 again, with the flags of --pass 2."


@dataclass(frozen=True, slots=True, kw_only=True)
class PassFrame:
    """One frame of the first pass.

    offset      of its q from the base, in whole and broken indexes
    size_bytes  of its payload
    """

    kind: FrameKind
    temporal_layer: int
    q_256: int
    offset: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PassLog:
    """The frames of a first pass in the order of coding; `where` is the file, for messages."""

    where: str
    frames: tuple[PassFrame, ...]

    def frame(self, coding_index: int, kind: FrameKind) -> PassFrame:
        """That frame; raises UsageError where the first pass had none there, or one of another kind."""
        if coding_index >= len(self.frames):
            raise UsageError(
                self.where, f"frames is {len(self.frames)} there, there are more of them here", _STEP
            )
        found = self.frames[coding_index]
        if found.kind is not kind:
            raise UsageError(
                self.where, f"frame {coding_index} is {found.kind.name} there, {kind.name} here", _STEP
            )
        return found


def head_line(facts: Mapping[str, Any]) -> str:
    """The first line; `facts` are compared one by one when it is read."""
    return json.dumps({"format": FORMAT, **facts})


def frame_line(frame: PassFrame) -> str:
    """The line of one frame."""
    return json.dumps(
        [frame.kind.name, frame.temporal_layer, frame.q_256, round(frame.offset, 3), frame.size_bytes]
    )


def end_line(frames: int) -> str:
    """The last line."""
    return json.dumps({"frames": frames})


def parse_pass_log(lines: Iterable[str], where: str, facts: Mapping[str, Any]) -> PassLog:
    """What the lines say.

    where   the file that they are from
    facts   what they have to begin with
    raises  UsageError naming the line that is none, or the fact that is another
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, head = next(numbered, (1, ""))
    found = _json(head, where, number)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(where, f"is no file of format {FORMAT}", _STEP)
    _compare(json.loads(json.dumps(facts)), found, where)
    frames: list[PassFrame] = []
    for number, line in numbered:
        value = _json(line, where, number)
        if isinstance(value, dict):
            if value.get("frames") != len(frames):
                raise UsageError(where, f"holds {len(frames)} frames, should be {value.get('frames')}", _STEP)
            return PassLog(where=where, frames=tuple(frames))
        frames.append(_frame(value, where, number))
    raise UsageError(where, f"ends after {len(frames)} frames without its last line", _STEP)


def _compare(due: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    for name, here, there in _differences(due, found):
        raise UsageError(where, f"{name} is {there} there, {here} here", _STEP)


def _differences(due: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in due.items():
        there = found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            yield from _differences(value, there)
        elif there != value:
            yield name, value, there


def _json(line: str, where: str, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as cause:
        raise UsageError(where, f"line {number} is no JSON: {cause}", _STEP) from cause


def _frame(value: Any, where: str, number: int) -> PassFrame:
    try:
        kind, layer, q_256, offset, size = value
        frame = PassFrame(
            kind=FrameKind[kind],
            temporal_layer=int(layer),
            q_256=int(q_256),
            offset=float(offset),
            size_bytes=int(size),
        )
        if min(frame.temporal_layer, frame.q_256, frame.size_bytes) < 0 or not abs(frame.offset) < 1000:
            raise ValueError("a number is out of range")
        if frame.q_256 > highest_q_256(frame.kind):
            raise ValueError("its q is out of range")
    except (TypeError, ValueError, KeyError, OverflowError) as cause:
        raise UsageError(where, f"line {number} is no frame", _STEP) from cause
    return frame
