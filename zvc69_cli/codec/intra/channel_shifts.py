"""How a frame says that some of its channels spread more or less than the prior expects.

The prior was trained on other pictures. Where a channel of this one is quieter or louder throughout, one number moves
the tables of all of its symbols, for a fraction of what that saves. Only what is coded at all is moved, so that the
shifts have no say in which symbols are.

source  FORMAT.md 6.4
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import SCALE_LEVELS
from zvc69_cli.codec.entropy.tables import TOTAL_FREQUENCY, SymbolTables
from zvc69_cli.codec.networks import U8

I32 = NDArray[np.int32]

FARTHEST: Final = 4  # shifts are of -4..4, in steps of two tables, a quarter of a deviation each
STEP: Final = 2
# Of 256 channels, how many stay where they are, by how many of their symbols the first pass codes: 1, 2 to 3, 4 to 7...
_STAYING: Final = (255, 255, 255, 255, 254, 248, 240, 212, 205, 180, 180, 180)
_DISTANCES: Final = (80, 14, 4, 2)  # of a hundred of the others, how far they go: 1, 2, 3 or 4 steps


def shift_rows(indexes: U8, first: NDArray[np.bool_], skip_below: int) -> U8:
    """The row of SHIFT_TABLES that codes each channel's shift; row 0, which codes none, where nothing is to be moved.

    indexes  uint8 [C, h, w], the tables of the symbols of the first pass; the others are not looked at
    first    bool [C, h, w], where that pass codes
    """
    counts = np.count_nonzero((indexes >= skip_below) & first, axis=(1, 2))
    bits: U8 = np.minimum(np.frexp(counts)[1], len(_STAYING)).astype(np.uint8)
    return bits


def shifted(indexes: U8, shifts: I32, skip_below: int) -> U8:
    """The tables that code the symbols of channels so shifted.

    indexes  uint8 [C, ...], as the prior says
    shifts   int32 [C]
    """
    moved = indexes.astype(np.int32) + STEP * shifts.reshape(-1, *[1] * (indexes.ndim - 1))
    coded = np.clip(moved, skip_below, SCALE_LEVELS - 1).astype(np.uint8)
    return np.where(indexes >= skip_below, coded, indexes)


class ShiftChooser:
    """Chooses the shifts of a frame's channels, by one bundle's tables."""

    def __init__(self, tables: SymbolTables) -> None:
        self._prices, self._farthest = tables.prices()
        self._skip_below = tables.skip_below
        self._own_prices, self._own_farthest = SHIFT_TABLES.prices()

    def shifts(self, symbols: I32, indexes: U8, rows: U8) -> I32:
        """int32 [C]; all 0 where none would pay.

        symbols  int32 [C, h, w], and the table of each
        rows     of SHIFT_TABLES, as `shift_rows` yields them
        """
        channels = len(rows)
        tables = indexes.reshape(channels, -1)
        channel, place = np.nonzero((tables >= self._skip_below) & (rows > 0)[:, None])
        letters = np.clip(symbols.reshape(channels, -1)[channel, place], -self._farthest, self._farthest)
        letters += self._farthest
        tables = tables[channel, place].astype(np.int32)
        bits = np.empty((2 * FARTHEST + 1, channels))
        for shift in range(-FARTHEST, FARTHEST + 1):
            moved = np.clip(tables + STEP * shift, self._skip_below, SCALE_LEVELS - 1)
            weights = self._prices[moved, letters]
            own = self._own_prices[rows, shift + self._own_farthest]
            bits[shift + FARTHEST] = np.bincount(channel, weights, minlength=channels) + own
        best: I32 = bits.argmin(0).astype(np.int32) - FARTHEST
        staying = bits[FARTHEST].sum() - self._own_prices[rows, self._own_farthest].sum()
        return best if bits.min(0).sum() < staying else np.zeros_like(best)


def _shift_tables() -> SymbolTables:
    """Row 0 codes nothing; in the others both signs are alike."""
    rows = []
    for staying in (256, *_STAYING):
        moving = (256 - staying) * (TOTAL_FREQUENCY >> 8)
        each = [max(1, moving * share // (2 * sum(_DISTANCES))) for share in _DISTANCES]
        row = [*reversed(each), 0, *each, 1]
        row[FARTHEST] = TOTAL_FREQUENCY - sum(row)
        rows.append(np.array(row, np.int64))
    return SymbolTables(rows, 1)


SHIFT_TABLES: Final = _shift_tables()
