"""The prior of motion in integers: the definition that every backend must equal in every element.

source  FORMAT.md 6.7
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import I64, IntegerConv, integer_layers, run_block
from zvc69_cli.codec.motion.fields import LEVELS

BLOCKS = ("block0", "block1")
PASSES = ("first", "second")


class IntegerMotionPrior:
    """Both passes of the three levels.

    arrays  the bundle's arrays; those named "inter.motion.<level>.<first|second>.<layer>.weight|bias|shift" are read
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._networks: dict[tuple[int, bool], dict[str, IntegerConv]] = {
            (level, name == "second"): integer_layers(arrays, motion_stem(level, name == "second"))
            for level in range(LEVELS)
            for name in PASSES
        }

    def __call__(self, level: int, second: bool, inputs: I64) -> I64:
        """Significance, mean x and y, spread x and y of every cell, [5, rows, columns].

        inputs  [10 or 14, rows, columns], from codec.motion.fields.first_inputs or second_inputs
        """
        layers = self._networks[level, second]
        x = layers["entry"](inputs.astype(np.int64))
        for block in BLOCKS:
            x = run_block(layers, block, x)
        return layers["head"](x)


def motion_stem(level: int, second: bool) -> str:
    """What the names of one network's arrays begin with."""
    return f"inter.motion.{level}.{PASSES[second]}."
