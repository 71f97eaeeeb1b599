"""Where a new scene begins: where most of a picture is cheaper to code from itself than from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.frames import Samples

F32 = NDArray[np.float32]

LEAST_SHRINK: Final = 4  # luma samples a side that become one, at least
MOST_SAMPLES: Final = 4096  # of a small picture: larger ones are shrunk further
BLOCK: Final = 4  # small samples a side that move together
REACH: Final = 2  # small samples that a block may have moved
# What the choice of a predictor costs, as mean error of 8-bit samples: two flat pictures are one scene.
_INTRA_COST: Final = 1.0


class SceneCuts:
    """Compares each frame with the one before, in pictures of about 80 x 50.

    threshold  0..100; 0 finds none. As in x264, it is the share that an inter picture must save, all of it at
               `longest`, a quarter of it at `shortest` frames from the keyframe, less before
    """

    def __init__(self, *, threshold: int, shortest: int, longest: int) -> None:
        self._threshold = threshold / 100
        self._shortest = shortest
        self._longest = longest
        self._before: F32 | None = None

    def is_cut(self, picture: F32, distance: int) -> bool:
        """Whether a scene begins here.

        picture   small one of the frame
        distance  frames since the last keyframe
        """
        if not self._threshold:
            return False
        before, self._before = self._before, picture
        if before is None:
            return False
        inter, intra = costs(self._before, before)
        return inter >= (1 - self._bias(distance)) * intra

    def _bias(self, distance: int) -> float:
        least = self._threshold / 4
        if self._shortest >= self._longest:
            return least
        if distance <= self._shortest:
            return max(least / 4, least * distance / self._shortest)
        share = min(1.0, (distance - self._shortest) / (self._longest - self._shortest))
        return least + (self._threshold - least) * share


def small_picture(luma: Samples, peak: int) -> F32:
    """Means of so many samples that few are left, in 8-bit samples, slightly smoothed; whole blocks of them only.

    A picture of less than a block a side is continued by its last row and column.
    """
    height, width = luma.shape
    shrink = LEAST_SHRINK
    while height * width > MOST_SAMPLES * shrink * shrink:
        shrink *= 2
    side = shrink * BLOCK
    if height < side or width < side:
        rows, columns = np.arange(max(side, height)), np.arange(max(side, width))
        return small_picture(luma[np.ix_(rows.clip(max=height - 1), columns.clip(max=width - 1))], peak)
    rows, columns = height // side * BLOCK, width // side * BLOCK
    part = luma[: rows * shrink, : columns * shrink]
    sums = part.reshape(rows, shrink, -1).sum(1, dtype=np.uint32).reshape(rows, columns, shrink).sum(2)
    small = sums.astype(np.float32) * np.float32(255 / (peak * shrink * shrink))
    wider = np.pad(small, 1, mode="edge")
    across = wider[:, :-2] + 2 * wider[:, 1:-1] + wider[:, 2:]
    smooth: F32 = (across[:-2] + 2 * across[1:-1] + across[2:]) / 16
    return smooth


def costs(picture: F32, before: F32) -> tuple[float, float]:
    """Mean error of a picture, each block predicted in its cheapest way: with and without the picture before."""
    intra = intra_errors(picture) + np.float32(_INTRA_COST)
    inter = moved_errors(picture, before, REACH)
    return float(np.minimum(inter, intra).mean()), float(intra.mean())


def moved_errors(picture: F32, before: F32, reach: int) -> F32:
    """float32 [rows, columns]: the least mean error of each block from a picture moved by whole samples.

    reach  samples that it may have moved, up, down and sideways
    """
    span = range(-reach, reach + 1)
    errors: F32 = errors_by_move(picture, before, [(y, x) for y in span for x in span]).min(0)
    return errors


def errors_by_move(picture: F32, before: F32, moves: Sequence[tuple[int, int]]) -> F32:
    """float32 [moves, rows, columns]: the mean error of each block from a picture moved by whole samples, y and x."""
    height, width = picture.shape
    reach = max(abs(part) for move in moves for part in move)
    edged = np.pad(before, reach, mode="edge")
    errors = np.empty((len(moves), height // BLOCK, width // BLOCK), np.float32)
    for number, (y, x) in enumerate(moves):
        moved = edged[reach + y : reach + y + height, reach + x : reach + x + width]
        errors[number] = block_means(np.abs(picture - moved))
    return errors


def intra_errors(picture: F32) -> F32:
    """float32 [rows, columns]: the least mean error of each block, from the left, from above or from its mean."""
    left = np.pad(picture, ((0, 0), (1, 0)), mode="edge")[:, :-1]
    above = np.pad(picture, ((1, 0), (0, 0)), mode="edge")[:-1]
    mean = block_means(picture).repeat(BLOCK, 0).repeat(BLOCK, 1)
    errors: F32 = np.minimum.reduce([block_means(np.abs(picture - each)) for each in (left, above, mean)])
    return errors


def block_means(values: F32) -> F32:
    """Means of BLOCK x BLOCK values."""
    rows, columns = values.shape[0] // BLOCK, values.shape[1] // BLOCK
    sums = values.reshape(rows, BLOCK, -1).sum(1).reshape(rows, columns, BLOCK).sum(2)
    means: F32 = sums / np.float32(BLOCK * BLOCK)
    return means
