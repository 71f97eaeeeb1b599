"""The ONNX graphs of P and B frames: search, motion and its prior, prediction, and the coder given a prediction."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto

from engines.training.exact import motion_stem
from engines.training.gradient_graphs import gradient_graph
from engines.training.graphs import (
    GraphBuilder,
    analyse_graph,
    first_graph,
    second_graph,
    synthesise_graph,
)
from engines.training.inter import CONTEXT_BLOCKS, MOTION_CHANNELS
from engines.training.model import ModelSize
from engines.training.motion import FIRST_INPUTS, SECOND_INPUTS
from engines.training.motion_graphs import motion_error_graph, warp_graph
from engines.training.moving import STRIDES
from engines.training.sample_graphs import samples_graph
from engines.training.search import EFFORTS
from engines.training.search_graphs import STEM, search_graph
from zvc69_cli.codec.entropy.layers import HEAD_LIMIT

GraphFactory = Callable[[str], GraphBuilder]

FEATURES = 96
FLOAT = TensorProto.FLOAT


def inter_graphs(build: GraphFactory, size: ModelSize) -> dict[str, onnx.ModelProto]:
    """Every graph by its name.

    build  makes an empty builder of a name
    """
    coder, extra = f"{STEM}coder.", 2 * size.latent + MOTION_CHANNELS
    graphs = {
        "warp": warp_graph(build("warp")),
        "context_one": context_graph(build("context_one"), 1),
        "context_two": context_graph(build("context_two"), 2),
        "analyse_inter": analyse_graph(build("analyse_inter"), size.analysis_blocks, coder, FEATURES),
        "first_inter": first_graph(build("first_inter"), size.latent, size.hyper, f"{STEM}prior.", extra),
        "second_inter": second_graph(build("second_inter"), size.latent, f"{STEM}prior."),
        "synthesise_inter": synthesise_graph(
            build("synthesise_inter"), size.latent, size.synthesis_blocks, coder, FEATURES
        ),
        "gradient_inter": gradient_graph(
            build("gradient_inter"), size.latent, size.trunk, size.synthesis_blocks, coder, FEATURES
        ),
    }
    graphs["samples"] = samples_graph(build("samples"))
    for name, effort in EFFORTS.items():
        graphs[f"search_{name}"] = search_graph(build(f"search_{name}"), effort)
    for level, stride in enumerate(STRIDES):
        graphs[f"motion_{level}_error"] = motion_error_graph(build(f"motion_{level}_error"), stride)
        for order, inputs in (("first", FIRST_INPUTS), ("second", SECOND_INPUTS)):
            name = f"motion_{level}_{order}"
            stem = motion_stem(f"motion_prior.{order}.{level}.")
            graphs[name] = motion_pass_graph(build(name), stem, inputs)
    return graphs


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
