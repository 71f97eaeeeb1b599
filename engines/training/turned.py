"""Stored frames mirrored and transposed, as if the clip had been: eight times the pictures.

Mirroring a picture mirrors the grid of cells and the samples in each cell; levels keep their magnitude, and entropy
models see nothing else of them. Transposing also exchanges u and v of each band, x and y of vectors, and the left and
the upper neighbour. The sides of the grid are multiples of four cells, so that the coarsest cells of motion fit.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from zvc69_cli.codec.residual.context import INPUTS
from zvc69_cli.codec.residual.layout import BAND_ORDER, BANDS, CLASSES, ENERGY_MEMBERS, PLANE_SIDES

TURNS: Final = ("mirrored", "flipped", "transposed")  # left to right, top to bottom, at the diagonal
_PLACES: Final = 3 + CLASSES  # of the two planes of the place in the unit
_SIZES: Final = _PLACES + 2 + 2 * len(ENERGY_MEMBERS)  # of x, y, left and upper of each reference


def turned_grid(x: Tensor, turn: str) -> Tensor:
    """[B, planes, rows, columns] with its cells moved; what is in a cell stays."""
    if turn == "transposed":
        return x.transpose(2, 3)
    return x.flip(3) if turn == "mirrored" else x.flip(2)


def turned_features(x: Tensor, turn: str) -> Tensor:
    """Features [B, 96, rows, columns] of the turned picture."""
    return turned_grid(x[:, _SAMPLES[turn]], turn)


def turned_levels(x: Tensor, turn: str) -> Tensor:
    """Levels [B, 96, rows, columns] of the turned picture, but for their signs."""
    return turned_grid(x[:, _TRANSPOSED_BANDS] if turn == "transposed" else x, turn)


def turned_edges(x: Tensor, turn: str) -> Tensor:
    """codec.picture.loop_filter.edge_planes [B, 4, rows, columns] of the turned picture."""
    if turn == "transposed":
        return turned_grid(x[:, [1, 0, 3, 2]], turn)
    return _moved_edges(turned_grid(x, turn), turn, (0, 2), (1, 3))


def turned_inputs(x: Tensor, turn: str) -> Tensor:
    """codec.residual.context.state_inputs [B, 41, rows, columns] of the turned picture."""
    turned = turned_grid(x, turn)
    if turn == "transposed":
        order = list(range(INPUTS))
        for at in (_SIZES, _SIZES + 4):
            order[at : at + 4] = [at + 1, at, at + 3, at + 2]
        order[_PLACES : _PLACES + 2] = [_PLACES + 1, _PLACES]
        return turned[:, order]
    turned = _moved_edges(turned, turn, (_SIZES + 2, _SIZES + 6), (_SIZES + 3, _SIZES + 7))
    # A mirrored grid has the places of the grid itself: its sides are even.
    return torch.cat([turned[:, :_PLACES], x[:, _PLACES : _PLACES + 2], turned[:, _PLACES + 2 :]], 1)


def _moved_edges(x: Tensor, turn: str, left: tuple[int, ...], upper: tuple[int, ...]) -> Tensor:
    """An edge belongs to the cell behind it, which after mirroring is the one before it."""
    x = x.clone()
    if turn == "mirrored":
        for plane in left:
            x[:, plane, :, 1:] = x[:, plane, :, :-1].clone()
            x[:, plane, :, 0] = 0
    else:
        for plane in upper:
            x[:, plane, 1:] = x[:, plane, :-1].clone()
            x[:, plane, 0] = 0
    return x


def _sample_order(turn: str) -> Tensor:
    parts, start = [], 0
    for side in PLANE_SIDES:
        index = torch.arange(side * side).reshape(side, side)
        parts.append(turned_grid(index[None, None], turn).reshape(-1) + start)
        start += side * side
    return torch.cat(parts)


def _transposed_bands() -> Tensor:
    """Of each coefficient, in the order of coding, the place of the one with u and v exchanged."""
    place = torch.empty(BANDS, dtype=torch.long)
    place[torch.from_numpy(BAND_ORDER.copy())] = torch.arange(BANDS)
    return place[_SAMPLES["transposed"][torch.from_numpy(BAND_ORDER.copy())]]


_SAMPLES: Final = {turn: _sample_order(turn) for turn in TURNS}
_TRANSPOSED_BANDS: Final = _transposed_bands()
