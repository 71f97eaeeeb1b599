"""A codec before the first step: principal components of blocks, written into the first and the last layers."""

from __future__ import annotations

import torch
from torch import Tensor

from engines.training.data import PixelPool
from engines.training.model import planes_to_features
from zvc69_cli.codec.rate.quality import PLANE_WEIGHTS

BATCHES, BATCH, SIDE = 20, 32, 256


def klt_basis(pool: PixelPool, components: int, side: int = SIDE) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Basis of 16x16 blocks of Y, U and V together, weighted by PLANE_WEIGHTS.

    returns  analysis [384, components], synthesis [384, components], mean of the features [96],
             deviation of the coefficients [components]; rows are (2x2 position, 96 channels)
    """
    blocks = torch.cat([_blocks(pool, side) for _ in range(BATCHES)])
    mean = blocks.mean((0, 1))
    counts = torch.tensor([64, 16, 16])  # features of Y, U and V
    weight = (torch.tensor(PLANE_WEIGHTS) / counts).repeat_interleave(counts).to(mean.device)
    weight = (weight / weight.mean()).sqrt().repeat(4)
    centred = (blocks - mean).reshape(-1, 384) * weight
    values, vectors = torch.linalg.eigh((centred.T @ centred / len(centred)).double().cpu())
    basis = vectors.flip(1)[:, :components].float().to(mean.device)
    deviation = values.flip(0)[:components].clamp_min(1e-12).sqrt().float().to(mean.device)
    return basis * weight[:, None], basis / weight[:, None], mean, deviation


def _blocks(pool: PixelPool, side: int) -> Tensor:
    features = planes_to_features(*pool.crops(BATCH, side))
    count, _, height, width = features.shape
    split = features.reshape(count, 96, height // 2, 2, width // 2, 2)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 96)
