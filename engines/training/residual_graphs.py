"""The ONNX graphs of P and B frames beyond motion: blending, the residual, its entropy model and the loop filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.graphs import GraphBuilder
from engines.training.inter import BASIS, BLEND, FILTER, WEIGHTS
from engines.training.motion_graphs import sliced
from engines.training.residual import FILTER_BLOCKS, FILTER_EDGES, MID_GREY, PICTURE_SHARE
from zvc69_cli.codec.entropy.layers import HEAD_LIMIT, INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.residual.context import INPUTS, LEVEL_LIMIT, LOGS
from zvc69_cli.codec.residual.layout import (
    BANDS,
    CLASSES,
    GROUP_SIZES,
    GROUPS,
    IS_LUMA,
    PASSES,
    PLANE_SIDES,
    group_of_pass,
)
from zvc69_cli.codec.residual.prior import RESIDUAL_STEM

GraphFactory = Callable[[str], GraphBuilder]

FLOAT = TensorProto.FLOAT
_PLANE_SIZES = [side * side for side in PLANE_SIDES]
_FEATURES = (1, BANDS, "rows", "columns")
_STEPS = (1, BANDS, 1, 1)


def residual_graphs(build: GraphFactory) -> dict[str, onnx.ModelProto]:
    """Every graph by its name.

    build  makes an empty builder of a name
    """
    graphs = {
        "blend": blend_graph(build("blend")),
        "residual_costs": costs_graph(build("residual_costs")),
        "residual_coefficients": coefficients_graph(build("residual_coefficients")),
        "residual_state": state_graph(build("residual_state")),
        "rebuild": rebuild_graph(build("rebuild")),
        "loop_filter": filter_graph(build("loop_filter")),
        "filter_sums": sums_graph(build("filter_sums")),
        "finish": finish_graph(build("finish")),
    }
    return graphs | {
        f"residual_pass_{number}": pass_graph(build(f"residual_pass_{number}"), number)
        for number in range(PASSES)
    }


def blend_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Two moved references -> their blend, by a mask that a small network makes of both."""
    first, second = (builder.input(name, _FEATURES) for name in ("first", "second"))
    mask = builder.convolution(f"{BLEND}entry", builder.node("Concat", first, second, axis=1))
    mask = builder.convolution(f"{BLEND}head", builder.block(f"{BLEND}block", mask))
    share = builder.node("Mul", builder.node("Sigmoid", mask), builder.node("Sub", first, second))
    builder.node("Add", second, share, output="blend")
    return builder.build({"blend": FLOAT})


