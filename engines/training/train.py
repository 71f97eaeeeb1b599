"""Train a bundle's networks, a piece at a time.

    python -m engines.training.train --data FOLDER --out intra.pt --minutes 25
    python -m engines.training.train --data FOLDER --resume intra.pt --out intra.pt --minutes 25 --cooldown

A piece stops by itself, can be killed at any moment (two minutes are lost at most) and is gone on from on any device;
`--resume` takes a bundle's folder as well. The learning rate is constant after a short warm-up; `--cooldown` lets it
fall to nothing over the piece, which is what the weights of a bundle need.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engines.training.checkpoint import Checkpoint, WrongCheckpoint, load_checkpoint, save_checkpoint
from engines.training.data import NoTrainingData, PixelPool, Planes, load_pictures
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

STAGE = "intra"
WARM_UP_STEPS = 200
AVERAGE_EVERY_STEPS = 10
REPORT_EVERY_S = 15.0
SAVE_EVERY_S = 60.0
GRADIENT_LIMIT = 1.0
LOSS_SCALE = 20.0
OUTER_LAYERS = ("entry", "down", "up", "exit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one run is asked for."""

    data: Path
    out: Path
    resume: Path | None
    minutes: float
    device: torch.device
    batch: int
    crop: int
    muon_rate: float
    adam_rate: float
    cooldown: bool
    limit: int | None


class Trainer:
    """One network, its optimisers and its running average."""

    def __init__(self, piece: Piece, pictures: list[Planes]) -> None:
        self._piece = piece
        device = piece.device
        self._pool = PixelPool(pictures, device)
        self.checkpoint = self._start()
        self._network = IntraNetwork(self.checkpoint.size).to(device)
        self._network.load_state_dict(self.checkpoint.weights)
        self._network.train()
        inner, outer, scales = _parameter_groups(self._network)
        self._optimisers: list[torch.optim.Optimizer] = [
            Muon(inner, piece.muon_rate),
            torch.optim.AdamW(
                [{"params": outer}, {"params": scales, "lr": 4 * piece.adam_rate}],
                piece.adam_rate,
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        ]
        self._rates = [[group["lr"] for group in each.param_groups] for each in self._optimisers]
        self._steps = 0
        self._average = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
        if self.checkpoint.optimiser is not None:
            self._restore(self.checkpoint.optimiser)

    def step(self, part: float) -> Tensor:
        """One batch. part: how much of the piece is over, 0..1. Returns loss, bits a pixel, mean squared error."""
        piece = self._piece
        self._set_rates(part)
        planes = self._pool.crops(piece.batch, piece.crop)
        features = planes_to_features(*planes)
        q = torch.randint(0, Q_LEVELS, (piece.batch,), device=piece.device)
        coded = self._network(features, q)
        rate = (coded.latent_bits + coded.hyper_bits) / piece.crop**2
        distortion = mse_611(coded.features, features)
        weight = rate_lambda(q)
        # Over sqrt(lambda), so that no end of the range drowns the other.
        loss = ((rate + weight * distortion) / weight.sqrt()).mean() * LOSS_SCALE
        self._network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_LIMIT, foreach=True)
        for optimiser in self._optimisers:
            optimiser.step()
        self._steps += 1
        if self._steps % AVERAGE_EVERY_STEPS == 0:
            self._update_average()
        pixels = self.checkpoint.pixels
        pixels[STAGE] = pixels.get(STAGE, 0) + piece.batch * piece.crop**2
        return torch.stack([loss.detach(), rate.detach().mean(), distortion.detach().mean()])

    def save(self) -> None:
        self.checkpoint.weights = {name: value.cpu().clone() for name, value in self._average.items()}
        self.checkpoint.optimiser = {
            "network": self._network.state_dict(),
            "average": self._average,
            "states": [each.state_dict() for each in self._optimisers],
            "steps": self._steps,
        }
        save_checkpoint(self.checkpoint, self._piece.out)

    def _restore(self, stored: dict[str, object]) -> None:
        self._network.load_state_dict(stored["network"])  # type: ignore[arg-type]
        device = self._piece.device
        self._average = {name: value.to(device) for name, value in stored["average"].items()}  # type: ignore[attr-defined]
        for optimiser, state in zip(self._optimisers, stored["states"], strict=True):  # type: ignore[call-overload]
            optimiser.load_state_dict(state)
        self._steps = int(stored["steps"])  # type: ignore[call-overload]

    def _start(self) -> Checkpoint:
        """What `--resume` names, or a fresh network that starts as a block transform codec."""
        resume = self._piece.resume
        if resume is not None and resume.is_dir():
            from engines.training.export import checkpoint_of_bundle  # needs onnx, which a bare machine lacks

            return checkpoint_of_bundle(resume)
        if resume is not None:
            return load_checkpoint(resume)
        network = IntraNetwork()
        network.start_from_klt(*klt_basis(self._pool, ModelSize().latent))
        return Checkpoint(size=network.size, weights=dict(network.state_dict()))

    def _set_rates(self, part: float) -> None:
        factor = min(1.0, (self._steps + 1) / WARM_UP_STEPS)
        if self._piece.cooldown:
            factor *= 0.5 * (1 + math.cos(math.pi * part)) + 0.005
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(0.9995, self._steps / (self._steps + 50.0)) ** AVERAGE_EVERY_STEPS
        torch._foreach_lerp_(list(self._average.values()), list(self._network.state_dict().values()), 1 - keep)


