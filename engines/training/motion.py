"""Motion: coded on three grids in quarter pels, where it pays.

A field is [B, 2, h, w], (x, y), in whole quarter pels. zvc69_cli.codec.motion.fields defines the integer arithmetic;
this module computes the same in float tensors, with gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.model import Block, round_through, rounded_for_rate
from engines.training.moving import STRIDES, Samples, moved_blocks
from engines.training.scales import SPREAD_HIGH, SPREAD_LOW

VECTOR_LIMIT = 2047  # quarter pels
NEAR_LIMIT = 32  # quarter pels that the prior sees of the distance to the predicted motion
PRIOR_WIDTH = 32
FIRST_INPUTS, SECOND_INPUTS = 10, 14


class Motion(NamedTuple):
    """Coded motion to one reference, coarse to fine: fields in whole quarter pels, and where they were coded."""

    fields: tuple[Tensor, ...]
    coded: tuple[Tensor, ...]


def no_motion(batch: int, height: int, width: int, device: torch.device) -> Motion:
    """height, width  of the luma"""
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    return Motion(
        tuple(torch.zeros(batch, 2, *size, device=device) for size in sizes),
        tuple(torch.zeros(batch, 1, *size, device=device) for size in sizes),
    )


def scaled_motion(motion: Motion, numerator: int, denominator: int) -> Motion:
    """Motion over another distance in time, in whole quarter pels."""
    fields = tuple(
        torch.floor((2 * field * numerator + denominator) / (2 * denominator)).clamp(
            -VECTOR_LIMIT, VECTOR_LIMIT
        )
        for field in motion.fields
    )
    return Motion(fields, motion.coded)


class MotionHead(NamedTuple):
    """What the prior says of a grid: log odds that a cell is coded, means in quarter pels, log spreads."""

    odds: Tensor
    means: Tensor
    log_spreads: Tensor


class MotionPass(nn.Module):
    """One pass over one grid. [B, inputs, h, w], integers -> MotionHead"""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.entry = nn.Conv2d(inputs, PRIOR_WIDTH, 1)
        self.block0 = Block(PRIOR_WIDTH, PRIOR_WIDTH)
        self.block1 = Block(PRIOR_WIDTH, PRIOR_WIDTH)
        self.head = nn.Conv2d(PRIOR_WIDTH, 5, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.head.bias.data[0] = -2.0
        self.head.bias.data[3:] = 1.0

    def forward(self, inputs: Tensor) -> MotionHead:
        units = input_units(self.inputs).to(inputs).view(1, -1, 1, 1)
        return split_head(self.head(self.block1(self.block0(self.entry(inputs * units)))))


def input_units(inputs: int) -> Tensor:
    """What one integer is worth in each input of a pass: gradients, distance, vector, flags; then what is decoded."""
    first = [1.0] * 4 + [0.5] * 2 + [1 / 16] * 2 + [1.0] * 2
    return torch.tensor(first + [0.25] * 2 + [1.0] * 2 if inputs == SECOND_INPUTS else first)


def split_head(head: Tensor) -> MotionHead:
    return MotionHead(head[:, :1], head[:, 1:3], head[:, 3:].clamp(-SPREAD_LOW, SPREAD_HIGH))


class MotionPrior(nn.Module):
    """Both passes over every grid."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ModuleList(MotionPass(FIRST_INPUTS) for _ in STRIDES)
        self.second = nn.ModuleList(MotionPass(SECOND_INPUTS) for _ in STRIDES)


@dataclass(frozen=True, slots=True)
class CodedMotion:
    """motion: what a decoder has; bits: of it, a sample [B]"""

    motion: Motion
    bits: Tensor


