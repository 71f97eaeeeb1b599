"""One network in training: its batch, its optimisers, its running average, and how they are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engines.training.data import PixelPool
from engines.training.exact import ExactPrior, Scales, find_scales
from engines.training.klt import klt_basis
from engines.training.model import (
    Q_LEVELS,
    IntraNetwork,
    ModelSize,
    mse_611,
    planes_to_features,
    rate_lambda,
)
from engines.training.muon import Muon
from engines.training.soap import Soap

STAGES = ("intra", "exact")
WARM_UP_STEPS = 200
AVERAGE_EVERY_STEPS = 10
GRADIENT_LIMIT = 1.0
LOSS_SCALE = 20.0
OUTER_LAYERS = ("entry", "down", "up", "exit")
CALIBRATION_CROPS = 16
SCALES_RATE = 4.0  # rate of the scales of q against that of the other outer parameters

# Muon gave about 10 % fewer bits than AdamW at either rate in the same minutes; SOAP was not measured here yet.
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
    """How a piece trains; nothing here is part of the weights.

    stage       intra: all of the network; exact: its prior alone, through the integers that it will run as
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


class Trainer:
    """Steps of one piece on pixels that already lie on the device."""

    def __init__(self, recipe: Recipe, pool: PixelPool, checkpoint: Checkpoint) -> None:
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.batch = recipe.batch
        self._pool = pool
        self.network = IntraNetwork(checkpoint.size).to(recipe.device)
        if recipe.device.type == "cuda":
            self.network = self.network.to(memory_format=torch.channels_last)
        self.network.load_state_dict(checkpoint.weights)
        self.network.train()
        self._optimisers = _optimisers(self.network, recipe)
        self._rates = [[group["lr"] for group in each.param_groups] for each in self._optimisers]
        self._steps = 0
        self._average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if checkpoint.optimiser is not None and checkpoint.optimiser["kind"] == self._kind:
            self._restore(checkpoint.optimiser)
        loss = self._intra_loss
        if recipe.stage == "exact":
            loss = self._exact_loss
            self._exact_prior = ExactPrior(self.network.prior, self._fixed_scales())
        self._loss = torch.compile(loss, dynamic=False) if recipe.compiled else loss

    def step(self, part: float) -> Tensor:
        """One batch.

        part     how much of the piece is over, 0..1
        returns  loss, bits a pixel and mean squared error, on the device
        raises   torch.OutOfMemoryError, with the weights as they were
        """
        self._set_rates(part)
        planes = self._pool.crops(self.batch, self.recipe.crop)
        q = torch.randint(0, Q_LEVELS, (self.batch,), device=self.recipe.device)
        loss, rate, distortion = self._loss(planes_to_features(*planes), q)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT, foreach=True)
        for optimiser in self._optimisers:
            optimiser.step()
        self._steps += 1
        if self._steps % AVERAGE_EVERY_STEPS == 0:
            self._update_average()
        pixels = self.checkpoint.pixels
        stage = self.recipe.stage
        pixels[stage] = pixels.get(stage, 0) + self.batch * self.recipe.crop**2
        return torch.stack([loss.detach(), rate.detach(), distortion.detach()])

    def save(self, path: Path) -> None:
        """Everything that another piece needs; raises OSError on a full disk, with the file before it kept."""
        self.checkpoint.weights = {name: value.cpu().clone() for name, value in self._average.items()}
        self.checkpoint.optimiser = {
            "kind": self._kind,
            "network": self.network.state_dict(),
            "average": self._average,
            "states": [each.state_dict() for each in self._optimisers],
            "steps": self._steps,
        }
        save_checkpoint(self.checkpoint, path)

    def averaged(self) -> IntraNetwork:
        """A copy of the network with the running average, ready to be measured."""
        network = IntraNetwork(self.checkpoint.size).to(self.recipe.device)
        network.load_state_dict(self._average)
        return network.eval()

    @property
    def _kind(self) -> str:
        """What optimisers' state can be gone on with."""
        return f"{self.recipe.stage} {self.recipe.optimiser}"

    def _fixed_scales(self) -> Scales:
        """Those of the checkpoint, or found now and kept: integers must not move while they are trained."""
        if self.checkpoint.scales is None:
            features = planes_to_features(*self._pool.crops(CALIBRATION_CROPS, self.recipe.crop))

            def calibrate() -> None:
                with torch.no_grad():
                    for q in (0, Q_LEVELS // 3, 2 * Q_LEVELS // 3, Q_LEVELS - 1):
                        self.network(
                            features, torch.full((len(features),), q, device=features.device), noise=False
                        )

            self.checkpoint.scales = find_scales(self.network.prior, calibrate)
        return self.checkpoint.scales

    def _exact_loss(self, features: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rate alone: nothing that is trained here reaches the picture but through a rounding."""
        with torch.no_grad():
            latent, hyper = self.network.analyse(features, q)
        _, latent_bits, hyper_bits = self.network.code(latent, hyper, q, self._exact_prior)
        rate = (latent_bits + hyper_bits) / (features.shape[2] * features.shape[3] * 64)
        return (rate / rate_lambda(q).sqrt()).mean() * LOSS_SCALE, rate.mean(), torch.ones_like(rate).mean()

    def _intra_loss(self, features: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coded = self.network(features, q)
        rate = (coded.latent_bits + coded.hyper_bits) / (features.shape[2] * features.shape[3] * 64)
        distortion = mse_611(coded.features, features)
        weight = rate_lambda(q)
        # Over sqrt(lambda), so that no end of the range drowns the other.
        loss = ((rate + weight * distortion) / weight.sqrt()).mean() * LOSS_SCALE
        return loss, rate.mean(), distortion.mean()

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
        keep = min(0.9995, self._steps / (self._steps + 50.0)) ** AVERAGE_EVERY_STEPS
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


def _optimisers(network: IntraNetwork, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """One for the matrices inside the blocks; AdamW for all else, the scales of q at a higher rate."""
    inner, outer, scales = _parameter_groups(network, "prior." if recipe.stage == "exact" else "")
    make, own_rate = INNER_OPTIMISERS[recipe.optimiser]
    return [
        make(inner, lr=recipe.inner_rate or own_rate),
        torch.optim.AdamW(
            [{"params": outer}] + [{"params": scales, "lr": SCALES_RATE * recipe.outer_rate}] * bool(scales),
            recipe.outer_rate,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        ),
    ]


def _parameter_groups(network: IntraNetwork, beginning: str) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of the parameters whose names begin so: matrices inside the blocks, all else, and the scales of q."""
    inner, outer, scales = [], [], []
    for name, parameter in network.named_parameters():
        if not name.startswith(beginning):
            parameter.requires_grad_(False)
            continue
        is_matrix = parameter.ndim == 4 and parameter.shape[2] == 1 and parameter.shape[1] > 1
        if name.startswith("q_"):
            scales.append(parameter)
        elif is_matrix and not name.startswith(OUTER_LAYERS):
            inner.append(parameter)
        else:
            outer.append(parameter)
    return inner, outer, scales
