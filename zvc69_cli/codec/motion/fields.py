"""Motion in integers: its grids, how it grows from level to level, what its prior sees and what a symbol means.

A field is int32 [2, rows, columns], x then y, in quarter luma samples, within +-FIELD_LIMIT. A motion has three, on the
grids of 32, 16 and 8 luma samples a cell, each a residual to the one before it. Every function here is a definition:
encoder, decoder, trainer and exporter compute these numbers and no others.

source  FORMAT.md 6.7
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT, INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.networks import F32, U8

I32 = NDArray[np.int32]

LEVELS: Final = 3
CELL_SIDES: Final = (32, 16, 8)  # luma samples a cell at each level
FIELD_LIMIT: Final = 2047
LAST_REACH: Final = 32  # how far from its parent the prior sees the predicted motion
TIME_LIMIT: Final = 1 << 15  # distances in time are halved until they are below
SPREAD_BASE: Final = 108  # quarters of a table's number that a spread of 0 stands for
SIGNIFICANCE_BASE: Final = 32
ROWS_A_HALVING: Final = 6  # tables between a spread and half of it
MOTION_TABLES: Final = 2 * SCALE_LEVELS  # of spreads, then of significances
PRECISIONS: Final = ("quarter", "half", "full")  # the value in the stream is the place
FIRST_CHANNELS: Final = 10
SECOND_CHANNELS: Final = 14


class Motion(NamedTuple):
    """Where one frame's blocks lie in another.

    fields  int32 [2, rows, columns] for each level
    coded   uint8 [rows, columns] for each level: 1 where a vector was coded, 0 where it is its parent's
    """

    fields: tuple[I32, ...]
    coded: tuple[U8, ...]


class CellOdds(NamedTuple):
    """What the prior says of the cells of one pass.

    significances  uint8 [n], rows of the motion tables
    means          int32 [2, n], in units of the precision
    spreads        uint8 [2, n], rows of the motion tables
    """

    significances: U8
    means: I32
    spreads: U8


def grid_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the three levels for a latent's grid of height x width."""
    return ((height + 1) // 2, (width + 1) // 2), (height, width), (2 * height, 2 * width)


def no_motion(height: int, width: int) -> Motion:
    """The motion of a frame that has none, for a latent's grid of height x width."""
    sizes = grid_sizes(height, width)
    return Motion(
        tuple(np.zeros((2, *size), np.int32) for size in sizes),
        tuple(np.zeros(size, np.uint8) for size in sizes),
    )


def time_ratio(numerator: int, denominator: int) -> tuple[int, int]:
    """A ratio of two distances in time, in numbers small enough for int32: both halved until below TIME_LIMIT.

    numerator    ticks, at least 1
    denominator  ticks, at least 1
    """
    shift = max(0, max(numerator, denominator).bit_length() - TIME_LIMIT.bit_length() + 1)
    return max(1, numerator >> shift), max(1, denominator >> shift)


def scaled(motion: Motion, numerator: int, denominator: int) -> Motion:
    """A motion times a ratio below TIME_LIMIT: floor(v * numerator / denominator + 1/2), clipped; `coded` as it is.

    numerator  may be negative
    """
    if numerator == denominator:
        return motion
    return Motion(
        tuple(
            _clipped((field * (2 * numerator) + denominator) // (2 * denominator), -FIELD_LIMIT, FIELD_LIMIT)
            for field in motion.fields
        ),
        motion.coded,
    )


def grown(field: I32, size: tuple[int, int]) -> I32:
    """A field on the next finer grid: each vector for the four cells below it."""
    return field.repeat(2, 1).repeat(2, 2)[:, : size[0], : size[1]]


def grown_map(coded: U8, size: tuple[int, int]) -> U8:
    """A map of coded cells on the next finer grid."""
    return coded.repeat(2, 0).repeat(2, 1)[: size[0], : size[1]]


def first_inputs(parent: I32, parent_coded: U8, last: I32, last_coded: U8) -> F32:
    """What the first pass of a level sees, float32 [10, rows, columns] of integers.

    parent  what the field is a residual to
    last    the predicted motion at this level
    """
    inputs = np.empty((FIRST_CHANNELS, *parent.shape[1:]), np.float32)
    inputs[0:4] = 0
    inputs[0:2, :, 1:] = _clipped(parent[:, :, 1:] - parent[:, :, :-1], -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    inputs[2:4, 1:] = _clipped(parent[:, 1:] - parent[:, :-1], -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    inputs[4:6] = _clipped(last - parent, -LAST_REACH, LAST_REACH)
    inputs[6:8] = parent
    inputs[8] = parent_coded
    inputs[9] = last_coded
    return inputs


def second_inputs(first: F32, residual: I32, coded: U8) -> F32:
    """What the second pass sees, float32 [14, rows, columns]: the first pass's inputs and what it decided.

    residual  field less parent; 0 in the second pass's cells, as is `coded`
    """
    inputs = np.empty((SECOND_CHANNELS, *coded.shape), np.float32)
    inputs[:10] = first
    inputs[10:12] = _clipped(residual, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    inputs[12] = coded
    inputs[13] = first_cells(*coded.shape)
    return inputs


@lru_cache(maxsize=64)
def first_cells(rows: int, columns: int) -> NDArray[np.bool_]:
    """Where the first pass decides: row and column together even."""
    even: NDArray[np.bool_] = (np.arange(rows)[:, None] + np.arange(columns)) % 2 == 0
    return even


@lru_cache(maxsize=64)
def pass_cells(rows: int, columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Flat positions of the cells of the first and of the second pass, in raster order."""
    first = first_cells(rows, columns).ravel()
    return np.flatnonzero(first), np.flatnonzero(~first)


def cell_odds(heads: F32, precision: int) -> CellOdds:
    """Tables and means from what the network says of each cell.

    heads      [5, n], integers: significance, mean x and y, spread x and y
    precision  place in PRECISIONS
    """
    whole = heads.astype(np.int32)
    half = INDEX_FRACTION // 2
    significances = _clipped(((whole[0] + half) >> 2) + SIGNIFICANCE_BASE, 0, SCALE_LEVELS - 1) + SCALE_LEVELS
    means = (whole[1:3] + ((1 << precision) >> 1)) >> precision
    spreads = _clipped((whole[3:5] + (SPREAD_BASE + half)) >> 2, 0, SCALE_LEVELS - 1)
    if precision:
        spreads = np.maximum(spreads - ROWS_A_HALVING * precision, 0)
    return CellOdds(significances.astype(np.uint8), means, spreads.astype(np.uint8))


def moved(parent: I32, units: I32, precision: int) -> I32:
    """The vectors that lie so many units of the precision from their parents."""
    return _clipped(parent + (units << precision), -FIELD_LIMIT, FIELD_LIMIT)


def _clipped(values: I32, low: int, high: int) -> I32:
    """np.clip takes ten times as long for the few cells of a pass."""
    return np.minimum(np.maximum(values, low), high)
