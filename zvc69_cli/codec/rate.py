"""From what the user asks for to the quality index that the networks are given."""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.settings import MAX_Q, Q_LEVELS, Q_UNIT, CodecSettings

# crf -> q index: where zvc69-s has the PSNR of x265 (medium, tune psnr, its own GOP) on six test clips: 39.6 dB at
# crf 23, 36.6 at 28, 33.7 at 33, 31.0 at 38. Its networks end near 40 dB: below crf 22 little more is to be had.
_CRF: Final = (0.0, 18.0, 23.0, 28.0, 33.0, 38.0, 44.0, 51.0)
_Q: Final = (63.0, 62.0, 59.5, 42.5, 29.5, 18.0, 4.5, 0.0)


def base_q_256(settings: CodecSettings) -> int:
    """The stream's quality index in 1/256, 0..MAX_Q; higher is better."""
    if settings.qp is not None:
        return (Q_LEVELS - 1 - settings.qp) * Q_UNIT
    return int(np.clip(round(float(np.interp(settings.crf, _CRF, _Q)) * Q_UNIT), 0, MAX_Q))
