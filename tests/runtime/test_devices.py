"""Devices: what auto takes, and that an explicit choice is that or an error that says what is missing."""

from __future__ import annotations

import ctypes
import shutil

import pytest

from zvc69_cli.errors import Interrupted, RuntimeUnavailable, UsageError
from zvc69_cli.runtime import backends, driver, providers
from zvc69_cli.runtime.bundle import find_bundle, load_bundle
from zvc69_cli.runtime.driver import Gpu, NoGpu, find_gpu
from zvc69_cli.runtime.providers import check_run, choose_device, list_devices, session_providers
from zvc69_cli.runtime.sessions import load_networks
from zvc69_cli.runtime.settings import RunSettings

H200 = Gpu(number=0, name="NVIDIA H200", capability=(9, 0), memory_bytes=150 << 30, cuda=(13, 0))
RTX = Gpu(number=0, name="RTX 4090", capability=(8, 9), memory_bytes=24 << 30, cuda=(13, 0))


@pytest.fixture
def no_gpu(monkeypatch):
    def nothing(number):
        raise NoGpu("no NVIDIA driver on this machine")

    monkeypatch.setattr(providers, "_find_gpu", nothing)


def machine_with(monkeypatch, gpu=H200, missing=(), modules=("openvino", providers.RTX_PLUGIN)):
    """A machine with one GPU, whose libraries are there but for those named."""

    def found(number):
        if number:
            raise NoGpu(f"the NVIDIA driver has 1 devices, number {number} is not among them")
        return gpu

    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(providers, "_find_gpu", found)
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: names)
    monkeypatch.setattr(
        providers, "missing_libraries", lambda names: tuple(name for name in names if name in missing)
    )
    monkeypatch.setattr(providers, "has_module", lambda name: name in modules)


@pytest.fixture
def a_gpu(monkeypatch):
    machine_with(monkeypatch)


def test_auto_takes_the_cpu_where_there_is_nothing_else_and_says_why(no_gpu):
    device = choose_device("auto")
    assert device.name == "cpu"
    assert device.why.startswith("auto: ")


def test_auto_takes_a_gpu_where_one_answers(a_gpu):
    assert choose_device("auto").name == "cuda:0"


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "tensorrt", "tensorrt-rtx"])
def test_a_gpu_that_is_not_there_is_an_error(no_gpu, asked):
    with pytest.raises(RuntimeUnavailable) as caught:
        choose_device(asked)
    assert asked in caught.value.where
    assert "--device cpu" in caught.value.next_step
    assert f"zvc69[{asked.split(':')[0]}]" in caught.value.next_step
    assert caught.value.exit_code == 5


def test_a_gpu_of_another_number_is_an_error(a_gpu):
    with pytest.raises(RuntimeUnavailable, match="number 1 is not among them"):
        choose_device("cuda:1")


@pytest.mark.parametrize(
    ("device", "library"),
    [("cuda", "libcublas.so.13"), ("tensorrt", "libcudnn.so.9"), ("tensorrt", "libnvinfer.so.10")],
)
def test_a_library_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch, device, library):
    machine_with(monkeypatch, missing=(library,))
    with pytest.raises(RuntimeUnavailable, match=library) as caught:
        choose_device(device)
    assert f"pip install 'zvc69[{device}]'" in caught.value.next_step


@pytest.mark.parametrize(
    ("device", "package"),
    [("tensorrt-rtx", "onnxruntime-ep-nv-tensorrt-rtx-cu13"), ("openvino", "openvino")],
)
def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch, device, package):
    machine_with(monkeypatch, RTX, modules=())
    with pytest.raises(RuntimeUnavailable, match=package) as caught:
        choose_device(device)
    assert f"pip install 'zvc69[{device}]'" in caught.value.next_step


def test_tensorrt_rtx_is_not_for_boards_of_data_centres(monkeypatch, a_gpu):
    with pytest.raises(RuntimeUnavailable, match=r"H200: compute capability 9\.0") as caught:
        choose_device("tensorrt-rtx")
    assert "--device tensorrt or cuda" in caught.value.next_step
    machine_with(monkeypatch, RTX)
    assert choose_device("tensorrt-rtx").available


class Driver:
    """NVIDIA's driver library, as far as it is asked."""

    def __init__(self, version=13000, count=1, init=0):
        self.version, self.count, self.init = version, count, init

    def cuInit(self, flags):
        return self.init

    def cuDriverGetVersion(self, out):
        out._obj.value = self.version

    def cuDeviceGetCount(self, out):
        out._obj.value = self.count
        return 0

    def cuDeviceGet(self, out, number):
        out._obj.value = number

    def cuDeviceGetName(self, buffer, size, device):
        ctypes.memmove(buffer, b"Board\0", 6)

    def cuDeviceTotalMem_v2(self, out, device):
        out._obj.value = 24 << 30

    def cuDeviceGetAttribute(self, out, attribute, device):
        out._obj.value = {75: 8, 76: 9}[attribute]


