"""The ONNX graphs of a bundle, built node by node; their weights stay in one file beside them.

Transforms are float32 arithmetic on weights kept as float16. Priors are integers carried in float32: weights kept as
int16 are scaled by a power of two a row, so that a convolution yields acc 2^-n exactly, and floor and clip follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.training.model import BRANCH_SLOPE, FEED_SLOPE, HYPER_GAIN
from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT, HEAD_LIMIT, INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.intra.prior import HYPER_LIMIT, INTRA_STEM
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

OPSET = 17
WEIGHTS_FILE = "weights.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArray:
    """Where an array lies in the weights file."""

    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int
    length_bytes: int


class GraphBuilder:
    """One graph under construction; every method adds nodes and returns the name of their output."""

    def __init__(self, name: str, stored: Mapping[str, StoredArray], arrays: Mapping[str, np.ndarray]) -> None:
        self._name = name
        self._stored = stored
        self._arrays = arrays
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._powers_of_q: dict[str, str] = {}

    def input(self, name: str, shape: Iterable[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"n{len(self._nodes)}"  # short: two in five bytes of a search are names
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """A small array that the graph itself holds, once however often it is asked for."""
        array = np.asarray(value, dtype)
        content = (array.dtype.str, array.shape, array.tobytes())
        if content not in self._constants:
            key = f"c{len(self._initialisers)}"
            self._initialisers[key] = numpy_helper.from_array(array, key)
            self._constants[content] = key
        return self._constants[content]

    def is_stored(self, name: str) -> bool:
        """Whether the weights file has an array of that name."""
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        """That of an array of the weights file."""
        return self._stored[name].shape

    def stored(self, name: str, shape: Iterable[int] | None = None) -> str:
        """An array of the weights file as float32, perhaps seen in another shape of the same size."""
        place = self._stored[name]
        key = f"stored.{name}"
        if key not in self._initialisers:
            tensor = TensorProto(name=key, data_type=helper.np_dtype_to_tensor_dtype(np.dtype(place.dtype)))
            tensor.dims.extend(place.shape if shape is None else shape)
            tensor.data_location = TensorProto.EXTERNAL
            for field, value in (
                ("location", WEIGHTS_FILE),
                ("offset", place.offset_bytes),
                ("length", place.length_bytes),
            ):
                tensor.external_data.add(key=field, value=str(value))
            self._initialisers[key] = tensor
        return key if place.dtype == "float32" else self.node("Cast", key, to=TensorProto.FLOAT)

    def convolution(self, name: str, x: str, *, stride: int = 1, slope: float = 1.0) -> str:
        """A float convolution, "same" padding, and a leaky slope."""
        out, per_group, kernel, _ = self._stored[f"{name}.weight"].shape
        groups = out if per_group == 1 and kernel == 3 else 1
        x = self.node(
            "Conv",
            x,
            self.stored(f"{name}.weight"),
            self.stored(f"{name}.bias"),
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
            strides=[stride, stride],
            group=groups,
        )
        return x if slope == 1.0 else self.node("LeakyRelu", x, alpha=slope)

    def block(self, name: str, x: str) -> str:
        if f"{name}.adapt.weight" in self._stored:
            x = self.convolution(f"{name}.adapt", x)
        branch = self.convolution(f"{name}.branch_in", x, slope=BRANCH_SLOPE)
        branch = self.convolution(f"{name}.branch_out", self.convolution(f"{name}.depthwise", branch))
        x = self.node("Add", x, branch)
        feed = self.convolution(f"{name}.feed_in", x, slope=FEED_SLOPE)
        return self.node("Add", x, self.convolution(f"{name}.feed_out", feed))

    def integer_convolution(
        self, name: str, x: str, *, slope: float = 1.0, limit: int = ACTIVATION_LIMIT
    ) -> str:
        """codec.intra.prior.IntegerConv carried in float32."""
        weight_shape = self._stored[f"{name}.weight"].shape
        depthwise = len(weight_shape) == 3
        out = weight_shape[0]
        shift = self._arrays[f"{name}.shift"].astype(np.float64)
        scale = np.exp2(-shift)
        half = np.array(0.5) if shift.all() else np.where(shift > 0, 0.5, 0.0).reshape(out, 1, 1)
        kernel = 3 if depthwise else 1
        shape = (out, 1, 3, 3) if depthwise else (*weight_shape, 1, 1)
        weight = self.node(
            "Mul", self.stored(f"{name}.weight", shape), self._powers_of_two(scale.reshape(out, 1, 1, 1))
        )
        bias = self.node("Mul", self.stored(f"{name}.bias"), self._powers_of_two(scale))
        if slope == 1.0:
            bias = self.node("Add", bias, self.constant(half.reshape(-1)))
        x = self.node(
            "Conv",
            x,
            weight,
            bias,
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
            group=out if depthwise else 1,
        )
        if slope != 1.0:
            x = self.node("LeakyRelu", x, alpha=slope)
            x = self.node("Add", x, self.constant(half))
        return self.clip(self.node("Floor", x), limit)

    def _powers_of_two(self, values: np.ndarray) -> str:
        """In half of the bytes where float16 holds them as normal numbers, so exactly on every device."""
        halves = values.astype(np.float16)
        if (halves < np.finfo(np.float16).smallest_normal).any():
            return self.constant(values)
        return self.node("Cast", self.constant(halves, np.float16), to=TensorProto.FLOAT)

    def integer_block(self, name: str, x: str) -> str:
        if f"{name}.adapt.weight" in self._stored:
            x = self.integer_convolution(f"{name}.adapt", x)
        branch = self.integer_convolution(f"{name}.branch_in", x, slope=BRANCH_SLOPE)
        branch = self.integer_convolution(f"{name}.depthwise", branch)
        x = self.clip(self.node("Add", x, self.integer_convolution(f"{name}.branch_out", branch)))
        feed = self.integer_convolution(f"{name}.feed_in", x, slope=FEED_SLOPE)
        return self.clip(self.node("Add", x, self.integer_convolution(f"{name}.feed_out", feed)))

    def clip(self, x: str, limit: int = ACTIVATION_LIMIT, output: str = "") -> str:
        return self.node("Clip", x, self.constant(-limit), self.constant(limit), output=output)

    def split(self, x: str, sizes: list[int], outputs: list[str]) -> None:
        """Cut channels into named outputs."""
        self._nodes.append(helper.make_node("Split", [x, self.constant(sizes, np.int64)], outputs, axis=1))

    def shuffle(self, x: str, factor: int = 2) -> str:
        return self.node("DepthToSpace", x, blocksize=factor, mode="CRD")

    def scale_of_q(self, name: str, q: str) -> str:
        """exp of a quadratic in q, [1, C, 1, 1]; the array holds its three coefficients a channel."""
        return self._of_channels(self.node("Exp", self._quadratic_of_q(name, q)))

    def modulation(self, name: str, x: str, q: str) -> str:
        """model.Modulation; x itself where the bundle has none of that name."""
        if not self.is_stored(f"{name}.log_gain"):
            return x
        x = self.node("Mul", x, self.scale_of_q(f"{name}.log_gain", q))
        return self.node("Add", x, self._of_channels(self._quadratic_of_q(f"{name}.offset", q)))

    def _quadratic_of_q(self, name: str, q: str) -> str:
        if q not in self._powers_of_q:
            position = self.node(
                "Sub", self.node("Mul", q, self.constant(2 / (INTRA_Q_LEVELS - 1))), self.constant(1.0)
            )
            squared = self.node("Mul", position, position)
            powers = self.node("Concat", self.constant([1.0]), position, squared, axis=0)
            self._powers_of_q[q] = self.node("Reshape", powers, self.constant([1, 3], np.int64))
        return self.node("MatMul", self._powers_of_q[q], self.stored(name))

    def _of_channels(self, values: str) -> str:
        return self.node("Reshape", values, self.constant([1, -1, 1, 1], np.int64))

    def prediction(self, head: str, offsets: str, channels: int) -> None:
        """Outputs "means" and "indexes" of a pass."""
        self.split(head, [channels, channels], ["means", "quarters"])
        offsets = self.node("Reshape", offsets, self.constant([1, -1, 1, 1], np.int64))
        moved = self.node("Add", self.node("Add", "quarters", offsets), self.constant(INDEX_FRACTION / 2))
        index = self.node("Floor", self.node("Mul", moved, self.constant(1 / INDEX_FRACTION)))
        index = self.node("Clip", index, self.constant(0), self.constant(SCALE_LEVELS - 1))
        self.node("Cast", index, output="indexes", to=TensorProto.UINT8)

    def build(self, outputs: Mapping[str, int]) -> onnx.ModelProto:
        """outputs  name -> element type"""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [helper.make_tensor_value_info(name, dtype, None) for name, dtype in outputs.items()],
            list(self._initialisers.values()),
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="zvc69"
        )


def analyse_graph(builder: GraphBuilder, blocks: int) -> onnx.ModelProto:
    """Planes in 0..1 and q -> latent in quantisation steps, hyper latent."""
    planes = [builder.input("y", (1, 1, "height", "width"))]
    planes += [builder.input(name, (1, 1, "chroma_height", "chroma_width")) for name in "uv"]
    seen = [
        builder.node("SpaceToDepth", plane, blocksize=size)
        for plane, size in zip(planes, (8, 4, 4), strict=True)
    ]
    q = builder.input("q", (1,))
    x = builder.convolution("entry", builder.node("Concat", *seen, axis=1))
    x = builder.modulation("q_entry", x, q)
    for number in range(blocks):
        x = builder.block(f"analysis.{number}", x)
    x = builder.convolution("down", builder.modulation("q_down", x, q), stride=2)
    latent = builder.node("Mul", x, builder.scale_of_q("q_analysis", q), output="latent")
    x = builder.block("hyper_block", builder.node("Mul", latent, builder.constant(HYPER_GAIN)))
    x = builder.convolution("hyper_down1", x, stride=2, slope=FEED_SLOPE)
    builder.node("Identity", builder.convolution("hyper_down2", x, stride=2), output="hyper")
    return builder.build({"latent": TensorProto.FLOAT, "hyper": TensorProto.FLOAT})


def first_graph(builder: GraphBuilder, latent: int, hyper: int) -> onnx.ModelProto:
    """IntegerPrior.first"""
    x = builder.input("hyper", (1, hyper, "hyper_height", "hyper_width"))
    size = builder.input("size", (2,), TensorProto.INT64)
    offsets = builder.input("offsets", (latent,))
    x = builder.clip(x, HYPER_LIMIT)
    x = builder.integer_block(
        f"{INTRA_STEM}block1", builder.shuffle(builder.integer_convolution(f"{INTRA_STEM}up1", x))
    )
    x = builder.integer_block(
        f"{INTRA_STEM}block2", builder.shuffle(builder.integer_convolution(f"{INTRA_STEM}up2", x))
    )
    x = builder.node("Slice", x, builder.constant([0, 0], np.int64), size, builder.constant([2, 3], np.int64))
    for name in ("first0", "first1"):
        x = builder.integer_block(f"{INTRA_STEM}{name}", x)
    head = builder.integer_convolution(f"{INTRA_STEM}first_head", x, limit=HEAD_LIMIT)
    state = builder.node("Identity", head, output="state")
    builder.prediction(state, offsets, latent)
    return builder.build({"means": TensorProto.FLOAT, "indexes": TensorProto.UINT8, "state": TensorProto.FLOAT})


def second_graph(builder: GraphBuilder, latent: int) -> onnx.ModelProto:
    """IntegerPrior.second"""
    known = builder.input("known", (1, latent, "height", "width"))
    state = builder.input("state", (1, 2 * latent, "height", "width"))
    offsets = builder.input("offsets", (latent,))
    x = builder.clip(builder.node("Concat", known, state, axis=1))
    for name in ("second0", "second1"):
        x = builder.integer_block(f"{INTRA_STEM}{name}", x)
    head = builder.integer_convolution(f"{INTRA_STEM}second_head", x, limit=HEAD_LIMIT)
    builder.prediction(head, offsets, latent)
    return builder.build({"means": TensorProto.FLOAT, "indexes": TensorProto.UINT8})


def synthesise_graph(builder: GraphBuilder, latent: int, blocks: int) -> onnx.ModelProto:
    """Latent in sixteenths of a step, q and the largest sample -> planes of whole samples, float32."""
    x = builder.input("latent", (1, latent, "height", "width"))
    q = builder.input("q", (1,))
    peak = builder.input("peak", (1,))
    x = builder.node("Mul", x, builder.scale_of_q("q_synthesis", q))
    x = builder.shuffle(builder.convolution("up", x))
    x = builder.modulation("q_up", x, q)
    for number in range(blocks):
        x = builder.block(f"synthesis.{number}", x)
    x = builder.convolution("exit", builder.modulation("q_exit", x, q))
    # Rounded as features: 96 channels at 1/8 are as many samples as the planes.
    x = builder.node("Round", builder.node("Mul", x, peak))
    x = builder.node("Min", builder.node("Max", x, builder.constant([0.0])), peak)
    builder.split(x, [64, 16, 16], ["y64", "u16", "v16"])
    for source, name, size in (("y64", "y", 8), ("u16", "u", 4), ("v16", "v", 4)):
        builder.node("DepthToSpace", source, output=name, blocksize=size, mode="CRD")
    return builder.build(dict.fromkeys("yuv", TensorProto.FLOAT))
