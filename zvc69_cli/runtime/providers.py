"""The devices that ONNX Runtime can use here, and which one a user gets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final

import onnxruntime as ort

from zvc69_cli.errors import RuntimeUnavailable, UsageError

_PATTERN: Final = re.compile(r"(auto|cpu|cuda|tensorrt)(?::(\d+))?")
_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_HOW_TO: Final = {
    "cuda": "Install an NVIDIA driver and `pip install onnxruntime-gpu[cuda,cudnn]`, or take `--device cpu`.",
    "tensorrt": "Install `pip install zvc69[tensorrt]` beside an NVIDIA driver, or take `--device cpu`.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What may run the networks.

    name       as `--device` takes it: "cpu", "cuda:0", "tensorrt:0"
    available  whether a session runs on it here
    why        why it was chosen, or why it cannot be had
    """

    name: str
    description: str
    available: bool
    why: str

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def number(self) -> int:
        return int(self.name.partition(":")[2] or 0)


def list_devices() -> list[Device]:
    """Every device that could be asked for, best first, with whether it is to be had."""
    return [_probe("tensorrt", 0), _probe("cuda", 0), _probe("cpu", 0)]


def choose_device(requested: str) -> Device:
    """The device to run on.

    requested  auto, cpu, cuda[:N] or tensorrt[:N]
    raises     UsageError for another word; RuntimeUnavailable where an explicit choice is not to be had
    """
    matched = _PATTERN.fullmatch(requested)
    if not matched or (matched[1] in ("auto", "cpu") and matched[2]):
        raise UsageError(
            "--device",
            f"{requested!r} is not one of auto, cpu, cuda[:N], tensorrt[:N]",
            "`zvc69 devices` lists what is here.",
        )
    kind, number = matched[1], int(matched[2] or 0)
    if kind != "auto":
        device = _probe(kind, number)
        if not device.available:
            raise RuntimeUnavailable(f"--device {requested}", device.why, _HOW_TO[kind])
        return Device(name=device.name, description=device.description, available=True, why="asked for")
    cuda = _probe("cuda", 0)
    if cuda.available:
        return Device(
            name=cuda.name, description=cuda.description, available=True, why="auto: a CUDA device answers"
        )
    cpu = _probe("cpu", 0)
    return Device(name=cpu.name, description=cpu.description, available=True, why=f"auto: {cuda.why}")


def session_providers(device: Device) -> list[tuple[str, dict[str, Any]]]:
    """ONNX Runtime's provider list for a device; the first is the one that must be used."""
    if device.kind == "cpu":
        return [(_PROVIDERS["cpu"], {})]
    cuda = (_PROVIDERS["cuda"], {"device_id": device.number, "use_tf32": 0})
    if device.kind == "cuda":
        return [cuda, (_PROVIDERS["cpu"], {})]
    return [(_PROVIDERS["tensorrt"], {"device_id": device.number}), cuda, (_PROVIDERS["cpu"], {})]


def _probe(kind: str, number: int) -> Device:
    name = kind if kind == "cpu" else f"{kind}:{number}"
    if kind == "cpu":
        return Device(name=name, description=f"{os.cpu_count()} cores", available=True, why="always there")
    provider = _PROVIDERS[kind]
    description = f"NVIDIA GPU {number} through {'CUDA' if kind == 'cuda' else 'TensorRT'}"
    if provider not in ort.get_available_providers():
        why = f"this onnxruntime ({ort.__version__}) is built without {provider}"
        return Device(name=name, description=description, available=False, why=why)
    why = _cuda_trouble(number)
    return Device(name=name, description=description, available=not why, why=why or "a CUDA device answers")


def _cuda_trouble(number: int) -> str:
    """Why CUDA device `number` cannot be used; "" where it can."""
    import ctypes

    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(library)
            break
        except OSError:
            continue
    else:
        return "no NVIDIA driver on this machine"
    if driver.cuInit(0):
        return "the NVIDIA driver finds no device"
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or number >= count.value:
        return f"the NVIDIA driver has {count.value} devices, number {number} is not among them"
    return ""
