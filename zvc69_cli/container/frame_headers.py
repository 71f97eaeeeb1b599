"""What stands before the payload of a frame, in the compact and in the full form (FORMAT.md 4.2 and 4.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Final

from zvc69_cli.container.fields import (
    CRC16_BYTES,
    MAX_TICKS,
    MAX_U32,
    Malformed,
    Recorder,
    StoredCrc,
    Take,
    check_range,
    check_size,
    pack_signed,
    pack_varint,
    seal,
    unpack_signed,
    unpack_varint,
)
from zvc69_cli.container.layout import FIRST_COPIED, MAX_TEMPORAL_LAYER, SLOTS
from zvc69_cli.frames import FrameKind

_FULL: Final = struct.Struct(">BBHIQQhHI")
_FULL_CRC_AT: Final = 26
_COMPACT_CRC_AT: Final = 1
_SYMBOL_CRC_BYTES: Final = 4

# Bits of the first byte of a compact frame header; 0-1 are the kind, 2-3 the bytes of the size less 1.
_HAS_TIMES: Final = 1 << 4
_HAS_REFERENCES: Final = 1 << 5
_HAS_Q_OFFSET: Final = 1 << 6

# Bits of the first varint of the times; above them the frames from dts to pts.
_IS_LATE: Final = 1 << 0
_IS_OFF: Final = 1 << 1
_MAX_FRAMES_AHEAD: Final = 63

_REFERENCE_BITS: Final = 12  # bits 0-7 the slots predicted from, 8-11 the slot stored in plus 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """A frame's facts as they are stored; pts and dts are ticks from the stream's start."""

    kind: FrameKind
    payload_bytes: int
    pts: int
    dts: int
    symbol_crc: int
    q_offset: int = 0
    temporal_layer: int = 0
    references: int = 0
    stored_in: int | None = None

    def __post_init__(self) -> None:
        check_range("pts", self.pts, 0, MAX_TICKS)
        check_range("dts", self.dts, 0, self.pts)
        check_range("q offset", self.q_offset, -(1 << 15), (1 << 15) - 1)
        check_range("symbol crc", self.symbol_crc, 0, MAX_U32)
        check_range("temporal layer", self.temporal_layer, 0, MAX_TEMPORAL_LAYER)
        check_range("references", self.references, 0, (1 << SLOTS) - 1)
        if self.stored_in is not None:
            check_range("slot", self.stored_in, 0, SLOTS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTimes:
    """What the constant frame rate says of a frame's times.

    dts   ticks from the stream's start
    step  ticks a frame; 0 where the rate is not known
    """

    dts: int
    step: Fraction

    def ticks_of(self, frames: int) -> int:
        """So many frames in ticks, halves rounded up."""
        return floor(frames * self.step + Fraction(1, 2))

    def frames_of(self, ticks: int) -> int:
        """The number of frames that comes nearest, within what a header counts."""
        if not self.step or ticks <= 0:
            return 0
        return min(_MAX_FRAMES_AHEAD, round(ticks / self.step))


def pack_frame_header(header: FrameHeader, payload: bytes, coding_index: int, due: DueTimes | None) -> bytes:
    """The bytes before a payload, CRC filled in.

    due  the times that the frame's position predicts; None asks for the full form
    """
    if due is None:
        return seal(_pack_full(header), _FULL_CRC_AT, payload, coding_index)
    return seal(_pack_compact(header, due), _COMPACT_CRC_AT, payload, coding_index)


def unpack_frame_header(
    first: int, take: Take, limit_bytes: int, due: DueTimes | None
) -> tuple[FrameHeader, StoredCrc]:
    """Undoes `pack_frame_header`, behind the first byte, which the reader has looked at.

    limit_bytes  the largest payload allowed
    raises       Malformed
    """
    try:
        if due is None:
            return _unpack_full(first, take, limit_bytes)
        return _unpack_compact(first, take, limit_bytes, due)
    except ValueError as error:
        raise Malformed(str(error)) from error


def _pack_full(header: FrameHeader) -> bytes:
    return _FULL.pack(
        header.kind,
        header.temporal_layer,
        _pack_references(header),
        header.payload_bytes,
        header.pts,
        header.dts,
        header.q_offset,
        0,
        header.symbol_crc,
    )


def _unpack_full(first: int, take: Take, limit_bytes: int) -> tuple[FrameHeader, StoredCrc]:
    raw = bytes([first]) + take(_FULL.size - 1)
    _, layer, reference_flags, size, pts, dts, q_offset, _, symbol_crc = _FULL.unpack(raw)
    if first > max(FrameKind):
        raise Malformed(f"frame type {first}, should be 0..{max(FrameKind)} or from {FIRST_COPIED}")
    if reference_flags >> _REFERENCE_BITS:
        raise Malformed("reserved bits of the reference flags that are not 0")
    check_size(size, limit_bytes)
    references, stored_in = _unpack_references(reference_flags)
    header = FrameHeader(
        kind=FrameKind(first),
        payload_bytes=size,
        pts=pts,
        dts=dts,
        symbol_crc=symbol_crc,
        q_offset=q_offset,
        temporal_layer=layer,
        references=references,
        stored_in=stored_in,
    )
    return header, StoredCrc.of(raw, _FULL_CRC_AT)


def _pack_compact(header: FrameHeader, due: DueTimes) -> bytes:
    size = header.payload_bytes.to_bytes(max(1, (header.payload_bytes.bit_length() + 7) // 8), "big")
    bits = header.kind | (len(size) - 1) << 2
    reference_flags = _pack_references(header) | header.temporal_layer << _REFERENCE_BITS
    middle = tail = b""
    if reference_flags:
        bits |= _HAS_REFERENCES
        middle = reference_flags.to_bytes(2, "big")
    if header.dts != due.dts or header.pts != header.dts:
        bits |= _HAS_TIMES
        tail += _pack_times(header, due)
    if header.q_offset:
        bits |= _HAS_Q_OFFSET
        tail += pack_signed(header.q_offset)
    symbol_crc = header.symbol_crc.to_bytes(_SYMBOL_CRC_BYTES, "big")
    return bytes([bits]) + bytes(CRC16_BYTES) + size + middle + symbol_crc + tail


def _unpack_compact(first: int, take: Take, limit_bytes: int, due: DueTimes) -> tuple[FrameHeader, StoredCrc]:
    recorder = Recorder(take, bytes([first]))
    size_end = CRC16_BYTES + (first >> 2 & 3) + 1
    fixed = recorder.take(size_end + (2 if first & _HAS_REFERENCES else 0) + _SYMBOL_CRC_BYTES)
    size = int.from_bytes(fixed[CRC16_BYTES:size_end], "big")
    check_size(size, limit_bytes)
    reference_flags = int.from_bytes(fixed[size_end:-_SYMBOL_CRC_BYTES], "big")
    references, stored_in = _unpack_references(reference_flags & (1 << _REFERENCE_BITS) - 1)
    pts, dts = _unpack_times(recorder.take, due) if first & _HAS_TIMES else (due.dts, due.dts)
    header = FrameHeader(
        kind=FrameKind(first & 3),
        payload_bytes=size,
        pts=pts,
        dts=dts,
        symbol_crc=int.from_bytes(fixed[-_SYMBOL_CRC_BYTES:], "big"),
        q_offset=unpack_signed(recorder.take) if first & _HAS_Q_OFFSET else 0,
        temporal_layer=reference_flags >> _REFERENCE_BITS,
        references=references,
        stored_in=stored_in,
    )
    return header, StoredCrc.of(recorder.raw, _COMPACT_CRC_AT)


def _pack_times(header: FrameHeader, due: DueTimes) -> bytes:
    """How many frames lie between dts and pts, and what both are off by, where they are."""
    frames = due.frames_of(header.pts - header.dts)
    late = header.dts - due.dts
    off = header.pts - header.dts - due.ticks_of(frames)
    out = pack_varint(frames << 2 | _IS_OFF * bool(off) | _IS_LATE * bool(late))
    return out + (pack_signed(late) if late else b"") + (pack_signed(off) if off else b"")


def _unpack_times(take: Take, due: DueTimes) -> tuple[int, int]:
    """Undoes `_pack_times`: pts and dts."""
    form = unpack_varint(take, MAX_U32)
    dts = due.dts + (unpack_signed(take) if form & _IS_LATE else 0)
    off = unpack_signed(take) if form & _IS_OFF else 0
    return dts + due.ticks_of(form >> 2) + off, dts


def _pack_references(header: FrameHeader) -> int:
    return header.references | (0 if header.stored_in is None else header.stored_in + 1) << SLOTS


def _unpack_references(flags: int) -> tuple[int, int | None]:
    stored = flags >> SLOTS
    return flags & (1 << SLOTS) - 1, stored - 1 if stored else None
