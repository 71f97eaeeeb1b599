"""Where the coefficients of a residual lie: bands, frequency groups, passes and the grid of cells.

A cell is 8x8 luma samples and the 4x4 samples of U and V beside them: 96 coefficients. Coefficient (u, v) of luma, u
vertical, has band 8u + v; of U 64 + 4u + v; of V 80 + 4u + v. Arrays of coefficients hold the bands in the order of
coding (BAND_ORDER): by frequency group, then by band. Two by two cells are a unit of 16x16 samples.

source  FORMAT.md 6.8
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Places = NDArray[np.intp]

BANDS: Final = 96
CELL: Final = 8  # luma samples on a side
UNIT: Final = 16
COLOURS: Final = 2  # of the checkerboard of units
CLASSES: Final = 4  # of band weights
CLASS_CONTEXTS: Final = 6  # of a unit: its pass, and in the second how many of its four neighbours shrink
PLANE_SIDES: Final = (8, 4, 4)  # of the blocks of Y, U and V in a cell
_PLANE_STARTS: Final = (0, 64, 80)
# A coefficient belongs to the first group whose limit is above u + v, which counts double in chroma.
_GROUP_LIMITS: Final = (2, 5, 99)


def _frequencies() -> I64:
    """u + v of each band, doubled in chroma: [96]."""
    parts = []
    for side in PLANE_SIDES:
        line = np.arange(side) * (PLANE_SIDES[0] // side)
        parts.append((line[:, None] + line).ravel())
    return np.concatenate(parts)


FREQUENCIES: Final = _frequencies()
_GROUP_OF_BAND: Final = np.searchsorted(_GROUP_LIMITS, FREQUENCIES, side="right")
BAND_ORDER: Final = np.argsort(
    _GROUP_OF_BAND, kind="stable"
)  # band of each coefficient, in the order of coding
GROUP_SIZES: Final = tuple(int(count) for count in np.bincount(_GROUP_OF_BAND))  # 5, 22, 69
GROUPS: Final = tuple(
    slice(sum(GROUP_SIZES[:number]), sum(GROUP_SIZES[: number + 1])) for number in range(len(GROUP_SIZES))
)
PASSES: Final = len(GROUPS) * COLOURS
IS_LUMA: Final = _PLANE_STARTS[1] > BAND_ORDER  # of each coefficient

# Groups of bands whose sums of absolute levels are the context that a reference gives: plane, least u + v, its end.
ENERGY_GROUPS: Final = (
    (0, 0, 1),
    (0, 1, 2),
    (0, 2, 4),
    (0, 4, 7),
    (0, 7, 99),
    (1, 0, 1),
    (1, 1, 99),
    (2, 0, 1),
    (2, 1, 99),
)
LUMA_ENERGIES: Final = 5  # so many of them are of luma; they come first


def _energy_members() -> tuple[Places, ...]:
    """Of each energy group the places of its coefficients, in the order of coding."""
    plane = np.searchsorted(_PLANE_STARTS, BAND_ORDER, side="right") - 1
    frequency = FREQUENCIES[BAND_ORDER]
    return tuple(
        np.flatnonzero((plane == wanted) & (frequency >= low) & (frequency < end))
        for wanted, low, end in ENERGY_GROUPS
    )


ENERGY_MEMBERS: Final = _energy_members()


def basis() -> F64:
    """The transform of a cell, orthonormal [96, 96]: rows are coefficients in the order of coding, columns samples.

    The samples of a cell are those of Y, U and V in raster order, as SpaceToDepth of each plane lays them out.
    """
    whole = np.zeros((BANDS, BANDS))
    for start, side in zip(_PLANE_STARTS, PLANE_SIDES, strict=True):
        k, x = np.arange(side)[:, None], np.arange(side)[None]
        cosines = np.cos(np.pi * (2 * x + 1) * k / (2 * side)) * np.sqrt(2 / side)
        cosines[0] /= np.sqrt(2)
        whole[start : start + side * side, start : start + side * side] = np.kron(cosines, cosines)
    return whole[BAND_ORDER]


def group_of_pass(number: int) -> int:
    """The frequency group that a pass codes."""
    return number // COLOURS


@lru_cache(maxsize=64)
def pass_places(number: int, height: int, width: int, start_row: int, rows: int) -> Places:
    """What a pass codes, as flat positions in the coefficients [group, height, width] of its group, in raster order.

    height, width    cells of the whole grid; even
    start_row, rows  rows of units of a slice
    """
    colours = np.add.outer(np.arange(height) // 2, np.arange(width) // 2) % COLOURS
    colours[: 2 * start_row] = COLOURS
    colours[2 * (start_row + rows) :] = COLOURS
    cells = np.flatnonzero(colours == number % COLOURS)
    members = np.arange(GROUP_SIZES[group_of_pass(number)])
    places: Places = (members[:, None] * (height * width) + cells).ravel()
    places.flags.writeable = False
    return places
