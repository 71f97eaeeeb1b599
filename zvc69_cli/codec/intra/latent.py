"""A latent in its two passes: one walk for the encoder, who chooses the symbols, and the decoder, who reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from zvc69_cli.codec import quantised
from zvc69_cli.codec.entropy.coder import BrokenString, StringReader
from zvc69_cli.codec.entropy.payload import Sections
from zvc69_cli.codec.entropy.tables import LatentTables
from zvc69_cli.codec.intra.channel_shifts import SHIFT_TABLES, shift_rows, shifted
from zvc69_cli.codec.intra.prior import HYPER_LIMIT
from zvc69_cli.codec.intra.rounding import Rounding
from zvc69_cli.codec.networks import F32, U8, Networks, PriorOutput, Tensor
from zvc69_cli.codec.quantised import I32, checkerboard, hyper_rows, merged_indexes

Choose = Callable[
    [int, PriorOutput], I32
]  # symbols of pass 0 or 1, int32 [C, h, w]; those of the other are ignored


class LatentPrior(NamedTuple):
    """The networks, and which of them predict the latent of a frame."""

    networks: Networks
    first: Callable[[F32, int, int, F32], PriorOutput]
    second: Callable[[Tensor, Tensor, F32], PriorOutput]


class CodedLatent(NamedTuple):
    """symbols, indexes and latent as in codec.quantised.QuantisedFrame."""

    symbols: I32
    indexes: U8
    latent: Tensor


def intra_prior(networks: Networks) -> LatentPrior:
    return LatentPrior(networks, networks.predict_first, networks.predict_second)


def code_latent(
    prior: LatentPrior, whole_hyper: I32, size: tuple[int, int, int], offsets: F32, choose: Choose
) -> CodedLatent:
    """Both passes of one latent.

    whole_hyper  int32 [Z, hz, wz], the hyper latent with its means
    size         channels, rows and columns
    offsets      float32 [C], what q adds to the scale indexes
    """
    board = checkerboard(*size, 0, size[1]).first
    first = prior.first(whole_hyper.astype(np.float32), size[1], size[2], offsets)
    symbols = np.where(board, choose(0, first), 0)
    arrays = prior.networks if prior.networks.keeps_arrays else quantised
    second = prior.second(arrays.known_half(symbols, first.means), first.state, offsets)
    symbols = np.where(board, symbols, choose(1, second))
    latent = arrays.decoded_latent(symbols, first.means, second.means)
    return CodedLatent(symbols, merged_indexes(symbols, first, second), latent)


def quantise_latent(
    prior: LatentPrior, whole_hyper: I32, latent: Tensor, offsets: F32, rounding: Rounding
) -> CodedLatent:
    """Both passes of a latent that is to be coded, [C, h, w] in steps and unrounded; otherwise as `code_latent`."""
    channels, height, width = latent.shape
    networks = prior.networks
    if networks.keeps_arrays:
        first = prior.first(whole_hyper.astype(np.float32), height, width, offsets)
        half, known = networks.rounded_half(latent, first, rounding)
        second = prior.second(known, first.state, offsets)
        return CodedLatent(*networks.rounded(latent, half, first, second, rounding))
    here: F32 = np.asarray(latent)

    def choose(_: int, predicted: PriorOutput) -> I32:
        return rounding.symbols(here, np.asarray(predicted.means), np.asarray(predicted.indexes))

    return code_latent(prior, whole_hyper, (channels, height, width), offsets, choose)


def whole_hyper(symbols: I32, tables: LatentTables) -> I32:
    """The hyper latent's integers: its symbols and the means of its channels."""
    return symbols + tables.hyper_means[:, None, None].astype(np.int32)


def read_hyper(reader: StringReader, size: tuple[int, int], q_256: int, tables: LatentTables) -> I32:
    """The symbols of a hyper latent of that many rows and columns; raises BrokenString."""
    channels = len(tables.hyper_means)
    rows = hyper_rows(np.empty((channels, *size), np.int32), q_256, tables)
    hyper = reader.read(rows, tables.hyper).reshape(channels, *size)
    if np.abs(whole_hyper(hyper, tables)).max() > HYPER_LIMIT:
        raise BrokenString(f"a hyper latent is beyond {HYPER_LIMIT}")
    return hyper


class LatentReader:
    """Chooses the symbols that the sections of a frame hold; raises BrokenString.

    picture  the string that shifts and, where there are no slices, the latent come from; the hyper latent is read
    """

    def __init__(
        self, sections: Sections, picture: StringReader, size: tuple[int, int, int], tables: LatentTables
    ) -> None:
        self._size = size
        self._tables = tables.latent
        self._picture = picture
        self._slices = [(each.start_row, each.rows, StringReader(each.string)) for each in sections.slices]
        self._shifts: I32 | None = None
        self._is_shifted = sections.is_shifted

    def __call__(self, number: int, predicted: PriorOutput) -> I32:
        indexes = np.asarray(predicted.indexes)
        if self._is_shifted and number == 0:
            board = checkerboard(*self._size, 0, self._size[1]).first
            self._shifts = self._picture.read(shift_rows(indexes, board, self._tables.skip_below), SHIFT_TABLES)
        if self._shifts is not None:
            indexes = shifted(indexes, self._shifts, self._tables.skip_below)
        symbols = np.zeros(self._size, np.int32)
        flat, rows = symbols.ravel(), indexes.ravel()
        for start, count, reader in self._slices or [(0, self._size[1], self._picture)]:
            places = checkerboard(*self._size, start, count).passes[number]
            flat[places] = reader.read(rows[places], self._tables)
        return symbols

    def finish(self) -> None:
        """Check that the strings held this latent and nothing else."""
        for reader in (self._picture, *(each for *_, each in self._slices)):
            reader.finish()
