"""Devices: what auto takes, and that an explicit choice is that or an error."""

from __future__ import annotations

import shutil

import pytest

from zvc69_cli.errors import Interrupted, RuntimeUnavailable, UsageError
from zvc69_cli.runtime import providers, sessions
from zvc69_cli.runtime.bundle import find_bundle, load_bundle
from zvc69_cli.runtime.providers import choose_device, list_devices, session_providers
from zvc69_cli.runtime.sessions import load_networks


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(providers, "_cuda_trouble", lambda number: "no NVIDIA driver on this machine")


@pytest.fixture
def a_gpu(monkeypatch):
    monkeypatch.setattr(
        providers, "_cuda_trouble", lambda number: "" if number == 0 else "number 1 is not there"
    )
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: names)


def test_auto_takes_the_cpu_where_there_is_nothing_else_and_says_why(no_gpu):
    device = choose_device("auto")
    assert device.name == "cpu"
    assert device.why.startswith("auto: ")


def test_auto_takes_a_gpu_where_one_answers(a_gpu):
    assert choose_device("auto").name == "cuda:0"


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error(no_gpu, asked):
    with pytest.raises(RuntimeUnavailable) as caught:
        choose_device(asked)
    assert asked in caught.value.where
    assert "--device cpu" in caught.value.next_step
    assert caught.value.exit_code == 5


def test_a_gpu_of_another_number_is_an_error(a_gpu):
    with pytest.raises(RuntimeUnavailable, match="number 1 is not there"):
        choose_device("cuda:1")


@pytest.mark.parametrize("word", ["gpu", "cuda:x", "cpu:0", "auto:1", ""])
def test_another_word_is_refused(word):
    with pytest.raises(UsageError, match="not one of auto, cpu"):
        choose_device(word)


def test_every_device_is_listed_with_its_reason(no_gpu):
    listed = list_devices()
    assert [each.kind for each in listed] == ["tensorrt", "cuda", "cpu"]
    assert [each.available for each in listed] == [False, False, True]
    assert all(each.why for each in listed)


def test_the_device_asked_for_comes_first_and_without_tf32(a_gpu):
    first, *_ = session_providers(choose_device("cuda:0"))
    assert first == ("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0})
    assert next(name for name, _ in session_providers(choose_device("tensorrt"))) == "TensorrtExecutionProvider"


def test_a_session_that_fell_back_is_an_error_and_not_a_slow_success(a_gpu):
    """On a machine without CUDA libraries ONNX Runtime goes on with the CPU and only logs it."""
    device = choose_device("cuda")
    if "CUDAExecutionProvider" in load_providers_really_there():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(RuntimeUnavailable):
        load_networks(find_bundle(), device, 1)


def load_providers_really_there():
    try:
        import ctypes

        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    return ["CUDAExecutionProvider"]


def test_a_graph_that_is_none_is_an_error_with_a_way_out(tmp_path):
    for name in find_bundle().files:
        shutil.copy(find_bundle().folder / name, tmp_path)
    (tmp_path / "first.onnx").write_bytes(b"no graph")
    with pytest.raises(RuntimeUnavailable, match="first"):
        load_networks(load_bundle(tmp_path), choose_device("cpu"), 1)


def test_a_signal_while_networks_are_loaded_is_not_a_fault_of_the_device(monkeypatch):
    def interrupted(*arguments, **more):
        raise Interrupted("SIGINT", "came before anything was written", "Start again.", signal_number=2)

    monkeypatch.setattr(sessions.ort, "InferenceSession", interrupted)
    with pytest.raises(Interrupted) as caught:
        load_networks(find_bundle(), choose_device("cpu"), 1)
    assert caught.value.exit_code == 130
