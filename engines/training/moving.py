"""Pictures and blocks of them moved by vectors, with gradients.

A field is [B, 2, h, w], (x, y), in quarter pels of luma where nothing else is said.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (32, 16, 8)  # luma pixels a cell, coarse to fine
QUARTERS = 4
MARGIN = STRIDES[0]  # samples around a plane: a block farther out sees the same
HALF_TAPS = (-1, 4, -11, 40)  # of H.265's half samples, whose other four mirror these
HALF_SUM = 64


def grow(field: Tensor, factor: int) -> Tensor:
    """Bilinear, half-sample centres."""
    return F.interpolate(field, scale_factor=factor, mode="bilinear", align_corners=False)


def warp(plane: Tensor, field: Tensor) -> Tensor:
    """plane [B, 1, H, W] moved by a field [B, 2, H, W] in pixels, bilinear, edges continued."""
    height, width = plane.shape[2:]
    columns = torch.arange(width, dtype=torch.float32, device=plane.device) + field[:, 0]
    rows = torch.arange(height, dtype=torch.float32, device=plane.device)[:, None] + field[:, 1]
    return _sampled(plane, columns, rows)


def half_samples(plane: Tensor) -> Tensor:
    """[B, 1, H, W] -> [B, 1, 2 (H + 2 MARGIN), 2 (W + 2 MARGIN)], half samples of eight taps."""
    return doubled(F.pad(plane, (MARGIN,) * 4, mode="replicate"))


def warp_sharply(halves: Tensor, field: Tensor) -> Tensor:
    """As `warp`, of a plane's half samples, bilinear between these."""
    height, width = field.shape[2:]
    columns = torch.arange(width, dtype=torch.float32, device=field.device) + field[:, 0]
    rows = torch.arange(height, dtype=torch.float32, device=field.device)[:, None] + field[:, 1]
    return _sampled(halves, 2 * (columns + MARGIN), 2 * (rows + MARGIN))


def _sampled(plane: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    height, width = plane.shape[2:]
    places = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], -1)
    return F.grid_sample(plane, places, mode="bilinear", padding_mode="border", align_corners=True)


def doubled(plane: Tensor) -> Tensor:
    """[B, 1, H, W] -> [B, 1, 2H, 2W]: every sample, and half samples behind and below it."""
    behind = _half(F.pad(plane, (3, 4, 0, 0), mode="replicate"), 3)
    wide = torch.stack([plane, behind], -1).flatten(-2)
    below = _half(F.pad(wide, (0, 0, 3, 4), mode="replicate"), 2)
    return torch.stack([wide, below], -2).flatten(-3, -2)


def warp_planes(halves: tuple[Tensor, Tensor, Tensor], field: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Y, U and V, of which the half samples are given, in blocks moved by vectors on the 1/8 grid."""
    full = F.interpolate(field / QUARTERS, scale_factor=STRIDES[-1])
    half = F.interpolate(field / QUARTERS / 2, scale_factor=STRIDES[-1] // 2)
    y, u, v = halves
    return warp_sharply(y, full), warp_sharply(u, half), warp_sharply(v, half)


class Samples(NamedTuple):
    """A plane at every quarter sample, continued by MARGIN samples on all sides.

    phases  [B, 16 h w]: for each quarter down and each quarter to the right, the plane between its samples
    """

    phases: Tensor
    height: int
    width: int


def quarter_samples(plane: Tensor, *, sharp: bool) -> Samples:
    """plane [B, 1, H, W]; half samples are of eight taps where it is to be sharp, else linear."""
    padded = F.pad(plane, (MARGIN + 3, MARGIN + 4) * 2, mode="replicate")
    phases = [across for down in _quarters(padded, 2, sharp) for across in _quarters(down, 3, sharp)]
    height, width = phases[0].shape[2:]
    return Samples(torch.cat(phases, 1).flatten(1), height, width)


def _quarters(plane: Tensor, axis: int, sharp: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A plane and what lies one, two and three quarters of the way to the next sample; 7 shorter along the axis."""
    whole, following = (plane.narrow(axis, at, plane.shape[axis] - 7) for at in (3, 4))
    half = _half(plane, axis) if sharp else (whole + following) / 2
    return whole, (whole + half) / 2, half, (half + following) / 2


def _half(plane: Tensor, axis: int) -> Tensor:
    """Half samples between sample 3 + n and the next, 7 fewer than samples."""
    count = plane.shape[axis] - 7
    pairs = (
        (plane.narrow(axis, at, count) + plane.narrow(axis, 7 - at, count)) * (tap / HALF_SUM)
        for at, tap in enumerate(HALF_TAPS)
    )
    return sum(pairs, torch.zeros((), device=plane.device))


def moved_blocks(samples: Samples, field: Tensor, cell: int) -> Tensor:
    """The blocks [B, cell * cell, H / cell, W / cell] of a plane that lie at the vectors of a field.

    field  [B, 2, H / cell, W / cell], whole numbers of quarter samples
    """
    batch, _, rows, columns = field.shape
    whole = torch.floor(field / QUARTERS)
    quarter = field - whole * QUARTERS
    down = torch.arange(rows, device=field.device)[:, None] * cell + whole[:, 1] + MARGIN
    across = torch.arange(columns, device=field.device) * cell + whole[:, 0] + MARGIN
    down, across = down.clamp(0, samples.height - cell), across.clamp(0, samples.width - cell)
    phase = (quarter[:, 1] * QUARTERS + quarter[:, 0]).long()
    start = (phase * samples.height + down.long()) * samples.width + across.long()
    inside = torch.arange(cell, device=field.device)
    inside = (inside[:, None] * samples.width + inside).view(1, -1, 1, 1)
    places = (start[:, None] + inside).view(batch, -1)
    return samples.phases.gather(1, places).view(batch, -1, rows, columns)
