"""A bundle's weights as a checkpoint: training goes on from what was shipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from engines.training.checkpoint import Checkpoint, WrongCheckpoint
from engines.training.exact import Scales, motion_passes, motion_stem, trained_prior
from engines.training.inter import BLEND, FILTER, WEIGHT_UNIT, WEIGHTS, InterNetwork
from engines.training.model import (
    IntraNetwork,
    ModelSize,
    quiet_modulations,
    start_log_scale,
)
from engines.training.motion import MotionPass
from engines.training.residual import ResidualPrior
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.residual.prior import RESIDUAL_STEM
from zvc69_cli.codec.settings import INTRA_Q_LEVELS
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime.bundle import load_bundle

# How the names of float weights begin in InterNetwork and in a bundle.
TRAINED_ROWS = "inter.trained_rows"
STORED_STEMS = {"search.": "inter.search.", "blend.": BLEND, "loop_filter.": FILTER}


def start_line() -> torch.Tensor:
    """start_log_scale as coefficients of a quadratic in the position of q, [3, 1]."""
    low, high = (start_log_scale(torch.tensor(float(q))).item() for q in (0, INTRA_Q_LEVELS - 1))
    return torch.tensor([(low + high) / 2, (high - low) / 2, 0.0])[:, None]


def checkpoint_of_bundle(folder: Path) -> Checkpoint:
    """The weights that a bundle was exported from, as near as it holds them; training goes on from there.

    raises  WrongCheckpoint
    """
    try:
        bundle = load_bundle(folder)
    except RuntimeUnavailable as error:
        raise WrongCheckpoint(f"{folder}: {error.what}") from error
    size = ModelSize(**bundle.manifest["size"])
    prior, scales = trained_prior(bundle.arrays, IntraNetwork(size).prior)
    weights = quiet_modulations(size) | {f"prior.{name}": weight for name, weight in prior.items()}
    for name, array in bundle.arrays.items():
        if not name.startswith(("prior.", "tables.", "inter.")):
            weights[name] = torch.from_numpy(array.astype(np.float32))
    checkpoint = Checkpoint(
        size=size, weights=_unscaled(weights), pixels=dict(bundle.manifest["pixels"]), scales=scales
    )
    if bundle.has_inter:
        checkpoint.inter, checkpoint.inter_scales = _inter(bundle.arrays)
    return checkpoint


def _inter(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, torch.Tensor], Scales]:
    """Weights and scales of the networks of P and B frames."""
    network = InterNetwork()
    weights = {
        "band_weights": torch.from_numpy(arrays[WEIGHTS].astype(np.float32)) / WEIGHT_UNIT,
        "residual.tables": torch.from_numpy(arrays[TRAINED_ROWS].astype(np.float32)),
    }
    for stem, stored in STORED_STEMS.items():
        for name, array in arrays.items():
            if name.startswith(stored):
                weights[f"{stem}{name.removeprefix(stored)}"] = torch.from_numpy(array.astype(np.float32))
    scales: Scales = {}
    integer: list[tuple[str, str, ResidualPrior | MotionPass]] = [
        ("residual.", RESIDUAL_STEM, network.residual)
    ]
    integer += [(stem, motion_stem(stem), each) for stem, each in motion_passes(network).items()]
    for stem, stored, each in integer:
        found, own_scales = trained_prior(arrays, each, stored)
        weights |= {f"{stem}{name}": weight for name, weight in found.items()}
        scales |= {f"{stem}{name}": pair for name, pair in own_scales.items()}
    return weights, scales


def _unscaled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without what export adds to the scales of q: the line that they start from, and the synthesis' sixteenths."""
    line = start_line()
    weights["q_analysis"] = weights["q_analysis"] - line
    weights["q_synthesis"] = weights["q_synthesis"] + line
    weights["q_synthesis"][0] += np.log(MEAN_FRACTION)
    return weights
