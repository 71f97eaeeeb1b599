"""The ONNX graphs of motion: pictures and blocks moved by vectors, and what they leave."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.graphs import GraphBuilder
from engines.training.moving import HALF_SUM, HALF_TAPS, MARGIN, QUARTERS, STRIDES

FLOAT = TensorProto.FLOAT
PEAK = 255  # of the reference's samples


def motion_error_graph(builder: GraphBuilder, cell: int) -> onnx.ModelProto:
    """Mean squared error of every cell of that side when it lies at its vector of a field in quarter pels."""
    current = builder.input("y", (1, 1, "height", "width"))
    reference = ReferenceGraph(builder, sample_input(builder))
    field = builder.input("field", (1, 2, "rows", "columns"))
    blocks = blocks_of(builder, times(builder, current, PEAK), cell)
    cells = reference.cells(builder.node("Shape", field), cell)
    apart = builder.node("Sub", blocks, reference.moved_blocks(field, cells))
    mean = builder.constant(np.full((1, cell * cell), 1 / (cell * PEAK) ** 2))
    error = builder.node("MatMul", mean, builder.node("Mul", apart, apart))
    builder.node("Reshape", error, sliced(builder, builder.node("Shape", field), 2, 4), output="error")
    return builder.build({"error": FLOAT})


def warp_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A reference of whole samples in blocks, each moved by its vector on the 1/8 grid -> features in 0..1."""
    y = builder.input("y", (1, 1, "height", "width"))
    u, v = (builder.input(name, (1, 1, "chroma_height", "chroma_width")) for name in "uv")
    field = builder.input("field", (1, 2, "rows", "columns"))
    peak = builder.input("peak", (1,))
    finest = STRIDES[-1]
    features = [
        _moved_sharply(builder, plane, field, side, unit)
        for plane, side, unit in (
            (y, finest, 2 / QUARTERS),
            (u, finest // 2, 1 / QUARTERS),
            (v, finest // 2, 1 / QUARTERS),
        )
    ]
    builder.node("Div", builder.node("Concat", *features, axis=1), peak, output="features")
    return builder.build({"features": FLOAT})


class ReferenceGraph:
    """engines.training.motion.Samples: [16, height, width] of any type."""

    def __init__(self, builder: GraphBuilder, samples: str) -> None:
        self._builder = builder
        sides = sliced(
            builder, builder.node("Cast", builder.node("Shape", samples), to=TensorProto.INT32), 1, 3
        )
        self._sides = sides
        height, width = (sliced(builder, sides, at, at + 1) for at in (0, 1))
        plane = builder.node("Mul", height, width)
        one = builder.constant([1], np.int32)
        # What a step right, a step down, a quarter right and a quarter down are in the flat samples.
        steps = (one, width, plane, builder.node("Mul", plane, builder.constant([QUARTERS], np.int32)))
        self._steps = builder.node(
            "Reshape", builder.node("Concat", *steps, axis=0), builder.constant([1, 4, 1, 1], np.int64)
        )
        self._width = width
        self._flat = builder.node("Reshape", samples, builder.constant([-1], np.int64))

    def cells(self, grid: str, cell: int) -> Cells:
        """grid: the shape of fields on it."""
        return Cells(self._builder, grid, cell, 1, self._sides, self._width)

    def moved_blocks(self, field: str, cells: Cells) -> str:
        """engines.training.moving.moved_blocks of one picture, as a matrix [cell * cell, blocks] of floats."""
        builder = self._builder
        start, quarters = cells.places(field, 1 / QUARTERS)
        places = builder.node("Concat", start, times(builder, quarters, QUARTERS), axis=1)
        steps = builder.node("Mul", builder.node("Cast", places, to=TensorProto.INT32), self._steps)
        first = builder.node("ReduceSum", steps, builder.constant([1], np.int64), keepdims=0)
        return builder.node("Cast", cells.gathered(self._flat, first), to=FLOAT)


class Cells:
    """The cells of a grid in a plane with a margin.

    spacing  of the plane's samples that belong to one of the picture's
    sides    of the plane, int32 [2]; its width again, int32 [1]
    """

    def __init__(
        self, builder: GraphBuilder, grid: str, cell: int, spacing: int, sides: str, width: str
    ) -> None:
        self._builder, self._cell = builder, cell
        lines = []
        for axis, shape in ((3, [1, 1, 1, -1]), (2, [1, 1, -1, 1])):
            count = builder.node("Squeeze", sliced(builder, grid, axis, axis + 1))
            line = builder.node("Range", builder.constant(0, np.int64), count, builder.constant(1, np.int64))
            line = times(builder, builder.node("Cast", line, to=FLOAT), spacing * cell)
            line = builder.node("Add", line, builder.constant(float(spacing * MARGIN)))
            line = builder.node("Reshape", line, builder.constant(shape, np.int64))
            other = builder.constant([1, 1], np.int64)
            whole = builder.node("Concat", other, sliced(builder, grid, 2, 4), axis=0)
            lines.append(builder.node("Expand", line, whole))
        self._origin = builder.node("Concat", *lines, axis=1)
        last = builder.node("Sub", sides, builder.constant([spacing * cell], np.int32))
        last = builder.node("Gather", builder.node("Cast", last, to=FLOAT), builder.constant([1, 0], np.int64))
        self._last = builder.node("Reshape", last, builder.constant([1, 2, 1, 1], np.int64))
        steps = spacing * np.arange(cell).reshape(-1, 1)
        inside = builder.node("Mul", builder.constant(steps, np.int32), width)
        inside = builder.node("Add", inside, builder.constant(steps.T, np.int32))
        self._inside = builder.node("Reshape", inside, builder.constant([cell * cell, 1], np.int64))
        self._line = builder.constant([-1], np.int64)
        self._matrix = builder.constant([cell * cell, -1], np.int64)

    def places(self, field: str, unit: float) -> tuple[str, str]:
        """Where each block begins, whole, and the rest in 0..1: [1, 2, rows, columns] each.

        unit  what 1 in the field is in samples of the plane
        """
        builder = self._builder
        along = times(builder, field, unit)
        whole = builder.node("Floor", along)
        start = builder.node("Max", builder.node("Add", whole, self._origin), builder.constant(0.0))
        return builder.node("Min", start, self._last), builder.node("Sub", along, whole)

    def gathered(self, flat: str, first: str) -> str:
        """The samples of blocks that begin at these flat places: [cell * cell, blocks].

        GatherElements along one axis takes a fourth of Gather's time.
        """
        builder = self._builder
        places = builder.node("Add", builder.node("Reshape", first, self._line), self._inside)
        found = builder.node("GatherElements", flat, builder.node("Reshape", places, self._line))
        return builder.node("Reshape", found, self._matrix)


def sample_input(builder: GraphBuilder) -> str:
    return builder.input("samples", (QUARTERS**2, "sample_height", "sample_width"), TensorProto.UINT8)


def blocks_of(builder: GraphBuilder, plane: str, cell: int) -> str:
    """[1, 1, H, W] -> [cell * cell, blocks]"""
    blocks = builder.node("SpaceToDepth", plane, blocksize=cell)
    return builder.node("Reshape", blocks, builder.constant([cell * cell, -1], np.int64))


def _moved_sharply(builder: GraphBuilder, plane: str, field: str, cell: int, unit: float) -> str:
    """engines.training.motion.warp_sharply in blocks: [1, cell * cell, rows, columns].

    unit  what 1 in the field is in half samples of the plane
    """
    pads = builder.constant([0, 0, MARGIN + 3, MARGIN + 3, 0, 0, MARGIN + 4, MARGIN + 4], np.int64)
    doubled = _doubled(builder, builder.node("Pad", plane, pads, mode="edge"))
    sides = sliced(builder, builder.node("Cast", builder.node("Shape", doubled), to=TensorProto.INT32), 2, 4)
    width = sliced(builder, sides, 1, 2)
    flat = builder.node("Reshape", doubled, builder.constant([-1], np.int64))
    grid = builder.node("Shape", field)
    cells = Cells(builder, grid, cell, 2, sides, width)
    start, share = cells.places(field, unit)
    across, down = (
        builder.node(
            "Gather",
            builder.node("Cast", start, to=TensorProto.INT32),
            builder.constant([axis], np.int64),
            axis=1,
        )
        for axis in (0, 1)
    )
    first = builder.node("Add", builder.node("Mul", down, width), across)
    right, below = (
        builder.node(
            "Reshape",
            builder.node("Gather", share, builder.constant([axis], np.int64), axis=1),
            builder.constant([1, -1], np.int64),
        )
        for axis in (0, 1)
    )

    def between(one: str, other: str, share: str) -> str:
        return builder.node("Add", one, builder.node("Mul", builder.node("Sub", other, one), share))

    rows = []
    for begin in (first, builder.node("Add", first, width)):
        behind = builder.node("Add", begin, builder.constant([1], np.int32))
        rows.append(between(cells.gathered(flat, begin), cells.gathered(flat, behind), right))
    shape = builder.constant([1, cell * cell], np.int64)
    whole = builder.node("Concat", shape, sliced(builder, grid, 2, 4), axis=0)
    return builder.node("Reshape", between(rows[0], rows[1], below), whole)


def _doubled(builder: GraphBuilder, plane: str) -> str:
    """engines.training.motion.doubled, of a plane with a margin of 3 before and 4 behind, which is gone then."""
    for axis in (3, 2):
        terms = []
        for place, tap in enumerate(HALF_TAPS):
            pair = (cut(builder, plane, axis, at, 7 - at) for at in (place, 7 - place))
            terms.append(times(builder, builder.node("Add", *pair), tap / HALF_SUM))
        half = terms[0]
        for term in terms[1:]:
            half = builder.node("Add", half, term)
        whole = cut(builder, plane, axis, 3, 4)
        behind = builder.constant([axis + 1], np.int64)
        joined = builder.node(
            "Concat", *(builder.node("Unsqueeze", each, behind) for each in (whole, half)), axis=axis + 1
        )
        factor = builder.constant([2 if each == axis else 1 for each in range(4)], np.int64)
        plane = builder.node("Reshape", joined, builder.node("Mul", builder.node("Shape", whole), factor))
    return plane


def cut(builder: GraphBuilder, plane: str, axis: int, before: int, behind: int) -> str:
    """A plane without so many rows or columns at its ends."""
    places = ([before], [-behind if behind else 1 << 30], [axis])
    return builder.node("Slice", plane, *(builder.constant(each, np.int64) for each in places))


def times(builder: GraphBuilder, x: str, factor: float) -> str:
    return x if factor == 1 else builder.node("Mul", x, builder.constant(float(factor)))


def sliced(builder: GraphBuilder, shape: str, start: int, end: int) -> str:
    return builder.node("Slice", shape, builder.constant([start], np.int64), builder.constant([end], np.int64))
