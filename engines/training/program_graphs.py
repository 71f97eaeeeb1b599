"""The ONNX graphs of what lies between frames, symbols and networks, for devices with a memory of their own.

codec.picture.planes and codec.quantised, node by node and exact. They hold no weights and belong to the program, not
to a bundle: `python -m engines.training.program_graphs` writes them into
zvc69_cli/runtime/graphs. With them samples travel as the 8 or 16 bits that they are, symbols as 16, and everything
made of them stays on the device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto

from engines.training.graphs import GraphBuilder
from engines.training.motion_graphs import sliced
from zvc69_cli.codec.entropy.coder import SYMBOL_LIMIT
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.intra.rounding import THRESHOLD_SIZES
from zvc69_cli.codec.picture.planes import SAMPLE_PARTS
from zvc69_cli.codec.rate.quality import PLANE_WEIGHTS
from zvc69_cli.runtime.places import program_graphs_folder

PLANES: Final = ("y", "u", "v")
SAMPLES: Final = {8: TensorProto.UINT8, 16: TensorProto.UINT16}


def program_graphs() -> dict[str, onnx.ModelProto]:
    """Every graph by its name, runtime.bundle.PROGRAM_GRAPHS."""
    graphs = {"continued": continued_graph(_builder("continued"))}
    for bits, samples in SAMPLES.items():
        graphs[f"take_{bits}"] = take_graph(_builder(f"take_{bits}"), samples)
        graphs[f"give_{bits}"] = give_graph(_builder(f"give_{bits}"), samples)
    return graphs | {
        "picture_error": picture_error_graph(_builder("picture_error")),
        "known_half": known_half_graph(_builder("known_half")),
        "decoded_latent": decoded_latent_graph(_builder("decoded_latent")),
        "rounded_half": rounded_half_graph(_builder("rounded_half")),
        "rounded": rounded_graph(_builder("rounded")),
    }


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
    """Planes in parts of a sample, rows and columns of luma and of chroma -> the samples that are shown."""
    planes = [builder.input(name, (1, 1, f"{name}_height", f"{name}_width")) for name in PLANES]
    size = builder.input("size", (2,), TensorProto.INT64)
    chroma = builder.input("chroma_size", (2,), TensorProto.INT64)
    start, axes = builder.constant([0, 0], np.int64), builder.constant([2, 3], np.int64)
    for name, plane, wanted in zip(PLANES, planes, (size, chroma, chroma), strict=True):
        shown = builder.node("Slice", plane, start, wanted, axes)
        shown = builder.node("Mul", shown, builder.constant(1 / SAMPLE_PARTS))
        shown = builder.node("Floor", builder.node("Add", shown, builder.constant(0.5)))
        builder.node("Cast", shown, to=samples, output=f"{name}_shown")
    return builder.build({f"{name}_shown": samples for name in PLANES})


def continued_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A plane, rows and columns -> the plane continued to that size by its last column and row."""
    plane = builder.input("plane", (1, 1, "height", "width"))
    size = builder.input("size", (2,), TensorProto.INT64)
    _continued(builder, plane, size, "continued")
    return builder.build({"continued": TensorProto.FLOAT})


def picture_error_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """codec.picture.skipping's error of padded planes in 0..1 and others of whole samples, given 1 / peak."""
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


def known_half_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Symbols, the first pass's means and its board -> codec.quantised.known_half."""
    symbols, board = _symbols(builder, "symbols"), _board(builder)
    means = _halves(builder, builder.input("means", _LATENT))
    _whole(builder, builder.node("Mul", _decoded(builder, symbols, means), board), "known")
    return builder.build({"known": TensorProto.FLOAT})


def decoded_latent_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """Symbols, the means of both passes and the first one's board -> codec.quantised.decoded_latent."""
    symbols, board = _symbols(builder, "symbols"), _board(builder)
    first, second = (_halves(builder, builder.input(name, _LATENT)) for name in ("first", "second"))
    means = builder.node("Where", builder.node("Cast", board, to=TensorProto.BOOL), first, second)
    _whole(builder, _decoded(builder, symbols, means), "latent")
    return builder.build({"latent": TensorProto.FLOAT})


def rounded_half_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A latent, the first pass and its board -> that pass's symbols, 0 elsewhere, and what the second pass is given."""
    latent, board = _halves(builder, builder.input("latent", _LATENT)), _board(builder)
    means = _halves(builder, builder.input("means", _LATENT))
    indexes = _halves(builder, builder.input("indexes", _LATENT, TensorProto.UINT8))
    symbols = builder.node("Mul", _rounded(builder, latent, means, indexes), board)
    known = builder.node("Mul", _decoded(builder, symbols, means), board)
    _whole(builder, builder.node("Cast", symbols, to=TensorProto.INT16), "symbols")
    _whole(builder, known, "known")
    return builder.build({"symbols": TensorProto.INT16, "known": TensorProto.FLOAT})


