"""The networks of P and B frames: search, motion prior, blending, the residual's entropy model and the loop filter.

Every part is trained alone, on what an encoder stored (engines.training.store).
"""

from __future__ import annotations

import torch
from torch import nn

from engines.training.motion import MotionPrior
from engines.training.residual import BlendNetwork, LoopFilter, ResidualPrior
from engines.training.search import MotionSearch
from zvc69_cli.codec.residual.layout import BAND_ORDER, BANDS, CLASSES, FREQUENCIES

WEIGHT_UNIT = 256  # band weights stand in this part of 1

# Arrays of a bundle, and how the names of the others begin.
BASIS = "inter.basis"
WEIGHTS = "inter.tables.weights"
FILTER = "inter.filter."
BLEND = "inter.blend."


class InterNetwork(nn.Module):
    """All of them, so that one state holds what a bundle is exported from.

    band_weights  [classes, 96] of the shrunk prediction, in the order of coding; the first class is 1 throughout
    """

    def __init__(self) -> None:
        super().__init__()
        self.search = MotionSearch()
        self.motion_prior = MotionPrior()
        self.blend = BlendNetwork()
        self.residual = ResidualPrior()
        self.loop_filter = LoopFilter()
        self.register_buffer("band_weights", starting_weights())


def starting_weights() -> torch.Tensor:
    """Band weights before any is learned: falling with the frequency, the steeper the higher the class."""
    frequency = torch.from_numpy(FREQUENCIES[BAND_ORDER]).float()
    rows = [torch.ones(BANDS), torch.exp(-frequency / 8), torch.exp(-frequency / 3), (frequency < 1).float()]
    assert len(rows) == CLASSES
    return torch.stack(rows)
