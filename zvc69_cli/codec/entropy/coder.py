"""Entropy coding: symbols grouped by the table that prices them, each group by one fixed table.

A string is what one coder yields: its words (little-endian, uint32, the last one without the zero bytes at its end)
and, where there are any, the escapes: bits that hold what lay beyond a table's reach, their size in bytes as a u32,
and a zero byte, which no words end in. The coder is constriction's ANS, a stack: passes and groups are pushed last
first, so that they come out in order.

source  FORMAT.md 6.3
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.tables import SymbolTables

I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

SYMBOL_LIMIT: Final = 32_767
_ESCAPE_ORDER: Final = 4  # of the exponential Golomb code
_LONGEST_PREFIX: Final = 16
_ESCAPE_SIZE_BYTES: Final = 4


class BrokenString(ValueError):
    """The bytes of a string are not what `pack_string` writes."""


class Pass(NamedTuple):
    """What is coded at once: symbols int32 [N] and the table of each, uint8 [N]."""

    symbols: I32
    indexes: U8


class StringWriter:
    """Gathers the passes of one string; `packed` codes them, to be read in the same order.

    raises  ValueError where a symbol is beyond SYMBOL_LIMIT, or is not 0 in a row that is skipped
    """

    def __init__(self) -> None:
        self._groups: list[tuple[constriction.stream.model.Categorical, I32]] = []
        self._escapes: list[int] = []

    def add(self, each: Pass, tables: SymbolTables) -> None:
        """One pass more, priced by these tables."""
        order, rows = _groups(each.indexes, tables.skip_below)
        ordered = each.symbols[order]
        if np.count_nonzero(ordered) != np.count_nonzero(each.symbols):
            raise ValueError("a symbol of a skipped row is not 0")
        reach = _reaches(rows, tables)
        beyond = np.abs(ordered) > reach
        if beyond.any():
            escapes = ordered[beyond].tolist()
            farthest = max(map(abs, escapes))
            if farthest > SYMBOL_LIMIT:
                raise ValueError(f"symbol {farthest} is beyond {SYMBOL_LIMIT}")
            self._escapes.extend(escapes)
            ordered[beyond] = reach[beyond] + 1
        ordered += reach
        self._groups.extend((tables.models[row], ordered[begin:end]) for row, begin, end in rows)

    def packed(self) -> bytes:
        """The bytes of the string."""
        coder = constriction.stream.stack.AnsCoder()
        for model, letters in reversed(self._groups):
            coder.encode_reverse(letters, model)
        words: NDArray[np.uint32] = coder.get_compressed()
        data = words.astype("<u4").tobytes().rstrip(b"\0")  # the last word is not 0
        if not self._escapes:
            return data
        escapes = _pack_escapes(self._escapes)
        return data + escapes + len(escapes).to_bytes(_ESCAPE_SIZE_BYTES, "big") + b"\0"


def pack_string(passes: Iterable[Pass], tables: SymbolTables) -> bytes:
    """A string whose passes are all priced by the same tables; raises as StringWriter does."""
    writer = StringWriter()
    for each in passes:
        writer.add(each, tables)
    return writer.packed()


class StringReader:
    """Decodes one string pass by pass.

    data    exactly the string's bytes
    raises  BrokenString
    """

    def __init__(self, data: bytes) -> None:
        escapes = b""
        if data and not data[-1]:
            end = len(data) - 1 - _ESCAPE_SIZE_BYTES
            size = int.from_bytes(data[max(0, end) : -1], "big")
            if end < 0 or not 0 < size <= end:
                raise BrokenString(f"escapes of {size} bytes do not fit into {len(data)}")
            data, escapes = data[: end - size], data[end - size : end]
            if data and not data[-1]:
                raise BrokenString("the last byte of the words is 0")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4")
        self._coder = constriction.stream.stack.AnsCoder(words.astype(np.uint32))
        self._escapes = _EscapeReader(escapes)

    def read(self, indexes: U8, tables: SymbolTables) -> I32:
        """The symbols of the next pass, int32 [N], for rows uint8 [N] of these tables."""
        symbols = np.zeros(len(indexes), np.int32)
        order, rows = _groups(indexes, tables.skip_below)
        ordered = np.empty(len(order), np.int32)
        for row, begin, end in rows:
            ordered[begin:end] = self._coder.decode(tables.models[row], end - begin)
        reach = _reaches(rows, tables)
        ordered -= reach
        for position in np.flatnonzero(ordered > reach):
            ordered[position] = self._escapes.read(int(reach[position]))
        symbols[order] = ordered
        return symbols

    def finish(self) -> None:
        """Check that the string held these symbols and nothing else."""
        if not self._coder.is_empty():
            raise BrokenString("words are left over after the last symbol")
        self._escapes.finish()


class _Group(NamedTuple):
    """The symbols begin..end of a sorted pass, all of them of one row."""

    row: int
    begin: int
    end: int


def _groups(indexes: U8, skip_below: int) -> tuple[NDArray[np.intp], list[_Group]]:
    """The positions of a pass that are coded, rows in ascending order and each as in the pass; and where rows end."""
    coded = np.flatnonzero(indexes >= skip_below)
    rows = indexes[coded]
    order = coded[np.argsort(rows, kind="stable")]
    groups = []
    begin = 0
    for row, size in enumerate(np.bincount(rows).tolist()):
        if size:
            groups.append(_Group(row, begin, begin + size))
            begin += size
    return order, groups


def _reaches(groups: Sequence[_Group], tables: SymbolTables) -> I32:
    """How far the table of each symbol goes, int32 [coded]."""
    reaches: I32 = np.repeat(
        tables.reach[[each.row for each in groups]], [each.end - each.begin for each in groups]
    )
    return reaches


def _pack_escapes(symbols: Sequence[int]) -> bytes:
    """Signed exponential Golomb code of order 4, most significant bit first, padded with zeros."""
    if not symbols:
        return b""
    bits = "".join(_golomb(2 * abs(symbol) - (symbol > 0)) for symbol in symbols)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _golomb(value: int) -> str:
    high = (value >> _ESCAPE_ORDER) + 1
    low = format(value & ((1 << _ESCAPE_ORDER) - 1), f"0{_ESCAPE_ORDER}b")
    return "0" * (high.bit_length() - 1) + format(high, "b") + low


class _EscapeReader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0  # in bits

    def read(self, reach: int) -> int:
        prefix = 0
        while not self._bit():
            prefix += 1
            if prefix > _LONGEST_PREFIX:
                raise BrokenString("an escape has no end")
        high = 1
        for _ in range(prefix):
            high = 2 * high + self._bit()
        low = 0
        for _ in range(_ESCAPE_ORDER):
            low = 2 * low + self._bit()
        value = ((high - 1) << _ESCAPE_ORDER) + low
        symbol = (value + 1) // 2 if value & 1 else -(value // 2)
        if not reach < abs(symbol) <= SYMBOL_LIMIT:
            raise BrokenString(f"escape {symbol} is not in {reach + 1}..{SYMBOL_LIMIT}")
        return symbol

    def finish(self) -> None:
        left = len(self._data) * 8 - self._position
        if left >= 8 or any(self._bit() for _ in range(left)):
            raise BrokenString("bits are left over after the last escape")

    def _bit(self) -> int:
        byte, bit = divmod(self._position, 8)
        if byte >= len(self._data):
            raise BrokenString("the escapes end too early")
        self._position += 1
        return (self._data[byte] >> (7 - bit)) & 1
