"""The index and the trailer, which end a stream (FORMAT.md 5)."""

from __future__ import annotations

import struct
import zlib
from array import array
from itertools import pairwise
from typing import Final

from zvc69_cli.container.fields import (
    MAX_TICKS,
    MAX_U32,
    Malformed,
    Recorder,
    Take,
    check_range,
    pack_varint,
    unpack_varint,
)
from zvc69_cli.container.layout import MAX_INDEX_ENTRIES, TRAILER_MARKER, IndexEntry, Trailer
from zvc69_cli.frames import FrameKind

FULL_ENTRY: Final = struct.Struct(">IQI")
_FULL_HEAD: Final = struct.Struct(">IHH")
_FULL_TRAILER: Final = struct.Struct(">4IQ32sQH")
_CRC_BYTES: Final = 4
_COMPACT_DIGEST_BYTES: Final = 16
_WIDEST_DIFFERENCE: Final = 8
_IS_KEY: Final = 1 << 0
_IS_REFERENCE: Final = 1 << 1
_COMPLETE: Final = 1 << 0
END_MAGIC: Final = b"ZVC69END"
COMPACT_END_MAGIC: Final = b"ZEND"
_FULL_TRAILER_BYTES: Final = len(TRAILER_MARKER) + _FULL_TRAILER.size + _CRC_BYTES + len(END_MAGIC)
END_BYTES: Final = 1 + len(COMPACT_END_MAGIC)  # of a compact trailer: its size and its last bytes


