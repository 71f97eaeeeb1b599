"""The prior in integers: the definition that every backend must equal in every element.

Slow on purpose: int64 arrays, no rounding mode, no order of summation that could matter. Programs run the same
integers carried in float32 (engines.training.export builds that graph; the bound 2^24 on every sum makes it exact).

source  FORMAT.md 6.4
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

ACTIVATION_LIMIT: Final = 2047
HEAD_LIMIT: Final = 32_767
HYPER_LIMIT: Final = 255
MEAN_FRACTION: Final = 16  # means stand in sixteenths of a quantisation step
INDEX_FRACTION: Final = 4  # the networks speak in quarters of a scale index
SCALE_LEVELS: Final = 64
BRANCH_SLOPE_SHIFT: Final = 6
FEED_SLOPE_SHIFT: Final = 3
INTRA_STEM: Final = "prior."
INTER_STEM: Final = "inter.prior."
SLOPES: Final = {"branch_in": BRANCH_SLOPE_SHIFT, "feed_in": FEED_SLOPE_SHIFT}


class Prediction(NamedTuple):
    """What a pass says of every symbol.

    means    [C, H, W], in sixteenths of a step
    indexes  [C, H, W], rows of the tables, 0..63
    state    [2C, H, W], what the second pass goes on from
    """

    means: I64
    indexes: I64
    state: I64


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


class IntegerPrior:
    """Both passes of one bundle's prior of the latent.

    arrays  the bundle's arrays; those named "<stem><layer>.weight|bias|shift" are read
    stem    what their names begin with: INTRA_STEM or INTER_STEM
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], stem: str = INTRA_STEM) -> None:
        self._layers = integer_layers(arrays, stem)

    def first(self, hyper: I64, height: int, width: int, offsets: I64, extra: I64 | None = None) -> Prediction:
        """Predict the latent from the hyper latent.

        hyper          [Z, ceil(height/4), ceil(width/4)]
        height, width  of the latent's grid
        offsets        [C], what q adds to the scale indexes, in quarters
        extra          [2C + 6, height, width], what the references and the motion tell (codec.dpb.prior_extra);
                       None in an I frame
        """
        x = np.clip(hyper, -HYPER_LIMIT, HYPER_LIMIT)
        x = run_block(self._layers, "block1", _shuffle(self._layers["up1"](x)))
        x = run_block(self._layers, "block2", _shuffle(self._layers["up2"](x)))[:, :height, :width]
        if extra is not None:
            x = np.concatenate([x, np.clip(extra, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)])
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


def layer_names(arrays: Mapping[str, NDArray[Any]], stem: str = INTRA_STEM) -> list[str]:
    """The prior's layers that a bundle holds under a stem."""
    return [
        key[len(stem) : -len(".weight")] for key in arrays if key.startswith(stem) and key.endswith(".weight")
    ]


def _prediction(head: I64, offsets: I64) -> Prediction:
    means, indexes = np.split(head, 2)
    indexes = (indexes + offsets[:, None, None] + INDEX_FRACTION // 2) // INDEX_FRACTION
    return Prediction(means, np.clip(indexes, 0, SCALE_LEVELS - 1), head)


def _depthwise(weight: I64, x: I64) -> I64:
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros_like(x)
    for row in range(3):
        for column in range(3):
            total += weight[:, row, column, None, None] * padded[:, row : row + height, column : column + width]
    return total


def _shuffle(x: I64) -> I64:
    """[4C, H, W] -> [C, 2H, 2W]: channel 4c + 2i + j holds row i, column j of each 2x2."""
    channels, height, width = x.shape
    x = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return x.reshape(channels // 4, 2 * height, 2 * width)
