"""The ONNX graphs of gradients: how the error of a decoded picture falls and rises with the latent it is made of.

An encoder steps along them (codec.intra.refinement). They are the synthesis and, node by node, its way back. The
weights are those of the synthesis, transposed while a graph is loaded.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.graphs import GraphBuilder
from engines.training.model import BRANCH_SLOPE, FEED_SLOPE
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.rate.quality import CHROMA_WEIGHT_HIGH, CHROMA_WEIGHT_LOW, LUMA_WEIGHT
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

LUMA_FEATURES, CHROMA_FEATURES = 64, 32
_FAR = -(1 << 31)  # beyond the first element, for a slice that runs backwards


def gradient_graph(builder: GraphBuilder, latent: int, trunk: int, blocks: int) -> onnx.ModelProto:
    """Planes in 0..1, latent in sixteenths of a step, and q -> the gradient, like the latent.

    It is that of the squared error a luma sample, planes weighted as in training, summed over these, by every element
    in steps.

    trunk    channels of the synthesis
    """
    planes = [builder.input("y", (1, 1, "luma_height", "luma_width"))]
    planes += [builder.input(name, (1, 1, "chroma_height", "chroma_width")) for name in "uv"]
    x = builder.input("latent", (1, latent, "height", "width"))
    q = builder.input("q", (1,))
    scale = builder.scale_of_q("q_synthesis", q)
    x = builder.shuffle(builder.convolution("up", builder.node("Mul", x, scale)))
    x = builder.modulation("q_up", x, q)
    tape = _Tape(builder)
    for number in range(blocks):
        x = tape.block(f"synthesis.{number}", x)
    x = builder.modulation("q_exit", x, q)
    features = builder.node(
        "Clip", builder.convolution("exit", x), builder.constant(0.0), builder.constant(1.0)
    )
    wanted = builder.node(
        "Concat",
        *(
            builder.node("SpaceToDepth", plane, blocksize=size)
            for plane, size in zip(planes, (8, 4, 4), strict=True)
        ),
        axis=1,
    )
    difference = builder.node("Sub", features, wanted)
    slope = builder.node("Mul", difference, _error_weights(builder, q))
    slope = _through_modulation(builder, "q_exit", q, _through(builder, "exit", slope))
    slope = _through_modulation(builder, "q_up", q, tape.back(slope))
    slope = _through_up(builder, "up", trunk, latent, slope)
    steps = builder.node("Mul", scale, builder.constant(float(MEAN_FRACTION)))
    builder.node("Mul", slope, steps, output="gradient")
    return builder.build({"gradient": TensorProto.FLOAT})


def _error_weights(builder: GraphBuilder, q: str) -> str:
    """What the difference of each feature counts in the gradient, [1, 96, 1, 1]."""
    # Twice the weight of its plane, for the square; a chroma plane's mean stands for four times as many luma samples.
    fall = math.log(CHROMA_WEIGHT_HIGH / CHROMA_WEIGHT_LOW) / (INTRA_Q_LEVELS - 1)
    chroma = builder.node("Exp", builder.node("Mul", q, builder.constant(fall)))
    parts = [[0.0] * LUMA_FEATURES + [8 * CHROMA_WEIGHT_LOW] * CHROMA_FEATURES]
    parts += [[2 * LUMA_WEIGHT] * LUMA_FEATURES + [0.0] * CHROMA_FEATURES]
    of_chroma, of_luma = (builder.constant(np.reshape(part, (1, -1, 1, 1))) for part in parts)
    return builder.node("Add", of_luma, builder.node("Mul", of_chroma, chroma))


class _Tape:
    """Blocks on the way there, kept for the way back."""

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._blocks: list[tuple[str, str, str]] = []  # name, and what the leaky slope saw in branch and feed

    def block(self, name: str, x: str) -> str:
        """GraphBuilder.block, of as many channels out as in."""
        builder = self._builder
        branch = builder.convolution(f"{name}.branch_in", x)
        bent = builder.node("LeakyRelu", branch, alpha=BRANCH_SLOPE)
        bent = builder.convolution(f"{name}.branch_out", builder.convolution(f"{name}.depthwise", bent))
        x = builder.node("Add", x, bent)
        feed = builder.convolution(f"{name}.feed_in", x)
        self._blocks.append((name, branch, feed))
        bent = builder.node("LeakyRelu", feed, alpha=FEED_SLOPE)
        return builder.node("Add", x, builder.convolution(f"{name}.feed_out", bent))

    def back(self, slope: str) -> str:
        """The gradient by what the first block was given, from that by what the last one yielded."""
        builder = self._builder
        for name, branch, feed in reversed(self._blocks):
            inner = self._unbent(_through(builder, f"{name}.feed_out", slope), feed, FEED_SLOPE)
            slope = builder.node("Add", slope, _through(builder, f"{name}.feed_in", inner))
            inner = _through(builder, f"{name}.depthwise", _through(builder, f"{name}.branch_out", slope))
            inner = self._unbent(inner, branch, BRANCH_SLOPE)
            slope = builder.node("Add", slope, _through(builder, f"{name}.branch_in", inner))
        return slope

    def _unbent(self, slope: str, seen: str, below: float) -> str:
        builder = self._builder
        is_above = builder.node("Greater", seen, builder.constant(0.0))
        return builder.node(
            "Mul", slope, builder.node("Where", is_above, builder.constant(1.0), builder.constant(below))
        )


def _through(builder: GraphBuilder, name: str, slope: str) -> str:
    """Back through a convolution of stride 1: 1x1, or 3x3 of each channel by itself."""
    out, per_group, kernel, _ = builder.shape(f"{name}.weight")
    weight = builder.stored(f"{name}.weight")
    if kernel == 1:
        weight = builder.node("Transpose", weight, perm=[1, 0, 2, 3])
    else:
        last = builder.constant([-1, -1], np.int64)
        before = builder.constant([_FAR, _FAR], np.int64)
        weight = builder.node("Slice", weight, last, before, builder.constant([2, 3], np.int64), last)
    depthwise = per_group == 1 and kernel == 3
    return builder.node(
        "Conv",
        slope,
        weight,
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
        group=out if depthwise else 1,
    )


def _through_modulation(builder: GraphBuilder, name: str, q: str, slope: str) -> str:
    if not builder.is_stored(f"{name}.log_gain"):
        return slope
    return builder.node("Mul", slope, builder.scale_of_q(f"{name}.log_gain", q))


def _through_up(builder: GraphBuilder, name: str, trunk: int, latent: int, slope: str) -> str:
    """Back through the 1x1 convolution and the shuffle that double the sides.

    SpaceToDepth puts the four places of a channel apart, the shuffle has them together: rows of weights change places.
    """
    weight = builder.node(
        "Reshape", builder.stored(f"{name}.weight"), builder.constant([trunk, 4, latent], np.int64)
    )
    weight = builder.node("Transpose", weight, perm=[2, 1, 0])
    weight = builder.node("Reshape", weight, builder.constant([latent, 4 * trunk, 1, 1], np.int64))
    slope = builder.node("SpaceToDepth", slope, blocksize=2)
    return builder.node("Conv", slope, weight, kernel_shape=[1, 1])
