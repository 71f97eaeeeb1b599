"""How large the inputs of each graph are for a picture of a size."""

from __future__ import annotations

from typing import Final, NamedTuple

from zvc69_cli.runtime.bundle import Bundle

Shapes = dict[str, tuple[int, ...]]

PICTURE_GRID: Final = 16
FEATURES: Final = 96
EDGE_PLANES: Final = 4  # of the loop filter
CELL: Final = 8  # luma samples a side of a cell of features


class Range(NamedTuple):
    """Sizes of pictures, width and height, that an engine is built for."""

    least: tuple[int, int]
    usual: tuple[int, int]
    most: tuple[int, int]

    def holds(self, width: int, height: int) -> bool:
        return all(
            low <= side <= high for low, side, high in zip(self.least, (width, height), self.most, strict=True)
        )

    @property
    def text(self) -> str:
        return "..".join(f"{width}x{height}" for width, height in (self.least, self.most))


ENGINE_RANGE: Final = Range(least=(64, 64), usual=(1920, 1080), most=(4096, 2304))


def padded(side: int) -> int:
    return -(-side // PICTURE_GRID) * PICTURE_GRID


def dynamic_shapes(bundle: Bundle, graph: str, width: int, height: int) -> Shapes:
    """Shapes of those inputs of an engine graph (bundle.ENGINE_GRAPHS) that depend on the size of the picture.

    raises  KeyError for another graph
    """
    high, wide = padded(height), padded(width)
    planes: Shapes = {
        "y": (1, 1, high, wide),
        "u": (1, 1, high // 2, wide // 2),
        "v": (1, 1, high // 2, wide // 2),
    }
    features = (1, FEATURES, high // CELL, wide // CELL)
    latent: Shapes = {"latent": (1, bundle.latent_channels, high // PICTURE_GRID, wide // PICTURE_GRID)}
    shapes: dict[str, Shapes] = {
        "analyse": planes,
        "synthesise": latent,
        "blend": {"first": features, "second": features},
        "loop_filter": {
            **dict.fromkeys(("picture", "shrunk", "first", "last"), features),
            "edges": (1, EDGE_PLANES, high // CELL, wide // CELL),
        },
        "warp": {**planes, "field": (1, 2, high // CELL, wide // CELL)},
    }
    return shapes[graph]
