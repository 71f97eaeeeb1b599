"""The ONNX graphs of the search for motion: engines.training.search, node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from engines.training.graphs import GraphBuilder
from engines.training.motion_graphs import (
    FLOAT,
    PEAK,
    ReferenceGraph,
    blocks_of,
    cut,
    sample_input,
    sliced,
    times,
)
from engines.training.moving import MARGIN, QUARTERS, STRIDES
from engines.training.search import LEAST_SLOPE, REACH, SEARCH_CELL, SEARCHED, Effort

STEM = "inter."  # what the names of these weights begin with
# Of a reference's samples the whole ones, without the margin: starts, ends and axes of a slice.
_INNER_WHOLE = ([0, MARGIN, MARGIN], [1, -MARGIN, -MARGIN], [0, 1, 2])


def search_graph(builder: GraphBuilder, effort: Effort) -> onnx.ModelProto:
    """MotionSearch: luma with sides that are multiples of 64, and the reference's samples -> fields in quarter pels."""
    current = builder.input("y", (1, 1, "height", "width"))
    samples = sample_input(builder)
    whole = builder.node("Slice", samples, *(builder.constant(each, np.int64) for each in _INNER_WHOLE))
    reference = builder.node("Cast", whole, to=FLOAT)
    reference = times(builder, builder.node("Unsqueeze", reference, builder.constant([0], np.int64)), 1 / PEAK)
    currents, references = (_pyramid(builder, each) for each in (current, reference))
    field = ""
    for number, scale in enumerate(SEARCHED):
        field = _search_level(builder, number, currents[scale], references[scale], field)
    field = times(builder, _grown(builder, field, 2), SEARCHED[-1] * QUARTERS / 2)
    finest = STRIDES[-1]

    start = builder.node("Round", field)
    half = _BlocksGraph(
        builder, _sloped(builder, currents[2]), _linear_samples(builder, references[2]), finest // 2, start
    )
    half.look_around(effort.half_reach)
    half.take_best([times(builder, half.field, 0)])
    half.settle(effort.half_rounds)
    half.descend(1)

    planes, known = _sloped(builder, current), ReferenceGraph(builder, samples)
    blocks = _BlocksGraph(builder, planes, known, finest, times(builder, half.field, 2))
    blocks.look_around(effort.reach)
    blocks.descend(2)
    blocks.settle(effort.rounds)
    fields = [blocks.field]
    for stride in STRIDES[-2::-1]:
        first, *others = (_every_second(builder, fields[0], row, column) for row in (0, 1) for column in (0, 1))
        blocks = _BlocksGraph(builder, planes, known, stride, first)
        blocks.take_best(others)
        blocks.descend(1)
        fields.insert(0, blocks.field)
    for number, each in enumerate(fields):
        builder.node("Identity", each, output=f"field_{number}")
    return builder.build({f"field_{number}": FLOAT for number in range(len(STRIDES))})


def _search_level(builder: GraphBuilder, level: int, current: str, reference: str, field: str) -> str:
    """SearchLevel.forward; `field` is that of the coarser level, empty for none."""
    moved = reference
    if field:
        field = times(builder, _grown(builder, field, 2), 2)
        moved = _warp(builder, reference, _grown(builder, field, SEARCH_CELL))
    side = 2 * REACH + 1
    shifts = np.eye(side**2, dtype=np.float32).reshape(side**2, 1, side, side)
    rows, columns = (each.ravel() - REACH for each in np.indices((side, side)))
    padded = builder.node("Pad", moved, _pads(builder, REACH), mode="edge")
    shifted = builder.node("Conv", padded, builder.constant(shifts), kernel_shape=[side, side])
    costs = builder.node("Abs", builder.node("Sub", shifted, current))
    costs = builder.node("AveragePool", costs, kernel_shape=[SEARCH_CELL] * 2, strides=[SEARCH_CELL] * 2)
    costs = builder.node("Pad", costs, _pads(builder, 1), mode="edge")
    costs = builder.node("AveragePool", costs, kernel_shape=[3, 3], strides=[1, 1])
    bias = 0.002 * (np.abs(rows) + np.abs(columns))
    costs = builder.node("Add", costs, builder.constant(bias.reshape(1, -1, 1, 1)))
    share = builder.node("Softmax", builder.node("Mul", costs, builder.constant(-160.0)), axis=1)
    expected = np.stack([columns, rows]).reshape(2, -1, 1, 1)
    found = builder.node("Conv", share, builder.constant(expected), kernel_shape=[1, 1])
    pictures = [builder.node("SpaceToDepth", each, blocksize=SEARCH_CELL) for each in (current, moved)]
    seen = builder.node("Concat", builder.node("Mul", costs, builder.constant(8.0)), *pictures, found, axis=1)
    name = f"{STEM}search.levels.{level}."
    x = builder.convolution(f"{name}entry", seen)
    x = builder.block(f"{name}block1", builder.block(f"{name}block0", x))
    found = builder.node("Add", found, builder.convolution(f"{name}head", x))
    return builder.node("Add", field, found) if field else found


