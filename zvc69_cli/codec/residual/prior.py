"""The entropy model of a residual in integers: the definition that every backend must equal in every element.

source  FORMAT.md 6.8
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.layers import I64, INDEX_FRACTION, SCALE_LEVELS, integer_layers, run_block
from zvc69_cli.codec.residual.context import LEVEL_LIMIT, LOGS
from zvc69_cli.codec.residual.layout import GROUPS, group_of_pass

RESIDUAL_STEM: Final = "inter.residual."


class IntegerResidualPrior:
    """The state and the six passes.

    arrays  the bundle's arrays; those named "inter.residual.<layer>.weight|bias|shift" are read
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._layers = integer_layers(arrays, RESIDUAL_STEM)

    def state(self, inputs: I64) -> I64:
        """What every pass is given, [width, h, w].

        inputs  [41, h, w], codec.residual.context.state_inputs
        """
        return run_block(self._layers, "state", self._layers["state_in"](inputs.astype(np.int64)))

    def rows(self, number: int, levels: I64, state: I64) -> I64:
        """The row of the table of each coefficient of a pass, [group, h, w].

        levels  [96, h, w], zeros where nothing is decoded yet
        """
        group = group_of_pass(number)
        known = LOGS[np.minimum(np.abs(levels[: GROUPS[group].stop]), LEVEL_LIMIT)]
        x = self._layers[f"pass{number}.entry"](np.concatenate([known, state]).astype(np.int64))
        x = run_block(self._layers, f"pass{number}.block", x)
        head = self._layers[f"pass{number}.head"](x)
        indexes = np.clip((head + INDEX_FRACTION // 2) // INDEX_FRACTION, 0, SCALE_LEVELS - 1)
        return row_of(indexes, group)


def row_of(indexes: NDArray[Any], group: int) -> NDArray[Any]:
    """The rows of the level tables for indexes 0..63 of a frequency group: the groups' rows alternate."""
    return indexes * len(GROUPS) + group
