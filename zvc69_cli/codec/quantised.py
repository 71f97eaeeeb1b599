"""A frame as integers: all that is coded of it, and what the pixels are made from."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import Pass
from zvc69_cli.codec.entropy.tables import CodecTables, LatentTables
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.motion.fields import Motion
from zvc69_cli.codec.networks import F32, U8, Picture, PriorOutput, Tensor
from zvc69_cli.frames import FrameKind

I32 = NDArray[np.int32]


class CodedMotion(NamedTuple):
    """The motion section of a P or B frame.

    precision  place in codec.motion.fields.PRECISIONS
    motions    to each reference
    passes     the symbols and their rows of the motion tables, in the order of coding
    """

    precision: int
    motions: tuple[Motion, ...]
    passes: tuple[Pass, ...]

    def crc(self) -> int:
        """CRC-32 of the precision (u8), then for each reference and level the coded map (u8) and the field (int16)."""
        crc = binascii.crc32(bytes([self.precision]))
        for motion in self.motions:
            for field, coded in zip(motion.fields, motion.coded, strict=True):
                crc = binascii.crc32(coded.tobytes(), crc)
                crc = binascii.crc32(field.astype("<i2").tobytes(), crc)
        return crc


class PricedSymbols(NamedTuple):
    """Everything that one frame codes, flat, each symbol with its row: what tables are fitted to."""

    latent: Pass
    hyper: Pass
    motion: Pass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantisedFrame:
    """One frame between networks and entropy coder.

    hyper           int32 [Z, hz, wz], symbols of the hyper latent: its integers less their means
    symbols         int32 [C, h, w], of the latent: residuals against the prior's means
    indexes         uint8 [C, h, w], the table of each symbol
    latent          float32 [C, h, w], whole sixteenths of a step: means and symbols together
    references      slots in order of their pictures' pts
    motion          None in I frames and in skipped ones
    is_skipped      nothing is coded: the picture is the first reference's. The three arrays of symbols are empty
    context         what an encoder predicted from the references; None in I and skipped frames, in a decoder, and
                    where `picture` is there
    picture         the decoded padded planes, where an encoder has made them already
    """

    kind: FrameKind
    coding_index: int
    pts: int
    dts: int
    q_256: int
    hyper: I32
    symbols: I32
    indexes: U8
    latent: Tensor
    temporal_layer: int = 0
    references: tuple[int, ...] = ()
    stored_in: int | None = None
    motion: CodedMotion | None = None
    is_skipped: bool = False
    context: Tensor | None = None
    picture: Picture | None = None

    def symbol_crc(self) -> int:
        """CRC-32 of what an entropy decoder must yield: motion, then hyper and latent symbols as int16."""
        crc = 0 if self.motion is None else self.motion.crc()
        crc = binascii.crc32(self.hyper.astype("<i2").tobytes(), crc)
        return binascii.crc32(self.symbols.astype("<i2").tobytes(), crc)

    def priced_symbols(self, tables: CodecTables) -> PricedSymbols:
        """The symbols of this frame with the rows that price them; empty where nothing is coded."""
        passes = () if self.motion is None else self.motion.passes
        return PricedSymbols(
            Pass(self.symbols.ravel(), self.indexes.ravel()),
            Pass(self.hyper.ravel(), hyper_rows(self.hyper, self.q_256, tables.of_kind(self.kind))),
            Pass(
                np.concatenate([_NO_SYMBOLS, *(each.symbols for each in passes)]),
                np.concatenate([_NO_ROWS, *(each.indexes for each in passes)]),
            ),
        )


def skipped_frame(latent_shape: tuple[int, ...], **facts: Any) -> QuantisedFrame:
    """A frame of which nothing is coded.

    latent_shape  C, h, w
    facts         other fields of QuantisedFrame
    """
    nothing = np.zeros((0, 0, 0), np.int32)
    return QuantisedFrame(
        **facts,
        hyper=nothing,
        symbols=nothing,
        indexes=nothing.astype(np.uint8),
        latent=np.zeros(latent_shape, np.float32),
        is_skipped=True,
    )


class Checkerboard(NamedTuple):
    """Where the two passes of a latent code.

    first   bool [C, h, w]
    passes  flat positions of the first and of the second pass, in raster order
    """

    first: NDArray[np.bool_]
    passes: tuple[NDArray[np.intp], NDArray[np.intp]]


def hyper_rows(hyper: I32, q_256: int, tables: LatentTables) -> U8:
    """The row of the hyper tables of each symbol of a hyper latent [Z, hz, wz], flat."""
    _, rows, columns = hyper.shape
    return np.repeat(tables.hyper_indexes(q_256), rows * columns)


def known_half(symbols: I32, means: Tensor) -> F32:
    """What the second pass of the prior is given: the first pass's half decoded, in sixteenths; 0 elsewhere.

    means  of the first pass
    """
    return np.where(_board(symbols), sixteenths(symbols, np.asarray(means)), np.float32(0))


def merged_indexes(symbols: I32, first: PriorOutput, second: PriorOutput) -> U8:
    """The table of each symbol, from the pass that coded it."""
    return np.where(_board(symbols), np.asarray(first.indexes), np.asarray(second.indexes))


def decoded_latent(symbols: I32, first: Tensor, second: Tensor) -> F32:
    """The decoded latent in sixteenths, each half with the means of the pass that coded it."""
    return sixteenths(symbols, np.where(_board(symbols), np.asarray(first), np.asarray(second)))


def sixteenths(symbols: I32, means: F32) -> F32:
    """Decoded latent in sixteenths of a step, exact in float32."""
    return symbols.astype(np.float32) * np.float32(MEAN_FRACTION) + means


@lru_cache(maxsize=64)
def checkerboard(channels: int, height: int, width: int, start_row: int, rows: int) -> Checkerboard:
    """The board of the rows start_row..start_row+rows of a grid; positions count in the whole grid.

    The second half of the channels swaps colour, so that each pass codes half of everything.
    """
    even = (np.arange(start_row, start_row + rows)[:, None] + np.arange(width)) % 2 == 0
    first = np.empty((channels, rows, width), bool)
    first[: channels // 2] = even
    first[channels // 2 :] = ~even
    grid = np.arange(channels * height * width).reshape(channels, height, width)[
        :, start_row : start_row + rows
    ]
    return Checkerboard(first, (grid[first], grid[~first]))


def _board(symbols: I32) -> NDArray[np.bool_]:
    """Where the first pass codes a whole latent [C, h, w]."""
    channels, height, width = symbols.shape
    return checkerboard(channels, height, width, 0, height).first


_NO_SYMBOLS = np.zeros(0, np.int32)
_NO_ROWS = np.zeros(0, np.uint8)
