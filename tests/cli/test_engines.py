"""`zvc69 engines` as it is typed: what it builds, lists, clears, checks and calibrates, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_commands import refused, zvc69
from tests.pipeline.engines import write_y4m
from tests.runtime.test_devices import H200, machine_with
from zvc69_cli.pipeline import self_test, warmup
from zvc69_cli.runtime.bundle import CONVOLUTION_GRAPHS, INT8_GRAPHS, find_bundle
from zvc69_cli.runtime.cache import EngineCache
from zvc69_cli.runtime.engines import GraphOpener
from zvc69_cli.runtime.libraries import has_module

needs_onnx = pytest.mark.skipif(not has_module("onnx"), reason="the package onnx is not installed")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZVC69_CACHE", str(tmp_path / "cache"))
    return EngineCache(tmp_path / "cache")


def writes(folder):
    (folder / "a.engine").write_bytes(b"x" * 100)


def engines(*arguments):
    return zvc69("engines", *arguments)


def test_what_is_kept_is_listed_and_cleared(cache):
    cache.get("tensorrt", {"graph": "analyse", "gpu": "NVIDIA H200 9.0", "bundle": "ab" * 32}, writes)
    cache.put("int8", {"bundle": "ab" * 32}, writes)
    told = json.loads(engines("list", "--json").stdout)
    assert told["schema"] == "zvc69-engines/1"
    assert told["cache"] == str(cache.root)
    assert {each["kind"] for each in told["entries"]} == {"tensorrt", "int8"}
    assert "NVIDIA H200" in engines("list").stdout
    assert "1 engines removed" in engines("clear").stderr
    assert [each.kind for each in cache.entries()] == ["int8"]
    assert "1 engines removed" in engines("clear", "--calibrations").stderr
    assert json.loads(engines("list", "--json").stdout)["entries"] == []


def test_another_folder_can_be_named(cache, tmp_path):
    other = EngineCache(tmp_path / "other")
    other.get("tensorrt", {"graph": "analyse"}, writes)
    told = json.loads(engines("list", "--json", "--cache", tmp_path / "other").stdout)
    assert len(told["entries"]) == 1
    assert json.loads(engines("list", "--json", "--cache", "off").stdout) == {
        "schema": "zvc69-engines/1", "cache": "", "entries": [],
    }  # fmt: skip


def test_a_device_that_needs_no_engines_is_told_so(cache):
    done = engines("build", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert "nothing to build for cpu" in done.stderr
    assert json.loads(engines("build", "--device", "cpu", "--json").stdout)["seconds"] == {}


def test_building_says_which_engine_and_how_long_it_took(cache, monkeypatch):
    machine_with(monkeypatch, H200)
    monkeypatch.setattr(GraphOpener, "_build", lambda self, graph, folder: writes(folder))
    done = engines("build", "--device", "tensorrt", "--workspace", "64")
    assert done.exit_code == 0, done.stderr
    assert "engine 1 of 5 for tensorrt:0: analyse, 0:00:00" in done.stderr
    assert "5 engines for tensorrt:0 in 0:00:0" in done.stderr
    assert {each.key["graph"] for each in cache.entries()} == set(warmup.ENGINE_GRAPHS)
    again = json.loads(engines("build", "--device", "tensorrt", "--workspace", "64", "--json").stdout)
    assert again["device"] == "tensorrt:0" and len(again["seconds"]) == 5


@needs_onnx
def test_half_precision_is_built_for_cuda_without_a_gpus_help(cache, monkeypatch):
    machine_with(monkeypatch, H200)
    done = engines("build", "--device", "cuda", "--precision", "fp16")
    assert done.exit_code == 0, done.stderr
    assert {(each.kind, each.key["graph"]) for each in cache.entries()} == {
        ("fp16", graph) for graph in CONVOLUTION_GRAPHS
    }


def test_the_self_test_of_a_cpu_is_told(cache):
    done = engines("check", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert "cpu: priors of intra: exact" in done.stderr and "inter: exact" in done.stderr
    facts = json.loads(engines("check", "--device", "cpu", "--json").stdout)
    assert [each["is_exact"] for each in facts["checks"]] == [True, True]


def test_a_device_that_fails_the_self_test_ends_with_8(cache, monkeypatch):
    monkeypatch.setattr(self_test, "intra_difference", lambda *_: "3 of 4 means of first differ")
    done = engines("check", "--device", "cpu")
    assert done.exit_code == 8
    assert "3 of 4 means of first differ" in done.stderr and "other integers" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["calibrate"], 2, ("CLIP", "no clip")),
        (["calibrate", "missing.y4m", "--frames", "2"], 3, ("missing.y4m",)),
        (["calibrate", "a.y4m", "--frames", "1"], 2, ("--frames", "2..1000")),
        (["check", "--size", "large"], 2, ("--size", "width and a height")),
        (["check", "--device", "cpu", "--precision", "fp16"], 2, ("--precision fp16", "16 bits")),
        (["build", "--device", "cpu", "--streams", "2"], 2, ("--streams", "no effect on cpu")),
        (["build", "--device", "abacus"], 2, ("--device", "abacus")),
        (["biuld"], 2, ("biuld", "no such command")),
        ([], 2, ("engines", "missing command")),
    ],
)
def test_what_cannot_be_had_is_refused(cache, arguments, code, words):
    if "calibrate" in arguments and code == 3 and not has_module("onnx"):
        pytest.skip("the package onnx is not installed")
    refused(engines(*arguments), code, *words)


@needs_onnx
@pytest.mark.slow
def test_a_calibration_is_kept_used_and_its_cost_is_told(cache, tmp_path):
    clip = write_y4m(tmp_path / "in.y4m", 3, 96, 64)
    done = engines("calibrate", clip, "--frames", "3", "--threads", "1", "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert set(facts["watched"]) == set(INT8_GRAPHS)
    cost = facts["cost"]
    assert -10 < cost["at_equal_bytes_db"] < 10 and -10 < cost["decoded_db"] < 1
    assert 0.3 < cost["bytes_share"] < 3
    (entry,) = [each for each in cache.entries() if each.kind == "int8"]
    assert entry.key["bundle"] == find_bundle().sha256.hex()
    names = {path.name for path in entry.folder.iterdir()}
    assert {f"{graph}{form}.onnx" for graph in INT8_GRAPHS for form in ("", ".float_bias")} <= names


def test_warming_up_loads_proves_and_runs_everything(cache):
    import zvc69_cli

    done = zvc69_cli.warmup(zvc69_cli.RunSettings(device="cpu", threads=1), 64, 48)
    assert done.device == "cpu"
    assert done.load_s > 0 and done.run_s > 0
