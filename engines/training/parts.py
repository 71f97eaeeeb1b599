"""The parts of P and B frames, each trained alone on stored frames: `python -m engines.training.parts PART CHECKPOINT`.

residual  the entropy model, by the bits of stored levels; --exact trains the integers that will run
filter    the loop filter, by the error that it leaves of what it is given
blend     the mask that blends two references, by the error of the blend
classes   the band weights of the shrunk prediction, by alternating assignment
vectors   the motion prior as integers, by the bits of stored vectors
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engines.training.exact import (
    ExactMotionPass,
    ExactResidualPrior,
    find_residual_scales,
    motion_passes,
    scales_below,
)
from engines.training.from_bundle import checkpoint_of_bundle
from engines.training.inter import InterNetwork
from engines.training.model import Pointwise, psnr_611, weighted_error
from engines.training.motion import even_cells, laplace_bits
from engines.training.muon import Muon
from engines.training.residual import (
    coefficient_steps,
    forward_transform,
    input_units,
    inverse_transform,
)
from engines.training.store import CELLS, CROP, MOTION_TARGETS, VECTOR_FIELDS, StoredFrames
from engines.training.turned import (
    TURNS,
    turned_edges,
    turned_features,
    turned_inputs,
    turned_levels,
)
from zvc69_cli.codec.residual.context import LEVEL_LIMIT
from zvc69_cli.codec.residual.layout import CLASSES, GROUPS

REPORT_STEPS: Final = 100
EVALUATION_S: Final = 600.0
EVALUATED: Final = 40  # frames at a time
WARM_UP_STEPS: Final = 50
TURN_SHARES: Final = {"mirrored": 0.5, "flipped": 0.5, "transposed": 0.3}
STORED_SHARE: Final = 0.6  # of the filter's batches, those with the levels that the encoder chose
ROUNDING_OFFSETS: Final = (0.2, 0.25, 0.3, 0.35)  # of the other batches
CALIBRATED: Final = 240  # frames that show how far activations reach
ROUNDS: Final = 6  # of assignment and weights
CLASS_BITS: Final = 2.0
HIGHEST_WEIGHT: Final = 1.1


class Part(ABC):
    """One part of the codec and what it is trained on.

    batch  frames, or fields of vectors, in a step
    """

    batch = 8
    matrix_rate, rate, decay = 0.003, 2e-3, 1e-5

    def __init__(
        self, network: InterNetwork, checkpoint: Checkpoint, train: StoredFrames, val: StoredFrames
    ) -> None:
        self.network, self.checkpoint, self.train, self.val = network, checkpoint, train, val

    @property
    @abstractmethod
    def trained(self) -> nn.Module: ...

    @abstractmethod
    def loss(self) -> Tensor:
        """Of a batch that is drawn at random."""

    @abstractmethod
    def evaluated(self) -> str:
        """What the part reaches on the held-out frames, in words."""

    def by_q(self, values: Tensor, frames: Tensor | None = None) -> str:
        """Means over ten q each."""
        q = self.val.q if frames is None else self.val.q[frames]
        found = []
        for low in range(0, 128, 10):
            chosen = (q >= low) & (q < low + 10)
            if chosen.any():
                found.append(f"{low}: {values[chosen].mean():.4f}")
        return ", ".join(found)


class ResidualPart(Part):
    """The entropy model; the loss weighs each q so that a share of its bits counts alike everywhere."""

    is_exact = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._exact: ExactResidualPrior | None = None
        if self.is_exact:
            found = scales_below(self.checkpoint.inter_scales or {}, "residual.")
            scales = found or find_residual_scales(self.network.residual, self._calibrate)
            self.checkpoint.inter_scales = (self.checkpoint.inter_scales or {}) | {
                f"residual.{name}": pair for name, pair in scales.items()
            }
            self._exact = ExactResidualPrior(self.network.residual, scales)

    @property
    def trained(self) -> nn.Module:
        return self.network.residual

    def loss(self) -> Tensor:
        index = torch.randint(0, len(self.train), (self.batch,))
        levels, inputs = self._stored(self.train, index)
        for turn in _drawn_turns():
            levels, inputs = turned_levels(levels, turn), turned_inputs(inputs, turn)
        bits = self.network.residual.bits(levels, self._indexes(levels, inputs)).sum((1, 2, 3)) / CROP**2
        weight = 1 / (0.004 * torch.exp(0.062 * self.train.q[index]) + 0.01)
        return (weight * bits).mean()

    def evaluated(self) -> str:
        found = []
        for index in _whole(self.val):
            levels, inputs = self._stored(self.val, index)
            indexes = self._indexes(levels, inputs)
            indexes = torch.floor(indexes + 0.5) if self._exact else indexes
            found.append(self.network.residual.bits(levels, indexes).sum((1, 2, 3)) / CROP**2)
        return f"bits a pixel by q {self.by_q(torch.cat(found))}"

    def _stored(self, frames: StoredFrames, index: Tensor) -> tuple[Tensor, Tensor]:
        levels = frames("levels", index).clamp(-LEVEL_LIMIT, LEVEL_LIMIT)
        return levels, frames("inputs", index)

    def _indexes(self, levels: Tensor, inputs: Tensor) -> Tensor:
        if self._exact is not None:
            return self._exact(levels, inputs)
        return self.network.residual(levels, inputs * input_units().to(inputs).view(1, -1, 1, 1))

    def _calibrate(self) -> None:
        with torch.no_grad():
            for index in _whole(self.val):
                if int(index[0]) < CALIBRATED:
                    self.network.residual(*self._float_inputs(index))

    def _float_inputs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        levels, inputs = self._stored(self.val, index)
        return levels, inputs * input_units().to(inputs).view(1, -1, 1, 1)


class ExactResidualPart(ResidualPart):
    """The entropy model through the integers that it will run as."""

    is_exact = True
    matrix_rate, rate = 0.001, 6e-4


class FilterPart(Part):
    """The loop filter; the loss is the log of the error that it leaves against what was there."""

    batch = 12
    matrix_rate, rate, decay = 0.004, 1e-3, 1e-4

    @property
    def trained(self) -> nn.Module:
        return self.network.loop_filter

    def loss(self) -> Tensor:
        index = torch.randint(0, len(self.train), (self.batch,))
        offset = None
        if torch.rand(()) >= STORED_SHARE:
            offset = ROUNDING_OFFSETS[int(torch.randint(0, len(ROUNDING_OFFSETS), ()))]
        source, pictures, edges = self._pictures(self.train, index, offset)
        for turn in _drawn_turns():
            source = turned_features(source, turn)
            pictures = tuple(turned_features(each, turn) for each in pictures)
            edges = turned_edges(edges, turn)
        q = self.train.q[index]
        before = weighted_error(pictures[0], source, q)
        after = weighted_error(self.network.loop_filter(pictures, edges, q), source, q)
        return torch.log((after + 1e-7) / (before + 1e-7)).mean()

    def evaluated(self) -> str:
        gains = []
        for index in _whole(self.val):
            source, pictures, edges = self._pictures(self.val, index, None)
            filtered = self.network.loop_filter(pictures, edges, self.val.q[index])
            gains.append(psnr_611(filtered, source) - psnr_611(pictures[0], source))
        return f"gain in dB by q {self.by_q(torch.cat(gains))}"

    def _pictures(
        self, frames: StoredFrames, index: Tensor, offset: float | None
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """The source, what the filter is given, and the edges.

        offset  of rounding, where the levels are chosen anew in the units that code any; None takes those stored
        """
        source, blend, first, last, levels, classes = (
            frames(name, index) for name in ("source", "blend", "first", "last", "levels", "classes")
        )
        steps = coefficient_steps(frames.q[index])
        shrunk = self.network.band_weights[classes[:, 0].long()].permute(0, 3, 1, 2) * forward_transform(blend)
        if offset is not None:
            whole = (forward_transform(source) - shrunk) / steps
            coded = F.max_pool2d((levels != 0).any(1, keepdim=True).float(), 2).repeat_interleave(2, 2)
            levels = torch.sign(whole) * torch.floor(whole.abs() + offset) * coded.repeat_interleave(2, 3)
        picture = inverse_transform(shrunk + levels * steps)
        return source, (picture, inverse_transform(shrunk), first, last), frames("edges", index)


class BlendPart(Part):
    """The mask of two references."""

    matrix_rate, rate, decay = 0.003, 1e-3, 1e-4

    @property
    def trained(self) -> nn.Module:
        return self.network.blend

    def loss(self) -> Tensor:
        of_b = torch.nonzero(self.train.is_b).flatten()
        index = of_b[torch.randint(0, len(of_b), (self.batch,))]
        source, first, last = (self.train(name, index) for name in ("source", "first", "last"))
        for turn in _drawn_turns():
            source, first, last = (turned_features(each, turn) for each in (source, first, last))
        return self._log_ratio(source, first, last, self.train.q[index]).mean()

    def evaluated(self) -> str:
        ratios, kept = [], []
        for whole in _whole(self.val):
            index = whole[self.val.is_b[whole]]
            if len(index):
                planes = (self.val(name, index) for name in ("source", "first", "last"))
                ratios.append(self._log_ratio(*planes, self.val.q[index]))
                kept.append(index)
        gains = -10 / math.log(10) * torch.cat(ratios)
        return f"gain over the mean of both in dB by q {self.by_q(gains, torch.cat(kept))}"

    def _log_ratio(self, source: Tensor, first: Tensor, last: Tensor, q: Tensor) -> Tensor:
        mean = weighted_error((first + last) / 2, source, q)
        return torch.log((weighted_error(self.network.blend(first, last), source, q) + 1e-6) / (mean + 1e-6))


class VectorsPart(Part):
    """The passes of the motion prior, through the integers that they run as."""

    batch = 32
    matrix_rate, rate = 3e-4, 3e-4

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        scales = self.checkpoint.inter_scales or {}
        self._passes: dict[str, ExactMotionPass] = {}
        for stem, each in motion_passes(self.network).items():
            _, order, level, _ = stem.split(".")
            self._passes[f"vectors_{level}_{order}"] = ExactMotionPass(each, scales_below(scales, stem))

    @property
    def trained(self) -> nn.Module:
        return self.network.motion_prior

    def loss(self) -> Tensor:
        bits = []
        for name in VECTOR_FIELDS:
            index = torch.randint(0, self.train.count(name), (self.batch,))
            bits.append(self._bits(name, self.train(name, index)).mean())
        return torch.stack(bits).sum() / CELLS**2

    def evaluated(self) -> str:
        found = []
        for name in VECTOR_FIELDS:
            index = torch.arange(min(EVALUATED * 8, self.val.count(name)))
            found.append(f"{name} {self._bits(name, self.val(name, index)).mean():.1f}")
        return f"bits a field: {', '.join(found)}"

    def _bits(self, name: str, stored: Tensor) -> Tensor:
        """Bits of the cells that a pass codes, [B]."""
        inputs, coded, vector = stored.split([stored.shape[1] - MOTION_TARGETS, 1, 2], 1)
        head = self._passes[name](inputs)
        even = even_cells(inputs)
        here = even if name.endswith("first") else 1 - even
        of_vector = laplace_bits(torch.round(vector - head.means), head.log_spreads).sum(1, keepdim=True)
        is_coded, is_not = -F.logsigmoid(head.odds) / math.log(2), -F.logsigmoid(-head.odds) / math.log(2)
        return ((coded * (of_vector + is_coded) + (1 - coded) * is_not) * here).sum((1, 2, 3))


PARTS: Final[dict[str, type[Part]]] = {
    "residual": ResidualPart,
    "filter": FilterPart,
    "blend": BlendPart,
    "vectors": VectorsPart,
}


def train_part(part: Part, checkpoint: Checkpoint, out: Path, minutes: float) -> None:
    """Train for so long, evaluating and saving every ten minutes and at the end."""
    matrices = [each.weight for each in part.trained.modules() if isinstance(each, Pointwise)]
    known = {id(each) for each in matrices}
    others = [each for each in part.trained.parameters() if id(each) not in known]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = [
        (Muon(matrices, lr=part.matrix_rate), part.matrix_rate),
        (torch.optim.AdamW(others, lr=part.rate, weight_decay=part.decay), part.rate),
    ]
    _evaluate(part, "before")
    began, number, evaluated, losses = time.monotonic(), 0, time.monotonic(), []
    while (share := (time.monotonic() - began) / 60 / minutes) < 1:
        for optimiser, rate in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * (min(1, number / WARM_UP_STEPS) * (1 - share) + 1e-3)
        loss = part.loss()
        for optimiser, _ in optimisers:
            optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser, _ in optimisers:
            optimiser.step()
        number += 1
        losses.append(loss.item())
        if number % REPORT_STEPS == 0:
            mean = sum(losses[-REPORT_STEPS:]) / REPORT_STEPS
            print(f"{number} steps, {(time.monotonic() - began) / 60:.1f} minutes: loss {mean:.4f}", flush=True)
        if time.monotonic() - evaluated > EVALUATION_S:
            evaluated = time.monotonic()
            _save(part, checkpoint, out)
            _evaluate(part, f"{number} steps")
    _save(part, checkpoint, out)
    _evaluate(part, "after")


def learn_classes(network: InterNetwork, train: StoredFrames) -> None:
    """Band weights of each class, by alternating assignment of units and least squares of what remains."""
    weights = network.band_weights.clone()
    for number in range(ROUNDS):
        tops, bottoms = torch.zeros_like(weights), torch.zeros_like(weights)
        bits = 0.0
        for index in _whole(train):
            steps = coefficient_steps(train.q[index])
            source, blend = (forward_transform(train(name, index)) / steps for name in ("source", "blend"))
            costs = []
            for at, weight in enumerate(weights):
                left = source - weight[None, :, None, None] * blend
                cost = 0.5 * torch.log2(1 + 2 * left**2).sum(1, keepdim=True)
                costs.append(4 * F.avg_pool2d(cost, 2) + (CLASS_BITS if at else 0))
            least, chosen = torch.cat(costs, 1).min(1, keepdim=True)
            bits += least.sum().item()
            cells = chosen.repeat_interleave(2, 2).repeat_interleave(2, 3)
            for at, weight in enumerate(weights):
                left = source - weight[None, :, None, None] * blend
                share = (cells == at) / (1 + 2 * left**2)
                tops[at] += (share * source * blend).sum((0, 2, 3))
                bottoms[at] += (share * blend**2).sum((0, 2, 3))
        print(f"round {number + 1}: {bits / len(train) / CROP**2:.5f} bits a pixel by the estimate", flush=True)
        weights = ((tops + 1e-3) / (bottoms + 1e-3)).clamp(0, HIGHEST_WEIGHT)
        weights[0] = 1
        weights[:, [0, GROUPS[0].stop - 2, GROUPS[0].stop - 1]] = 1  # the means of Y, U and V
    network.band_weights.copy_(weights)
    assert len(weights) == CLASSES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.parts",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("part", choices=[*PARTS, "classes"])
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a bundle's folder, to go on from")
    parser.add_argument("--out", type=Path, help="where to save; by default over the checkpoint")
    parser.add_argument("--train", required=True, metavar="STEM,...", help="stores of engines.training.store")
    parser.add_argument("--val", required=True, metavar="STEM,...", help="stores of held-out clips")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--exact", action="store_true", help="residual: train the integers that will run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    if asked.checkpoint.is_dir():
        if asked.out is None:
            parser.error("a bundle is not written over: name a checkpoint with --out")
        checkpoint = checkpoint_of_bundle(asked.checkpoint)
    else:
        checkpoint = load_checkpoint(asked.checkpoint)
    network = checkpoint.inter_network()
    train, val = (StoredFrames(stems.split(",")) for stems in (asked.train, asked.val))
    out = asked.out or asked.checkpoint
    if asked.part == "classes":
        with torch.no_grad():
            learn_classes(network, train)
        save_checkpoint(replace(checkpoint, inter=network.state_dict()), out)
        return 0
    kind = ExactResidualPart if asked.part == "residual" and asked.exact else PARTS[asked.part]
    train_part(kind(network, checkpoint, train, val), checkpoint, out, asked.minutes)
    return 0


def _drawn_turns() -> list[str]:
    return [turn for turn in TURNS if torch.rand(()) < TURN_SHARES[turn]]


def _whole(frames: StoredFrames) -> list[Tensor]:
    return list(torch.arange(len(frames)).split(EVALUATED))


def _save(part: Part, checkpoint: Checkpoint, out: Path) -> None:
    save_checkpoint(replace(checkpoint, inter=part.network.state_dict()), out)


def _evaluate(part: Part, when: str) -> None:
    part.network.eval()
    with torch.no_grad():
        print(f"{when}: {part.evaluated()}", flush=True)
    part.network.train()


if __name__ == "__main__":
    sys.exit(main())
