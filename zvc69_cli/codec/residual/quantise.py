"""How an encoder makes levels of a residual's coefficients: rate-distortion optimised quantisation (RDOQ).

A decoder never asks. Each pass is decided with the tables that the networks give for it, then the next pass follows.
What a level costs later passes, neighbours and later frames as their context is not known then: CELL_BITS stands for
it where a whole group of coefficients may be left out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import SYMBOL_LIMIT
from zvc69_cli.codec.entropy.tables import SymbolTables
from zvc69_cli.codec.networks import F32, U8
from zvc69_cli.codec.residual.layout import GROUPS, group_of_pass
from zvc69_cli.frames import FrameKind

I32 = NDArray[np.int32]

ROUNDING_OFFSET: Final = 0.25  # of --rdoq-level 0: levels are floor(|x| + 0.25)
# Bits that a squared error of one step is worth by the frame's lambda: steps follow from lambda by D = step^2 / 12.
BITS_PER_SQUARED_STEP: Final = 6 / np.log(2)
# What the error of a frame counts, whose errors go on into the frames predicted from it.
SHARES: Final = {FrameKind.P: 1.3, FrameKind.B: 1.1}
LEAF_SHARE: Final = 1.0  # of a frame that no other is predicted from
CELL_BITS: Final = 0.5  # what the first level of a frequency group in a cell costs beside its own bits
UNIT_BITS: Final = 0.5  # the same for a unit
# What a level costs before any table is known: so much, and as much again a doubling.
_LEVEL_BITS: Final = 5.5
_DOUBLING_BITS: Final = 2.0


class LevelChooser:
    """Chooses the levels of one frame; satisfies codec.residual.coding.ChooseLevels.

    coefficients  float32 [96, h, w], in steps
    tables        of levels
    level         CodecSettings.rdoq_level
    worth         bits that a squared error of one step is worth
    """

    def __init__(self, coefficients: F32, tables: SymbolTables, level: int, worth: float) -> None:
        self._sizes = np.minimum(np.abs(coefficients), np.float32(SYMBOL_LIMIT))
        self._coefficients = coefficients
        self._level = level
        self._worth = np.float32(worth)
        self._skip_below = tables.skip_below
        prices, self._farthest = tables.prices()
        self._prices = prices[:, self._farthest :]  # of sizes 0..R
        if level > 1:
            self._sizes *= _worthy_units(self._sizes, worth)

    def __call__(self, number: int, rows: U8) -> I32:
        group = GROUPS[group_of_pass(number)]
        sizes, signs = self._sizes[group], self._coefficients[group]
        least = np.float32(1 - ROUNDING_OFFSET if self._level == 0 else 0.5)
        places = np.flatnonzero((sizes >= least) & (rows >= self._skip_below))
        levels = np.zeros(rows.shape, np.int32)
        size = sizes.reshape(-1)[places]
        if self._level == 0:
            chosen = np.floor(size + np.float32(ROUNDING_OFFSET))
        else:
            chosen, gains = self._cheapest(size, rows.reshape(-1)[places])
            if self._level > 1:
                cells = places % (rows.shape[1] * rows.shape[2])
                saved = np.bincount(cells, gains, rows.shape[1] * rows.shape[2])
                chosen[saved[cells] < CELL_BITS] = 0
        levels.reshape(-1)[places] = np.copysign(chosen, signs.reshape(-1)[places]).astype(np.int32)
        return levels

    def _cheapest(self, size: F32, rows: U8) -> tuple[F32, F32]:
        """The level of least cost of each coefficient, and the bits by which it beats 0."""
        upper = np.floor(size + np.float32(0.5))
        costs = [
            self._worth * (size - level) ** 2
            + self._prices[rows, np.minimum(level, self._farthest).astype(np.intp)]
            for level in (upper, np.maximum(upper - 1, 0), np.zeros_like(upper))
        ]
        best = np.where(costs[1] < costs[0], np.maximum(upper - 1, 0), upper)
        cost = np.minimum(costs[0], costs[1])
        chosen = np.where(costs[2] <= cost, np.float32(0), best)
        return chosen, np.maximum(costs[2] - cost, np.float32(0))


def worth_of(kind: FrameKind, is_stored: bool) -> float:
    """Bits that a squared error of one step is worth in a frame."""
    share = SHARES[kind] if is_stored else LEAF_SHARE
    return float(BITS_PER_SQUARED_STEP * share)


def _worthy_units(sizes: F32, worth: float) -> F32:
    """1 where the levels of a unit save more than they cost by a rough price, else 0: [1, h, w]."""
    _, height, width = sizes.shape
    places = np.flatnonzero(sizes >= np.float32(1 - ROUNDING_OFFSET))
    size = sizes.reshape(-1)[places]
    level = np.floor(size + np.float32(ROUNDING_OFFSET))
    gains = worth * (size**2 - (size - level) ** 2) - _LEVEL_BITS - _DOUBLING_BITS * np.log2(1 + level)
    rows, columns = np.divmod(places % (height * width), width)
    units = (rows // 2) * (width // 2) + columns // 2
    saved = np.bincount(units, gains, (height // 2) * (width // 2)).reshape(height // 2, width // 2)
    kept = saved > UNIT_BITS
    return kept.repeat(2, 0).repeat(2, 1)[None].astype(np.float32)
