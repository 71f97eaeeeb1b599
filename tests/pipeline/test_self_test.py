"""The self-test of the priors: what passes, what fails, what follows, and that it is done once."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from tests.runtime.test_devices import H200, RTX, machine_with
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline import self_test
from zvc69_cli.pipeline.engine import load_engine
from zvc69_cli.pipeline.self_test import CheckedNetworks, inter_difference, intra_difference
from zvc69_cli.runtime.bundle import PRIOR_GRAPHS, find_bundle
from zvc69_cli.runtime.engines import GraphOpener
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import load_networks
from zvc69_cli.runtime.settings import RunSettings

BUNDLE = find_bundle()
CPU = choose_device("cpu")


class OneOff:
    """A graph whose first output is one too high in one place."""

    def __init__(self, graph):
        self._graph = graph

    def run(self, names, inputs):
        first, *rest = self._graph.run(names, inputs)
        first = np.array(first)
        first.flat[0] += 1
        return [first, *rest]


class Wrong:
    """Which graphs compute wrongly on a GPU, or everywhere; and where the priors were moved to."""

    def __init__(self):
        self.names = set()
        self.is_everywhere = False
        self.moved_to = None


@pytest.fixture
def wrong(monkeypatch):
    """Every session is one of the CPU; those of `names` are spoilt where they should be a GPU's."""
    told = Wrong()
    opened = GraphOpener.open

    def move_priors(self, device):
        told.moved_to = device.name

    def open_graph(self, graph):
        device, self._device = self._device, CPU
        found = opened(self, graph)
        self._device = device
        is_spoilt = told.is_everywhere or (device.kind != "cpu" and told.moved_to is None)
        return OneOff(found) if graph in told.names and is_spoilt else found

    monkeypatch.setattr(GraphOpener, "open", open_graph)
    monkeypatch.setattr(GraphOpener, "move_priors", move_priors)
    monkeypatch.setattr("zvc69_cli.runtime.engines.prior_device", lambda device: CPU)
    return told


@pytest.fixture
def on_gpu(monkeypatch, tmp_path):
    """An engine on a machine with a GPU whose sessions are the CPU's."""

    def load(gpu=H200, device="cuda", **settings):
        machine_with(monkeypatch, gpu)
        return load_engine(BUNDLE, RunSettings(device=device, cache=str(tmp_path), **settings))

    return load


def test_onnx_runtime_passes():
    networks = load_networks(BUNDLE, CPU, 1)
    assert intra_difference(BUNDLE, networks) == ""
    assert inter_difference(BUNDLE, networks) == ""


@pytest.mark.parametrize("graph", PRIOR_GRAPHS)
def test_one_wrong_integer_in_any_prior_is_found(wrong, graph):
    wrong.names.add(graph)
    wrong.is_everywhere = True
    networks = load_networks(BUNDLE, CPU, 1)
    told = intra_difference(BUNDLE, networks) or inter_difference(BUNDLE, networks)
    assert graph in told and "differ" in told


@pytest.mark.parametrize("graph", ["second", "residual_pass_2", "motion_1_second"])
def test_a_gpu_that_fails_has_its_priors_on_the_cpu_and_it_is_said(wrong, on_gpu, caplog, graph):
    wrong.names.add(graph)
    with caplog.at_level(logging.WARNING):
        engine = on_gpu()
        engine.load_inter(None)
    assert "cuda:0 fails the self-test of the priors" in caplog.text
    assert "run on the CPU instead" in caplog.text
    assert wrong.moved_to == "cpu"
    networks = engine.networks._networks
    assert (intra_difference(BUNDLE, networks) or inter_difference(BUNDLE, networks)) == ""


def test_a_device_is_tested_once(wrong, on_gpu, monkeypatch):
    on_gpu()
    monkeypatch.setattr(self_test, "intra_difference", lambda *_: pytest.fail("tested again"))
    on_gpu()
    with pytest.raises(pytest.fail.Exception, match="tested again"):
        on_gpu(replace(H200, cuda=(13, 1)))


def test_a_device_that_failed_is_remembered_too(wrong, on_gpu, caplog):
    wrong.names.add("first")
    on_gpu()
    wrong.names.clear()
    wrong.moved_to = None
    caplog.clear()
    on_gpu()
    assert "fails the self-test" in caplog.text


def test_a_gpu_is_proved_once_for_each_size_of_picture(wrong, on_gpu, monkeypatch):
    sizes = []
    monkeypatch.setattr(CheckedNetworks, "_size_difference", lambda self, grid: sizes.append(grid) or "")
    engine = on_gpu()
    for width, height in ((640, 360), (640, 360), (641, 368), (1920, 1080)):
        engine.check_size(VideoFormat(width=width, height=height))
    on_gpu().check_size(VideoFormat(width=640, height=360))
    assert sizes == [(23, 40), (23, 41), (68, 120)]


def test_a_size_at_which_a_gpu_computes_otherwise_is_found(wrong, on_gpu, caplog):
    engine = on_gpu()
    wrong.names.add("residual_pass_3")
    engine.networks._networks.reopen(["residual_pass_3"])
    engine.check_size(VideoFormat(width=80, height=64))
    assert "rows of residual_pass_3 differ" in caplog.text
    assert wrong.moved_to == "cpu"


def test_a_cpu_needs_no_proof_of_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckedNetworks, "_size_difference", lambda *_: pytest.fail("not on a CPU"))
    engine = load_engine(BUNDLE, RunSettings(device="cpu", cache=str(tmp_path)))
    engine.check_size(VideoFormat(width=640, height=360))


@pytest.mark.parametrize(("width", "height"), [(48, 64), (4098, 2304), (64, 2306)])
def test_a_size_that_no_engine_takes_is_refused_with_a_way_out(wrong, on_gpu, width, height):
    engine = on_gpu(RTX, "tensorrt")
    with pytest.raises(UsageError, match=r"64x64\.\.4096x2304") as caught:
        engine.check_size(VideoFormat(width=width, height=height))
    assert "--device cuda:0" in caught.value.next_step
