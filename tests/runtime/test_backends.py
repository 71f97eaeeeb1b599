"""Which backend runs which graph, from which file; the priors stay exact whatever is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from tests.runtime.test_devices import H200, RTX, machine_with
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime import backends, engines
from zvc69_cli.runtime.backends import OrtBackend
from zvc69_cli.runtime.bundle import CONVOLUTION_GRAPHS, ENGINE_GRAPHS, PRIOR_GRAPHS, find_bundle
from zvc69_cli.runtime.cache import EngineCache
from zvc69_cli.runtime.cuda_graphs import MAX_SHAPES, ReplayedSession
from zvc69_cli.runtime.engines import GraphOpener
from zvc69_cli.runtime.libraries import has_module
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.settings import RunSettings
from zvc69_cli.runtime.shapes import ENGINE_RANGE, dynamic_shapes

BUNDLE = find_bundle()
needs_onnx = pytest.mark.skipif(not has_module("onnx"), reason="the package onnx is not installed")


class Opened:
    """Notes what is opened instead of a session: the graph's file, its providers and their options."""

    def __init__(self, device, graph, path, options, providers=None):
        self.device, self.graph, self.path, self.options = device, graph, path, options
        self.providers = providers
        Opened.last = self

    def get_providers(self):
        return [name for name, _ in self.providers]

    def get_outputs(self):
        return []


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens a graph on a device of a machine with a GPU and says with what."""
    machine_with(monkeypatch, H200)
    monkeypatch.setattr(backends, "GuardedSession", Opened)

    def open_graph(graph, device, **settings):
        opener = GraphOpener(BUNDLE, choose_device(device), RunSettings(**settings), EngineCache(tmp_path))
        opener.open(graph)
        return Opened.last

    return open_graph


@pytest.mark.parametrize("graph", PRIOR_GRAPHS)
@pytest.mark.parametrize(
    ("device", "precision"), [("cuda", "fp32"), ("cuda", "fp16"), ("tensorrt", "fp16"), ("tensorrt", "int8")]
)
def test_a_prior_runs_in_float32_on_cuda_whatever_is_asked_for(opened, graph, device, precision):
    if precision == "fp16" and not has_module("onnx"):
        pytest.skip("the package onnx is not installed")
    session = opened(graph, device, precision=precision, cuda_graph=device == "cuda")
    assert session.path == str(BUNDLE.graph(graph))
    assert session.providers[0] == ("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0})


@pytest.mark.parametrize("graph", BUNDLE.graphs)
def test_tensorrt_takes_the_convolutions_and_the_warp_and_cuda_the_rest(opened, graph):
    session = opened(graph, "tensorrt:0", workspace=256, streams=2)
    name, options = session.providers[0]
    if graph not in ENGINE_GRAPHS:
        assert name == "CUDAExecutionProvider"
        return
    assert name == "TensorrtExecutionProvider"
    assert options["trt_max_workspace_size"] == 256 << 20
    assert options["trt_auxiliary_streams"] == 2
    assert not options["trt_fp16_enable"]
    inputs = dynamic_shapes(BUNDLE, graph, 64, 64)
    assert options["trt_profile_min_shapes"].count(":") == len(inputs)


def test_the_shapes_of_an_engine_are_told_by_name(opened):
    _, options = opened("analyse", "tensorrt").providers[0]
    assert options["trt_profile_min_shapes"] == "y:1x1x64x64,u:1x1x32x32,v:1x1x32x32"
    assert options["trt_profile_max_shapes"] == "y:1x1x2304x4096,u:1x1x1152x2048,v:1x1x1152x2048"


@needs_onnx
def test_half_precision_is_another_file_and_kept(opened, tmp_path):
    first = opened("synthesise", "cuda", precision="fp16").path
    assert first != str(BUNDLE.graph("synthesise"))
    assert opened("synthesise", "cuda", precision="fp16").path == first
    assert opened("warp", "cuda", precision="fp16").path == str(BUNDLE.graph("warp"))


def test_int8_without_a_calibration_says_how_to_make_one(opened):
    with pytest.raises(RuntimeUnavailable, match="was not calibrated here") as caught:
        opened("analyse", "cpu", precision="int8")
    assert "zvc69 engines calibrate" in caught.value.next_step


def test_half_precision_without_onnx_names_the_package(monkeypatch, opened):
    monkeypatch.setattr("zvc69_cli.runtime.precision.has_module", lambda name: False)
    with pytest.raises(RuntimeUnavailable, match="onnx is not installed") as caught:
        opened("analyse", "cuda", precision="fp16")
    assert "zvc69[precision]" in caught.value.next_step


def test_an_engine_depends_on_all_that_could_change_it(monkeypatch, tmp_path):
    machine_with(monkeypatch, H200)

    def key(device="tensorrt", gpu=H200, **settings):
        machine_with(monkeypatch, gpu)
        run = RunSettings(**settings)
        return GraphOpener(BUNDLE, choose_device(device), run, EngineCache(tmp_path)).key("analyse")

    usual = key()
    assert set(usual) == {
        "tool", "runtime", "driver", "gpu", "bundle", "graph", "shape", "precision", "workspace", "streams",
    }  # fmt: skip
    others = [
        key(gpu=RTX),
        key(gpu=replace(H200, cuda=(13, 1))),
        key(precision="int8"),
        key(workspace=64),
        key(streams=2),
    ]
    assert len({tuple(sorted(each.items())) for each in (usual, *others)}) == 6
    assert usual["shape"] == ENGINE_RANGE.text == "64x64..4096x2304"


def test_an_engine_of_tensorrt_rtx_that_is_of_no_use_is_done_without(monkeypatch, tmp_path, caplog):
    machine_with(monkeypatch, RTX)
    monkeypatch.setattr(engines, "can_build", lambda: True)
    paths = []

    class Backend:
        def __init__(self, device, run):
            pass

        def open(self, path, graph):
            paths.append(path)
            if path.name == engines.CONTEXT_FILE:
                raise RuntimeUnavailable("tensorrt-rtx:0", "made by another version", "Build it again.")
            return "session"

    monkeypatch.setattr(engines, "RtxBackend", Backend)
    monkeypatch.setattr(GraphOpener, "engine", lambda self, graph: tmp_path)
    opener = GraphOpener(BUNDLE, choose_device("tensorrt-rtx"), RunSettings(), EngineCache(tmp_path))
    assert opener.open("analyse") == "session"
    assert [path.name for path in paths] == [engines.CONTEXT_FILE, "analyse.onnx"]
    assert "made by another version" in caplog.text


def test_a_cuda_graph_has_arrays_of_its_own_for_each_shape():
    """On the CPU there is nothing to record; what is copied in and out is the same."""
    path = str(BUNDLE.graph("blend"))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    replayed = ReplayedSession(session, 0, kind="cpu")
    rng = np.random.default_rng(3)
    for number in range(3):
        for rows in range(2, 3 + MAX_SHAPES):
            first = rng.random((1, 96, rows, 3), np.float32)
            (due,) = session.run(None, {"first": first, "second": 1 - first})
            (found,) = replayed.run(None, {"first": first[:, ::1], "second": 1 - first})
            assert np.array_equal(found, due), (number, rows)
    assert len(replayed._held) == MAX_SHAPES


def test_outputs_are_not_overwritten_by_the_next_run():
    session = ort.InferenceSession(str(BUNDLE.graph("blend")), providers=["CPUExecutionProvider"])
    replayed = ReplayedSession(session, 0, kind="cpu")
    first = np.ones((1, 96, 2, 2), np.float32)
    (before,) = replayed.run(None, {"first": first, "second": first})
    kept = before.copy()
    replayed.run(None, {"first": first * 0, "second": first * 0})
    assert np.array_equal(before, kept)


@needs_onnx
@pytest.mark.parametrize("graph", CONVOLUTION_GRAPHS)
def test_half_precision_gives_nearly_the_same(tmp_path, graph):
    """ONNX Runtime's CPU provider computes float16 in float32: this shows the graph and its weights, no GPU's sums."""
    from zvc69_cli.runtime.precision import write_fp16

    target = tmp_path / f"{graph}.onnx"
    write_fp16(BUNDLE.graph(graph), target)
    assert target.stat().st_size < 4e6
    cpu = OrtBackend(choose_device("cpu"))
    whole, half = cpu.open(BUNDLE.graph(graph), graph), cpu.open(target, graph)
    rng = np.random.default_rng(4)
    inputs = {
        name: rng.random(shape, np.float32) for name, shape in dynamic_shapes(BUNDLE, graph, 64, 48).items()
    }
    if "latent" in inputs:
        inputs["latent"] = np.rint(inputs["latent"] * 8) * 16
    if graph == "loop_filter":
        inputs["steps"] = np.full((1, 96, 1, 1), 0.1, np.float32)
    if graph != "blend":
        inputs["q"] = np.array([30], np.float32)
    if graph.startswith("synthesise"):
        inputs["peak"] = np.array([255], np.float32)
    for one, other in zip(half.run(None, inputs), whole.run(None, inputs), strict=True):
        assert one.dtype == np.float32
        assert np.abs(one - other).max() <= max(1.0, 0.01 * np.abs(other).max())


@pytest.mark.skipif(not has_module("openvino"), reason="the package openvino is not installed")
@pytest.mark.parametrize("graph", CONVOLUTION_GRAPHS)
def test_openvino_gives_the_same_pictures(tmp_path, graph):
    opener = GraphOpener(BUNDLE, choose_device("openvino"), RunSettings(threads=1), EngineCache(tmp_path))
    plain = OrtBackend(choose_device("cpu")).open(BUNDLE.graph(graph), graph)
    rng = np.random.default_rng(4)
    inputs = {
        name: rng.random(shape, np.float32) for name, shape in dynamic_shapes(BUNDLE, graph, 64, 48).items()
    }
    if graph == "loop_filter":
        inputs["steps"] = np.full((1, 96, 1, 1), 0.1, np.float32)
    if graph != "blend":
        inputs["q"] = np.array([30], np.float32)
    if graph.startswith("synthesise"):
        inputs["peak"] = np.array([255], np.float32)
    for one, other in zip(opener.open(graph).run(None, inputs), plain.run(None, inputs), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= max(1.0 if graph.startswith("synth") else 0.0, 2e-3)
