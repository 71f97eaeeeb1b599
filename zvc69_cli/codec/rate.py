"""From what the user asks for to the quality index that the networks are given, and what an error is worth there."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from zvc69_cli.codec.settings import MAX_Q, Q_LEVELS, Q_UNIT, CodecSettings
from zvc69_cli.frames import FrameKind

# crf -> q index: where zvc69-s has the PSNR of x265 (medium, tune psnr, its own GOP) on six test clips: 39.6 dB at
# crf 23, 36.6 at 28, 33.7 at 33, 31.0 at 38. Its networks end near 40 dB: below crf 22 little more is to be had.
_CRF: Final = (0.0, 18.0, 23.0, 28.0, 33.0, 38.0, 44.0, 51.0)
_Q: Final = (63.0, 62.5, 61.0, 43.2, 30.3, 18.3, 5.0, 0.0)
# Bits a luma sample that a mean squared error of 1 (samples in 0..1) was worth in training, at the first and last q.
_LAMBDA_LOW: Final = 40.0
_LAMBDA_HIGH: Final = 12_000.0

# What a bit that a vector saves by the model of codec.motion_search is worth of a bit in the file: the residual is not
# coded as well as reverse water-filling would, and with two references each vector does half of the work.
# (P at 0.8: +1.0 %, B at 0.4: +2.6 % BD-rate, five clips that are not test clips.)
VECTOR_SHARE: Final = {FrameKind.P: 0.4, FrameKind.B: 0.18}


def base_q_256(settings: CodecSettings) -> int:
    """The stream's quality index in 1/256, 0..MAX_Q; higher is better."""
    if settings.qp is not None:
        return (Q_LEVELS - 1 - settings.qp) * Q_UNIT
    return int(np.clip(round(float(np.interp(settings.crf, _CRF, _Q)) * Q_UNIT), 0, MAX_Q))


def error_price(q_256: int) -> float:
    """Lambda: bits a luma sample that a mean squared error of 1 is worth at a q."""
    share = q_256 / MAX_Q
    return math.exp(math.log(_LAMBDA_LOW) + (math.log(_LAMBDA_HIGH) - math.log(_LAMBDA_LOW)) * share)
