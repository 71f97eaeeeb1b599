"""The shrunk prediction: one of several classes of band weights for each unit, chosen by an encoder.

Where motion fails, the high frequencies of a prediction are not those of the picture. A class keeps only a share of
each band: the residual is c - w p, with c and p the DCT of the picture and of the prediction, both less mid-grey.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.networks import F32, U8

CLASS_BITS: Final = 2.0  # what any class but the first costs


def choose_classes(bits: F32) -> U8:
    """The class of each unit, uint8 [rows, columns].

    bits  float32 [classes, rows, columns]: estimate of what the residual costs with each class
    """
    costs = bits.copy()
    costs[1:] += np.float32(CLASS_BITS)
    classes: U8 = costs.argmin(0).astype(np.uint8)
    return classes
