"""What the codec asks of the networks, whatever runs them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


class PriorOutput(Protocol):
    """codec.prior.Prediction as a backend yields it."""

    @property
    def means(self) -> F32:
        """float32 [C, H, W], integers: sixteenths of a step"""

    @property
    def indexes(self) -> U8:
        """uint8 [C, H, W], rows of the tables"""

    @property
    def state(self) -> F32:
        """float32 [2C, H, W], integers; what `predict_second` is given back"""


class Networks(Protocol):
    """The neural half of the codec. H and W are those of the padded planes, multiples of 16; h = H/16, w = W/16."""

    @property
    def latent_channels(self) -> int: ...

    @property
    def hyper_channels(self) -> int: ...

    def analyse(self, y: F32, u: F32, v: F32, q_256: int) -> tuple[F32, F32]:
        """Latent [C, h, w] in quantisation steps and hyper latent [Z, ceil(h/4), ceil(w/4)], both unrounded.

        y        [H, W] in 0..1
        u, v     [H/2, W/2]
        """

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        """codec.prior.IntegerPrior.first, equal to it in every element."""

    def predict_second(self, known: F32, state: F32, offsets: F32) -> PriorOutput:
        """codec.prior.IntegerPrior.second, equal to it in every element; `state` of the result is the one given."""

    def synthesise(self, latent: F32, q_256: int, peak: int) -> tuple[F32, F32, F32]:
        """Planes [H, W] and twice [H/2, W/2] of whole samples in 0..peak.

        latent  [C, h, w] in sixteenths of a step
        """
