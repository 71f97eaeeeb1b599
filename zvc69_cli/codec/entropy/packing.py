"""A quantised frame as the bytes of its payload.

source  FORMAT.md 6.2 to 6.8
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import Pass, StringWriter, pack_string
from zvc69_cli.codec.entropy.payload import InterSection, Sections, Slice, pack_sections, slice_rows
from zvc69_cli.codec.entropy.tables import CodecTables, InterTables, SymbolTables
from zvc69_cli.codec.intra.channel_shifts import SHIFT_TABLES, ShiftChooser, shift_rows, shifted
from zvc69_cli.codec.quantised import CodedMotion, CodedResidual, QuantisedFrame, checkerboard, hyper_rows
from zvc69_cli.codec.residual.coding import CodedLevels, class_passes, level_passes

Places = NDArray[np.intp]


class Packer:
    """Entropy-codes frames by one bundle's tables; touches no state, so that several may run at once.

    slices  that a frame is cut in
    """

    def __init__(self, tables: CodecTables, slices: int) -> None:
        self._tables = tables
        self._slices = slices
        self._shifts = ShiftChooser(tables.latent)

    def payload(self, quantised: QuantisedFrame) -> bytes:
        """The bytes of one frame; none of a skipped one."""
        if quantised.is_skipped:
            return b""
        if quantised.residual is None or quantised.motion is None or self._tables.inter is None:
            return pack_sections(self._intra(quantised))
        return pack_sections(self._inter(quantised.residual, quantised.motion, self._tables.inter))

    def _intra(self, quantised: QuantisedFrame) -> Sections:
        tables = self._tables
        latent, symbols, indexes = tables.latent, quantised.symbols, quantised.indexes
        board = checkerboard(*symbols.shape, 0, symbols.shape[1])
        rows = shift_rows(indexes, board.first, latent.skip_below)
        shifts = self._shifts.shifts(symbols, indexes, rows)
        is_shifted = bool(shifts.any())

        picture = StringWriter()
        hyper = Pass(quantised.hyper.ravel(), hyper_rows(quantised.hyper, quantised.q_256, tables))
        picture.add(hyper, tables.hyper)
        if is_shifted:
            picture.add(Pass(shifts, rows), SHIFT_TABLES)
            indexes = shifted(indexes, shifts, latent.skip_below)
        moved = Pass(symbols.ravel(), indexes.ravel())

        def passes(start: int, count: int) -> Iterable[Pass]:
            for places in checkerboard(*symbols.shape, start, count).passes:
                yield Pass(moved.symbols[places], moved.indexes[places])

        slices = self._cut(picture, symbols.shape[1], passes, latent)
        return Sections(picture=picture.packed(), slices=slices, is_shifted=is_shifted)

    def _inter(self, residual: CodedResidual, motion: CodedMotion, tables: InterTables) -> Sections:
        picture = StringWriter()
        has_classes = bool(residual.classes.any())
        if has_classes:
            for each in class_passes(residual.classes):
                picture.add(each, tables.classes)
        levels = CodedLevels(residual.levels, residual.rows)

        def passes(start: int, count: int) -> Iterable[Pass]:
            return level_passes(levels, start, count)

        slices = self._cut(picture, residual.classes.shape[0], passes, tables.levels)
        vectors = pack_string(motion.passes, tables.motion)
        inter = InterSection(motion.precision, vectors, residual.strength, has_classes)
        return Sections(picture=picture.packed(), slices=slices, inter=inter)

    def _cut(
        self,
        picture: StringWriter,
        rows: int,
        passes: Callable[[int, int], Iterable[Pass]],
        tables: SymbolTables,
    ) -> tuple[Slice, ...]:
        """The slices of a frame; where there is one, its passes go into the string of the picture instead.

        passes  of a slice, given its first row and its rows of 16x16 samples
        """
        parts = slice_rows(rows, self._slices)
        if len(parts) == 1:
            _add(picture, passes(*parts[0]), tables)
            return ()
        slices = []
        for start, count in parts:
            string = StringWriter()
            _add(string, passes(start, count), tables)
            slices.append(Slice(start, count, string.packed()))
        return tuple(slices)


def _add(string: StringWriter, passes: Iterable[Pass], tables: SymbolTables) -> None:
    for each in passes:
        string.add(each, tables)