class Keyframes:
    """The keyframes of a stream in 13 bytes each, so that a long one costs little memory."""

    def __init__(self) -> None:
        self._numbers = array("I")
        self._offsets = array("Q")
        self._flags = bytearray()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, entry: IndexEntry) -> None:
        self._numbers.append(entry.frame_number)
        self._offsets.append(entry.offset_bytes)
        self._flags.append(_IS_KEY * entry.is_key | _IS_REFERENCE * entry.is_reference)

    def entries(self) -> tuple[IndexEntry, ...]:
        return tuple(map(_entry, self._numbers, self._offsets, self._flags))

    def pack(self, *, full: bool) -> bytes:
        """The index behind its marker; undone by `unpack_index`, told the same form."""
        if full:
            body = _FULL_HEAD.pack(len(self), FULL_ENTRY.size, 0) + self._full_entries()
        else:
            width = self._difference_bytes()
            body = pack_varint(len(self)) + bytes([width]) + self._runs() + self._differences(width)
        return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")

    def _full_entries(self) -> bytes:
        return b"".join(map(FULL_ENTRY.pack, self._numbers, self._offsets, self._flags))

    def _difference_bytes(self) -> int:
        """Bytes that hold the largest step from one offset to the next."""
        steps = (step.bit_length() for step in self._steps())
        return max(1, (max(steps, default=0) + 7) // 8)

    def _differences(self, width: int) -> bytes:
        return b"".join(step.to_bytes(width, "big") for step in self._steps())

    def _steps(self) -> list[int]:
        return [after - before for before, after in pairwise(array("Q", [0]) + self._offsets)]

    def _runs(self) -> bytes:
        """Runs of entries whose number grows by the same step and whose flags are equal."""
        out: list[bytes] = []
        length, previous, due = 0, -1, (0, 0)
        for number, flags in zip(self._numbers, self._flags, strict=True):
            found = (number - previous, flags)
            if found != due and length:
                out.append(_pack_run(length, due))
                length = 0
            length, previous, due = length + 1, number, found
        if length:
            out.append(_pack_run(length, due))
        return b"".join(out)


def unpack_index(take: Take, *, full: bool) -> tuple[IndexEntry, ...]:
    """Undoes `Keyframes.pack`; raises Malformed."""
    recorder = Recorder(take)
    runs: list[tuple[int, int, int]] = []
    if full:
        count, width, reserved = _FULL_HEAD.unpack(recorder.take(_FULL_HEAD.size))
        if reserved or width != FULL_ENTRY.size:
            raise Malformed(f"an index with entries of {width} bytes and {reserved} in its reserved bytes")
    else:
        count, width = unpack_varint(recorder.take, MAX_U32), recorder.take(1)[0]
        if not 1 <= width <= _WIDEST_DIFFERENCE:
            raise Malformed(f"an index with entries of {width} bytes, should be 1..{_WIDEST_DIFFERENCE}")
    if count > MAX_INDEX_ENTRIES:
        raise Malformed(f"an index of {count} entries, at most {MAX_INDEX_ENTRIES} allowed")
    if not full:
        runs = _take_runs(recorder.take, count)
    table = recorder.take(count * width)
    found = zlib.crc32(recorder.raw)
    stated = int.from_bytes(take(_CRC_BYTES), "big")
    if stated != found:
        raise Malformed(f"crc {found:08x}, should be {stated:08x}")
    entries = _full_entries(table) if full else _compact_entries(runs, table, width)
    for before, after in pairwise(entries):
        if after.frame_number <= before.frame_number or after.offset_bytes <= before.offset_bytes:
            raise Malformed(
                f"an index whose entry of frame {after.frame_number} does not come after the one before"
            )
    return entries


def pack_trailer(trailer: Trailer, *, full: bool) -> bytes:
    """The trailer, marker included; undone by `unpack_trailer`."""
    flags = _COMPLETE * trailer.complete
    if full:
        body = TRAILER_MARKER + _FULL_TRAILER.pack(
            *trailer.frame_counts, trailer.duration, trailer.sha256, trailer.index_offset, flags
        )
        return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big") + END_MAGIC
    numbers = (*trailer.frame_counts, trailer.duration, trailer.index_offset)
    body = TRAILER_MARKER + bytes([flags]) + b"".join(map(pack_varint, numbers))
    body += trailer.sha256[:_COMPACT_DIGEST_BYTES]
    size = len(body) + _CRC_BYTES + END_BYTES
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big") + bytes([size]) + COMPACT_END_MAGIC


def unpack_trailer(take: Take, *, full: bool) -> Trailer:
    """Undoes `pack_trailer`, behind its marker; raises Malformed."""
    recorder = Recorder(take, TRAILER_MARKER)
    if full:
        *numbers, sha256, index_offset, flags = _FULL_TRAILER.unpack(recorder.take(_FULL_TRAILER.size))
    else:
        flags = recorder.take(1)[0]
        limits = (MAX_U32,) * len(FrameKind) + (MAX_TICKS, MAX_TICKS)
        *numbers, index_offset = (unpack_varint(recorder.take, limit) for limit in limits)
        sha256 = recorder.take(_COMPACT_DIGEST_BYTES)
    found, stated = zlib.crc32(recorder.raw), int.from_bytes(take(_CRC_BYTES), "big")
    if stated != found:
        raise Malformed(f"crc {found:08x}, should be {stated:08x}")
    size = len(recorder.raw) + _CRC_BYTES + END_BYTES
    due = END_MAGIC if full else bytes([size]) + COMPACT_END_MAGIC
    magic = take(len(due))
    if magic != due:
        raise Malformed(f"ends with {magic!r}, should end with {due!r}")
    if flags & ~_COMPLETE:
        raise Malformed("reserved bits of the trailer that are not 0")
    *counts, duration = numbers
    try:
        check_range("duration", duration, 0, MAX_TICKS)
        check_range("index offset", index_offset, 0, MAX_TICKS)
    except ValueError as error:
        raise Malformed(str(error)) from error
    i_frames, p_frames, b_forward_frames, b_frames = counts
    return Trailer(
        frame_counts=(i_frames, p_frames, b_forward_frames, b_frames),
        duration=duration,
        sha256=sha256,
        index_offset=index_offset,
        complete=bool(flags & _COMPLETE),
    )


def trailer_bytes(end: bytes, *, full: bool) -> int:
    """How long the trailer is that a stream ends with.

    end     the last END_BYTES of the stream
    raises  Malformed
    """
    if full:
        return _FULL_TRAILER_BYTES
    if end[1:] != COMPACT_END_MAGIC:
        raise Malformed("no trailer ends the file")
    return end[0]


def _pack_run(length: int, run: tuple[int, int]) -> bytes:
    step, flags = run
    return pack_varint(length) + pack_varint(step) + bytes([flags])


def _take_runs(take: Take, count: int) -> list[tuple[int, int, int]]:
    """(length, step, flags) until the lengths make `count`."""
    runs: list[tuple[int, int, int]] = []
    left = count
    while left:
        length = unpack_varint(take, left)
        step = unpack_varint(take, MAX_U32)
        if not length or not step:
            raise Malformed("an index with an empty run or a step of 0")
        runs.append((length, step, take(1)[0]))
        left -= length
    return runs


def _compact_entries(runs: list[tuple[int, int, int]], table: bytes, width: int) -> tuple[IndexEntry, ...]:
    entries: list[IndexEntry] = []
    number, offset, at = -1, 0, 0
    for length, step, flags in runs:
        for _ in range(length):
            number += step
            offset += int.from_bytes(table[at : at + width], "big")
            at += width
            entries.append(_entry(number, offset, flags))
    return tuple(entries)


def _full_entries(table: bytes) -> tuple[IndexEntry, ...]:
    return tuple(_entry(number, offset, flags) for number, offset, flags in FULL_ENTRY.iter_unpack(table))


def _entry(number: int, offset: int, flags: int) -> IndexEntry:
    if flags & ~(_IS_KEY | _IS_REFERENCE):
        raise Malformed("reserved bits of an index entry that are not 0")
    if number > MAX_U32:
        raise Malformed(f"an index entry of frame {number}, at most {MAX_U32} allowed")
    return IndexEntry(
        frame_number=number,
        offset_bytes=offset,
        is_key=bool(flags & _IS_KEY),
        is_reference=bool(flags & _IS_REFERENCE),
    )
