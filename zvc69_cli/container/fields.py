"""Numbers, fractions and text as bytes: what extensions, headers and the index are written in."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

MAX_U16: Final = (1 << 16) - 1
MAX_U32: Final = (1 << 32) - 1
MAX_VARINT: Final = (1 << 64) - 1
CRC16_BYTES: Final = 2
MAX_TICKS: Final = 1 << 62  # no time is further from 0 than this, so that sums fit 64 bits

Take = Callable[[int], bytes]  # the next so many bytes, all of them


class Malformed(ValueError):
    """Bytes that no writer of the format writes; says what was found against what was due."""


class EndOfBytes(Exception):
    """The bytes end before the structure does."""

    def __str__(self) -> str:
        return "it ends too early"


class Cursor:
    """Reads one structure out of bytes that are all there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes; raises Malformed where fewer are left."""
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise Malformed(f"{count} bytes due, {len(piece)} left")
        self._at += count
        return piece

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self._data) - self._at)

    def check_done(self) -> None:
        """Raises Malformed where bytes are left."""
        if self._at != len(self._data):
            raise Malformed(f"{len(self._data) - self._at} bytes too many")


class Recorder:
    """Takes bytes and keeps them, so that a checksum can run over what was read."""

    def __init__(self, take: Take, begin: bytes = b"") -> None:
        self._take = take
        self.raw = bytearray(begin)

    def take(self, count: int) -> bytes:
        piece = self._take(count)
        self.raw += piece
        return piece


@dataclass(frozen=True, slots=True)
class StoredCrc:
    """The CRC-16 that a packet's header states, and the header's bytes with 0 in its place."""

    stated: int
    header: bytes

    @classmethod
    def of(cls, raw: bytes | bytearray, crc_at: int) -> StoredCrc:
        """From a header as it was read, the CRC standing at byte `crc_at`."""
        end = crc_at + CRC16_BYTES
        return cls(
            int.from_bytes(raw[crc_at:end], "big"), bytes(raw[:crc_at]) + bytes(CRC16_BYTES) + bytes(raw[end:])
        )

    def found(self, payload: bytes, coding_index: int | None = None) -> int:
        """CRC-16 of the coding index (of frames only), the header and the payload."""
        before = b"" if coding_index is None else coding_index.to_bytes(4, "big")
        return crc16(payload, crc16(before + self.header))


def seal(header: bytes, crc_at: int, payload: bytes, coding_index: int | None = None) -> bytes:
    """The header with its CRC-16 in place of the 0 at byte `crc_at`."""
    crc = StoredCrc(0, header).found(payload, coding_index)
    return header[:crc_at] + crc.to_bytes(CRC16_BYTES, "big") + header[crc_at + CRC16_BYTES :]


def check_range(what: str, value: int, low: int, high: int) -> None:
    """Raises ValueError naming the value and its bounds, both allowed."""
    if not low <= value <= high:
        raise ValueError(f"{what} is {value}, should be {low}..{high}")


def check_size(size: int, limit_bytes: int) -> None:
    """Raises Malformed for a stated size above the limit."""
    if size > limit_bytes:
        raise Malformed(f"a size of {size} bytes, at most {limit_bytes} allowed")


def crc16(data: bytes, start: int = 0xFFFF) -> int:
    """CRC-16 with polynomial 0x1021, start 0xFFFF, nothing reflected (FORMAT.md 1)."""
    return crc_hqx(data, start)


def pack_varint(value: int) -> bytes:
    """An unsigned number, 7 bits a byte, lowest first, the high bit set on all bytes but the last."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} is out of range 0..{MAX_VARINT}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def unpack_varint(take: Take, limit: int = MAX_VARINT) -> int:
    """Undoes `pack_varint`; raises Malformed beyond `limit` and for more bytes than the value needs."""
    value = shift = 0
    while True:
        byte = take(1)[0]
        value |= (byte & 0x7F) << shift
        if value > limit:
            raise Malformed(f"a number of {value} or more, at most {limit} allowed")
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise Malformed("a number of more than 10 bytes")
    if shift and not byte:
        raise Malformed("a number with bytes that it does not need")
    return value


def pack_signed(value: int) -> bytes:
    """A signed number as a varint: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    return pack_varint(2 * value if value >= 0 else -2 * value - 1)


def unpack_signed(take: Take) -> int:
    """Undoes `pack_signed`."""
    folded = unpack_varint(take)
    return -(folded >> 1) - 1 if folded & 1 else folded >> 1


def fits_ratio(value: Fraction) -> bool:
    """Whether `pack_ratio` can hold the fraction."""
    return 0 <= value.numerator <= MAX_U32 and value.denominator <= MAX_U32


def pack_ratio(value: Fraction) -> bytes:
    """A fraction, not negative, as two varints: numerator and denominator, of at most 32 bits."""
    return pack_varint(value.numerator) + pack_varint(value.denominator)


def unpack_ratio(take: Take) -> Fraction:
    """Undoes `pack_ratio`; raises Malformed for a denominator of 0."""
    numerator, denominator = unpack_varint(take, MAX_U32), unpack_varint(take, MAX_U32)
    if not denominator:
        raise Malformed("a fraction with denominator 0")
    return Fraction(numerator, denominator)


def pack_bytes(data: bytes) -> bytes:
    """Bytes behind their length as a varint."""
    return pack_varint(len(data)) + data


def unpack_bytes(take: Take, limit: int) -> bytes:
    """Undoes `pack_bytes`; raises Malformed for a length above `limit`."""
    return take(unpack_varint(take, limit))


def pack_text(text: str) -> bytes:
    """Text as UTF-8 behind its length; what UTF-8 cannot hold becomes a question mark."""
    return pack_bytes(text.encode("utf-8", "replace"))


def unpack_text(take: Take, limit: int) -> str:
    """Undoes `pack_text`; raises Malformed for what is not UTF-8."""
    return decode_text(unpack_bytes(take, limit))


def decode_text(data: bytes) -> str:
    """UTF-8 as text; raises Malformed where it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("text that is not UTF-8") from error
