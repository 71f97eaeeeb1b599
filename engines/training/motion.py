"""Motion: found coarse to fine, coded on three grids in quarter pels where it pays, and applied.

A field is [B, 2, h, w], (x, y); search speaks in pixels, everything coded in whole quarter pels. What integers do
here is defined by zvc69_cli.codec.motion; this module computes the same in float tensors, with gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.model import Block, round_through, rounded_for_rate
from engines.training.scales import SPREAD_HIGH, SPREAD_LOW

STRIDES = (32, 16, 8)  # luma pixels a cell, coarse to fine
REACH = 3  # whole pels that one level of the search looks around
VECTOR_LIMIT = 2047  # quarter pels
NEAR_LIMIT = 32  # quarter pels that the prior sees of the distance to the predicted motion
QUARTERS = 4
SEARCHED = (16, 8, 4)  # how far the luma is averaged down for each network of the search
REFINED = (2, 2, 1, 1)  # and for each plain refinement after them
SEARCH_CELL = 4  # pixels of its pyramid level that one vector of the search covers
LEAST_CURVATURE = 1e-7
SEARCH_WIDTH, PRIOR_WIDTH = 48, 32
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


def grow(field: Tensor, factor: int) -> Tensor:
    """Bilinear, half-sample centres."""
    return F.interpolate(field, scale_factor=factor, mode="bilinear", align_corners=False)


def warp(plane: Tensor, field: Tensor) -> Tensor:
    """plane [B, 1, H, W] moved by a field [B, 2, H, W] in pixels, bilinear, edges continued."""
    height, width = plane.shape[2:]
    columns = torch.arange(width, dtype=torch.float32, device=plane.device) + field[:, 0]
    rows = torch.arange(height, dtype=torch.float32, device=plane.device)[:, None] + field[:, 1]
    places = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], -1)
    return F.grid_sample(plane, places, mode="bilinear", padding_mode="border", align_corners=True)


def warp_planes(planes: tuple[Tensor, Tensor, Tensor], field: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Y, U and V moved by a field on the 1/8 grid, in quarter pels of luma."""
    full = grow(field / QUARTERS, STRIDES[-1])
    half = F.avg_pool2d(full, 2) / 2
    y, u, v = planes
    return warp(y, full), warp(u, half), warp(v, half)