def test_the_driver_tells_what_the_board_is(monkeypatch):
    monkeypatch.setattr(driver, "load_driver", lambda: Driver(13020))
    assert find_gpu(0) == Gpu(number=0, name="Board", capability=(8, 9), memory_bytes=24 << 30, cuda=(13, 2))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "no NVIDIA driver"),
        (Driver(init=100), "finds no device"),
        (Driver(count=0), "number 0 is not among them"),
        (Driver(12080), r"supports CUDA 12\.8, due is 13\.0: it is too old"),
    ],
)
def test_a_driver_that_will_not_do_says_why(monkeypatch, found, words):
    monkeypatch.setattr(driver, "load_driver", lambda: found)
    with pytest.raises(NoGpu, match=words):
        find_gpu(0)


def test_a_driver_that_is_too_old_is_to_be_replaced(monkeypatch):
    monkeypatch.setattr(driver, "load_driver", lambda: Driver(12080))
    with pytest.raises(RuntimeUnavailable, match="too old") as caught:
        choose_device("cuda")
    assert "driver 580 or later" in caught.value.next_step


@pytest.mark.parametrize("word", ["gpu", "cuda:x", "cpu:0", "auto:1", "openvino:1", ""])
def test_another_word_is_refused(word):
    with pytest.raises(UsageError, match="not one of auto, cpu"):
        choose_device(word)


def test_every_device_is_listed_with_its_reason(no_gpu):
    listed = list_devices()
    assert [each.kind for each in listed] == ["tensorrt", "tensorrt-rtx", "cuda", "openvino", "cpu"]
    assert listed[-1].available and not any(each.available for each in listed[:3])
    assert all(each.why for each in listed)


def test_the_device_asked_for_comes_first_and_without_tf32(a_gpu):
    first, *_ = session_providers(choose_device("cuda:0"))
    assert first == ("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0})
    assert next(name for name, _ in session_providers(choose_device("tensorrt"))) == "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("device", "settings", "flag"),
    [
        ("cpu", {"precision": "fp16"}, "--precision fp16"),
        ("openvino", {"precision": "fp16"}, "--precision fp16"),
        ("cuda", {"precision": "int8"}, "--precision int8"),
        ("cpu", {"workspace": 1}, "--workspace"),
        ("cuda", {"workspace": 1}, "--workspace"),
        ("cpu", {"streams": 2}, "--streams"),
        ("cuda", {"streams": 2}, "--streams"),
        ("cpu", {"cuda_graph": True}, "--cuda-graph"),
        ("tensorrt", {"cuda_graph": True}, "--cuda-graph"),
    ],
)
def test_a_setting_that_a_device_cannot_do_is_refused_with_a_way_out(a_gpu, device, settings, flag):
    with pytest.raises(UsageError) as caught:
        check_run(RunSettings(**settings), choose_device(device))
    assert caught.value.where == flag
    assert "--device" in caught.value.next_step


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("cuda", {"precision": "fp16", "cuda_graph": True}),
        ("tensorrt", {"precision": "int8", "workspace": 512, "streams": 2}),
        ("openvino", {"precision": "int8", "streams": 2}),
        ("cpu", {"precision": "int8", "threads": 3}),
    ],
)
def test_a_setting_that_a_device_can_do_is_taken(a_gpu, device, settings):
    check_run(RunSettings(**settings), choose_device(device))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Failed to allocate memory for requested buffer of size 12",
            "out of GPU memory of 153600 MiB: .*size 12",
        ),
        ("CUDA failure 2: out of memory ; GPU=0", "out of GPU memory"),
        (
            "CUDA failure 700: an illegal access\nmore",
            "failed while it ran: CUDA failure 700: an illegal access\nTry",
        ),
    ],
)
def test_a_gpu_that_fails_while_it_runs_says_what_ran_out_and_what_helps(a_gpu, text, words):
    failure = backends.run_failure(choose_device("cuda"), "analyse", RuntimeError(text))
    assert isinstance(failure, RuntimeUnavailable)
    with pytest.raises(RuntimeUnavailable, match=words):
        raise failure
    assert "--device cpu" in failure.next_step


def test_a_fault_of_ours_on_the_cpu_is_not_blamed_on_the_device():
    error = RuntimeError("Invalid rank for input: y")
    assert backends.run_failure(choose_device("cpu"), "analyse", error) is error


def test_a_session_that_fell_back_is_an_error_and_not_a_slow_success(a_gpu):
    """On a machine without CUDA libraries ONNX Runtime goes on with the CPU and only logs it."""
    device = choose_device("cuda")
    if "CUDAExecutionProvider" in load_providers_really_there():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(RuntimeUnavailable):
        load_networks(find_bundle(), device, 1)


def load_providers_really_there():
    try:
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

    monkeypatch.setattr(backends, "GuardedSession", interrupted)
    with pytest.raises(Interrupted) as caught:
        load_networks(find_bundle(), choose_device("cpu"), 1)
    assert caught.value.exit_code == 130
