"""The ONNX graphs of P and B frames: search, motion and its prior, prediction, and the coder given a prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.exact import motion_stem
from engines.training.graphs import (
    GraphBuilder,
    analyse_graph,
    first_graph,
    second_graph,
    synthesise_graph,
)
from engines.training.inter import CONTEXT_BLOCKS, MOTION_CHANNELS
from engines.training.model import ModelSize
from engines.training.motion import (
    FIRST_INPUTS,
    LEAST_CURVATURE,
    QUARTERS,
    REACH,
    REFINED,
    SEARCH_CELL,
    SEARCHED,
    SECOND_INPUTS,
    STRIDES,
)
from zvc69_cli.codec.prior import HEAD_LIMIT

GraphFactory = Callable[[str], GraphBuilder]

STEM = "inter."  # what the names of these weights begin with
FEATURES = 96
FLOAT = TensorProto.FLOAT


def inter_graphs(build: GraphFactory, size: ModelSize) -> dict[str, onnx.ModelProto]:
    """Every graph by its name.

    build  makes an empty builder of a name
    """
    coder, extra = f"{STEM}coder.", 2 * size.latent + MOTION_CHANNELS
    graphs = {
        "search": search_graph(build("search")),
        "motion_error": motion_error_graph(build("motion_error")),
        "warp": warp_graph(build("warp")),
        "context_one": context_graph(build("context_one"), 1),
        "context_two": context_graph(build("context_two"), 2),
        "analyse_inter": analyse_graph(build("analyse_inter"), size.analysis_blocks, coder, FEATURES),
        "first_inter": first_graph(build("first_inter"), size.latent, size.hyper, f"{STEM}prior.", extra),
        "second_inter": second_graph(build("second_inter"), size.latent, f"{STEM}prior."),
        "synthesise_inter": synthesise_graph(
            build("synthesise_inter"), size.latent, size.synthesis_blocks, coder, FEATURES
        ),
    }
    for level in range(len(STRIDES)):
        for order, inputs in (("first", FIRST_INPUTS), ("second", SECOND_INPUTS)):
            name = f"motion_{level}_{order}"
            stem = motion_stem(f"motion_prior.{order}.{level}.")
            graphs[name] = motion_pass_graph(build(name), stem, inputs)
    return graphs


def search_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """MotionSearch: luma of a frame and of a reference, sides multiples of 64 -> fields in quarter pels."""
    current, reference = (builder.input(name, (1, 1, "height", "width")) for name in ("y", "reference_y"))
    currents, references = (_pyramid(builder, each) for each in (current, reference))
    field = ""
    for number, scale in enumerate(SEARCHED):
        field = _search_level(builder, number, currents[scale], references[scale], field)
    field = _times(builder, _grown(builder, field, 2), SEARCHED[-1])
    for scale in REFINED:
        found = _refinement(
            builder, currents[scale], references[scale], _times(builder, field, 1 / scale), STRIDES[-1] // scale
        )
        field = builder.node("Add", field, _times(builder, found, scale))
    field = _times(builder, field, QUARTERS)
    for number, stride in enumerate(STRIDES):
        sides = [stride // STRIDES[-1]] * 2
        builder.node("AveragePool", field, kernel_shape=sides, strides=sides, output=f"field_{number}")
    return builder.build({f"field_{number}": FLOAT for number in range(len(STRIDES))})


def motion_error_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Mean squared error of every cell when the reference is moved by a field in quarter pels."""
    current, reference = (builder.input(name, (1, 1, "height", "width")) for name in ("y", "reference_y"))
    field = builder.input("field", (1, 2, "rows", "columns"))
    whole, cells = builder.node("Shape", current), builder.node("Shape", field)
    sides = _sliced(builder, whole, 2, 4)
    sizes = builder.node("Concat", _sliced(builder, cells, 0, 2), sides, axis=0)
    full = builder.node("Resize", field, "", "", sizes, **_LINEAR)
    moved = _warp(builder, reference, builder.node("Mul", full, builder.constant(1 / QUARTERS)))
    apart = builder.node("Sub", current, moved)
    squared = builder.node("Mul", apart, apart)
    grid = _sliced(builder, cells, 2, 4)
    cell = builder.node("Div", sides, grid)
    rows, columns = (_sliced(builder, grid, at, at + 1) for at in (0, 1))
    high, wide = (_sliced(builder, cell, at, at + 1) for at in (0, 1))
    shape = builder.node("Concat", rows, high, columns, wide, axis=0)
    squared = builder.node("Reshape", squared, shape)
    builder.node("ReduceMean", squared, output="error", axes=[1, 3], keepdims=0)
    return builder.build({"error": FLOAT})


