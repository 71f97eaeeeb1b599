"""The networks of P and B frames, each trained alone: blending, the entropy model of the residual, the loop filter.

Features are [B, 96, h, w] samples in 0..1; coefficients lie in the order of codec.residual.layout.BAND_ORDER.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.model import Block, Modulation
from zvc69_cli.codec.entropy.layers import SCALE_LEVELS
from zvc69_cli.codec.residual.context import INPUTS, LOG_FRACTION
from zvc69_cli.codec.residual.layout import (
    BANDS,
    CLASSES,
    ENERGY_MEMBERS,
    GROUP_SIZES,
    GROUPS,
    PASSES,
    basis,
    group_of_pass,
)
from zvc69_cli.codec.residual.steps import quantiser_steps, steps_of_coefficients

PRIOR_WIDTH: Final = 80
FILTER_WIDTH: Final = 128
FILTER_BLOCKS: Final = 5
FILTER_EDGES: Final = 4  # planes that tell how far neighbouring vectors differ
BLEND_WIDTH: Final = 64
MID_GREY: Final = 0.5
PICTURE_SHARE: Final = 0.3  # of a difference between reference and picture, in steps, as the filter sees it
INDEX_UNIT: Final = 10.0  # table indexes in a unit of a head's output

_BASIS = torch.from_numpy(basis()).float()


def forward_transform(features: Tensor) -> Tensor:
    """The DCT of features less mid-grey."""
    return torch.einsum("kc,bchw->bkhw", _BASIS.to(features), features - MID_GREY)


def inverse_transform(coefficients: Tensor) -> Tensor:
    """Features of coefficients, mid-grey included."""
    return torch.einsum("kc,bkhw->bchw", _BASIS.to(coefficients), coefficients) + MID_GREY


def coefficient_steps(q: Tensor) -> Tensor:
    """The quantiser step of each coefficient at whole q [B]: [B, 96, 1, 1]."""
    rows = torch.from_numpy(np.stack([steps_of_coefficients(row) for row in quantiser_steps()]))
    return rows.to(q.device)[q.long()][:, :, None, None]


def feature_steps(q: Tensor) -> Tensor:
    """The quantiser step of the plane of each feature at whole q [B]: [B, 96, 1, 1]."""
    steps = coefficient_steps(q)
    luma = steps[:, :1].expand(-1, 64, -1, -1)
    return torch.cat([luma, steps[:, GROUPS[0].stop - 1 : GROUPS[0].stop].expand(-1, 32, -1, -1)], 1)


def input_units() -> Tensor:
    """What an integer of each plane of codec.residual.context.state_inputs is worth in the network: [41]."""
    units = [1 / 1024, 1 / 1024, 1.0] + [1.0] * (CLASSES + 2)
    units += [1 / (2 * LOG_FRACTION)] * (2 * len(ENERGY_MEMBERS) + 8)
    return torch.tensor(units + [1.0] * (INPUTS - len(units)), dtype=torch.double)


class ResidualPass(nn.Module):
    """One pass: a table index for each coefficient of a frequency group."""

    def __init__(self, number: int) -> None:
        super().__init__()
        group = group_of_pass(number)
        self.known = GROUPS[group].stop
        self.entry = nn.Conv2d(self.known + PRIOR_WIDTH, PRIOR_WIDTH, 1)
        self.block = Block(PRIOR_WIDTH, PRIOR_WIDTH)
        self.head = nn.Conv2d(PRIOR_WIDTH, GROUP_SIZES[group], 1)
        with torch.no_grad():
            self.head.weight.mul_(0.3)
            self.head.bias.fill_(1.2)

    def forward(self, known: Tensor, state: Tensor) -> Tensor:
        return self.head(self.block(self.entry(torch.cat([known[:, : self.known], state], 1))))


class ResidualPrior(nn.Module):
    """Predicts the table of every coefficient in six passes.

    tables  logits of a row's zero, one and end, [3, 64, 3], by which a row is priced while it is trained
    """

    def __init__(self) -> None:
        super().__init__()
        self.state_in = nn.Conv2d(INPUTS, PRIOR_WIDTH, 1)
        self.state = Block(PRIOR_WIDTH, PRIOR_WIDTH)
        self.passes = nn.ModuleList([ResidualPass(number) for number in range(PASSES)])
        spread = torch.exp(-2.3 + 0.135 * torch.arange(SCALE_LEVELS).float())
        shares = torch.stack([torch.exp(-0.65 / spread), torch.exp(-1 / spread), torch.exp(-1 / spread)], 1)
        self.tables = nn.Parameter(torch.logit(shares, 1e-7)[None].repeat(len(GROUPS), 1, 1))

    def forward(self, levels: Tensor, inputs: Tensor) -> Tensor:
        """Real table indexes in 0..63 of every coefficient, [B, 96, h, w], with the levels of passes before known.

        levels  [B, 96, h, w]
        inputs  [B, 41, h, w], codec.residual.context.state_inputs times input_units()
        """
        logs = torch.log2(1 + levels.abs())
        even = colours(*levels.shape[2:]).to(levels)
        state = self.state(self.state_in(inputs))
        known, parts = torch.zeros_like(logs), []
        for number, each in enumerate(self.passes):
            group = GROUPS[group_of_pass(number)]
            here = even if number % 2 == 0 else 1 - even
            indexes = (each(known, state) * INDEX_UNIT).clamp(0, SCALE_LEVELS - 1) * here
            parts.append(indexes)
            mask = torch.zeros(BANDS, device=levels.device)
            mask[group] = 1
            known = known + logs * here * mask[None, :, None, None]
        return torch.cat([one + other for one, other in zip(parts[::2], parts[1::2], strict=True)], 1)

    def bits(self, levels: Tensor, indexes: Tensor) -> Tensor:
        """What levels cost by rows at real indexes, which are mixed of the two nearest: [B, 96, h, w]."""
        size = levels.abs()
        low = indexes.detach().floor().clamp(max=SCALE_LEVELS - 2)
        part = (indexes - low)[..., None]
        low = low.long()
        found = []
        for number, group in enumerate(GROUPS):
            rows = self.tables[number]
            row = F.embedding(low[:, group], rows) * (1 - part[:, group])
            row = row + F.embedding(low[:, group] + 1, rows) * part[:, group]
            found.append(level_nats(size[:, group], row))
        return torch.cat(found, 1) / math.log(2) + (size > 0)


def level_nats(size: Tensor, row: Tensor) -> Tensor:
    """Cost of absolute levels without their signs.

    row  logits [..., 3]: that it is not 0, that it is above 1, and that it goes on from each size above 1
    """
    zero, one, more = row.unbind(-1)
    some, many = (size > 0).float(), (size > 1).float()
    nats = F.softplus(zero) - some * zero + some * (F.softplus(one) - many * one)
    return nats + many * (F.softplus(more) + (size - 2).clamp(min=0) * F.softplus(-more))


def colours(height: int, width: int) -> Tensor:
    """1 where the first pass of a group codes, else 0: [1, 1, height, width]."""
    rows, columns = torch.arange(height) // 2, torch.arange(width) // 2
    return ((rows[:, None] + columns[None]) % 2 == 0).float()[None, None]


class LoopFilter(nn.Module):
    """Adds to the reconstruction what a few blocks at 1/8 resolution find missing, in steps of the quantiser."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(4 * BANDS + FILTER_EDGES, FILTER_WIDTH, 1)
        self.exit = nn.Conv2d(FILTER_WIDTH, BANDS, 1)
        self.blocks = nn.Sequential(*[Block(FILTER_WIDTH, FILTER_WIDTH) for _ in range(FILTER_BLOCKS)])
        self.q_entry, self.q_exit = Modulation(FILTER_WIDTH), Modulation(FILTER_WIDTH)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)
        for block in self.blocks:
            block.start_as_identity()

    def forward(self, pictures: tuple[Tensor, Tensor, Tensor, Tensor], edges: Tensor, q: Tensor) -> Tensor:
        """The filtered picture.

        pictures  unfiltered, shrunk prediction, first and last moved reference
        edges     codec.picture.loop_filter.edge_planes, [B, 4, h, w]
        """
        picture, shrunk, first, last = pictures
        step = feature_steps(q)
        apart = [(each - picture) / step * PICTURE_SHARE for each in (first, last)]
        seen = torch.cat([picture - MID_GREY, (picture - shrunk) / step, *apart, edges], 1)
        x = self.q_exit(self.blocks(self.q_entry(self.entry(seen), q)), q)
        return picture + self.exit(x) * step


class BlendNetwork(nn.Module):
    """The mask by which two moved references are blended."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(2 * BANDS, BLEND_WIDTH, 1)
        self.block = Block(BLEND_WIDTH, BLEND_WIDTH)
        self.head = nn.Conv2d(BLEND_WIDTH, BANDS, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        mask = torch.sigmoid(self.head(self.block(self.entry(torch.cat([first, second], 1)))))
        return mask * first + (1 - mask) * second
