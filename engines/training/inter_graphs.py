"""The ONNX graphs of P and B frames: search, motion and its prior, and those of the residual."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from engines.training.exact import motion_stem
from engines.training.graphs import GraphBuilder
from engines.training.motion import FIRST_INPUTS, SECOND_INPUTS
from engines.training.motion_graphs import motion_error_graph, warp_graph
from engines.training.moving import STRIDES
from engines.training.residual_graphs import GraphFactory, residual_graphs
from engines.training.sample_graphs import samples_graph
from engines.training.search import EFFORTS
from engines.training.search_graphs import search_graph
from zvc69_cli.codec.entropy.layers import HEAD_LIMIT

FLOAT = TensorProto.FLOAT


def inter_graphs(build: GraphFactory) -> dict[str, onnx.ModelProto]:
    """Every graph by its name.

    build  makes an empty builder of a name
    """
    graphs = {"warp": warp_graph(build("warp")), "samples": samples_graph(build("samples"))}
    graphs |= residual_graphs(build)
    for name, effort in EFFORTS.items():
        graphs[f"search_{name}"] = search_graph(build(f"search_{name}"), effort)
    for level, stride in enumerate(STRIDES):
        graphs[f"motion_{level}_error"] = motion_error_graph(build(f"motion_{level}_error"), stride)
        for order, inputs in (("first", FIRST_INPUTS), ("second", SECOND_INPUTS)):
            name = f"motion_{level}_{order}"
            stem = motion_stem(f"motion_prior.{order}.{level}.")
            graphs[name] = motion_pass_graph(build(name), stem, inputs)
    return graphs


def motion_pass_graph(builder: GraphBuilder, stem: str, inputs: int) -> onnx.ModelProto:
    """One pass of IntegerMotionPrior."""
    x = builder.clip(builder.input("inputs", (1, inputs, "rows", "columns")))
    x = builder.integer_convolution(f"{stem}entry", x)
    for name in ("block0", "block1"):
        x = builder.integer_block(f"{stem}{name}", x)
    head = builder.integer_convolution(f"{stem}head", x, limit=HEAD_LIMIT)
    builder.node("Identity", head, output="heads")
    return builder.build({"heads": FLOAT})
