"""Engines of TensorRT-RTX, built ahead of time: no GPU is needed for it.

An engine is wrapped as a graph of one node, EPContext, which ONNX Runtime's plug-in takes in the place of the graph
that it was built from. That half has never been run on a GPU.

source  https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime.libraries import has_module
from zvc69_cli.runtime.providers import INSTALL, PROVIDERS
from zvc69_cli.runtime.shapes import Shapes

BINDINGS: Final = "tensorrt_rtx_bindings"
CONTEXT_OPSET: Final = 17
_MIB: Final = 1 << 20


def can_build() -> bool:
    """Whether the packages are here that engines are built with."""
    return has_module(BINDINGS) and has_module("onnx")


def require_builder(where: str) -> None:
    """Raises RuntimeUnavailable, naming the package that is missing."""
    for module, package in ((BINDINGS, "tensorrt-rtx-cu13-bindings"), ("onnx", "onnx")):
        if not has_module(module):
            raise RuntimeUnavailable(
                where, f"the package {package} is not installed", f"`{INSTALL['tensorrt-rtx']}`."
            )


def builder_version() -> str:
    import tensorrt_rtx_bindings as trt

    return str(trt.__version__)


def build_engine(graph: Path, shapes: tuple[Shapes, Shapes, Shapes], *, workspace_mib: int = 0) -> bytes:
    """An engine for one graph, for the GPUs that TensorRT-RTX knows.

    shapes  of the dynamic inputs: least, usual, greatest
    raises  RuntimeUnavailable, with what TensorRT-RTX said
    """
    import tensorrt_rtx_bindings as trt

    said: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                said.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    engine = None
    if parser.parse_from_file(str(graph)):
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32; fewer bits are asked for by --precision
        if workspace_mib:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib * _MIB)
        profile = builder.create_optimization_profile()
        least, usual, most = shapes
        for name in least:
            profile.set_shape(name, least[name], usual[name], most[name])
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
    else:
        said = [parser.get_error(number).desc() for number in range(parser.num_errors)]
    if engine is None:
        lines = (
            line for each in said for line in each.splitlines() if "cudaError 35" not in line
        )  # no GPU here
        why = next(lines, "it gave no reason")
        raise RuntimeUnavailable(
            f"tensorrt-rtx: {graph.stem}", f"no engine could be built: {why[:300]}", "Take --device cuda."
        )
    return bytes(engine)


def write_context(graph: Path, engine: bytes, target: Path) -> None:
    """Wrap an engine as a graph with the inputs and outputs of the one that it was built from."""
    import onnx
    from onnx import helper

    model = onnx.load(str(graph), load_external_data=False)
    inputs, outputs = model.graph.input, model.graph.output
    node = helper.make_node(
        "EPContext",
        [each.name for each in inputs],
        [each.name for each in outputs],
        f"{graph.stem}_engine",
        domain="com.microsoft",
        embed_mode=1,
        ep_cache_context=engine,
        main_context=1,
        onnx_model_filename=graph.name,
        partition_name=f"{graph.stem}_engine",
        source=PROVIDERS["tensorrt-rtx"],
    )
    opsets = [helper.make_opsetid("", CONTEXT_OPSET), helper.make_opsetid("com.microsoft", 1)]
    context = helper.make_model(
        helper.make_graph([node], graph.stem, list(inputs), list(outputs)),
        opset_imports=opsets,
        ir_version=model.ir_version,
    )
    onnx.save(context, str(target))
