"""A checkpoint: weights, how they came to be, and what is needed to go on."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.training.inter import InterNetwork
from engines.training.model import IntraNetwork, ModelSize, quiet_modulations


class WrongCheckpoint(Exception):
    """The file is not a checkpoint, or one of another architecture."""


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """What one file holds.

    weights    averaged weights of the intra network, float32
    inter      those of the network of P and B frames; None before it was trained
    pixels     luma samples trained on, by stage
    history    rows of stage, pixels, loss, bits a pixel, mean squared error
    optimiser  raw weights and the optimisers' state; None in a checkpoint that was made to be small
    scales     fixed points of the intra prior once it has been trained as integers (engines.training.exact);
               else None
    inter_scales  those of the inter priors, by the layers' names in InterNetwork
    """

    size: ModelSize
    weights: dict[str, Tensor]
    pixels: dict[str, int] = field(default_factory=dict)
    history: list[tuple[str, int, float, float, float]] = field(default_factory=list)
    optimiser: dict[str, Any] | None = None
    scales: dict[str, tuple[float, float]] | None = None
    inter: dict[str, Tensor] | None = None
    inter_scales: dict[str, tuple[float, float]] | None = None

    def network(self) -> IntraNetwork:
        network = IntraNetwork(self.size)
        network.load_state_dict(self.weights)
        return network.eval()

    def inter_network(self) -> InterNetwork:
        """Untrained where the checkpoint holds none; raises WrongCheckpoint naming the first layer that differs."""
        network = InterNetwork()
        if self.inter is not None:
            wanted = network.state_dict()
            for name in sorted(wanted.keys() | self.inter.keys()):
                found, due = (list(each[name].shape) if name in each else None for each in (self.inter, wanted))
                if found != due:
                    raise WrongCheckpoint(f"inter: {name} is {found or 'missing'}, should be {due or 'absent'}")
            network.load_state_dict(self.inter)
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
    size, inter = ModelSize(**stored["size"]), stored.get("inter")
    quiet = quiet_modulations(size)
    is_older = not quiet.keys() <= stored["weights"].keys()  # its optimiser knows of fewer weights
    return Checkpoint(
        size=size,
        weights=_full(quiet | stored["weights"]),
        pixels=dict(stored.get("pixels", {})),
        history=[tuple(row[:5]) for row in stored.get("history", [])],
        optimiser=None if is_older else stored.get("optimiser"),
        scales=stored.get("scales"),
        inter=None if inter is None else _full(inter),
        inter_scales=stored.get("inter_scales"),
    )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write to a name beside it, then rename: a killed or full disk leaves the one before."""
    stored = {
        "size": checkpoint.size.as_dict(),
        "weights": _halved(checkpoint.weights),
        "pixels": checkpoint.pixels,
        "history": checkpoint.history,
        "optimiser": checkpoint.optimiser,
        "scales": checkpoint.scales,
        "inter": None if checkpoint.inter is None else _halved(checkpoint.inter),
        "inter_scales": checkpoint.inter_scales,
    }
    beside = path.with_name(path.name + ".new")
    torch.save(stored, beside)
    beside.replace(path)


def _halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.half() if weight.ndim == 4 else weight for name, weight in weights.items()}


def _full(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.float() for name, weight in weights.items()}
