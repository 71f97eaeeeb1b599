"""Integer layers of the entropy networks: the definition that every backend must equal in every element.

The arrays are int64, so neither a rounding mode nor an order of summation matters. Programs carry the same integers in
float32: the bound 2^24 on every sum makes that exact (engines.training.exact).

source  FORMAT.md 6.4
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

ACTIVATION_LIMIT: Final = 2047
HEAD_LIMIT: Final = 32_767
INDEX_FRACTION: Final = 4  # networks speak in quarters of a table index
SCALE_LEVELS: Final = 64
BRANCH_SLOPE_SHIFT: Final = 6
FEED_SLOPE_SHIFT: Final = 3
SLOPES: Final = {"branch_in": BRANCH_SLOPE_SHIFT, "feed_in": FEED_SLOPE_SHIFT}


@dataclass(frozen=True, slots=True, eq=False)
class IntegerConv:
    """A 1x1 or a depthwise 3x3 convolution, an optional leaky slope, a shift and a clip.

    weight       int16 [out, in], or [out, 3, 3] for a depthwise one (zeros around the picture)
    bias         int32 [out]
    shift        uint8 [out]: the accumulator's binary places, rounded away half up
    slope_shift  negative sums are divided by 2 to this
    limit        outputs are clipped to +- this
    """

    weight: I64
    bias: I64
    shift: I64
    slope_shift: int
    limit: int

    def __call__(self, x: I64) -> I64:
        total = _depthwise(self.weight, x) if self.weight.ndim == 3 else np.tensordot(self.weight, x, 1)
        total = total + self.bias[:, None, None]
        # Sums are scaled up by the slope instead of down, so that nothing is lost before the one rounding.
        total = np.where(total >= 0, total << self.slope_shift, total)
        shift = self.shift[:, None, None]
        half = ((np.int64(1) << shift) >> 1) << self.slope_shift
        rounded: I64 = (total + half) >> (shift + self.slope_shift)
        return np.clip(rounded, -self.limit, self.limit)


def run_block(layers: Mapping[str, IntegerConv], name: str, x: I64) -> I64:
    """One residual block: an optional change of width, then two branches, each added and clipped."""
    if f"{name}.adapt" in layers:
        x = layers[f"{name}.adapt"](x)
    for path in (("branch_in", "depthwise", "branch_out"), ("feed_in", "feed_out")):
        branch = x
        for layer in path:
            branch = layers[f"{name}.{layer}"](branch)
        x = np.clip(x + branch, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    return x


def integer_layers(arrays: Mapping[str, NDArray[Any]], stem: str) -> dict[str, IntegerConv]:
    """The layers that a bundle holds under a stem, by their names without it."""
    return {
        name: IntegerConv(
            arrays[f"{stem}{name}.weight"].astype(np.int64),
            arrays[f"{stem}{name}.bias"].astype(np.int64),
            arrays[f"{stem}{name}.shift"].astype(np.int64),
            SLOPES.get(name.rsplit(".", 1)[-1], 0),
            HEAD_LIMIT if name.endswith("head") else ACTIVATION_LIMIT,
        )
        for name in layer_names(arrays, stem)
    }


def layer_names(arrays: Mapping[str, NDArray[Any]], stem: str) -> list[str]:
    """The prior's layers that a bundle holds under a stem."""
    return [
        key[len(stem) : -len(".weight")] for key in arrays if key.startswith(stem) and key.endswith(".weight")
    ]


def _depthwise(weight: I64, x: I64) -> I64:
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros_like(x)
    for row in range(3):
        for column in range(3):
            total += weight[:, row, column, None, None] * padded[:, row : row + height, column : column + width]
    return total
