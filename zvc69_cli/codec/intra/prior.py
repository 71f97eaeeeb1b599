"""The prior of I frames in integers: the definition that every backend must equal in every element.

source  FORMAT.md 6.4
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import (
    ACTIVATION_LIMIT,
    I64,
    INDEX_FRACTION,
    SCALE_LEVELS,
    integer_layers,
    run_block,
)

HYPER_LIMIT: Final = 255
MEAN_FRACTION: Final = 16  # means stand in sixteenths of a quantisation step
INTRA_STEM: Final = "prior."


class Prediction(NamedTuple):
    """What a pass says of every symbol.

    means    [C, H, W], in sixteenths of a step
    indexes  [C, H, W], rows of the tables, 0..63
    state    [2C, H, W], what the second pass goes on from
    """

    means: I64
    indexes: I64
    state: I64


class IntegerPrior:
    """Both passes of one bundle's prior of the latent.

    arrays  the bundle's arrays; those named "prior.<layer>.weight|bias|shift" are read
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._layers = integer_layers(arrays, INTRA_STEM)

    def first(self, hyper: I64, height: int, width: int, offsets: I64) -> Prediction:
        """Predict the latent from the hyper latent.

        hyper          [Z, ceil(height/4), ceil(width/4)]
        height, width  of the latent's grid
        offsets        [C], what q adds to the scale indexes, in quarters
        """
        x = np.clip(hyper, -HYPER_LIMIT, HYPER_LIMIT)
        x = run_block(self._layers, "block1", _shuffle(self._layers["up1"](x)))
        x = run_block(self._layers, "block2", _shuffle(self._layers["up2"](x)))[:, :height, :width]
        for name in ("first0", "first1"):
            x = run_block(self._layers, name, x)
        return _prediction(self._layers["first_head"](x), offsets)

    def second(self, known: I64, state: I64, offsets: I64) -> Prediction:
        """Predict again, knowing half of the latent.

        known  [C, H, W] in sixteenths, 0 where nothing is known yet
        state  [2C, H, W] of the first pass
        """
        x = np.clip(np.concatenate([known, state]), -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        for name in ("second0", "second1"):
            x = run_block(self._layers, name, x)
        return _prediction(self._layers["second_head"](x), offsets)


def _prediction(head: I64, offsets: I64) -> Prediction:
    means, indexes = np.split(head, 2)
    indexes = (indexes + offsets[:, None, None] + INDEX_FRACTION // 2) // INDEX_FRACTION
    return Prediction(means, np.clip(indexes, 0, SCALE_LEVELS - 1), head)


def _shuffle(x: I64) -> I64:
    """[4C, H, W] -> [C, 2H, 2W]: channel 4c + 2i + j holds row i, column j of each 2x2."""
    channels, height, width = x.shape
    x = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return x.reshape(channels // 4, 2 * height, 2 * width)
