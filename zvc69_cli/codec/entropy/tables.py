"""The frequencies that price every symbol: integers, frozen in the bundle.

source  FORMAT.md 6.5
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import constriction
import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.motion.fields import MOTION_TABLES
from zvc69_cli.codec.settings import Q_UNIT
from zvc69_cli.frames import FrameKind

PRECISION_BITS: Final = 24
TOTAL_FREQUENCY: Final = 1 << PRECISION_BITS
MAX_REACH: Final = 2047

INTRA_STEM: Final = "tables."
INTER_STEM: Final = "inter.tables."
B_STEM: Final = "inter.tables.b."
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
    """Everything integer that prices the latents of one kind of frame, beside their prior.

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
class InterTables(LatentTables):
    """Those of P and B frames.

    motion  128 rows: 64 of spreads, then 64 of significances, whose symbols are 0 and 1
    raises  ValueError where `motion` is not of that size or skips rows
    """

    motion: SymbolTables

    def __post_init__(self) -> None:
        if len(self.motion.rows) != MOTION_TABLES or self.motion.skip_below:
            raise ValueError(
                f"the motion tables are {len(self.motion.rows)} rows that skip {self.motion.skip_below}, "
                f"should be {MOTION_TABLES} that skip none"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodecTables(LatentTables):
    """Those of I frames.

    inter  those of P frames, and what B frames share with them; None in a bundle that codes I frames only
    b      those of B frames, which differ in `latent` and `hyper`; None where they have none of their own
    """

    inter: InterTables | None = None
    b: InterTables | None = None

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CodecTables:
        inter = b = None
        if f"{INTER_STEM}latent.reach" in arrays:
            motion = SymbolTables.from_arrays(arrays, f"{INTER_STEM}motion")
            inter = InterTables(**_latent_tables(arrays, INTER_STEM), motion=motion)
            if f"{B_STEM}latent.reach" in arrays:
                b = replace(inter, **_symbol_tables(arrays, B_STEM))
        return cls(**_latent_tables(arrays, INTRA_STEM), inter=inter, b=b)

    @property
    def kinds(self) -> tuple[FrameKind, ...]:
        """Of the frames that this bundle codes."""
        return (FrameKind.I,) if self.inter is None else (FrameKind.I, FrameKind.P, FrameKind.B)

    def of_kind(self, kind: FrameKind) -> LatentTables:
        """Those that price the latents of a frame; raises ValueError where this bundle cannot code such a frame."""
        if kind is FrameKind.I:
            return self
        if self.inter is None:
            raise ValueError(f"this bundle codes I frames only, not {kind.name}")
        return self.b if kind is FrameKind.B and self.b is not None else self.inter

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = _arrays_of(self, INTRA_STEM)
        if self.inter is not None:
            arrays |= _arrays_of(self.inter, INTER_STEM) | self.inter.motion.to_arrays(f"{INTER_STEM}motion")
        if self.b is not None:
            arrays |= _symbol_arrays(self.b, B_STEM)
        return arrays


def _latent_tables(arrays: Mapping[str, NDArray[Any]], stem: str) -> dict[str, Any]:
    """The fields of LatentTables."""
    rows = {name: arrays[f"{stem}{name}"].astype(np.int64) for name in _ROWS}
    return _symbol_tables(arrays, stem) | rows


def _symbol_tables(arrays: Mapping[str, NDArray[Any]], stem: str) -> dict[str, Any]:
    return {name: SymbolTables.from_arrays(arrays, f"{stem}{name}") for name in ("latent", "hyper")}


def _arrays_of(tables: LatentTables, stem: str) -> dict[str, NDArray[Any]]:
    rows = {f"{stem}{name}": getattr(tables, name).astype(np.int16) for name in _ROWS}
    return _symbol_arrays(tables, stem) | rows


def _symbol_arrays(tables: LatentTables, stem: str) -> dict[str, NDArray[Any]]:
    return tables.latent.to_arrays(f"{stem}latent") | tables.hyper.to_arrays(f"{stem}hyper")


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
