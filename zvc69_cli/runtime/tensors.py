"""Arrays between the codec and the graphs: the codec's have no dimension of a batch, those of graphs have."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.runtime.residence import PlacedArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]

_Q_UNIT: Final = np.float32(1 / 256)


class Tensor(Protocol):
    """codec.networks.Tensor: an array, or one that np.asarray brings here."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __array__(self) -> NDArray[Any]: ...


Picture = tuple[Tensor, Tensor, Tensor]


def as_plane(given: Tensor) -> Any:
    """A plane [H, W] as graphs take it, [1, 1, H, W]."""
    return given if isinstance(given, PlacedArray) else np.asarray(given)[None, None]


def batch(given: Tensor) -> Any:
    """An array [C, h, w] as graphs take it, [1, C, h, w]."""
    return given if isinstance(given, PlacedArray) else np.asarray(given)[None]


def channels(values: F32) -> F32:
    """Values of channels [C] as graphs take them, [1, C, 1, 1]."""
    return values[None, :, None, None]


def as_symbols(symbols: I32) -> NDArray[np.int16]:
    """Symbols [C, h, w] as they travel: their limit is that of 16 bits."""
    return symbols[None].astype(np.int16)


def board(shape: tuple[int, ...]) -> F32:
    """codec.quantised.checkerboard of a latent [C, h, w], [2, 1, h, w]: 1 where the first pass codes either half."""
    _, height, width = shape
    even = (np.arange(height)[:, None] + np.arange(width)) % 2 == 0
    return np.stack([even, ~even]).astype(np.float32)[:, None]


def named_planes(y: Tensor, u: Tensor, v: Tensor) -> dict[str, Any]:
    return {"y": as_plane(y), "u": as_plane(u), "v": as_plane(v)}


def whole(given: Any) -> NDArray[Any]:
    """What is given to a graph that runs here."""
    return given.whole() if isinstance(given, PlacedArray) else given


def bare(output: Any, leading: int) -> Tensor:
    """An output without the graph's own dimensions."""
    return output if isinstance(output, PlacedArray) else output.reshape(output.shape[leading:])


def scalar(value: float) -> F32:
    return np.array([value], np.float32)


def q(q_256: int) -> F32:
    return np.array([q_256], np.float32) * _Q_UNIT
