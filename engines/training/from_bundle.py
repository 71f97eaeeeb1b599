"""A bundle's weights as a checkpoint: training goes on from what was shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engines.training.checkpoint import Checkpoint, WrongCheckpoint
from engines.training.exact import trained_prior
from engines.training.model import Q_LEVELS, IntraNetwork, ModelSize, start_log_scale
from zvc69_cli.codec.prior import MEAN_FRACTION
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime.bundle import load_bundle


def start_line() -> torch.Tensor:
    """start_log_scale as coefficients of a quadratic in the position of q, [3, 1]."""
    low, high = (start_log_scale(torch.tensor(float(q))).item() for q in (0, Q_LEVELS - 1))
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
    weights = {f"prior.{name}": weight for name, weight in prior.items()}
    for name, array in bundle.arrays.items():
        if not name.startswith(("prior.", "tables.")):
            weights[name] = torch.from_numpy(array.astype(np.float32))
    line = start_line()
    weights["q_analysis"] = weights["q_analysis"] - line
    weights["q_synthesis"] = weights["q_synthesis"] + line
    weights["q_synthesis"][0] += np.log(MEAN_FRACTION)
    return Checkpoint(size=size, weights=weights, pixels=dict(bundle.manifest["pixels"]), scales=scales)
