"""A quantised frame as the bytes of its payload; latent_coding and motion_coding read them.

source  FORMAT.md 6.2 to 6.4
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import Pass, StringWriter, pack_string
from zvc69_cli.codec.entropy.payload import MotionSection, Sections, Slice, pack_sections, slice_rows
from zvc69_cli.codec.entropy.tables import CodecTables, InterTables, SymbolTables
from zvc69_cli.codec.intra.channel_shifts import SHIFT_TABLES, ShiftChooser, shift_rows, shifted
from zvc69_cli.codec.quantised import QuantisedFrame, checkerboard, hyper_rows

Places = NDArray[np.intp]


class Packer:
    """Entropy-codes frames by one bundle's tables; touches no state, so that several may run at once.

    slices  that a latent is cut in
    """

    def __init__(self, tables: CodecTables, slices: int) -> None:
        self._tables = tables
        self._slices = slices
        self._choosers = {kind: ShiftChooser(tables.of_kind(kind).latent) for kind in tables.kinds}

    def payload(self, quantised: QuantisedFrame) -> bytes:
        """The bytes of one frame; none of a skipped one."""
        if quantised.is_skipped:
            return b""
        tables = self._tables.of_kind(quantised.kind)
        latent, symbols, indexes = tables.latent, quantised.symbols, quantised.indexes
        board = checkerboard(*symbols.shape, 0, symbols.shape[1])
        rows = shift_rows(indexes, board.first, latent.skip_below)
        shifts = self._choosers[quantised.kind].shifts(symbols, indexes, rows)
        is_shifted = bool(shifts.any())

        picture = StringWriter()
        hyper = Pass(quantised.hyper.ravel(), hyper_rows(quantised.hyper, quantised.q_256, tables))
        picture.add(hyper, tables.hyper)
        if is_shifted:
            picture.add(Pass(shifts, rows), SHIFT_TABLES)
            indexes = shifted(indexes, shifts, latent.skip_below)
        moved = Pass(symbols.ravel(), indexes.ravel())
        parts = slice_rows(symbols.shape[1], self._slices)
        slices = []
        if len(parts) == 1:
            _add_latent(picture, moved, board.passes, latent)
        else:
            for start, count in parts:
                string = StringWriter()
                _add_latent(string, moved, checkerboard(*symbols.shape, start, count).passes, latent)
                slices.append(Slice(start, count, string.packed()))
        motion = None
        if quantised.motion is not None and isinstance(tables, InterTables):
            vectors = pack_string(quantised.motion.passes, tables.motion)
            motion = MotionSection(quantised.motion.precision, vectors)
        return pack_sections(
            Sections(picture=picture.packed(), slices=tuple(slices), motion=motion, is_shifted=is_shifted)
        )


def _add_latent(string: StringWriter, latent: Pass, passes: Iterable[Places], tables: SymbolTables) -> None:
    """Both passes of the places of a slice, or of a whole latent, which is given flat."""
    for places in passes:
        string.add(Pass(latent.symbols[places], latent.indexes[places]), tables)
