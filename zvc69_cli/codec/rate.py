"""From what the user asks for to the quality index that the networks are given."""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.settings import MAX_Q, Q_LEVELS, Q_UNIT, CodecSettings

# crf -> q index. Between the ends, q falls by 3 an unit of crf, the slope that keeps the quality of x265's intra frames
# on photographs (engines/zvc69-s/README.md has the measurement); the ends are stretched so that every crf is different.
_CRF: Final = (0.0, 18.0, 23.0, 40.0, 51.0)
_Q: Final = (63.0, 60.0, 50.0, 3.0, 0.0)


def base_q_256(settings: CodecSettings) -> int:
    """The stream's quality index in 1/256, 0..MAX_Q; higher is better."""
    if settings.qp is not None:
        return (Q_LEVELS - 1 - settings.qp) * Q_UNIT
    return int(np.clip(round(float(np.interp(settings.crf, _CRF, _Q)) * Q_UNIT), 0, MAX_Q))
