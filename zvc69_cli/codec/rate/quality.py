"""From what the user asks for to the quality index that the networks are given, and what an error is worth there."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from zvc69_cli.codec.settings import MAX_INTRA_Q, MAX_Q, Q_LEVELS, Q_UNIT, CodecSettings
from zvc69_cli.frames import FrameKind

# crf -> q index: where zvc69-s has the PSNR of x265 (medium, tune psnr, its own GOP) on six test clips: 42.5 dB at
# crf 18, 39.4 at 23, 36.5 at 28, 33.6 at 33, 30.9 at 38.
_CRF: Final = (0.0, 18.0, 23.0, 28.0, 33.0, 38.0, 44.0, 51.0)
_Q: Final = (106.0, 78.0, 55.2, 40.3, 26.8, 14.7, 1.0, 0.0)
# --quality 1..8 -> crf: 0.25, 0.40, 0.60, 1.00, 1.50, 2.20, 3.50 and 5.50 times the rate of step 4, whose own rate is
# as high as leaves that much above it. Read off the curves of four test clips.
QUALITY_CRF: Final = {1: 40.8, 2: 36.7, 3: 33.5, 4: 29.9, 5: 27.0, 6: 24.4, 7: 21.7, 8: 18.0}
# Bits a luma sample that a mean squared error of 1 (samples in 0..1) was worth in training, at q 0 and q 79.
LAMBDA_LOW: Final = 40.0
LAMBDA_HIGH: Final = 51_000.0
# What the mean squared error of Y counted in training, and that of U and of V at q 0 and from q 79 on. A decibel of
# chroma takes few bits, the fewer the lower the quality: x264 at chroma-qp-offset -6, which is a weight of 6/8, takes
# 4.4 % fewer bits at equal PSNR 6:1:1 than at 0, at -9 5.1 % (intra; eight test clips).
LUMA_WEIGHT: Final = 6 / 8
CHROMA_WEIGHT_LOW: Final = 6 / 8
CHROMA_WEIGHT_HIGH: Final = 2 / 8
PLANE_WEIGHTS: Final = (6 / 8, 3 / 8, 3 / 8)  # of Y, U and V where errors at several q are compared

# What a bit that a vector saves by the model of codec.motion.search is worth of a bit in the file: the residual is not
# coded as well as reverse water-filling would, and with two references each vector does half of the work.
# (P at 0.4: +0.5 %, at 0.15: +1.1 %, B at 0.25 or 0.12: +0.4 % BD-rate, six clips that are not test clips.)
VECTOR_SHARE: Final = {FrameKind.P: 0.25, FrameKind.B: 0.18}

SMALLER_TRIES: Final = 4  # lower q that a frame is coded at which is larger than it may be; the last is 0
_OCTAVE_Q: Final = 12.0  # indexes that halve a frame
_LEAST_STEP_Q: Final = 2.0


def base_q_256(settings: CodecSettings) -> int:
    """The stream's quality index in 1/256, 0..MAX_Q; higher is better."""
    if settings.base_qp is not None:
        return (Q_LEVELS - 1 - settings.base_qp) * Q_UNIT
    return int(np.clip(round(float(np.interp(settings.crf, _CRF, _Q)) * Q_UNIT), 0, MAX_Q))


def highest_q_256(kind: FrameKind) -> int:
    """The highest q that a frame of a kind is coded at, in 1/256 of an index."""
    return MAX_INTRA_Q if kind is FrameKind.I else MAX_Q


def crf_at(base_q: float) -> float:
    """The crf that stands for a base q, 0..51; the lowest one where several do."""
    return float(np.interp(base_q, _Q[::-1], _CRF[::-1]))


def smaller_q_256(q_256: int, size_bytes: int, most_bytes: int) -> int:
    """The q at which a frame of that size will hardly be larger than it may be."""
    step = max(_LEAST_STEP_Q, _OCTAVE_Q * math.log2(1.1 * size_bytes / most_bytes))
    return max(0, q_256 - round(step * Q_UNIT))


def error_price(q_256: int) -> float:
    """Lambda: bits a luma sample that a mean squared error of 1 is worth at a q."""
    share = q_256 / MAX_INTRA_Q  # the same slope goes on above the last q of I frames
    return math.exp(math.log(LAMBDA_LOW) + (math.log(LAMBDA_HIGH) - math.log(LAMBDA_LOW)) * share)


def chroma_weight(q_256: int) -> float:
    """What the mean squared error of U and that of V count at a q, where that of Y counts LUMA_WEIGHT."""
    share = min(1.0, q_256 / MAX_INTRA_Q)
    return float(CHROMA_WEIGHT_LOW * (CHROMA_WEIGHT_HIGH / CHROMA_WEIGHT_LOW) ** share)
