"""The scales that tables stand for: between a deviation in quantisation steps and an index."""

from __future__ import annotations

import math

import numpy as np

from zvc69_cli.codec.entropy.layers import INDEX_FRACTION, SCALE_LEVELS

# Of motion's heads: integers in a nat of log odds and of log spread, and the log spreads that are told apart.
SIGNIFICANCE_PER_NAT, SPREAD_PER_NAT = 16.0, 36.0
SPREAD_LOW, SPREAD_HIGH = 3.0, 4.0  # exp(-SPREAD_LOW) is the first table's spread in quarter pels

SCALE_LOW, SCALE_HIGH = 0.05, 100.0  # deviations of the first and the last table, in quantisation steps
INDEXES_PER_NAT = INDEX_FRACTION * (SCALE_LEVELS - 1) / math.log(SCALE_HIGH / SCALE_LOW)


def scale_of_index(index: np.ndarray) -> np.ndarray:
    """The standard deviation that a table stands for, in quantisation steps."""
    return SCALE_LOW * np.exp(index * INDEX_FRACTION / INDEXES_PER_NAT)
