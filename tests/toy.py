"""A codec of eight numbers a block: the real codec's arithmetic without a model, in microseconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engines.training.tables import gaussian_tables
from zvc69_cli.codec.tables import CodecTables


class PriorOutput(NamedTuple):
    means: np.ndarray
    indexes: np.ndarray
    state: np.ndarray


LATENT_CHANNELS = 8
HYPER_CHANNELS = 2


class ToyNetworks:
    """Satisfies codec.networks.Networks: block means up and down, a prior that looks at its neighbours."""

    latent_channels = LATENT_CHANNELS
    hyper_channels = HYPER_CHANNELS

    def analyse(self, y, u, v, q_256):
        quarters = _means(y, 8)
        height, width = quarters.shape[0] // 2, quarters.shape[1] // 2
        luma = quarters.reshape(height, 2, width, 2).transpose(1, 3, 0, 2).reshape(4, height, width)
        chroma = np.stack([_means(u, 8), _means(v, 8)])
        detail = np.stack([y[::16, ::16], y[15::16, 15::16]])
        latent = (np.concatenate([luma, chroma, detail]) * _steps(q_256)).astype(np.float32)
        padded = np.pad(luma[:2], ((0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
        hyper = np.stack([_means(each, 4) for each in padded]) * 8
        return latent, hyper.astype(np.float32)

    def predict_first(self, hyper, height, width, offsets):
        grid = np.repeat(np.repeat(hyper, 4, 1), 4, 2)[:, :height, :width]
        means = np.repeat(grid, LATENT_CHANNELS // HYPER_CHANNELS, 0) * 16
        state = np.concatenate([means, means]).astype(np.float32)
        return PriorOutput(means.astype(np.float32), _indexes(means, offsets), state)

    def predict_second(self, known, state, offsets):
        near = np.roll(known, 1, 1) + np.roll(known, 1, 2)
        means = np.floor(near / 2 + 0.5).astype(np.float32)
        return PriorOutput(means, _indexes(means, offsets), state)

    def synthesise(self, latent, q_256, peak):
        values = latent / 16 / _steps(q_256)
        _, height, width = values.shape
        luma = values[:4].reshape(2, 2, height, width).transpose(2, 0, 3, 1).reshape(2 * height, 2 * width)
        planes = (luma, values[4], values[5])
        return tuple(np.clip(np.rint(_repeat(plane, 8) * peak), 0, peak).astype(np.float32) for plane in planes)


def toy_tables() -> CodecTables:
    """Tables of the toy: scales that grow with q, as a trained model's do."""
    rows = np.linspace(60, 200, 64).astype(np.int64)
    return CodecTables(
        latent=gaussian_tables(),
        hyper=gaussian_tables(),
        scale_offsets=np.repeat(rows[:, None], LATENT_CHANNELS, 1),
        hyper_offsets=np.full((64, HYPER_CHANNELS), 120, np.int64),
        hyper_means=np.array([1, -2], np.int64),
    )


def _steps(q_256):
    return 4 * 2 ** (q_256 / 256 / 12)


def _indexes(means, offsets):
    quarters = np.abs(means) % 16 + offsets[:, None, None]
    return np.clip((quarters + 2) // 4, 0, 63).astype(np.uint8)


def _means(plane, size):
    height, width = plane.shape
    return plane.reshape(height // size, size, width // size, size).mean((1, 3))


def _repeat(plane, size):
    return np.repeat(np.repeat(plane, size, 0), size, 1)
