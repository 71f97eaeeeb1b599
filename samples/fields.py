"""Fields: pictures that can be read at any point, and the noise of clouds, steam, shadows and grain."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

F32 = NDArray[np.float32]

NOISE_SIDE: Final = 512


def photograph(name: str) -> F32:
    """One of the photographs inside scikit-image's wheel: [height, width, 3], 0..1."""
    folder = Path(skimage.data.__file__).parent
    with Image.open(folder / name) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def read_at(picture: F32, x: F32, y: F32, *, order: int = 1, mode: str = "mirror") -> F32:
    """The picture's values at fractional positions.

    picture  [height, width] or [height, width, channels]
    x, y     same shape, in pixels of the picture
    """
    at = np.stack([y, x])
    if picture.ndim == 2:
        return map_coordinates(picture, at, order=order, mode=mode).astype(np.float32)
    return np.stack(
        [read_at(channel, x, y, order=order, mode=mode) for channel in np.moveaxis(picture, 2, 0)], -1
    )


def noise(seed: int, slope: float) -> F32:
    """A tile of noise without seams, [NOISE_SIDE, NOISE_SIDE], 0..1; the larger the slope the smoother."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((NOISE_SIDE, NOISE_SIDE)))
    fy = np.fft.fftfreq(NOISE_SIDE)[:, None] * NOISE_SIDE
    fx = np.fft.rfftfreq(NOISE_SIDE)[None, :] * NOISE_SIDE
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1
    spectrum *= radius**-slope * (radius > 1.5)
    tile = np.fft.irfft2(spectrum, (NOISE_SIDE, NOISE_SIDE))
    low, high = np.percentile(tile, (0.5, 99.5))
    return np.clip((tile - low) / (high - low), 0, 1).astype(np.float32)


def drift(tile: F32, x: F32, y: F32) -> F32:
    """A noise tile repeated without end, read at fractional positions."""
    return read_at(tile, x, y, mode="grid-wrap")


def grain(shape: tuple[int, int], rng: np.random.Generator, strength: float) -> F32:
    """The noise of a sensor, new for each frame: [height, width, 1], standard deviation `strength`."""
    speckle = gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.6)
    return (speckle * (strength / speckle.std()))[..., None]


def step(low: float, high: float, value: F32) -> F32:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def mipmaps(texture: F32) -> list[F32]:
    """The texture at full size, a half, a quarter ... down to 8 pixels."""
    levels = [texture]
    while levels[-1].shape[0] > 8:
        large = levels[-1]
        levels.append((large[::2, ::2] + large[1::2, ::2] + large[::2, 1::2] + large[1::2, 1::2]) / 4)
    return levels


def read_mipmaps(levels: list[F32], x: F32, y: F32, footprint: F32) -> F32:
    """A texture repeated by mirroring, read at points that each cover `footprint` of its pixels."""
    depth = np.clip(np.log2(np.maximum(footprint, 1)), 0, len(levels) - 1)
    result = np.zeros(x.shape, np.float32)
    for number, level in enumerate(levels):
        weight = np.maximum(0, 1 - np.abs(depth - number))
        here = weight > 0
        if here.any():
            scale = 0.5**number
            values = read_at(
                level, (x[here] + 0.5) * scale - 0.5, (y[here] + 0.5) * scale - 0.5, mode="reflect"
            )
            result[here] += weight[here] * values
    return result