class SearchLevel(nn.Module):
    """One pyramid level: the best of 49 shifts, softly, then a network's correction."""

    def __init__(self) -> None:
        super().__init__()
        shifts = 2 * REACH + 1
        self.entry = nn.Conv2d(shifts**2 + 2 * SEARCH_CELL**2 + 2, SEARCH_WIDTH, 1)
        self.block0 = Block(SEARCH_WIDTH, SEARCH_WIDTH)
        self.block1 = Block(SEARCH_WIDTH, SEARCH_WIDTH)
        self.head = nn.Conv2d(SEARCH_WIDTH, 2, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, current: Tensor, reference: Tensor, field: Tensor) -> Tensor:
        """A better field, in pixels of this level; the luma [B, 1, H, W], the field [B, 2, H/4, W/4]."""
        with torch.no_grad():  # the search itself is not learned; the network after it is
            found, seen = self.look(current, reference, field)
        return field + found + self.head(self.block1(self.block0(self.entry(seen))))

    def look(self, current: Tensor, reference: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """What the shifts say, and all that the network sees."""
        moved = warp(reference, grow(field, SEARCH_CELL))
        padded = F.pad(moved, (REACH,) * 4, mode="replicate")
        height, width = current.shape[2:]
        offsets = [(row, column) for row in range(2 * REACH + 1) for column in range(2 * REACH + 1)]
        costs = torch.cat(
            [
                F.avg_pool2d(
                    (current - padded[:, :, row : row + height, column : column + width]).abs(), SEARCH_CELL
                )
                for row, column in offsets
            ],
            1,
        )
        steps = torch.tensor(offsets, dtype=torch.float32, device=current.device) - REACH
        rows, columns = (steps[:, axis][None, :, None, None] for axis in (0, 1))
        smooth = F.avg_pool2d(F.pad(costs, (1,) * 4, mode="replicate"), 3, 1)
        smooth = smooth + 0.002 * (rows.abs() + columns.abs())  # a small shift, where nothing tells them apart
        share = F.softmax(-160 * smooth, 1)
        found = torch.stack([(share * columns).sum(1), (share * rows).sum(1)], 1)
        pictures = [F.pixel_unshuffle(each, SEARCH_CELL) for each in (current, moved)]
        return found, torch.cat([smooth * 8, *pictures, found], 1)


class MotionSearch(nn.Module):
    """Pixels of motion on the grids of STRIDES; the luma's sides are multiples of 64.

    Networks look at the luma averaged down by 16, 8 and 4; by 2 and by 1 a plain refinement says the rest: no less
    exactly than a network there, at a fraction of the work. Coarse fields are means of the finest: they predict 1 to
    4 dB better than what the search finds on their grids, so that fewer cells need vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(SearchLevel() for _ in SEARCHED)

    def forward(self, current: Tensor, reference: Tensor) -> tuple[Tensor, ...]:
        currents, references = pyramid(current), pyramid(reference)
        field: Tensor | None = None
        for level, scale in zip(self.levels, SEARCHED, strict=True):
            if field is None:
                height, width = (side // SEARCH_CELL for side in currents[scale].shape[2:])
                field = torch.zeros(len(current), 2, height, width, device=current.device)
            else:
                field = 2 * grow(field, 2)
            field = level(currents[scale], references[scale], field)
        assert field is not None
        field = grow(field, 2) * SEARCHED[-1]
        for scale in REFINED:
            found = refinement(currents[scale], references[scale], field.detach() / scale)
            field = field + found * scale
        return tuple(F.avg_pool2d(field, stride // STRIDES[-1]) for stride in STRIDES)


def pyramid(plane: Tensor) -> dict[int, Tensor]:
    """A plane averaged down, by the factor."""
    planes = {1: plane}
    for factor in (2, 4, 8, 16):
        planes[factor] = F.avg_pool2d(planes[factor // 2], 2)
    return planes


@torch.no_grad()
def refinement(current: Tensor, reference: Tensor, field: Tensor) -> Tensor:
    """What to add to a field in pixels of these planes: the best of nine shifts, and the parabola around it.

    Prediction gains 2 dB by two at half the size and two at the whole (first frames of four clips, distances 1 and 4).
    """
    cell = current.shape[2] // field.shape[2]
    moved = F.pad(warp(reference, grow(field, cell)), (1,) * 4, mode="replicate")
    height, width = current.shape[2:]
    errors = torch.cat(
        [
            F.avg_pool2d((current - moved[:, :, row : row + height, column : column + width]) ** 2, cell)
            for row in range(3)
            for column in range(3)
        ],
        1,
    )
    around = F.avg_pool2d(F.pad(errors, (1,) * 4, mode="replicate"), 3, 1)
    errors = (errors + around) / 2
    best = errors.argmin(1, keepdim=True)
    row, column = best // 3, best % 3
    least = errors.gather(1, best)

    def step(down: int, right: int) -> Tensor:
        """Where the parabola through the best shift and its two neighbours is least."""
        before, behind = (
            errors.gather(1, (row + sign * down).clamp(0, 2) * 3 + (column + sign * right).clamp(0, 2))
            for sign in (-1, 1)
        )
        place = 0.5 * (before - behind) / (before + behind - 2 * least).clamp_min(LEAST_CURVATURE)
        is_inside = (row if down else column) == 1
        return place.clamp(-0.5, 0.5) * is_inside

    return torch.cat([column - 1 + step(0, 1), row - 1 + step(1, 0)], 1)


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
    reference: Tensor,
    predicted: Motion,
    weight: Tensor,
    share: float,
    noise: bool,
) -> CodedMotion:
    """Code a field where it pays.

    prior               a MotionPrior, or what stands in for it (engines.training.inter.Passes)
    found               in pixels, coarse to fine
    current, reference  luma that tells what a vector is worth
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
        residual = found[level] * QUARTERS - parent
        rounded = round_through(residual)
        with torch.no_grad():
            gain = (
                _worth(_error(current, reference, parent, stride), weight)
                - _worth(_error(current, reference, parent + rounded, stride), weight)
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
    """A field on the next finer grid: bilinear, in integers."""
    exact = grow(field, 2)
    return exact + (torch.floor(exact + 0.5) - exact).detach()


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


def _error(current: Tensor, reference: Tensor, field: Tensor, stride: int) -> Tensor:
    """Mean squared error of every cell under a field in quarter pels."""
    moved = warp(reference, grow(field / QUARTERS, stride))
    return F.avg_pool2d((current - moved) ** 2, stride)


def _worth(error: Tensor, weight: Tensor) -> Tensor:
    """Bits a pixel that a mean squared error costs at lambda: reverse water-filling.

    Below the water level it stays and costs lambda times itself; above it is coded away at half a bit a factor of 2.
    """
    level = 1 / (2 * math.log(2) * weight)
    coded = 0.5 * torch.log2((error / level).clamp_min(1)) + 1 / (2 * math.log(2))
    return torch.where(error > level, coded, weight * error)
