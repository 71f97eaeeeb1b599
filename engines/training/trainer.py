"""One network in training: its batch, its optimisers, its running average, and how they are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engines.training.data import PixelPool
from engines.training.klt import klt_basis
from engines.training.model import IntraNetwork, ModelSize, has_bfloat16
from engines.training.muon import Muon
from engines.training.soap import Soap
from engines.training.stages import STAGE_CLASSES, Stage, Start, check_crop

WARM_UP_STEPS = 200
AVERAGE_EVERY_STEPS = 10
# Steps that the running average looks back. At constant rates a long one takes the noise out (loss 0.214 against 0.234
# of the weights themselves); where the rates fall to nothing it only lags (0.249 against 0.246).
HORIZON, COOLDOWN_HORIZON = 2000, 50
GRADIENT_LIMIT = 1.0
OUTER_LAYERS = ("entry", "down", "up", "exit")
NARROWEST_MATRIX = (
    8  # rows or columns; below that (depthwise layers, heads of vectors) there is no spectrum to speak of
)

# Their losses after equal time stand in README.md: Muon, then AdamW, then SOAP.
INNER_OPTIMISERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], float]] = {
    "muon": (Muon, 0.01),
    "soap": (Soap, 3e-3),
    "adamw": (
        lambda parameters, lr: torch.optim.AdamW(parameters, lr, betas=(0.9, 0.98), weight_decay=0.0),
        1.5e-3,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a piece trains; nothing here is part of the weights. Raises WrongCrop.

    stage       intra: all of its network; intra-vectors: of that biases and scales of q alone; exact: its prior alone,
                through the integers that it will run as
    batch       crops a step
    crop        side of a crop, in pixels
    inner_rate  learning rate inside the blocks; 0 takes the optimiser's own
    outer_rate  learning rate of everything else
    cooldown    whether the rates fall to nothing over the piece
    """

    device: torch.device
    batch: int
    crop: int
    stage: str = "intra"
    optimiser: str = "muon"
    inner_rate: float = 0.0
    outer_rate: float = 8e-4
    cooldown: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        check_crop(self.stage, self.crop)


class Trainer:
    """Steps of one piece on pixels that already lie on the device."""

    def __init__(self, recipe: Recipe, pool: PixelPool, checkpoint: Checkpoint) -> None:
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.batch = recipe.batch
        self._pool = pool
        self.stage = STAGE_CLASSES[recipe.stage](
            Start(checkpoint, recipe.device, recipe.compiled, pool, recipe.crop)
        )
        self.network = self.stage.network
        if has_bfloat16(recipe.device):
            self.network = self.network.to(memory_format=torch.channels_last)
        self.network.train()
        self._optimisers = _optimisers(self.stage, recipe)
        self._rates = [[group["lr"] for group in each.param_groups] for each in self._optimisers]
        self._steps = 0
        self._average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if checkpoint.optimiser is not None and checkpoint.optimiser["kind"] == self._kind:
            self._restore(checkpoint.optimiser)

    def step(self, part: float) -> Tensor:
        """One batch.

        part     how much of the piece is over, 0..1
        returns  the batch's Losses as one tensor, on the device
        raises   torch.OutOfMemoryError, with the weights as they were
        """
        self._set_rates(part)
        losses, trained_pixels = self.stage.loss(self._pool, self.batch, self.recipe.crop)
        self.network.zero_grad(set_to_none=True)
        losses.loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT, foreach=True)
        for optimiser in self._optimisers:
            optimiser.step()
        self._steps += 1
        if self._steps % AVERAGE_EVERY_STEPS == 0:
            self._update_average()
        pixels = self.checkpoint.pixels
        pixels[self.recipe.stage] = pixels.get(self.recipe.stage, 0) + trained_pixels
        return torch.stack([each.detach() for each in losses])

    def save(self, path: Path) -> None:
        """Everything that another piece needs; raises OSError on a full disk, with the file before it kept."""
        average = {name: value.cpu().clone() for name, value in self._average.items()}
        self.stage.keep(average, self.checkpoint)
        self.checkpoint.optimiser = {
            "kind": self._kind,
            "network": self.network.state_dict(),
            "average": self._average,
            "states": [each.state_dict() for each in self._optimisers],
            "steps": self._steps,
        }
        save_checkpoint(self.checkpoint, path)

    def averaged(self) -> nn.Module:
        """A copy of the network with the running average, ready to be measured."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self._average)
        return network.eval()

    @property
    def _kind(self) -> str:
        """What optimisers' state can be gone on with."""
        return f"{self.recipe.stage} {self.recipe.optimiser}"

    def _restore(self, stored: dict[str, Any]) -> None:
        self.network.load_state_dict(stored["network"])
        self._average = {name: value.to(self.recipe.device) for name, value in stored["average"].items()}
        for optimiser, state in zip(self._optimisers, stored["states"], strict=True):
            optimiser.load_state_dict(state)
        self._steps = stored["steps"]

    def _set_rates(self, part: float) -> None:
        factor = min(1.0, (self._steps + 1) / WARM_UP_STEPS)
        if self.recipe.cooldown:
            factor *= 0.5 * (1 + math.cos(math.pi * min(part, 1.0))) + 0.005
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    @torch.no_grad()
    def _update_average(self) -> None:
        horizon = COOLDOWN_HORIZON if self.recipe.cooldown else HORIZON
        keep = min(1 - 1 / horizon, self._steps / (self._steps + 50.0)) ** AVERAGE_EVERY_STEPS
        torch._foreach_lerp_(list(self._average.values()), list(self.network.state_dict().values()), 1 - keep)


def starting_point(resume: Path | None, pool: PixelPool) -> Checkpoint:
    """The checkpoint or bundle that `resume` names, or a network that starts as a block transform codec.

    raises  WrongCheckpoint
    """
    if resume is None:
        network = IntraNetwork()
        network.start_from_klt(*klt_basis(pool, ModelSize().latent))
        return Checkpoint(size=network.size, weights=dict(network.state_dict()))
    if resume.is_dir():
        from engines.training.from_bundle import checkpoint_of_bundle

        return checkpoint_of_bundle(resume)
    return load_checkpoint(resume)


def _optimisers(stage: Stage, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """One for the matrices inside the blocks; AdamW for all else, the scales of q at a higher rate."""
    inner, outer, scales = _parameter_groups(stage)
    make, own_rate = INNER_OPTIMISERS[recipe.optimiser]
    outside = [{"params": outer}, {"params": scales, "lr": stage.scales_rate * recipe.outer_rate}]
    adamw = torch.optim.AdamW(
        [group for group in outside if group["params"]], recipe.outer_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    return [make(inner, lr=recipe.inner_rate or own_rate), adamw] if inner else [adamw]


def _parameter_groups(stage: Stage) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of the parameters that a stage trains: matrices inside the blocks, all else, and the scales of q."""
    inner, outer, scales = [], [], []
    for name, parameter in stage.network.named_parameters():
        is_trained = name.startswith(stage.trained) and not name.startswith(stage.fixed)
        if not is_trained or (parameter.ndim == 4 and not stage.has_matrices):
            parameter.requires_grad_(False)
            continue
        is_matrix = (
            parameter.ndim == 4 and parameter.shape[2] == 1 and min(parameter.shape[:2]) > NARROWEST_MATRIX
        )
        if name.startswith("q_"):
            scales.append(parameter)
        elif is_matrix and not name.startswith(OUTER_LAYERS):
            inner.append(parameter)
        else:
            outer.append(parameter)
    return inner, outer, scales
