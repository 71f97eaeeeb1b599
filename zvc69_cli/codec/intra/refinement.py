"""How an encoder refines a latent: steps downhill on rate and distortion together; a decoder never asks.

The gradient of the distortion comes back through the synthesis, that of the rate from the tables. The symbols are then
chosen anew: the prior sees other symbols in its second pass.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.entropy.tables import SymbolTables
from zvc69_cli.codec.networks import F32, U8
from zvc69_cli.codec.quantised import I32

# Of the first step and from step to step; lengths in steps of the quantiser for a gradient of one bit a step.
FIRST_LENGTH: Final = 0.006
DECAY: Final = 0.6


class Refinement:
    """Moves latents to where they cost less, by one bundle's tables."""

    def __init__(self, tables: SymbolTables) -> None:
        prices, self._farthest = tables.prices()
        slopes = np.zeros_like(prices)
        slopes[:, 1:-1] = (prices[:, 2:] - prices[:, :-2]) / 2
        slopes[: tables.skip_below] = 0
        self._slopes = slopes

    def moved(self, latent: F32, gradient: F32, symbols: I32, indexes: U8, price: float, number: int) -> F32:
        """The latent [C, h, w] after step `number`, which counts from 0.

        gradient  Networks.gradient of the latent as decoded
        symbols   int32 [C, h, w], as last chosen, and the table of each
        price     codec.rate.quality.error_price
        """
        letters = np.clip(symbols, -self._farthest, self._farthest) + self._farthest
        slope = np.float32(price) * gradient + self._slopes[indexes, letters]
        return latent - np.float32(FIRST_LENGTH * DECAY**number) * slope