def rounded_graph(builder: GraphBuilder) -> onnx.ModelProto:
    """A latent, the first pass's symbols, both passes and the first one's board -> symbols, tables, decoded latent."""
    latent, board = _halves(builder, builder.input("latent", _LATENT)), _board(builder)
    half = _symbols(builder, "half")
    is_first = builder.node("Cast", board, to=TensorProto.BOOL)
    means, indexes = (
        builder.node(
            "Where", is_first, *(_halves(builder, builder.input(name, _LATENT, kind)) for name in names)
        )
        for names, kind in (
            (("first_means", "second_means"), TensorProto.FLOAT),
            (("first_indexes", "second_indexes"), TensorProto.UINT8),
        )
    )
    symbols = builder.node("Where", is_first, half, _rounded(builder, latent, means, indexes))
    _whole(builder, builder.node("Cast", symbols, to=TensorProto.INT16), "symbols")
    _whole(builder, indexes, "indexes")
    _whole(builder, _decoded(builder, symbols, means), "decoded")
    kinds = {"symbols": TensorProto.INT16, "indexes": TensorProto.UINT8, "decoded": TensorProto.FLOAT}
    return builder.build(kinds)


def _rounded(builder: GraphBuilder, latent: str, means: str, indexes: str) -> str:
    """codec.intra.rounding.Rounding.symbols as floats; inputs: thresholds, and the first table that codes anything."""
    thresholds = builder.input("thresholds", ("tables", THRESHOLD_SIZES))
    skip_below = builder.input("skip_below", (1,), TensorProto.INT64)
    residual = builder.node("Sub", latent, builder.node("Mul", means, builder.constant(1 / MEAN_FRACTION)))
    size = builder.node("Min", builder.node("Abs", residual), builder.constant(SYMBOL_LIMIT))
    whole = builder.node("Floor", size)
    table = builder.node("Cast", indexes, to=TensorProto.INT64)
    kept = builder.node(
        "Cast", builder.node("Min", whole, builder.constant(THRESHOLD_SIZES - 1)), to=TensorProto.INT64
    )
    place = builder.node("Add", builder.node("Mul", table, builder.constant(THRESHOLD_SIZES, np.int64)), kept)
    flat = builder.node("Reshape", thresholds, builder.constant([-1], np.int64))
    is_up = builder.node("Greater", builder.node("Sub", size, whole), builder.node("Gather", flat, place))
    larger = builder.node("Add", whole, builder.node("Cast", is_up, to=TensorProto.FLOAT))
    is_coded = builder.node("Cast", builder.node("GreaterOrEqual", table, skip_below), to=TensorProto.FLOAT)
    return builder.node("Mul", builder.node("Mul", larger, builder.node("Sign", residual)), is_coded)


def _decoded(builder: GraphBuilder, symbols: str, means: str) -> str:
    """codec.quantised.sixteenths"""
    return builder.node("Add", builder.node("Mul", symbols, builder.constant(MEAN_FRACTION)), means)


_LATENT: Final = (1, "channels", "height", "width")


def _symbols(builder: GraphBuilder, name: str) -> str:
    """Symbols as floats, their channels in halves."""
    symbols = builder.input(name, _LATENT, TensorProto.INT16)
    return _halves(builder, builder.node("Cast", symbols, to=TensorProto.FLOAT))


def _board(builder: GraphBuilder) -> str:
    """1 where the first pass codes, for either half of the channels."""
    return builder.input("board", (2, 1, "height", "width"))


def _halves(builder: GraphBuilder, latent: str) -> str:
    """[1, C, h, w] -> [2, C/2, h, w]: the halves are coded at each other's positions."""
    sides = sliced(builder, builder.node("Shape", latent), 2, 4)
    return builder.node(
        "Reshape", latent, builder.node("Concat", builder.constant([2, -1], np.int64), sides, axis=0)
    )


def _whole(builder: GraphBuilder, halves: str, output: str) -> None:
    sides = sliced(builder, builder.node("Shape", halves), 2, 4)
    shape = builder.node("Concat", builder.constant([1, -1], np.int64), sides, axis=0)
    builder.node("Reshape", halves, shape, output=output)


def _continued(builder: GraphBuilder, plane: str, size: str, output: str) -> None:
    missing = builder.node("Sub", size, sliced(builder, builder.node("Shape", plane), 2, 4))
    before = builder.constant([0, 0, 0, 0, 0, 0], np.int64)
    pads = builder.node("Concat", before, missing, axis=0)
    builder.node("Pad", plane, pads, mode="edge", output=output)


def _builder(name: str) -> GraphBuilder:
    return GraphBuilder(name, {}, {})


def write_program_graphs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in program_graphs().items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    write_program_graphs(program_graphs_folder())
