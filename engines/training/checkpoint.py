"""A checkpoint: weights, how they came to be, and what is needed to go on."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.training.model import IntraNetwork, ModelSize


class WrongCheckpoint(Exception):
    """The file is not a checkpoint, or one of another architecture."""


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """What one file holds.

    weights    averaged weights, float32
    pixels     luma samples trained on, by stage
    history    rows of stage, pixels, loss, bits a pixel, mean squared error
    optimiser  raw weights and the optimisers' state; None in a checkpoint that was made to be small
    scales     fixed points of the prior once it has been trained as integers (engines.training.exact); else None
    """

    size: ModelSize
    weights: dict[str, Tensor]
    pixels: dict[str, int] = field(default_factory=dict)
    history: list[tuple[str, int, float, float, float]] = field(default_factory=list)
    optimiser: dict[str, Any] | None = None
    scales: dict[str, tuple[float, float]] | None = None

    def network(self) -> IntraNetwork:
        network = IntraNetwork(self.size)
        network.load_state_dict(self.weights)
        return network.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises WrongCheckpoint naming the field that differs."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WrongCheckpoint(f"{path}: cannot be read: {error}") from error
    if not isinstance(stored, dict) or "size" not in stored:
        raise WrongCheckpoint(f"{path}: not a checkpoint of this trainer")
    wanted = ModelSize().as_dict()
    for name, value in stored["size"].items():
        if wanted.get(name) != value:
            raise WrongCheckpoint(f"{path}: {name} is {value}, should be {wanted.get(name)}")
    return Checkpoint(
        size=ModelSize(**stored["size"]),
        weights={name: weight.float() for name, weight in stored["weights"].items()},
        pixels=dict(stored.get("pixels", {})),
        history=[tuple(row[:5]) for row in stored.get("history", [])],
        optimiser=stored.get("optimiser"),
        scales=stored.get("scales"),
    )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write to a name beside it, then rename: a killed or full disk leaves the one before."""
    stored = {
        "size": checkpoint.size.as_dict(),
        "weights": {
            name: weight.half() if weight.ndim == 4 else weight for name, weight in checkpoint.weights.items()
        },
        "pixels": checkpoint.pixels,
        "history": checkpoint.history,
        "optimiser": checkpoint.optimiser,
        "scales": checkpoint.scales,
    }
    beside = path.with_name(path.name + ".new")
    torch.save(stored, beside)
    beside.replace(path)
