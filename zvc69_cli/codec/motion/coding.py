"""A motion in its levels and passes: one walk for the encoder, who chooses, and the decoder, who reads.

source  FORMAT.md 6.7
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import BrokenString, Pass, StringReader
from zvc69_cli.codec.entropy.tables import InterTables
from zvc69_cli.codec.motion.fields import (
    LEVELS,
    CellOdds,
    Motion,
    cell_odds,
    first_inputs,
    grown,
    grown_map,
    moved,
    pass_cells,
    second_inputs,
)
from zvc69_cli.codec.networks import U8, Networks
from zvc69_cli.codec.picture.references import ReferenceState, first_prediction, second_prediction
from zvc69_cli.codec.quantised import CodedMotion

I32 = NDArray[np.int32]
Cells = NDArray[np.intp]

# Of a level's cells (flat positions), their parents [2, rows, columns] and odds: which are significant, bool [n], and
# the symbols of those that are, int32 [2, m].
Choose = Callable[[int, Cells, I32, CellOdds], tuple[NDArray[np.bool_], I32]]


def code_motion(
    pts: int,
    references: Sequence[ReferenceState],
    precision: int,
    networks: Networks,
    choosers: Sequence[Choose],
) -> CodedMotion:
    """The motion of a frame to each of its references.

    precision  place in codec.motion.fields.PRECISIONS
    choosers   one for each reference
    """
    motions: list[Motion] = []
    passes: list[Pass] = []
    for choose in choosers:
        if motions:
            prediction = second_prediction(motions[0], pts, references)
        else:
            prediction = first_prediction(pts, references)
        motions.append(_code_levels(prediction, precision, networks, choose, passes))
    return CodedMotion(precision, tuple(motions), tuple(passes))


def as_expected(level: int, cells: Cells, parent: I32, odds: CellOdds) -> tuple[NDArray[np.bool_], I32]:
    """Chooses nothing, so that every cell moves as its frame's references do."""
    return np.zeros(len(cells), np.bool_), np.zeros((2, 0), np.int32)


class MotionReader:
    """Chooses the vectors that the string of a motion section holds; raises BrokenString."""

    def __init__(self, data: bytes, tables: InterTables) -> None:
        self._reader = StringReader(data)
        self._tables = tables.motion

    def __call__(self, level: int, cells: Cells, parent: I32, odds: CellOdds) -> tuple[NDArray[np.bool_], I32]:
        values = self._reader.read(odds.significances, self._tables)
        if np.any(values & ~1):
            raise BrokenString("a cell is neither significant nor not")
        significant = values.astype(bool)
        rows = odds.spreads[:, significant]
        return significant, self._reader.read(rows.ravel(), self._tables).reshape(rows.shape)

    def finish(self) -> None:
        """Check that the string held this motion and nothing else."""
        self._reader.finish()


def _code_levels(
    prediction: Motion, precision: int, networks: Networks, choose: Choose, passes: list[Pass]
) -> Motion:
    """The motion to one reference, coarse to fine; appends what was coded to `passes`."""
    fields: list[I32] = []
    maps: list[U8] = []
    for level in range(LEVELS):
        last, last_coded = prediction.fields[level], prediction.coded[level]
        size = last_coded.shape
        if level:
            parent, parent_coded = grown(fields[-1], size), grown_map(maps[-1], size)
        else:
            parent, parent_coded = last, np.zeros(size, np.uint8)
        field, coded = parent.copy(), np.zeros(size, np.uint8)
        inputs = first_inputs(parent, parent_coded, last, last_coded)
        for number, cells in enumerate(pass_cells(*size)):
            if number:
                inputs = second_inputs(inputs, field - parent, coded)
            heads = networks.predict_motion(level, bool(number), inputs)
            odds = cell_odds(heads.reshape(len(heads), -1)[:, cells], precision)
            significant, symbols = choose(level, cells, parent, odds)
            passes.append(Pass(significant.astype(np.int32), odds.significances))
            passes.append(Pass(symbols.ravel(), odds.spreads[:, significant].ravel()))
            chosen = cells[significant]
            units = symbols + odds.means[:, significant]
            field.reshape(2, -1)[:, chosen] = moved(parent.reshape(2, -1)[:, chosen], units, precision)
            coded.ravel()[chosen] = 1
        fields.append(field)
        maps.append(coded)
    return Motion(tuple(fields), tuple(maps))
