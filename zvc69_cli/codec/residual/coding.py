"""A residual in its six passes: one walk for the encoder, which chooses the levels, and the decoder, which reads them.

source  FORMAT.md 6.8
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import BrokenString, Pass, StringReader
from zvc69_cli.codec.entropy.payload import Sections
from zvc69_cli.codec.entropy.tables import InterTables, SymbolTables
from zvc69_cli.codec.networks import F32, U8, Networks, Tensor
from zvc69_cli.codec.residual.layout import BANDS, CLASSES, COLOURS, GROUPS, PASSES, group_of_pass, pass_places

I32 = NDArray[np.int32]

# Levels of a pass, int32 [group, h, w], given the row of each, uint8 [group, h, w]. Only the pass's colour counts.
ChooseLevels = Callable[[int, U8], I32]


class CodedLevels(NamedTuple):
    """Levels int32 [96, h, w] and the row of each, uint8 [96, h, w]."""

    levels: I32
    rows: U8


def code_levels(networks: Networks, inputs: F32, choose: ChooseLevels) -> CodedLevels:
    """All passes of one residual.

    inputs  codec.residual.context.state_inputs
    """
    _, height, width = inputs.shape
    levels = np.zeros((BANDS, height, width), np.int32)
    rows = np.zeros((BANDS, height, width), np.uint8)
    state = networks.residual_state(inputs)
    known: Tensor | None = None
    last: I32 | None = None
    for number in range(PASSES):
        group = GROUPS[group_of_pass(number)]
        known, predicted = networks.residual_pass(number, known, last, state)
        places = pass_places(number, height, width, 0, height // 2)
        found = choose(number, predicted)
        last = np.zeros_like(found)
        last.ravel()[places] = found.ravel()[places]
        levels[group] += last
        rows[group].reshape(-1)[places] = predicted.ravel()[places]
    return CodedLevels(levels, rows)


def level_passes(coded: CodedLevels, start_row: int, rows: int) -> Iterator[Pass]:
    """The passes of a slice of rows of units, in the order of coding."""
    _, height, width = coded.levels.shape
    for number in range(PASSES):
        group = GROUPS[group_of_pass(number)]
        places = pass_places(number, height, width, start_row, rows)
        yield Pass(
            coded.levels[group].reshape(-1)[places],
            coded.rows[group].reshape(-1)[places],
        )


def class_passes(classes: U8) -> Iterator[Pass]:
    """The passes that code the classes [rows, columns] of the units, each with the row that prices it."""
    for number in range(COLOURS):
        where = _colour(classes.shape, number)
        yield Pass(classes[where].astype(np.int32), _class_rows(classes, number)[where])


def read_classes(reader: StringReader, size: tuple[int, int], tables: InterTables) -> U8:
    """The classes of the units, uint8 [rows, columns]; raises BrokenString."""
    classes = np.zeros(size, np.uint8)
    for number in range(COLOURS):
        where = _colour(size, number)
        values = reader.read(_class_rows(classes, number)[where], tables.classes)
        if values.size and not 0 <= values.min() <= values.max() < CLASSES:
            raise BrokenString(f"a class is not in 0..{CLASSES - 1}")
        classes[where] = values
    return classes


class LevelReader:
    """Chooses the levels that the sections of a frame hold; raises BrokenString.

    picture  the string of the classes and, where there are no slices, of the levels; the classes are read
    rows     rows of units
    """

    def __init__(self, sections: Sections, picture: StringReader, rows: int, tables: SymbolTables) -> None:
        self._tables = tables
        self._picture = picture
        self._slices = [(each.start_row, each.rows, StringReader(each.string)) for each in sections.slices] or [
            (0, rows, picture)
        ]

    def __call__(self, number: int, rows: U8) -> I32:
        levels = np.zeros(rows.shape, np.int32)
        _, height, width = rows.shape
        flat, wanted = levels.ravel(), rows.ravel()
        for start, count, reader in self._slices:
            places = pass_places(number, height, width, start, count)
            flat[places] = reader.read(wanted[places], self._tables)
        return levels

    def finish(self) -> None:
        """Check that the strings held these levels and nothing else."""
        readers: Iterable[StringReader] = (self._picture, *(each for *_, each in self._slices))
        for reader in readers:
            reader.finish()


def _colour(size: tuple[int, ...], number: int) -> NDArray[np.bool_]:
    where: NDArray[np.bool_] = np.add.outer(np.arange(size[0]), np.arange(size[1])) % COLOURS == number
    return where


def _class_rows(classes: U8, number: int) -> U8:
    """The row of the class tables of every unit in a pass."""
    if number == 0:
        return np.zeros(classes.shape, np.uint8)
    shrinks = np.pad(classes > 0, 1).astype(np.uint8)
    near = shrinks[:-2, 1:-1] + shrinks[2:, 1:-1] + shrinks[1:-1, :-2] + shrinks[1:-1, 2:]
    return 1 + near
