"""The frequencies that price every symbol: integers, frozen in the bundle.

source  FORMAT.md 6.5
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import constriction
import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.motion.fields import MOTION_TABLES
from zvc69_cli.codec.residual.layout import BANDS, CLASS_CONTEXTS, CLASSES
from zvc69_cli.codec.settings import Q_LEVELS, Q_UNIT
from zvc69_cli.frames import FrameKind

PRECISION_BITS: Final = 24
TOTAL_FREQUENCY: Final = 1 << PRECISION_BITS
MAX_REACH: Final = 2047

INTRA_STEM: Final = "tables."
INTER_STEM: Final = "inter.tables."
LEVEL_TABLES: Final = 3 * SCALE_LEVELS  # an index of each frequency group
_MIRRORED: Final = "mirrored"
_ROWS: Final = ("scale_offsets", "hyper_offsets", "hyper_means")

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


class SymbolTables:
    """One table a scale index; a table's alphabet is -reach..reach and, last, the escape.

    rows        int64 [2 reach + 2] each, every frequency at least 1, summing to 2^24
    skip_below  rows before this one code nothing: their symbols are 0
    raises      ValueError naming the row that is not such a table
    """

    def __init__(self, rows: list[I64], skip_below: int) -> None:
        if not 0 <= skip_below <= len(rows):
            raise ValueError(f"skip_below is {skip_below}, should be 0..{len(rows)}")
        for number, row in enumerate(rows):
            if len(row) < 2 or len(row) % 2 or len(row) > 2 * MAX_REACH + 2:
                raise ValueError(f"row {number} has {len(row)} frequencies")
            if row.min() < 1 or row.sum() != TOTAL_FREQUENCY:
                raise ValueError(f"row {number} sums to {row.sum()} of {TOTAL_FREQUENCY}, least {row.min()}")
        self.rows = rows
        self.skip_below = skip_below
        self.reach = np.array([len(row) // 2 - 1 for row in rows], np.int32)
        # The coder gives every symbol 1 and shares out the rest: handing it frequency - 1 keeps each as it is.
        self.models = [
            constriction.stream.model.Categorical((row - 1).astype(np.float64), perfect=False) for row in rows
        ]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> SymbolTables:
        """The tables that a bundle holds under a name, such as "tables.latent"."""
        reach = arrays[f"{name}.reach"].astype(np.int64)
        is_mirrored = f"{name}.{_MIRRORED}" in arrays
        frequencies = arrays[f"{name}.{_MIRRORED if is_mirrored else 'frequencies'}"].astype(np.int64)
        ends = np.cumsum(reach + 2 if is_mirrored else 2 * reach + 2)
        if ends[-1] != len(frequencies):
            raise ValueError(f"{name}: {len(frequencies)} frequencies, should be {ends[-1]}")
        rows = np.split(frequencies, ends[:-1])
        if is_mirrored:
            rows = [np.concatenate([row[:-1], row[-3::-1], row[-1:]]) for row in rows]
        return cls(rows, int(arrays[f"{name}.skip_below"][0]))

    def to_arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Of rows that are the same for both signs -reach..0 and the escape, of others all."""
        rows, form = self.rows, "frequencies"
        if all(np.array_equal(row[:-1], row[-2::-1]) for row in rows):
            rows, form = [np.append(row[: len(row) // 2], row[-1]) for row in rows], _MIRRORED
        return {
            f"{name}.{form}": np.concatenate(rows).astype(np.uint32),
            f"{name}.reach": self.reach.astype(np.uint16),
            f"{name}.skip_below": np.array([self.skip_below], np.uint8),
        }

    def prices(self) -> tuple[F32, int]:
        """What every symbol costs in bits, and how far it goes: float32 [rows, 2 R + 1] for -R..R, and R.

        An escape costs its letter and its Golomb code; a symbol beyond R costs more than the last of these. They are
        worked out once: whoever refines, shifts or searches by these tables is given the same array.
        """
        return self._prices

    @cached_property
    def _prices(self) -> tuple[F32, int]:
        farthest = int(self.reach.max()) + 1
        symbols = np.arange(-farthest, farthest + 1)
        golomb = 5 + 2 * np.floor(np.log2((2 * np.abs(symbols) - (symbols > 0) >> 4) + 1))
        prices = np.empty((len(self.rows), len(symbols)), np.float32)
        for number, row in enumerate(self.rows):
            bits = PRECISION_BITS - np.log2(row)
            reach = int(self.reach[number])
            prices[number] = bits[-1] + golomb
            prices[number, farthest - reach : farthest + reach + 1] = bits[:-1]
        return prices, farthest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LatentTables:
    """Everything integer that prices the latents of I frames, beside their prior.

    scale_offsets  int [INTRA_Q_LEVELS, C]: what a q adds to the scale indexes of the latent, in quarters
    hyper_offsets  int [INTRA_Q_LEVELS, Z]: the scale index of the hyper latent at a q, in quarters
    hyper_means    int [Z]
    """

    latent: SymbolTables
    hyper: SymbolTables
    scale_offsets: I64
    hyper_offsets: I64
    hyper_means: I64

    def latent_offsets(self, q_256: int) -> I64:
        """[C], in quarters of a scale index."""
        return between_rows(self.scale_offsets, q_256)

    def hyper_indexes(self, q_256: int) -> NDArray[np.uint8]:
        """[Z], rows of the hyper tables."""
        quarters = between_rows(self.hyper_offsets, q_256)
        rounded = (quarters + INDEX_FRACTION // 2) // INDEX_FRACTION
        return np.clip(rounded, 0, SCALE_LEVELS - 1).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InterTables:
    """Everything integer that prices P and B frames, beside their networks.

    motion   128 rows: 64 of spreads, then 64 of significances, whose symbols are 0 and 1
    levels   192 rows: index 0..63 of frequency group g is row 3 index + g
    classes  rows of the contexts of a unit's class of band weights
    steps    int64 [Q_LEVELS, 2]: quantiser steps of luma and chroma, in 1 / 2^20 of the samples' range
    weights  int64 [classes, 96]: band weights of each class in 1/256, in the order of coding
    raises   ValueError where one of them is not of that size, or motion or classes skip rows
    """

    motion: SymbolTables
    levels: SymbolTables
    classes: SymbolTables
    steps: I64
    weights: I64

    def __post_init__(self) -> None:
        if len(self.motion.rows) != MOTION_TABLES or self.motion.skip_below:
            raise ValueError(
                f"the motion tables are {len(self.motion.rows)} rows that skip {self.motion.skip_below}, "
                f"should be {MOTION_TABLES} that skip none"
            )
        if len(self.levels.rows) != LEVEL_TABLES:
            raise ValueError(f"the level tables are {len(self.levels.rows)} rows, should be {LEVEL_TABLES}")
        if len(self.classes.rows) != CLASS_CONTEXTS or self.classes.skip_below:
            raise ValueError(
                f"the class tables are {len(self.classes.rows)} rows that skip {self.classes.skip_below}, "
                f"should be {CLASS_CONTEXTS} that skip none"
            )
        if self.weights.shape != (CLASSES, BANDS):
            raise ValueError(f"the band weights are {list(self.weights.shape)}, should be {[CLASSES, BANDS]}")
        if self.steps.shape != (Q_LEVELS, 2) or self.steps.min() < 1:
            raise ValueError(
                f"the quantiser steps are {list(self.steps.shape)}, should be {[Q_LEVELS, 2]} above 0"
            )

    def steps_at(self, q_256: int) -> I64:
        """The quantiser steps of luma and chroma at a q, int64 [2]."""
        return between_rows(self.steps, q_256)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> InterTables:
        return cls(
            motion=SymbolTables.from_arrays(arrays, f"{INTER_STEM}motion"),
            levels=SymbolTables.from_arrays(arrays, f"{INTER_STEM}levels"),
            classes=SymbolTables.from_arrays(arrays, f"{INTER_STEM}classes"),
            steps=arrays[f"{INTER_STEM}steps"].astype(np.int64),
            weights=arrays[f"{INTER_STEM}weights"].astype(np.int64),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            **self.motion.to_arrays(f"{INTER_STEM}motion"),
            **self.levels.to_arrays(f"{INTER_STEM}levels"),
            **self.classes.to_arrays(f"{INTER_STEM}classes"),
            f"{INTER_STEM}steps": self.steps.astype(np.int32),
            f"{INTER_STEM}weights": self.weights.astype(np.int16),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodecTables(LatentTables):
    """Those of I frames.

    inter  those of P and B frames; None in a bundle that codes I frames only
    """

    inter: InterTables | None = None

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CodecTables:
        inter = InterTables.from_arrays(arrays) if f"{INTER_STEM}motion.reach" in arrays else None
        return cls(
            latent=SymbolTables.from_arrays(arrays, f"{INTRA_STEM}latent"),
            hyper=SymbolTables.from_arrays(arrays, f"{INTRA_STEM}hyper"),
            scale_offsets=arrays[f"{INTRA_STEM}scale_offsets"].astype(np.int64),
            hyper_offsets=arrays[f"{INTRA_STEM}hyper_offsets"].astype(np.int64),
            hyper_means=arrays[f"{INTRA_STEM}hyper_means"].astype(np.int64),
            inter=inter,
        )

    @property
    def kinds(self) -> tuple[FrameKind, ...]:
        """Of the frames that this bundle codes."""
        return (FrameKind.I,) if self.inter is None else (FrameKind.I, FrameKind.P, FrameKind.B)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {
            **self.latent.to_arrays(f"{INTRA_STEM}latent"),
            **self.hyper.to_arrays(f"{INTRA_STEM}hyper"),
            **{f"{INTRA_STEM}{name}": getattr(self, name).astype(np.int16) for name in _ROWS},
        }
        return arrays if self.inter is None else arrays | self.inter.to_arrays()


def between_rows(rows: I64, q_256: int) -> I64:
    """The row of a table of q at a real q, by integer interpolation.

    q_256  0 to that of the last row, in 1/256 of an index
    """
    last = (len(rows) - 1) * Q_UNIT
    if not 0 <= q_256 <= last:
        raise ValueError(f"q is {q_256}/256, should be 0..{last}/256")
    below, fraction = divmod(q_256, Q_UNIT)
    above = min(below + 1, len(rows) - 1)
    row: I64 = (rows[below] * (Q_UNIT - fraction) + rows[above] * fraction + Q_UNIT // 2) >> 8
    return row
