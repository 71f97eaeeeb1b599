"""The ONNX graphs that take frames to where networks run, as planes, and back: codec.planes, node by node and exact.

They hold no weights and belong to the program, not to a bundle: `python -m engines.training.picture_graphs` writes them
into zvc69_cli/runtime/graphs. They are for devices with a memory of their own: samples then travel as the 8 or 16 bits
that they are, padded and scaled there, a quarter or half of the bytes of float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.graphs import GraphBuilder
from engines.training.motion_graphs import sliced
from zvc69_cli.codec.skipping import PLANE_WEIGHTS
from zvc69_cli.runtime.places import picture_graphs_folder

PLANES: Final = ("y", "u", "v")
SAMPLES: Final = {8: TensorProto.UINT8, 16: TensorProto.UINT16}


def picture_graphs() -> dict[str, onnx.ModelProto]:
    """Every graph by its name, runtime.bundle.PICTURE_GRAPHS."""
    graphs = {"continued": continued_graph(_builder("continued"))}
    for bits, samples in SAMPLES.items():
        graphs[f"take_{bits}"] = take_graph(_builder(f"take_{bits}"), samples)
        graphs[f"give_{bits}"] = give_graph(_builder(f"give_{bits}"), samples)
    return graphs | {"picture_error": picture_error_graph(_builder("picture_error"))}


def take_graph(builder: GraphBuilder, samples: int) -> onnx.ModelProto:
    """Samples of Y, U and V, one over the largest there can be, rows and columns of luma -> padded planes in 0..1."""
    given = [builder.input(name, (1, 1, f"{name}_height", f"{name}_width"), samples) for name in PLANES]
    unit = builder.input("unit", (1,))
    size = builder.input("size", (2,), TensorProto.INT64)
    halved = builder.node("Div", size, builder.constant([2], np.int64))
    for name, plane, wanted in zip(PLANES, given, (size, halved, halved), strict=True):
        scaled = builder.node("Mul", builder.node("Cast", plane, to=TensorProto.FLOAT), unit)
        _continued(builder, scaled, wanted, f"{name}_padded")
    return builder.build({f"{name}_padded": TensorProto.FLOAT for name in PLANES})


def give_graph(builder: GraphBuilder, samples: int) -> onnx.ModelProto:
    """Planes of whole samples, rows and columns of luma and of chroma -> the samples that are shown."""
    planes = [builder.input(name, (1, 1, f"{name}_height", f"{name}_width")) for name in PLANES]
    size = builder.input("size", (2,), TensorProto.INT64)
    chroma = builder.input("chroma_size", (2,), TensorProto.INT64)
    start, axes = builder.constant([0, 0], np.int64), builder.constant([2, 3], np.int64)
    for name, plane, wanted in zip(PLANES, planes, (size, chroma, chroma), strict=True):
        shown = builder.node("Slice", plane, start, wanted, axes)
        builder.node("Cast", shown, to=samples, output=f"{name}_shown")
    return builder.build({f"{name}_shown": samples for name in PLANES})


def continued_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A plane, rows and columns -> the plane continued to that size by its last column and row."""
    plane = builder.input("plane", (1, 1, "height", "width"))
    size = builder.input("size", (2,), TensorProto.INT64)
    _continued(builder, plane, size, "continued")
    return builder.build({"continued": TensorProto.FLOAT})


def picture_error_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Padded planes in 0..1, others of whole samples, one over the largest there can be -> codec.skipping's error."""
    sources = [builder.input(name, (1, 1, f"{name}_height", f"{name}_width")) for name in PLANES]
    shown = [builder.input(f"{name}_shown", (1, 1, f"{name}_height", f"{name}_width")) for name in PLANES]
    unit = builder.input("unit", (1,))
    parts = []
    for source, other, weight in zip(sources, shown, PLANE_WEIGHTS, strict=True):
        difference = builder.node("Sub", source, builder.node("Mul", other, unit))
        square = builder.node("ReduceMean", builder.node("Mul", difference, difference), keepdims=0)
        parts.append(builder.node("Mul", square, builder.constant([weight])))
    builder.node("Sum", *parts, output="error")
    return builder.build({"error": TensorProto.FLOAT})


def _continued(builder: GraphBuilder, plane: str, size: str, output: str) -> None:
    missing = builder.node("Sub", size, sliced(builder, builder.node("Shape", plane), 2, 4))
    before = builder.constant([0, 0, 0, 0, 0, 0], np.int64)
    pads = builder.node("Concat", before, missing, axis=0)
    builder.node("Pad", plane, pads, mode="edge", output=output)


def _builder(name: str) -> GraphBuilder:
    return GraphBuilder(name, {}, {})


def write_picture_graphs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in picture_graphs().items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    write_picture_graphs(picture_graphs_folder())
