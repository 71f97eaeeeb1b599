"""The ONNX graph of a reference's quarter samples: codec.picture.planes.quarter_samples, node by node and exact."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.graphs import GraphBuilder
from engines.training.motion_graphs import PEAK, cut, sliced, times
from engines.training.moving import HALF_SUM, HALF_TAPS, MARGIN

SEARCH_BLOCK = 64  # codec.picture.planes.SEARCH_BLOCK: the sides of what is searched are multiples


def samples_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A luma plane of whole samples, and the largest that there can be -> uint8 [16, rows + 64, columns + 64].

    The plane is continued to whole search blocks first. For devices that the plane lies on: on a CPU, NumPy takes a
    third of the time.
    """
    plane = builder.input("y", (1, 1, "height", "width"))
    peak = builder.input("peak", (1,))
    plane = builder.node("Round", builder.node("Mul", plane, builder.node("Div", builder.constant(PEAK), peak)))
    sides = sliced(builder, builder.node("Shape", plane), 2, 4)
    block = builder.constant([SEARCH_BLOCK], np.int64)
    missing = builder.node("Mod", builder.node("Neg", sides), block)
    behind = builder.node("Add", missing, builder.constant([MARGIN + 4], np.int64))
    before = builder.constant([0, 0, MARGIN + 3, MARGIN + 3, 0, 0], np.int64)
    padded = builder.node("Pad", plane, builder.node("Concat", before, behind, axis=0), mode="edge")
    phases = [across for down in _quarters(builder, padded, 2) for across in _quarters(builder, down, 3)]
    joined = builder.node("Squeeze", builder.node("Concat", *phases, axis=1), builder.constant([0], np.int64))
    builder.node("Cast", joined, to=TensorProto.UINT8, output="samples")
    return builder.build({"samples": TensorProto.UINT8})


def _quarters(builder: GraphBuilder, plane: str, axis: int) -> list[str]:
    """A plane and what lies one, two and three quarters of the way to the next sample; 7 shorter along the axis."""
    taps = np.array([*HALF_TAPS, *HALF_TAPS[::-1]], np.float32) / HALF_SUM
    shape, kernel = ((1, 1, 8, 1), [8, 1]) if axis == 2 else ((1, 1, 1, 8), [1, 8])
    weights = builder.constant(taps.reshape(shape))
    half = builder.node("Conv", plane, weights, builder.constant([0.5]), kernel_shape=kernel)
    half = builder.node("Clip", builder.node("Floor", half), builder.constant(0.0), builder.constant(PEAK))
    whole, following = cut(builder, plane, axis, 3, 4), cut(builder, plane, axis, 4, 3)
    return [whole, _mean(builder, whole, half), half, _mean(builder, half, following)]


def _mean(builder: GraphBuilder, left: str, right: str) -> str:
    mean = times(builder, builder.node("Add", left, right), 0.5)
    return builder.node("Floor", builder.node("Add", mean, builder.constant(0.5)))
