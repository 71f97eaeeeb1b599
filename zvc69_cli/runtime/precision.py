"""Graphs of pictures in fewer bits: FP16 by conversion, INT8 by calibration. Never the priors.

Both begin from a graph whose constants ONNX Runtime has folded. What is not a convolution or what lies between two
stays in float32, and so do the first and the last convolution of a graph: pictures come in there and latents of up to
+-200, or samples of up to 1023, go out, where float16 has steps of an eighth and of a half.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime.libraries import has_module

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FP16_OPS: Final = ("Conv", "LeakyRelu", "Add", "Sigmoid")
INSTALL_ONNX: Final = "pip install 'zvc69[precision]'"


def require_onnx(where: str) -> None:
    """Raises RuntimeUnavailable where the library is missing that rewrites graphs."""
    if not has_module("onnx"):
        raise RuntimeUnavailable(
            where, "the package onnx is not installed", f"`{INSTALL_ONNX}`, or leave it out."
        )


def write_whole(source: Path, target: Path) -> None:
    """The graph as it is shipped, its weights inside."""
    import onnx

    onnx.save(onnx.load(str(source)), str(target))


def write_fp16(source: Path, target: Path) -> None:
    """A graph whose convolutions compute in float16; inputs and outputs stay float32.

    By hand, since onnxruntime.transformers.float16 makes no valid graph where some convolutions are to stay as they
    are.
    """
    import onnx

    model = _folded(source, target.with_suffix(".folded"))
    kept = set(_outer_convolutions(model))
    narrow = [node for node in model.graph.node if node.op_type in FP16_OPS and node.name not in kept]
    halves = _HalfValues(model)
    nodes = []
    for node in model.graph.node:
        if node not in narrow:
            nodes += halves.widened(node.input)
        else:
            nodes += halves.narrowed(node)
        nodes.append(node)
    nodes += halves.widened(output.name for output in model.graph.output)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    halves.drop_unused()
    onnx.save(model, str(target))


class _HalfValues:
    """Which values of a graph there are in float16, in float32 or in both."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._constants = {each.name: each for each in model.graph.initializer}
        self._half: dict[str, str] = {}  # a value's name, and that of its float16 form
        self._only_half: set[str] = set()

    def narrowed(self, node: NodeProto) -> list[NodeProto]:
        """Have a node take and give float16; the casts that must come before it."""
        casts = []
        for place, name in enumerate(node.input):
            if not name:
                continue
            if name not in self._half:
                casts += self._narrow(name)
            node.input[place] = self._half[name]
        for place, name in enumerate(node.output):
            self._half[name] = node.output[place] = f"{name}.half"
            self._only_half.add(name)
        return casts

    def widened(self, names: Iterable[str]) -> list[NodeProto]:
        """The casts after which these values are there in float32."""
        from onnx import TensorProto, helper

        casts = []
        for name in names:
            if name in self._only_half:
                self._only_half.remove(name)
                casts.append(
                    helper.make_node("Cast", [self._half[name]], [name], f"widen.{name}", to=TensorProto.FLOAT)
                )
        return casts

    def drop_unused(self) -> None:
        """Remove the constants that nothing takes any more."""
        taken = {name for node in self._graph.node for name in node.input}
        for each in [each for each in self._graph.initializer if each.name not in taken]:
            self._graph.initializer.remove(each)

    def _narrow(self, name: str) -> list[NodeProto]:
        from onnx import TensorProto, helper, numpy_helper

        self._half[name] = f"{name}.half"
        if name not in self._constants:
            return [
                helper.make_node("Cast", [name], [f"{name}.half"], f"narrow.{name}", to=TensorProto.FLOAT16)
            ]
        values = numpy_helper.to_array(self._constants[name]).astype(np.float16)
        self._graph.initializer.append(numpy_helper.from_array(values, f"{name}.half"))
        return []


def write_int8(
    source: Path, target: Path, inputs: Iterable[Mapping[str, NDArray[Any]]], *, for_tensorrt: bool
) -> None:
    """A graph whose convolutions compute in 8 bits, with the ranges that these inputs show.

    Depthwise convolutions stay in float32: they are a hundredth of the work. Ranges are those of all but a
    hundred-thousandth of the values: with the outermost ones, 8 bits cost twice as much.

    inputs         what the graph was given in real encodes; read once
    for_tensorrt   symmetric ranges and float biases, which TensorRT wants. Otherwise as ONNX Runtime's CPU provider
                   wants it: weights of 7 bits, since without VNNI instructions the sums of two products of 8 bits
                   saturate (0.8 dB on a keyframe where the weights had 8)
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[Mapping[str, NDArray[Any]]] = iter(inputs)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            found = next(self._left, None)
            return None if found is None else dict(found)

    folded = target.with_suffix(".folded")
    model = _folded(source, folded)
    onnx.save(model, str(folded))
    logging.disable(logging.WARNING)  # its advice to fold the graph first, which was done
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what it prints about histograms
            quantize_static(
                str(folded),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QInt8 if for_tensorrt else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=not for_tensorrt,
                nodes_to_exclude=[*_outer_convolutions(model), *_depthwise_convolutions(model)],
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={
                    "ActivationSymmetric": for_tensorrt,
                    "WeightSymmetric": True,
                    "QuantizeBias": not for_tensorrt,
                },
            )
    finally:
        logging.disable(logging.NOTSET)
        folded.unlink(missing_ok=True)


def _folded(source: Path, beside: Path) -> ModelProto:
    """The graph with its constants folded and every node named; `beside` is written and removed."""
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(beside)
    try:
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        model = onnx.load(str(beside), load_external_data=False)
        load_external_data_for_model(model, str(source.parent))  # what was not folded still lies in weights.bin
    finally:
        beside.unlink(missing_ok=True)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    return model


def _depthwise_convolutions(model: ModelProto) -> list[str]:
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and any(each.name == "group" and each.i > 1 for each in node.attribute)
    ]


def _outer_convolutions(model: ModelProto) -> list[str]:
    """Names of the first convolutions, by no other before them, and of the last, by no other behind them."""
    before: set[str] = set()
    first = []
    for node in model.graph.node:  # in an order in which they can be computed
        if before & set(node.input):
            before |= set(node.output)
        elif node.op_type == "Conv":
            first.append(node.name)
            before |= set(node.output)
    behind: set[str] = set()
    last = []
    for node in reversed(model.graph.node):
        if behind & set(node.output):
            behind |= set(node.input)
        elif node.op_type == "Conv":
            last.append(node.name)
            behind |= set(node.input)
    return sorted({*first, *last})
