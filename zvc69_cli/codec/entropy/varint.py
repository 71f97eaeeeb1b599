"""Unsigned LEB128: seven bits a byte, least significant first."""

from __future__ import annotations

from typing import Final

LONGEST_BYTES: Final = 5  # 35 bits: every length and count inside a payload fits


class VarintError(ValueError):
    """The bytes end inside the number, or it is longer than it may be."""


def pack_varint(value: int) -> bytes:
    if value < 0 or value >= 1 << (7 * LONGEST_BYTES):
        raise ValueError(f"{value} does not fit into {LONGEST_BYTES} bytes")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def unpack_varint(data: bytes, offset: int) -> tuple[int, int]:
    """The number and the offset after it.

    raises  VarintError; a number written longer than it need be is refused too, so that it has one form
    """
    value = 0
    for count in range(LONGEST_BYTES):
        if offset + count >= len(data):
            raise VarintError("the bytes end inside a varint")
        byte = data[offset + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count:
                raise VarintError("a varint is longer than it need be")
            return value, offset + count + 1
    raise VarintError(f"a varint is longer than {LONGEST_BYTES} bytes")