def train(piece: Piece) -> Checkpoint:
    """Run one piece; returns what was saved at its end.

    raises  NoTrainingData, WrongCheckpoint
    """
    began = time.monotonic()
    trainer = Trainer(piece, load_pictures(piece.data, piece.crop, piece.limit))
    loaded = time.monotonic()
    print(f"ready after {loaded - began:.0f} s", flush=True)
    reported = saved = loaded
    sums, steps = torch.zeros(3, device=piece.device), 0
    while (part := (time.monotonic() - loaded) / 60 / piece.minutes) < 1:
        sums += trainer.step(part)
        steps += 1
        now = time.monotonic()
        if now - reported < REPORT_EVERY_S:
            continue
        loss, rate, distortion = (sums / steps).tolist()
        if not math.isfinite(loss):
            print("the loss is not finite: stopped, the last checkpoint is kept", flush=True)
            return trainer.checkpoint
        pixels = trainer.checkpoint.pixels[STAGE]
        trainer.checkpoint.history.append((STAGE, pixels, loss, rate, distortion))
        speed = steps * piece.batch * piece.crop**2 / (now - reported)
        print(
            f"{(now - loaded) / 60:6.1f} min  {pixels / 1e9:.3f} Gpx  {speed / 1e6:.2f} Mpx/s  "
            f"{1e3 * (now - reported) / steps:.0f} ms a step  loss {loss:.4f}  {rate:.4f} bit/px  "
            f"{-10 * math.log10(max(distortion, 1e-9)):.2f} dB",
            flush=True,
        )
        sums.zero_()
        steps, reported = 0, now
        if now - saved > SAVE_EVERY_S:
            trainer.save()
            saved = now
    trainer.save()
    return trainer.checkpoint


def _parameter_groups(network: IntraNetwork) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Matrices inside the blocks (Muon), everything else (AdamW), and the scales of q (AdamW, four times the rate)."""
    inner, outer, scales = [], [], []
    for name, parameter in network.named_parameters():
        if name.startswith("q_"):
            scales.append(parameter)
        elif (
            parameter.ndim == 4
            and parameter.shape[2] == 1
            and parameter.shape[1] > 1
            and not name.startswith(OUTER_LAYERS)
        ):
            inner.append(parameter)
        else:
            outer.append(parameter)
    return inner, outer, scales


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--stage", choices=[STAGE], default=STAGE)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards (*.tar), pictures or clips")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--resume", type=Path, help="checkpoint, or a bundle's folder, to go on from")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=int, default=0, help="crops a step; 0: 8 on a CPU, 64 elsewhere")
    parser.add_argument("--crop", type=int, default=0, help="side in pixels; 0: 240 on a CPU, 256 elsewhere")
    parser.add_argument("--muon-rate", type=float, default=0.01)
    parser.add_argument("--adam-rate", type=float, default=8e-4)
    parser.add_argument("--cooldown", action="store_true", help="let the rate fall to nothing over this piece")
    parser.add_argument("--limit", type=int, help="files to read at most")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args(arguments)
    name = asked.device if asked.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    on_cpu = name == "cpu"
    seed = asked.seed if asked.seed is not None else time.time_ns() % 2**31
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    piece = Piece(
        data=asked.data,
        out=asked.out,
        resume=asked.resume,
        minutes=asked.minutes,
        device=torch.device(name),
        # Planes of 256 x 256 fight for the same cache lines on some CPUs.
        batch=asked.batch or (8 if on_cpu else 64),
        crop=asked.crop or (240 if on_cpu else 256),
        muon_rate=asked.muon_rate,
        adam_rate=asked.adam_rate,
        cooldown=asked.cooldown,
        limit=asked.limit,
    )
    try:
        checkpoint = train(piece)
    except (NoTrainingData, WrongCheckpoint) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    print(f"{asked.out}: {checkpoint.pixels[STAGE] / 1e9:.3f} gigapixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