class _BlocksGraph:
    """engines.training.motion.Blocks, as matrices with a column for each block; samples are in 0..PEAK.

    current, right, down  the picture and its slopes, [1, 1, H, W] each
    """

    def __init__(
        self,
        builder: GraphBuilder,
        planes: tuple[str, str, str],
        reference: ReferenceGraph,
        cell: int,
        field: str,
    ) -> None:
        self._builder, self._reference, self._cell = builder, reference, cell
        self._ones = builder.constant(np.full((1, cell * cell), 1 / cell**2))
        self._current, self._right, self._down = (blocks_of(builder, plane, cell) for plane in planes)
        xx, yy = (
            builder.node("Add", self._mean(slope, slope), builder.constant(LEAST_SLOPE * PEAK**2))
            for slope in (self._right, self._down)
        )
        xy = self._mean(self._right, self._down)
        determinant = builder.node("Sub", builder.node("Mul", xx, yy), builder.node("Mul", xy, xy))
        self._inverse = [builder.node("Div", each, determinant) for each in (xx, xy, yy)]
        self.field = field
        self._grid = builder.node("Shape", field)
        self._cells = reference.cells(self._grid, cell)
        self._flat = builder.constant([cell * cell, -1], np.int64)
        self._scalars, self._vectors = (
            builder.node(
                "Concat",
                builder.constant([1, channels], np.int64),
                sliced(builder, self._grid, 2, 4),
                axis=0,
            )
            for channels in (1, 2)
        )
        self._apart = self._left_by(field)
        self._error = self._mean(self._apart, self._apart)

    def look_around(self, reach: int) -> None:
        """A row of places at a time: all at once would take 400 MB at 1080p."""
        builder, span = self._builder, np.arange(-reach, reach + 1)
        start = self.field
        for row in span if reach else ():
            steps = np.stack([span, np.full_like(span, row)], 1).reshape(-1, 2, 1, 1) * QUARTERS
            self._take_best_of(builder.node("Add", start, builder.constant(steps)), len(span))

    def neighbours(self) -> list[str]:
        builder = self._builder
        padded = builder.node("Pad", self.field, _pads(builder, 1), mode="edge")
        found = []
        for row, column in ((1, 0), (1, 2), (0, 1), (2, 1)):
            start = builder.constant([row, column], np.int64)
            end = builder.node("Add", start, sliced(builder, self._grid, 2, 4))
            found.append(builder.node("Slice", padded, start, end, builder.constant([2, 3], np.int64)))
        return found

    def settle(self, rounds: int) -> None:
        for _ in range(rounds):
            self.take_best(self.neighbours())
            self.descend(1)

    def take_best(self, candidates: list[str]) -> None:
        joined = candidates[0] if len(candidates) == 1 else self._builder.node("Concat", *candidates, axis=0)
        self._take_best_of(joined, len(candidates))

    def _take_best_of(self, fields: str, count: int) -> None:
        """Of `count` fields [count, 2, rows, columns] at once: a graph takes long to load where it has many nodes."""
        builder = self._builder
        apart = self._left_by(fields, count)
        if count == 1:
            error = self._mean(apart, apart)
            is_better = builder.node("Less", error, self._error)
            self._error = builder.node("Where", is_better, error, self._error)
            self._apart = builder.node("Where", is_better, apart, self._apart)
            is_better = builder.node("Reshape", is_better, self._scalars)
            self.field = builder.node("Where", is_better, fields, self.field)
            return
        flat = builder.node("Reshape", builder.node("Mul", apart, apart), self._flat)
        errors = builder.node("MatMul", self._ones, flat)
        errors = builder.node("Reshape", errors, builder.constant([count, -1], np.int64))
        errors = builder.node("Concat", self._error, errors, axis=0)
        best = builder.node("Reshape", builder.node("ArgMin", errors, axis=0), self._scalars)
        known = builder.node("Concat", self.field, fields, axis=0)
        self.field = builder.node("GatherElements", known, builder.node("Expand", best, self._vectors), axis=0)
        self._error = builder.node("ReduceMin", errors, axes=[0], keepdims=1)
        self._apart = self._left_by(self.field)

    def descend(self, steps: int) -> None:
        builder = self._builder
        xx, xy, yy = self._inverse
        for _ in range(steps):
            x, y = (self._mean(slope, self._apart) for slope in (self._right, self._down))
            right = builder.node("Sub", builder.node("Mul", yy, x), builder.node("Mul", xy, y))
            down = builder.node("Sub", builder.node("Mul", xx, y), builder.node("Mul", xy, x))
            step = builder.node("Concat", right, down, axis=0)
            step = builder.node("Clip", step, builder.constant(-1.0), builder.constant(1.0))
            step = builder.node("Round", times(builder, step, QUARTERS))
            step = builder.node("Reshape", step, self._vectors)
            self._take_best_of(builder.node("Add", self.field, step), 1)

    def _left_by(self, fields: str, count: int = 1) -> str:
        """[cell * cell, blocks], or [cell * cell, count, blocks]"""
        builder = self._builder
        moved, current = self._reference.moved_blocks(fields, self._cells), self._current
        if count > 1:
            moved = builder.node("Reshape", moved, builder.constant([self._cell**2, count, -1], np.int64))
            current = builder.node("Unsqueeze", current, builder.constant([1], np.int64))
        return builder.node("Sub", current, moved)

    def _mean(self, left: str, right: str) -> str:
        return self._builder.node("MatMul", self._ones, self._builder.node("Mul", left, right))