def costs_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Planes, the prediction and the steps -> the DCT of both in steps, and what each class would leave."""
    picture = _picture_features(builder)
    prediction = builder.input("prediction", _FEATURES)
    steps = builder.input("steps", _STEPS)
    dct = [builder.node("Div", _transformed(builder, each), steps) for each in (picture, prediction)]
    builder.node("Identity", dct[0], output="picture")
    builder.node("Identity", dct[1], output="predicted")
    weights = _weights(builder)
    costs = []
    for number in range(CLASSES):
        weight = builder.node("Gather", weights, builder.constant([number], np.int64), axis=1)
        weight = builder.node("Reshape", weight, builder.constant([1, BANDS, 1, 1], np.int64))
        left = builder.node("Sub", dct[0], builder.node("Mul", dct[1], weight))
        power = builder.node("Add", builder.node("Mul", left, left), builder.constant([0.5]))
        # log2(1 + 2 r^2) / 2 = log2(r^2 + 1/2) / 2 + 1/2; the constant is the same for every class.
        nats = builder.node("ReduceSum", builder.node("Log", power), builder.constant([1], np.int64))
        costs.append(nats)
    stacked = builder.node("Concat", *costs, axis=1)
    pooled = builder.node("AveragePool", stacked, kernel_shape=[2, 2], strides=[2, 2])
    builder.node("Mul", pooled, builder.constant([4 * 0.5 / np.log(2)]), output="costs")
    return builder.build({"picture": FLOAT, "predicted": FLOAT, "costs": FLOAT})


def coefficients_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """The DCT of picture and prediction in steps, and the classes -> the residual in steps."""
    picture, predicted = (builder.input(name, _FEATURES) for name in ("picture", "predicted"))
    shrunk = _shrunk(builder, predicted)
    builder.node("Sub", picture, shrunk, output="coefficients")
    return builder.build({"coefficients": FLOAT})


def state_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """IntegerResidualPrior.state"""
    x = builder.clip(builder.input("inputs", (1, INPUTS, "rows", "columns")))
    x = builder.integer_block(
        f"{RESIDUAL_STEM}state", builder.integer_convolution(f"{RESIDUAL_STEM}state_in", x)
    )
    builder.node("Identity", x, output="state")
    return builder.build({"state": FLOAT})


def pass_graph(builder: GraphBuilder, number: int) -> onnx.ModelProto:
    """IntegerResidualPrior.rows of one pass, which also takes in the levels of the pass before it.

    What is known travels as logarithms of the levels decoded so far, with the channels of the groups up to this one.
    """
    stem, group = f"{RESIDUAL_STEM}pass{number}.", group_of_pass(number)
    width = builder.shape(f"{stem}entry.weight")[0]
    state = builder.input("state", (1, width, "rows", "columns"))
    parts = []
    if number:
        last = group_of_pass(number - 1)
        known = builder.input("known", (1, GROUPS[last].stop, "rows", "columns"))
        levels = builder.input("levels", (1, GROUP_SIZES[last], "rows", "columns"), TensorProto.INT16)
        sizes = builder.node("Abs", builder.node("Cast", levels, to=TensorProto.INT32))
        sizes = builder.node("Min", sizes, builder.constant([LEVEL_LIMIT], np.int32))
        logs = builder.node("Gather", builder.constant(LOGS[: LEVEL_LIMIT + 1]), sizes)
        before = GROUPS[last].start
        if before:
            builder.split(known, [before, GROUP_SIZES[last]], ["lower", "current"])
            parts = ["lower", builder.node("Add", "current", logs)]
        else:
            parts = [builder.node("Add", known, logs)]
    missing = GROUPS[group].stop - (GROUPS[group_of_pass(number - 1)].stop if number else 0)
    if missing:
        grid = sliced(builder, builder.node("Shape", state), 2, 4)
        shape = builder.node("Concat", builder.constant([1, missing], np.int64), grid, axis=0)
        parts.append(builder.node("Expand", builder.constant(np.zeros((1, 1, 1, 1))), shape))
    if len(parts) > 1:
        known_now = builder.node("Concat", *parts, axis=1, output="known_now")
    else:
        known_now = builder.node("Identity", parts[0], output="known_now")
    x = builder.integer_convolution(f"{stem}entry", builder.node("Concat", known_now, state, axis=1))
    x = builder.integer_block(f"{stem}block", x)
    head = builder.integer_convolution(f"{stem}head", x, limit=HEAD_LIMIT)
    moved = builder.node("Add", head, builder.constant(INDEX_FRACTION / 2))
    index = builder.node("Floor", builder.node("Mul", moved, builder.constant(1 / INDEX_FRACTION)))
    index = builder.node("Clip", index, builder.constant(0), builder.constant(SCALE_LEVELS - 1))
    row = builder.node("Mul", index, builder.constant(len(GROUPS)))
    row = builder.node("Add", row, builder.constant(group))
    builder.node("Cast", row, output="rows_now", to=TensorProto.UINT8)
    return builder.build({"rows_now": TensorProto.UINT8, "known_now": FLOAT})


def rebuild_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Levels, classes, the prediction and the steps -> the unfiltered picture and the shrunk prediction."""
    levels = builder.input("levels", _FEATURES, TensorProto.INT16)
    prediction = builder.input("prediction", _FEATURES)
    steps = builder.input("steps", _STEPS)
    dct = _shrunk(builder, _transformed(builder, prediction))
    shrunk = builder.node("Add", _inverse(builder, dct), builder.constant([MID_GREY]), output="shrunk")
    residual = builder.node("Mul", builder.node("Cast", levels, to=FLOAT), steps)
    builder.node("Add", shrunk, _inverse(builder, residual), output="picture")
    return builder.build({"picture": FLOAT, "shrunk": FLOAT})


def filter_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """engines.training.residual.LoopFilter, without the picture that it is added to."""
    picture, shrunk, first, last = (
        builder.input(name, _FEATURES) for name in ("picture", "shrunk", "first", "last")
    )
    edges = builder.input("edges", (1, FILTER_EDGES, "rows", "columns"))
    steps = builder.input("steps", _STEPS)
    q = builder.input("q", (1,))
    luma, chroma = int(np.flatnonzero(IS_LUMA)[0]), int(np.flatnonzero(~IS_LUMA)[0])
    of_features = [luma] * _PLANE_SIZES[0] + [chroma] * (BANDS - _PLANE_SIZES[0])
    step = builder.node("Gather", steps, builder.constant(of_features, np.int64), axis=1)
    unit = builder.node("Reciprocal", step)
    share = builder.node("Mul", unit, builder.constant([PICTURE_SHARE]))
    seen = [
        builder.node("Sub", picture, builder.constant([MID_GREY])),
        builder.node("Mul", builder.node("Sub", picture, shrunk), unit),
        builder.node("Mul", builder.node("Sub", first, picture), share),
        builder.node("Mul", builder.node("Sub", last, picture), share),
        edges,
    ]
    x = builder.convolution(f"{FILTER}entry", builder.node("Concat", *seen, axis=1))
    x = builder.modulation(f"{FILTER}q_entry", x, q)
    for number in range(FILTER_BLOCKS):
        x = builder.block(f"{FILTER}blocks.{number}", x)
    x = builder.convolution(f"{FILTER}exit", builder.modulation(f"{FILTER}q_exit", x, q))
    builder.node("Mul", x, step, output="correction")
    return builder.build({"correction": FLOAT})


