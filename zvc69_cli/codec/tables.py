"""The frequencies that price every symbol: integers, frozen in the bundle.

source  FORMAT.md 6.5
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import constriction
import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.prior import INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.settings import MAX_Q, Q_UNIT

PRECISION_BITS: Final = 24
TOTAL_FREQUENCY: Final = 1 << PRECISION_BITS
MAX_REACH: Final = 2047

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
        frequencies = arrays[f"tables.{name}.frequencies"].astype(np.int64)
        reach = arrays[f"tables.{name}.reach"].astype(np.int64)
        ends = np.cumsum(2 * reach + 2)
        if ends[-1] != len(frequencies):
            raise ValueError(f"tables.{name}: {len(frequencies)} frequencies, should be {ends[-1]}")
        return cls(np.split(frequencies, ends[:-1]), int(arrays[f"tables.{name}.skip_below"][0]))

    def to_arrays(self, name: str) -> dict[str, NDArray[Any]]:
        return {
            f"tables.{name}.frequencies": np.concatenate(self.rows).astype(np.uint32),
            f"tables.{name}.reach": self.reach.astype(np.uint16),
            f"tables.{name}.skip_below": np.array([self.skip_below], np.uint8),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodecTables:
    """Everything integer that a bundle adds to the codec, beside its prior.

    scale_offsets  int [64, C]: what a q adds to the scale indexes of the latent, in quarters
    hyper_offsets  int [64, Z]: the scale index of the hyper latent at a q, in quarters
    hyper_means    int [Z]
    """

    latent: SymbolTables
    hyper: SymbolTables
    scale_offsets: I64
    hyper_offsets: I64
    hyper_means: I64

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CodecTables:
        return cls(
            latent=SymbolTables.from_arrays(arrays, "latent"),
            hyper=SymbolTables.from_arrays(arrays, "hyper"),
            scale_offsets=arrays["tables.scale_offsets"].astype(np.int64),
            hyper_offsets=arrays["tables.hyper_offsets"].astype(np.int64),
            hyper_means=arrays["tables.hyper_means"].astype(np.int64),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            **self.latent.to_arrays("latent"),
            **self.hyper.to_arrays("hyper"),
            "tables.scale_offsets": self.scale_offsets.astype(np.int16),
            "tables.hyper_offsets": self.hyper_offsets.astype(np.int16),
            "tables.hyper_means": self.hyper_means.astype(np.int16),
        }

    def latent_offsets(self, q_256: int) -> I64:
        """[C], in quarters of a scale index."""
        return between_rows(self.scale_offsets, q_256)

    def hyper_indexes(self, q_256: int) -> NDArray[np.uint8]:
        """[Z], rows of the hyper tables."""
        quarters = between_rows(self.hyper_offsets, q_256)
        rounded = (quarters + INDEX_FRACTION // 2) // INDEX_FRACTION
        return np.clip(rounded, 0, SCALE_LEVELS - 1).astype(np.uint8)


def between_rows(rows: I64, q_256: int) -> I64:
    """The row of a table of q at a real q, by integer interpolation.

    q_256  0..MAX_Q, in 1/256 of an index
    """
    if not 0 <= q_256 <= MAX_Q:
        raise ValueError(f"q is {q_256}/256, should be 0..{MAX_Q}/256")
    below, fraction = divmod(q_256, Q_UNIT)
    above = min(below + 1, len(rows) - 1)
    row: I64 = (rows[below] * (Q_UNIT - fraction) + rows[above] * fraction + Q_UNIT // 2) >> 8
    return row
