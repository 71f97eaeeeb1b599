"""Frames made for tests: smooth pictures, and noise laid over them."""

from __future__ import annotations

import numpy as np

from zvc69_cli.frames import Frame, Samples

TYPES = {8: np.uint8, 10: np.uint16}


def smooth_frame(width: int = 64, height: int = 48, bit_depth: int = 8, pts: int = 0) -> Frame:
    """Waves that move with pts."""
    return Frame(
        y=_waves(width, height, bit_depth, pts),
        u=_waves((width + 1) // 2, (height + 1) // 2, bit_depth, pts + 20),
        v=_waves((width + 1) // 2, (height + 1) // 2, bit_depth, pts + 40),
        pts=pts,
    )


def noisy(frame: Frame, seed: int, strength: float = 4.0) -> Frame:
    """The frame with noise of this standard deviation."""
    rng = np.random.default_rng(seed)
    y, u, v = (_noisy(plane, rng, strength) for plane in (frame.y, frame.u, frame.v))
    return Frame(y=y, u=u, v=v, pts=frame.pts)


def _waves(width: int, height: int, bit_depth: int, phase: int) -> Samples:
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin((columns + phase) / 9) + np.cos((rows - phase) / 7) + np.sin((rows + columns) / 3) / 4
    unit = 1 << (bit_depth - 8)
    return ((128 + 40 * waves) * unit).astype(TYPES[bit_depth])


def _noisy(plane: Samples, rng: np.random.Generator, strength: float) -> Samples:
    peak = 255 if plane.dtype == np.uint8 else 1023
    moved = np.rint(plane + rng.normal(0, strength, plane.shape))
    return np.clip(moved, 0, peak).astype(plane.dtype)