def sums_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """codec.networks.Networks.filter_sums."""
    source = _picture_features(builder)
    picture, correction = (builder.input(name, _FEATURES) for name in ("picture", "correction"))
    lack = builder.node("Sub", source, picture)
    pairs = ((lack, correction), (correction, correction), (lack, lack))
    planes = np.zeros((BANDS, 3), np.float32)
    planes[np.arange(BANDS), np.repeat(np.arange(3), _PLANE_SIZES)] = 1
    rows = []
    for one, other in pairs:
        total = builder.node(
            "ReduceSum", builder.node("Mul", one, other), builder.constant([2, 3], np.int64), keepdims=0
        )
        rows.append(builder.node("MatMul", total, builder.constant(planes)))
    builder.node("Concat", *rows, axis=0, output="sums")
    return builder.build({"sums": FLOAT})


def finish_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """The picture, the correction and its strength -> planes of whole numbers."""
    picture, correction = (builder.input(name, _FEATURES) for name in ("picture", "correction"))
    strength, peak = (builder.input(name, (1,)) for name in ("strength", "peak"))
    x = builder.node("Add", picture, builder.node("Mul", correction, strength))
    x = builder.node("Round", builder.node("Mul", x, peak))
    x = builder.node("Min", builder.node("Max", x, builder.constant([0.0])), peak)
    builder.split(x, _PLANE_SIZES, ["y64", "u16", "v16"])
    for source, name, side in zip(("y64", "u16", "v16"), "yuv", PLANE_SIDES, strict=True):
        builder.node("DepthToSpace", source, output=name, blocksize=side, mode="CRD")
    return builder.build(dict.fromkeys("yuv", FLOAT))


def _picture_features(builder: GraphBuilder) -> str:
    """Inputs y, u and v as features."""
    planes = [builder.input("y", (1, 1, "height", "width"))]
    planes += [builder.input(name, (1, 1, "chroma_height", "chroma_width")) for name in "uv"]
    cut = [
        builder.node("SpaceToDepth", plane, blocksize=side)
        for plane, side in zip(planes, PLANE_SIDES, strict=True)
    ]
    return builder.node("Concat", *cut, axis=1)


def _transformed(builder: GraphBuilder, features: str) -> str:
    """The DCT of features less mid-grey."""
    centred = builder.node("Sub", features, builder.constant([MID_GREY]))
    return builder.node("Conv", centred, builder.stored(BASIS, (BANDS, BANDS, 1, 1)), kernel_shape=[1, 1])


def _inverse(builder: GraphBuilder, coefficients: str) -> str:
    """Features of coefficients, without mid-grey."""
    basis = builder.node("Transpose", builder.stored(BASIS, (BANDS, BANDS, 1, 1)), perm=[1, 0, 2, 3])
    return builder.node("Conv", coefficients, basis, kernel_shape=[1, 1])


def _weights(builder: GraphBuilder) -> str:
    """Band weights of the classes, [96, classes]."""
    weights = builder.node("Mul", builder.stored(WEIGHTS), builder.constant([1 / 256]))
    return builder.node("Transpose", weights, perm=[1, 0])


def _shrunk(builder: GraphBuilder, dct: str) -> str:
    """Coefficients [1, 96, rows, columns] times the band weights of the input "classes" [1, 1, rows/2, columns/2]."""
    classes = builder.input("classes", (1, 1, "unit_rows", "unit_columns"), TensorProto.UINT8)
    sides = builder.node("Shape", classes)
    rows, columns = (sliced(builder, sides, at, at + 1) for at in (2, 3))
    one, two, bands = (builder.constant([value], np.int64) for value in (1, 2, BANDS))
    chosen = builder.node(
        "Gather", _weights(builder), builder.node("Cast", classes, to=TensorProto.INT64), axis=1
    )
    chosen = builder.node("Reshape", chosen, builder.node("Concat", bands, rows, one, columns, one, axis=0))
    units = builder.node("Reshape", dct, builder.node("Concat", bands, rows, two, columns, two, axis=0))
    return builder.node("Reshape", builder.node("Mul", units, chosen), builder.node("Shape", dct))
