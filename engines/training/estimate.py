"""Rate and quality as the networks themselves estimate them; what a machine with PyTorch alone can say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from engines.training.data import PICTURE_SUFFIXES, Blob, NoTrainingData, decode_blob
from engines.training.model import IntraNetwork, planes_to_features, psnr_611

QS = (2, 14, 26, 38, 50, 61)


def estimate_pictures(
    network: IntraNetwork, folder: Path, device: torch.device
) -> Iterator[tuple[str, int, float, float]]:
    """Name, q, bits a luma pixel and PSNR 6:1:1 in dB of every picture below `folder`, then "mean" for each q.

    Rounded as a decoder rounds; the prior in floating point, containers left out.
    raises  NoTrainingData
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    points: dict[int, list[tuple[float, float]]] = {q: [] for q in QS}
    for path in paths:
        decoded = decode_blob(Blob(path.name, path.read_bytes()))
        if decoded is None:
            continue
        planes = [
            _whole_blocks(plane, 16 // factor) for plane, factor in zip(decoded[0], (1, 2, 2), strict=True)
        ]
        features = planes_to_features(
            *(torch.from_numpy(plane)[None, None].to(device) / 255 for plane in planes)
        )
        for q in QS:
            with torch.no_grad():
                coded = network(features, torch.tensor([q], device=device), noise=False)
            rounded = (coded.features.clamp(0, 1) * 255).round() / 255
            rate = (coded.latent_bits + coded.hyper_bits).item() / planes[0].size
            points[q].append((rate, psnr_611(rounded, features).item()))
            yield (path.stem, q, *points[q][-1])
    if not any(points.values()):
        raise NoTrainingData(f"{folder}: no pictures to evaluate on")
    for q, found in points.items():
        rate, psnr = np.mean(found, 0)
        yield "mean", q, float(rate), float(psnr)


def _whole_blocks(plane: np.ndarray, block: int) -> np.ndarray:
    height, width = (side // block * block for side in plane.shape)
    return np.ascontiguousarray(plane[:height, :width])