def _sloped(builder: GraphBuilder, plane: str) -> tuple[str, str, str]:
    """A plane in 0..1 as one in 0..PEAK, and its slopes to the right and down."""
    plane = times(builder, plane, PEAK)
    padded = builder.node("Pad", plane, _pads(builder, 1), mode="edge")
    slopes = []
    for axis in (3, 2):
        line = cut(builder, padded, 5 - axis, 1, 1)
        apart = builder.node("Sub", cut(builder, line, axis, 2, 0), cut(builder, line, axis, 0, 2))
        slopes.append(times(builder, apart, 0.5))
    return plane, slopes[0], slopes[1]


def _linear_samples(builder: GraphBuilder, plane: str) -> ReferenceGraph:
    """engines.training.motion.quarter_samples, not sharp, in 0..PEAK."""
    pads = builder.constant([0, 0, MARGIN, MARGIN, 0, 0, MARGIN + 1, MARGIN + 1], np.int64)
    padded = builder.node("Pad", times(builder, plane, PEAK), pads, mode="edge")

    def quarters(plane: str, axis: int) -> list[str]:
        whole = cut(builder, plane, axis, 0, 1)
        following = cut(builder, plane, axis, 1, 0)
        half = _mean_of(builder, whole, following)
        return [whole, _mean_of(builder, whole, half), half, _mean_of(builder, half, following)]

    phases = [across for down in quarters(padded, 2) for across in quarters(down, 3)]
    joined = builder.node("Squeeze", builder.node("Concat", *phases, axis=1), builder.constant([0], np.int64))
    return ReferenceGraph(builder, joined)


def _pyramid(builder: GraphBuilder, plane: str) -> dict[int, str]:
    """engines.training.motion.pyramid"""
    planes = {1: plane}
    for factor in (2, 4, 8, 16):
        planes[factor] = builder.node("AveragePool", planes[factor // 2], kernel_shape=[2, 2], strides=[2, 2])
    return planes


def _warp(builder: GraphBuilder, planes: str, field: str) -> str:
    """Planes [1, C, H, W] moved by a field [1, 2, H, W] in their pixels, bilinear, edges continued."""
    shape = builder.node("Shape", planes)
    places = []
    for axis, unsqueezed in ((3, [0, 1, 2]), (2, [0, 1, 3])):
        count = builder.node("Squeeze", sliced(builder, shape, axis, axis + 1))
        line = builder.node("Range", builder.constant(0, np.int64), count, builder.constant(1, np.int64))
        line = builder.node("Cast", line, to=FLOAT)
        line = builder.node("Unsqueeze", line, builder.constant(unsqueezed, np.int64))
        along = builder.node("Gather", field, builder.constant([0 if axis == 3 else 1], np.int64), axis=1)
        span = builder.node("Sub", builder.node("Cast", count, to=FLOAT), builder.constant(1.0))
        twice = builder.node("Mul", builder.node("Add", along, line), builder.constant(2.0))
        places.append(builder.node("Sub", builder.node("Div", twice, span), builder.constant(1.0)))
    grid = builder.node("Transpose", builder.node("Concat", *places, axis=1), perm=[0, 2, 3, 1])
    return builder.node("GridSample", planes, grid, mode="bilinear", padding_mode="border", align_corners=1)


def _mean_of(builder: GraphBuilder, left: str, right: str) -> str:
    return times(builder, builder.node("Add", left, right), 0.5)


def _every_second(builder: GraphBuilder, field: str, row: int, column: int) -> str:
    places = ([row, column], [1 << 30] * 2, [2, 3], [2, 2])
    return builder.node("Slice", field, *(builder.constant(each, np.int64) for each in places))


def _grown(builder: GraphBuilder, field: str, factor: int) -> str:
    scales = builder.constant([1.0, 1.0, factor, factor])
    return builder.node("Resize", field, "", scales, **_LINEAR)


def _pads(builder: GraphBuilder, size: int) -> str:
    return builder.constant([0, 0, size, size] * 2, np.int64)


_LINEAR: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
