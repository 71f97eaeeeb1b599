"""The quantiser steps of a residual, as a bundle holds them."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.rate.quality import LUMA_WEIGHT, chroma_weight, error_price
from zvc69_cli.codec.residual.layout import IS_LUMA
from zvc69_cli.codec.settings import Q_LEVELS, Q_UNIT

I64 = NDArray[np.int64]

STEP_UNITS: Final = 1 << 20  # a step stands in this part of the range of a sample


def quantiser_steps() -> I64:
    """The steps of luma and of chroma at every whole q, int64 [128, 2], in 1 / STEP_UNITS of the samples' range.

    High-rate theory: an error of step^2 / 12 a coefficient is where a bit buys as much as lambda says.
    """
    rows = []
    for q in range(Q_LEVELS):
        price = error_price(q * Q_UNIT)
        weights = (LUMA_WEIGHT, 4 * chroma_weight(q * Q_UNIT))
        rows.append([round(STEP_UNITS * math.sqrt(6 / (math.log(2) * price * weight))) for weight in weights])
    return np.array(rows, np.int64)


def steps_of_coefficients(steps: I64) -> NDArray[np.float32]:
    """The step of each coefficient, float32 [96] in the samples' range.

    steps  of luma and chroma, as InterTables.steps_at yields them
    """
    luma, chroma = steps / STEP_UNITS
    of_coefficients: NDArray[np.float32] = np.where(IS_LUMA, luma, chroma).astype(np.float32)
    return of_coefficients