def code_motion(
    prior: Any,
    found: tuple[Tensor, ...],
    current: Tensor,
    samples: Samples,
    predicted: Motion,
    weight: Tensor,
    share: float,
    noise: bool,
) -> CodedMotion:
    """Code a field where it pays.

    prior               a MotionPrior, or what stands in for it (engines.training.inter.Passes)
    found               in quarter pels, coarse to fine
    current, samples    luma, and that of the reference, which tell what a vector is worth
    predicted           motion that the decoder expects
    weight              lambda a sample
    """
    weight = weight.view(-1, 1, 1, 1)
    bits = torch.zeros(len(current), device=current.device)
    fields: list[Tensor] = []
    maps: list[Tensor] = []
    for level, stride in enumerate(STRIDES):
        if not fields:
            parent = predicted.fields[0]
            parent_coded = torch.zeros_like(parent[:, :1])
        else:
            height, width = predicted.fields[level].shape[2:]
            parent = grown_integers(fields[-1])[:, :, :height, :width]
            parent_coded = F.interpolate(maps[-1], scale_factor=2)[:, :, :height, :width]
        residual = found[level] - parent
        rounded = round_through(residual)
        with torch.no_grad():
            gain = (
                _worth(_error(current, samples, parent, stride), weight)
                - _worth(_error(current, samples, parent + rounded, stride), weight)
            ) * stride**2
            seen = prior_inputs(parent, predicted.fields[level], parent_coded, predicted.coded[level])
            moves = rounded.abs().sum(1, keepdim=True) > 0
            even = even_cells(parent)
        head = prior.first[level](seen)
        with torch.no_grad():
            first_coded = ((share * gain > _price(head, rounded)) & moves).float() * even
            decoded = torch.cat([rounded * first_coded, first_coded, even.expand_as(first_coded)], 1)
            seen = torch.cat([seen, decoded], 1)
        head2 = prior.second[level](seen)
        with torch.no_grad():
            second_coded = ((share * gain > _price(head2, rounded)) & moves).float() * (1 - even)
            coded = first_coded + second_coded
        merged = MotionHead(*(a * even + b * (1 - even) for a, b in zip(head, head2, strict=True)))
        vector = laplace_bits(rounded_for_rate(residual - merged.means, noise), merged.log_spreads)
        is_coded, is_not = -F.logsigmoid(merged.odds), -F.logsigmoid(-merged.odds)
        spent = coded * (vector.sum(1, keepdim=True) + is_coded / math.log(2)) + (
            1 - coded
        ) * is_not / math.log(2)
        bits = bits + spent.sum((1, 2, 3))
        fields.append((parent + rounded * coded).clamp(-VECTOR_LIMIT, VECTOR_LIMIT))
        maps.append(coded)
    return CodedMotion(Motion(tuple(fields), tuple(maps)), bits)


def prior_inputs(parent: Tensor, predicted: Tensor, parent_coded: Tensor, predicted_coded: Tensor) -> Tensor:
    """What the first pass sees, integers: [B, 10, h, w]."""
    parent = parent.detach()
    left = parent - F.pad(parent, (1, 0, 0, 0), mode="replicate")[..., :-1]
    upper = parent - F.pad(parent, (0, 0, 1, 0), mode="replicate")[..., :-1, :]
    near = (predicted - parent).clamp(-NEAR_LIMIT, NEAR_LIMIT)
    return torch.cat([left, upper, near, parent, parent_coded, predicted_coded], 1)


def grown_integers(field: Tensor) -> Tensor:
    """A field on the next finer grid: each vector for the four cells below it."""
    return F.interpolate(field, scale_factor=2)


def even_cells(grid: Tensor) -> Tensor:
    """1 where the first pass codes, [1, 1, h, w]."""
    height, width = grid.shape[2:]
    cells = torch.arange(height)[:, None] + torch.arange(width)
    return (cells % 2 == 0).float()[None, None].to(grid.device)


def laplace_bits(residual: Tensor, log_spread: Tensor) -> Tensor:
    """Bits that a rounded Laplace distribution of this spread gives to each residual."""
    spread, distance = torch.exp(log_spread), residual.abs()

    def below(edge: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-edge.abs() / spread)
        return torch.where(edge > 0, 1 - tail, tail)

    return -torch.log2((below(distance + 0.5) - below(distance - 0.5)).clamp_min(1e-7))


def _price(head: MotionHead, rounded: Tensor) -> Tensor:
    """Bits that coding a cell costs more than leaving it."""
    vector = laplace_bits(torch.round(rounded - head.means), head.log_spreads).sum(1, keepdim=True)
    return vector + (F.logsigmoid(-head.odds) - F.logsigmoid(head.odds)) / math.log(2)


def _error(current: Tensor, samples: Samples, field: Tensor, stride: int) -> Tensor:
    """Mean squared error of every cell under a field in quarter pels."""
    apart = F.pixel_unshuffle(current, stride) - moved_blocks(samples, field, stride)
    return (apart**2).mean(1, True)


def _worth(error: Tensor, weight: Tensor) -> Tensor:
    """Bits a pixel that a mean squared error costs at lambda: reverse water-filling.

    Below the water level it stays and costs lambda times itself; above it is coded away at half a bit a factor of 2.
    """
    level = 1 / (2 * math.log(2) * weight)
    coded = 0.5 * torch.log2((error / level).clamp_min(1)) + 1 / (2 * math.log(2))
    return torch.where(error > level, coded, weight * error)
