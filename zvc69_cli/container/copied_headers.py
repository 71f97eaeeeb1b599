"""What stands before the data of a packet that was copied from another stream (FORMAT.md 4.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
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
from zvc69_cli.container.layout import FIRST_COPIED, MAX_COPIED_BYTES, MAX_COPIED_STREAMS

MAX_DURATION: Final = (1 << 48) - 1

_FULL: Final = struct.Struct(">BBHIqqHHI")
_FULL_CRC_AT: Final = 26
_COMPACT_CRC_AT: Final = 1

_IS_KEY: Final = 1 << 0
_HAS_PTS: Final = 1 << 1
_HAS_DTS: Final = 1 << 2
_BITS: Final = _IS_KEY | _HAS_PTS | _HAS_DTS


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedHeader:
    """A copied packet's facts; times are ticks of its own stream's time base, from 0."""

    stream_number: int
    data_bytes: int
    pts: int | None
    dts: int | None
    duration: int
    is_key: bool

    def __post_init__(self) -> None:
        check_range("stream number", self.stream_number, 0, MAX_COPIED_STREAMS - 1)
        check_range("size", self.data_bytes, 0, MAX_COPIED_BYTES)
        check_range("duration", self.duration, 0, MAX_DURATION)
        for time in (self.pts, self.dts):
            check_range("time", time or 0, -MAX_TICKS, MAX_TICKS)


def pack_copied_header(header: CopiedHeader, data: bytes, *, full: bool) -> bytes:
    """The bytes before a copied packet's data, CRC filled in."""
    if full:
        return seal(_pack_full(header), _FULL_CRC_AT, data)
    return seal(_pack_compact(header), _COMPACT_CRC_AT, data)


def unpack_copied_header(first: int, take: Take, *, full: bool) -> tuple[CopiedHeader, StoredCrc]:
    """Undoes `pack_copied_header`, behind the first byte; raises Malformed."""
    try:
        return _unpack_full(first, take) if full else _unpack_compact(first, take)
    except ValueError as error:
        raise Malformed(str(error)) from error


def _pack_full(header: CopiedHeader) -> bytes:
    return _FULL.pack(
        FIRST_COPIED + header.stream_number,
        0,
        _bits(header),
        header.data_bytes,
        header.pts or 0,
        header.dts or 0,
        header.duration >> 32,
        0,
        header.duration & MAX_U32,
    )


def _unpack_full(first: int, take: Take) -> tuple[CopiedHeader, StoredCrc]:
    raw = bytes([first]) + take(_FULL.size - 1)
    _, layer, bits, size, pts, dts, duration_high, _, duration_low = _FULL.unpack(raw)
    if layer:
        raise Malformed("a reserved byte of a copied packet that is not 0")
    duration = duration_high << 32 | duration_low
    return _header(first, bits, size, pts, dts, duration), StoredCrc.of(raw, _FULL_CRC_AT)


def _pack_compact(header: CopiedHeader) -> bytes:
    first = FIRST_COPIED + header.stream_number
    pieces = [bytes([first]), bytes(CRC16_BYTES), bytes([_bits(header)]), pack_varint(header.data_bytes)]
    if header.dts is not None:
        pieces.append(pack_signed(header.dts))
    if header.pts is not None:
        pieces.append(pack_signed(header.pts - (header.dts or 0)))
    pieces.append(pack_varint(header.duration))
    return b"".join(pieces)


def _unpack_compact(first: int, take: Take) -> tuple[CopiedHeader, StoredCrc]:
    recorder = Recorder(take, bytes([first]))
    bits = recorder.take(CRC16_BYTES + 1)[-1]
    size = unpack_varint(recorder.take, MAX_COPIED_BYTES)
    dts = unpack_signed(recorder.take) if bits & _HAS_DTS else 0
    pts = dts + unpack_signed(recorder.take) if bits & _HAS_PTS else 0
    duration = unpack_varint(recorder.take, MAX_DURATION)
    return _header(first, bits, size, pts, dts, duration), StoredCrc.of(recorder.raw, _COMPACT_CRC_AT)


def _bits(header: CopiedHeader) -> int:
    has_pts, has_dts = header.pts is not None, header.dts is not None
    return _IS_KEY * header.is_key | _HAS_PTS * has_pts | _HAS_DTS * has_dts


def _header(first: int, bits: int, size: int, pts: int, dts: int, duration: int) -> CopiedHeader:
    if bits & ~_BITS:
        raise Malformed("reserved bits of a copied packet that are not 0")
    check_size(size, MAX_COPIED_BYTES)
    return CopiedHeader(
        stream_number=first - FIRST_COPIED,
        data_bytes=size,
        pts=pts if bits & _HAS_PTS else None,
        dts=dts if bits & _HAS_DTS else None,
        duration=duration,
        is_key=bool(bits & _IS_KEY),
    )