def warp_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A reference of whole samples moved by a field on the 1/8 grid in quarter pels -> features in 0..1."""
    y = builder.input("y", (1, 1, "height", "width"))
    u, v = (builder.input(name, (1, 1, "chroma_height", "chroma_width")) for name in "uv")
    field = builder.input("field", (1, 2, "rows", "columns"))
    peak = builder.input("peak", (1,))
    scaled = builder.node("Mul", field, builder.constant(1 / QUARTERS))
    full = _grown(builder, scaled, STRIDES[-1])
    half = builder.node("AveragePool", full, kernel_shape=[2, 2], strides=[2, 2])
    half = builder.node("Mul", half, builder.constant(0.5))
    luma = _warp(builder, y, full)
    chroma = _warp(builder, builder.node("Concat", u, v, axis=1), half)
    builder.split(chroma, [1, 1], ["moved_u", "moved_v"])
    features = [
        builder.node("SpaceToDepth", plane, blocksize=size)
        for plane, size in ((luma, 8), ("moved_u", 4), ("moved_v", 4))
    ]
    builder.node("Div", builder.node("Concat", *features, axis=1), peak, output="features")
    return builder.build({"features": FLOAT})


def context_graph(builder: GraphBuilder, references: int) -> onnx.ModelProto:
    """The prediction from one or two moved references."""
    names = ("first", "second")[:references]
    moved = [builder.input(name, (1, FEATURES, "rows", "columns")) for name in names]
    x = moved[0]
    if references == 2:
        mask = builder.convolution(f"{STEM}mask_entry", builder.node("Concat", *moved, axis=1))
        mask = builder.convolution(f"{STEM}mask_head", builder.block(f"{STEM}mask_block", mask))
        share = builder.node("Mul", builder.node("Sigmoid", mask), builder.node("Sub", *moved))
        x = builder.node("Add", moved[1], share)
    for number in range(CONTEXT_BLOCKS):
        x = builder.block(f"{STEM}context_blocks.{number}", x)
    builder.node("Identity", x, output="context")
    return builder.build({"context": FLOAT})


def motion_pass_graph(builder: GraphBuilder, stem: str, inputs: int) -> onnx.ModelProto:
    """One pass of IntegerMotionPrior."""
    x = builder.clip(builder.input("inputs", (1, inputs, "rows", "columns")))
    x = builder.integer_convolution(f"{stem}entry", x)
    for name in ("block0", "block1"):
        x = builder.integer_block(f"{stem}{name}", x)
    head = builder.integer_convolution(f"{stem}head", x, limit=HEAD_LIMIT)
    builder.node("Identity", head, output="heads")
    return builder.build({"heads": FLOAT})


def _search_level(builder: GraphBuilder, level: int, current: str, reference: str, field: str) -> str:
    """SearchLevel.forward; `field` is that of the coarser level, empty for none."""
    moved = reference
    if field:
        field = _times(builder, _grown(builder, field, 2), 2)
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


def _refinement(builder: GraphBuilder, current: str, reference: str, field: str, cell: int) -> str:
    """engines.training.motion.refinement; `cell` is the side of a cell in samples of these planes."""
    moved = builder.node(
        "Pad", _warp(builder, reference, _grown(builder, field, cell)), _pads(builder, 1), mode="edge"
    )
    sides = _sliced(builder, builder.node("Shape", current), 2, 4)
    axes = builder.constant([2, 3], np.int64)
    errors = []
    for row in range(3):
        for column in range(3):
            start = builder.constant([row, column], np.int64)
            shifted = builder.node("Slice", moved, start, builder.node("Add", start, sides), axes)
            apart = builder.node("Sub", shifted, current)
            squared = builder.node("Mul", apart, apart)
            errors.append(builder.node("AveragePool", squared, kernel_shape=[cell] * 2, strides=[cell] * 2))
    joined = builder.node("Concat", *errors, axis=1)
    around = builder.node("Pad", joined, _pads(builder, 1), mode="edge")
    around = builder.node("AveragePool", around, kernel_shape=[3, 3], strides=[1, 1])
    cost = builder.node("Mul", builder.node("Add", joined, around), builder.constant(0.5))
    best = builder.node("ArgMin", cost, axis=1, keepdims=1)
    zero, one, two, three = (builder.constant(number, np.int64) for number in range(4))
    row = builder.node("Div", best, three)
    column = builder.node("Sub", best, builder.node("Mul", row, three))
    least = builder.node("GatherElements", cost, best, axis=1)
    limits = (builder.constant(LEAST_CURVATURE), builder.constant(-0.5), builder.constant(0.5))

    def step(along: str, across: str, factor: str) -> str:
        beside = builder.node("Mul", across, builder.node("Sub", builder.constant(4, np.int64), factor))
        neighbours = []
        for operator in ("Sub", "Add"):
            moved_on = builder.node("Min", builder.node("Max", builder.node(operator, along, one), zero), two)
            at = builder.node("Add", builder.node("Mul", moved_on, factor), beside)
            neighbours.append(builder.node("GatherElements", cost, at, axis=1))
        slope = builder.node("Mul", builder.node("Sub", *neighbours), limits[2])
        curvature = builder.node("Sub", builder.node("Add", *neighbours), builder.node("Add", least, least))
        place = builder.node("Div", slope, builder.node("Max", curvature, limits[0]))
        place = builder.node("Clip", place, limits[1], limits[2])
        inside = builder.node("Cast", builder.node("Equal", along, one), to=FLOAT)
        whole = builder.node("Cast", builder.node("Sub", along, one), to=FLOAT)
        return builder.node("Add", whole, builder.node("Mul", place, inside))

    return builder.node("Concat", step(column, row, one), step(row, column, three), axis=1)


def _pyramid(builder: GraphBuilder, plane: str) -> dict[int, str]:
    """engines.training.motion.pyramid"""
    planes = {1: plane}
    for factor in (2, 4, 8, 16):
        planes[factor] = builder.node("AveragePool", planes[factor // 2], kernel_shape=[2, 2], strides=[2, 2])
    return planes


def _times(builder: GraphBuilder, x: str, factor: float) -> str:
    return x if factor == 1 else builder.node("Mul", x, builder.constant(float(factor)))


def _warp(builder: GraphBuilder, planes: str, field: str) -> str:
    """Planes [1, C, H, W] moved by a field [1, 2, H, W] in their pixels, bilinear, edges continued."""
    shape = builder.node("Shape", planes)
    places = []
    for axis, unsqueezed in ((3, [0, 1, 2]), (2, [0, 1, 3])):
        count = builder.node("Squeeze", _sliced(builder, shape, axis, axis + 1))
        line = builder.node("Range", builder.constant(0, np.int64), count, builder.constant(1, np.int64))
        line = builder.node("Cast", line, to=FLOAT)
        line = builder.node("Unsqueeze", line, builder.constant(unsqueezed, np.int64))
        along = builder.node("Gather", field, builder.constant([0 if axis == 3 else 1], np.int64), axis=1)
        span = builder.node("Sub", builder.node("Cast", count, to=FLOAT), builder.constant(1.0))
        twice = builder.node("Mul", builder.node("Add", along, line), builder.constant(2.0))
        places.append(builder.node("Sub", builder.node("Div", twice, span), builder.constant(1.0)))
    grid = builder.node("Transpose", builder.node("Concat", *places, axis=1), perm=[0, 2, 3, 1])
    return builder.node("GridSample", planes, grid, mode="bilinear", padding_mode="border", align_corners=1)


def _grown(builder: GraphBuilder, field: str, factor: int) -> str:
    scales = builder.constant([1.0, 1.0, factor, factor])
    return builder.node("Resize", field, "", scales, **_LINEAR)


def _sliced(builder: GraphBuilder, shape: str, start: int, end: int) -> str:
    return builder.node("Slice", shape, builder.constant([start], np.int64), builder.constant([end], np.int64))


def _pads(builder: GraphBuilder, size: int) -> str:
    return builder.constant([0, 0, size, size] * 2, np.int64)


_LINEAR: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
