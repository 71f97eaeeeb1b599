"""Engines of TensorRT-RTX, really built, without a GPU; skipped where its packages are not installed."""

from __future__ import annotations

import pytest

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime import rtx
from zvc69_cli.runtime.bundle import ENGINE_GRAPHS, PRIOR_GRAPHS, find_bundle
from zvc69_cli.runtime.cache import EngineCache
from zvc69_cli.runtime.engines import CONTEXT_FILE, GraphOpener, engine_shapes
from zvc69_cli.runtime.providers import rtx_to_build_for
from zvc69_cli.runtime.settings import RunSettings

BUNDLE = find_bundle()

needs_rtx = pytest.mark.skipif(
    not rtx.can_build(), reason="TensorRT-RTX is not installed: pip install 'zvc69[tensorrt-rtx]'"
)


@needs_rtx
@pytest.mark.slow
@pytest.mark.parametrize("graph", ENGINE_GRAPHS)
def test_every_graph_it_is_used_for_becomes_an_engine_from_64x64_to_4096x2304(tmp_path, graph):
    import onnx
    import tensorrt_rtx_bindings as trt

    least, _, most = engine_shapes(BUNDLE, graph)
    if "y" in least:
        assert (least["y"], most["y"]) == ((1, 1, 64, 64), (1, 1, 2304, 4096))
    opener = GraphOpener(BUNDLE, rtx_to_build_for(), RunSettings(), EngineCache(tmp_path))
    context = onnx.load(str(opener.engine(graph) / CONTEXT_FILE))
    (node,) = context.graph.node
    assert (node.op_type, node.domain) == ("EPContext", "com.microsoft")
    shipped = onnx.load(str(BUNDLE.graph(graph)), load_external_data=False).graph
    assert [each.name for each in context.graph.input] == [each.name for each in shipped.input]
    assert [each.name for each in context.graph.output] == [each.name for each in shipped.output]
    engine = next(each.s for each in node.attribute if each.name == "ep_cache_context")
    assert trt.__version__ in str(opener.key(graph)["runtime"])
    assert len(engine) > 10_000
    assert opener.key(graph)["gpu"] == opener.key(graph)["driver"] == "any"


@needs_rtx
def test_a_graph_that_cannot_be_an_engine_says_why():
    """The searches take uint8 samples, which TensorRT does not know there: they stay on the CUDA provider."""
    shapes = {"y": (1, 1, 64, 64), "samples": (16, 128, 128)}
    with pytest.raises(RuntimeUnavailable, match=r"no engine could be built: .*(?i:uint8)") as caught:
        rtx.build_engine(BUNDLE.graph("search_full"), (shapes, shapes, shapes))
    assert "--device cuda" in caught.value.next_step


def test_no_prior_is_ever_an_engine():
    assert not set(PRIOR_GRAPHS) & set(ENGINE_GRAPHS)


@pytest.mark.parametrize("module", ["tensorrt_rtx_bindings", "onnx"])
def test_a_package_that_is_missing_is_named(monkeypatch, module):
    monkeypatch.setattr(rtx, "has_module", lambda name: name != module)
    assert not rtx.can_build()
    with pytest.raises(RuntimeUnavailable, match="is not installed") as caught:
        rtx.require_builder("--device tensorrt-rtx")
    assert "zvc69[tensorrt-rtx]" in caught.value.next_step
