"""The search for motion: networks coarse to fine, then blocks that step to where the error is least."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.model import Block
from engines.training.moving import QUARTERS, STRIDES, Samples, grow, moved_blocks, quarter_samples, warp

REACH = 3  # whole pels that one level of the search looks around
SEARCHED = (16, 8, 4)  # how far the luma is averaged down for each network of the search
SEARCH_CELL = 4  # pixels of its pyramid level that one vector of the search covers
SEARCH_WIDTH = 48
LEAST_SLOPE = 1e-4  # squared, a sample; without it a flat block steps anywhere


class Effort(NamedTuple):
    """How far blocks look for better vectors.

    half_reach, reach    whole samples around what is known so far, at half the size and at the whole
    half_rounds, rounds  how often a block asks its neighbours and steps on, likewise
    """

    half_reach: int
    half_rounds: int
    reach: int
    rounds: int


FULL = Effort(half_reach=3, half_rounds=1, reach=0, rounds=1)
EFFORTS = {
    "fast": Effort(half_reach=1, half_rounds=0, reach=0, rounds=0),
    "full": FULL,
    "thorough": Effort(half_reach=3, half_rounds=2, reach=1, rounds=2),
}


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
    """Quarter pels of motion on the grids of STRIDES; the luma's sides are multiples of 64.

    Networks look at the luma averaged down by 16, 8 and 4. From there on every cell of 8 is a block of its own: it
    takes what its neighbours found where that fits better, and steps to where the error should be least (Gauss and
    Newton); at half the size first. A coarser cell takes what fits best of the four below it. Prediction gains 1.6 dB
    on average by that against a plain refinement of smooth fields (first frames of four clips, distances 1 and 4).
    """

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(SearchLevel() for _ in SEARCHED)

    def forward(
        self, current: Tensor, reference: Tensor, samples: Samples, effort: Effort = FULL
    ) -> tuple[Tensor, ...]:
        """Fields of the grids of STRIDES in whole quarter pels; `samples` of the reference, sharp."""
        coarse = self.coarse(current, reference) * QUARTERS
        fields = refined(current, reference, samples, coarse.detach(), effort)
        slopes = [F.avg_pool2d(coarse, stride // STRIDES[-1]) for stride in STRIDES]
        return tuple(field + (slope - slope.detach()) for field, slope in zip(fields, slopes, strict=True))

    def coarse(self, current: Tensor, reference: Tensor) -> Tensor:
        """What the networks find, in pixels, on the finest grid."""
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
        return grow(field, 2) * SEARCHED[-1]


def pyramid(plane: Tensor) -> dict[int, Tensor]:
    """A plane averaged down, by the factor."""
    planes = {1: plane}
    for factor in (2, 4, 8, 16):
        planes[factor] = F.avg_pool2d(planes[factor // 2], 2)
    return planes


@torch.no_grad()
def refined(
    current: Tensor, reference: Tensor, samples: Samples, field: Tensor, effort: Effort
) -> tuple[Tensor, ...]:
    """Vectors of the grids of STRIDES in whole quarter pels, from a field on the finest grid in quarter pels."""
    finest = STRIDES[-1]
    half_samples = quarter_samples(F.avg_pool2d(reference, 2), sharp=False)
    half = Blocks(F.avg_pool2d(current, 2), half_samples, finest // 2, torch.round(field / 2))
    half.look_around(effort.half_reach)
    half.take_better([torch.zeros_like(half.field)])
    half.settle(effort.half_rounds)
    half.descend(1)

    blocks = Blocks(current, samples, finest, 2 * half.field)
    blocks.look_around(effort.reach)
    blocks.descend(2)
    blocks.settle(effort.rounds)
    fields = [blocks.field]
    for stride in STRIDES[-2::-1]:
        below = fields[0]
        first, *others = (below[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1))
        blocks = Blocks(current, samples, stride, first)
        blocks.take_better(others)
        blocks.descend(1)
        fields.insert(0, blocks.field)
    return tuple(fields)


class Blocks:
    """Blocks of a plane, each with the best vector so far and what it leaves.

    current  [B, 1, H, W]
    samples  of the reference
    cell     side of a block
    field    [B, 2, H / cell, W / cell], whole quarter samples of these planes
    """

    def __init__(self, current: Tensor, samples: Samples, cell: int, field: Tensor) -> None:
        self._samples, self._cell = samples, cell
        padded = F.pad(current, (1,) * 4, mode="replicate")
        right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
        down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
        self._current, self._right, self._down = (F.pixel_unshuffle(x, cell) for x in (current, right, down))
        xx, yy = ((slope**2).mean(1, True) + LEAST_SLOPE for slope in (self._right, self._down))
        xy = (self._right * self._down).mean(1, True)
        self._inverse = tuple(each / (xx * yy - xy**2) for each in (xx, xy, yy))
        self.field = field
        self._apart = self._current - moved_blocks(samples, field, cell)
        self._error = (self._apart**2).mean(1, True)

    def neighbours(self) -> list[Tensor]:
        """The vectors to the left, to the right, above and below."""
        padded = F.pad(self.field, (1,) * 4, mode="replicate")
        height, width = self.field.shape[2:]
        return [
            padded[:, :, 1 + row : 1 + row + height, 1 + column : 1 + column + width]
            for row, column in ((0, -1), (0, 1), (-1, 0), (1, 0))
        ]

    def look_around(self, reach: int) -> None:
        """Every whole sample as far as `reach` in both directions."""
        span = range(-reach, reach + 1)
        steps = [self.field.new_tensor([column, row]).view(1, 2, 1, 1) for row in span for column in span]
        self.take_better([self.field + QUARTERS * step for step in steps])

    def settle(self, rounds: int) -> None:
        """Round after round what the neighbours found, and a step from there."""
        for _ in range(rounds):
            self.take_better(self.neighbours())
            self.descend(1)

    def take_better(self, candidates: list[Tensor]) -> None:
        """Of each block's candidates the one that leaves least, if it is less than what is left now."""
        for field in candidates:
            apart = self._current - moved_blocks(self._samples, field, self._cell)
            error = (apart**2).mean(1, True)
            is_better = error < self._error
            self._error = torch.where(is_better, error, self._error)
            self.field = torch.where(is_better, field, self.field)
            self._apart = torch.where(is_better, apart, self._apart)

    def descend(self, steps: int) -> None:
        """To where the error of each block is least if its picture is linear there; at most a sample a step.

        The slopes are those of the picture itself (as in inverse search): they stay as they are from step to step.
        """
        xx, xy, yy = self._inverse
        for _ in range(steps):
            x, y = ((slope * self._apart).mean(1, True) for slope in (self._right, self._down))
            step = torch.cat([yy * x - xy * y, xx * y - xy * x], 1)
            self.take_better([self.field + torch.round(step.clamp(-1, 1) * QUARTERS)])
