"""A frame as integers: all that is coded of it, and what the pixels are made from."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import Pass
from zvc69_cli.codec.entropy.tables import LatentTables
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.motion.fields import Motion
from zvc69_cli.codec.networks import F32, U8, Picture, PriorOutput, Tensor
from zvc69_cli.frames import FrameKind

I32 = NDArray[np.int32]


class Prediction(NamedTuple):
    """What a P or B frame is predicted from, features [96, h, w] in 0..1 where the networks run.

    first, last  its references, each moved to this frame; a P frame's one reference is both
    blend        both together
    """

    first: Tensor
    last: Tensor
    blend: Tensor


def _no_symbols() -> I32:
    return np.zeros((0, 0, 0), np.int32)


def _no_rows() -> U8:
    return np.zeros((0, 0, 0), np.uint8)


def _no_latent() -> F32:
    return np.zeros((0, 0, 0), np.float32)


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
            for vectors, coded in zip(motion.fields, motion.coded, strict=True):
                crc = binascii.crc32(coded.tobytes(), crc)
                crc = binascii.crc32(vectors.astype("<i2").tobytes(), crc)
        return crc


class CodedResidual(NamedTuple):
    """What a P or B frame codes beside its motion.

    classes   uint8 [h / 2, w / 2], the class of band weights of each unit
    levels    int32 [96, h, w], in the order of codec.residual.layout.BAND_ORDER
    rows      uint8 [96, h, w], the row of the level tables of each
    strength  of the loop filter, 0..255
    """

    classes: U8
    levels: I32
    rows: U8
    strength: int

    def crc(self, start: int) -> int:
        """CRC-32 of the strength (u8), the classes (u8) and the levels (int16), going on from `start`."""
        crc = binascii.crc32(bytes([self.strength]), start)
        crc = binascii.crc32(self.classes.tobytes(), crc)
        return binascii.crc32(self.levels.astype("<i2").tobytes(), crc)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantisedFrame:
    """One frame between networks and entropy coder.

    hyper           int32 [Z, hz, wz], symbols of the hyper latent of an I frame: its integers less their means
    symbols         int32 [C, h, w], of the latent of an I frame: residuals against the prior's means
    indexes         uint8 [C, h, w], the table of each symbol
    latent          float32 [C, h, w], whole sixteenths of a step: means and symbols together
    references      slots in order of their pictures' pts
    motion          None in I frames and in skipped ones
    residual        None in I frames and in skipped ones
    is_skipped      nothing is coded: the picture is the first reference's
    prediction      what an encoder predicted from the references; None in I and skipped frames, in a decoder, and
                    where `picture` is there
    picture         the decoded padded planes, where an encoder has made them already

    The four arrays of an I frame are empty in other frames.
    """

    kind: FrameKind
    coding_index: int
    pts: int
    dts: int
    q_256: int
    hyper: I32 = field(default_factory=_no_symbols)
    symbols: I32 = field(default_factory=_no_symbols)
    indexes: U8 = field(default_factory=_no_rows)
    latent: Tensor = field(default_factory=_no_latent)
    temporal_layer: int = 0
    references: tuple[int, ...] = ()
    stored_in: int | None = None
    motion: CodedMotion | None = None
    residual: CodedResidual | None = None
    is_skipped: bool = False
    prediction: Prediction | None = None
    picture: Picture | None = None

    def symbol_crc(self) -> int:
        """CRC-32 of what an entropy decoder must yield: motion and residual, or hyper and latent symbols as int16."""
        crc = 0 if self.motion is None else self.motion.crc()
        if self.residual is not None:
            return self.residual.crc(crc)
        crc = binascii.crc32(self.hyper.astype("<i2").tobytes(), crc)
        return binascii.crc32(self.symbols.astype("<i2").tobytes(), crc)


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
