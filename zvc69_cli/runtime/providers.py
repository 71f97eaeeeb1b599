"""The devices that can run the networks here, and which one a user gets.

Never run on a GPU so far: cuda, tensorrt and tensorrt-rtx. `make gpu-check` is what shows them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final

import onnxruntime as ort

from zvc69_cli.errors import RuntimeUnavailable, UsageError
from zvc69_cli.runtime.driver import Gpu, NoGpu, find_gpu
from zvc69_cli.runtime.libraries import CUDA_LIBRARIES, TENSORRT_LIBRARIES, has_module, missing_libraries
from zvc69_cli.runtime.settings import RunSettings

KINDS: Final = ("tensorrt", "tensorrt-rtx", "cuda", "openvino", "cpu")
GPU_KINDS: Final = ("tensorrt", "tensorrt-rtx", "cuda")
PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
RTX_PLUGIN: Final = "onnxruntime_ep_nv_tensorrt_rtx"
# What the plug-in's tensorrt_rtx_provider_options.h takes, and everything after: not the data centre's 8.0, 9.0, 10.0.
RTX_CAPABILITIES: Final = ((8, 6), (8, 9))
RTX_FROM: Final = (12, 0)

_PATTERN: Final = re.compile(r"(auto|cpu|openvino|cuda|tensorrt|tensorrt-rtx)(?::(\d+))?")
_CPU_INSTEAD: Final = "or take `--device cpu`."
INSTALL: Final = {
    "cuda": "pip install 'zvc69[cuda]'",
    "tensorrt": "pip install 'zvc69[tensorrt]'",
    "tensorrt-rtx": "pip install 'zvc69[tensorrt-rtx]'",
    "openvino": "pip install 'zvc69[openvino]'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What may run the networks.

    name       as `--device` takes it: "cpu", "cuda:0", "tensorrt:0"
    available  whether a session runs on it here
    why        why it was chosen, or why it cannot be had
    gpu        the NVIDIA device, where it is one and answers
    """

    name: str
    description: str
    available: bool
    why: str
    gpu: Gpu | None = None

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def number(self) -> int:
        return int(self.name.partition(":")[2] or 0)


def list_devices() -> list[Device]:
    """Every device that could be asked for, best first, with whether it is to be had."""
    return [_probe(kind, 0) for kind in KINDS]


def choose_device(requested: str) -> Device:
    """The device to run on.

    requested  auto, cpu, openvino, cuda[:N], tensorrt[:N] or tensorrt-rtx[:N]
    raises     UsageError for another word; RuntimeUnavailable where an explicit choice is not to be had
    """
    matched = _PATTERN.fullmatch(requested)
    if not matched or (matched[1] not in GPU_KINDS and matched[2]):
        raise UsageError(
            "--device",
            f"{requested!r} is not one of auto, cpu, openvino, cuda[:N], tensorrt[:N], tensorrt-rtx[:N]",
            "`zvc69 devices` lists what is here.",
        )
    kind, number = matched[1], int(matched[2] or 0)
    if kind != "auto":
        device = _probe(kind, number)
        if not device.available:
            raise RuntimeUnavailable(f"--device {requested}", device.why, _way_out(kind, device.why))
        return _because(device, "asked for")
    cuda = _probe("cuda", 0)
    if cuda.available:
        return _because(cuda, "auto: a CUDA device answers")
    return _because(_probe("cpu", 0), f"auto: {cuda.why}")


def check_run(run: RunSettings, device: Device) -> None:
    """Raises UsageError for a setting that can have no effect on this device, or that it cannot do."""
    if run.precision == "fp16" and device.kind not in GPU_KINDS:
        raise UsageError(
            "--precision fp16",
            f"{device.kind} has no arithmetic in 16 bits: it would convert to 32 and back around every layer",
            "Leave it out, or take --device cuda.",
        )
    if run.precision == "int8" and device.kind == "cuda":
        raise UsageError(
            "--precision int8",
            "the CUDA provider computes such graphs in float32 and is slower for it",
            "Take --precision fp16, or --device tensorrt.",
        )
    for flag, is_set, kinds in (
        ("--workspace", run.workspace > 0, ("tensorrt", "tensorrt-rtx")),
        ("--streams", run.streams > 0, ("tensorrt", "openvino")),
        ("--cuda-graph", run.cuda_graph, ("cuda",)),
    ):
        if is_set and device.kind not in kinds:
            raise UsageError(
                flag, f"has no effect on {device.name}", f"Leave it out, or take --device {' or '.join(kinds)}."
            )


def rtx_to_build_for() -> Device:
    """TensorRT-RTX as engines can be built for it on a machine without a GPU."""
    return Device(
        name="tensorrt-rtx:0",
        description="TensorRT-RTX",
        available=False,
        why="engines are built ahead of time",
    )


def session_providers(device: Device) -> list[tuple[str, dict[str, Any]]]:
    """ONNX Runtime's own providers for a device; the first is the one that must be used.

    TensorRT-RTX is no provider of ONNX Runtime's own: runtime.backends registers it.
    """
    if device.kind in ("cpu", "openvino"):
        return [(PROVIDERS["cpu"], {})]
    cuda = (PROVIDERS["cuda"], {"device_id": device.number, "use_tf32": 0})
    if device.kind == "tensorrt":
        return [(PROVIDERS["tensorrt"], {"device_id": device.number}), cuda, (PROVIDERS["cpu"], {})]
    return [cuda, (PROVIDERS["cpu"], {})]


def _because(device: Device, why: str) -> Device:
    return Device(name=device.name, description=device.description, available=True, why=why, gpu=device.gpu)


def _probe(kind: str, number: int) -> Device:
    if kind == "cpu":
        return Device(name="cpu", description=f"{os.cpu_count()} cores", available=True, why="always there")
    if kind == "openvino":
        there = has_module("openvino")
        why = "the openvino package answers" if there else "the package openvino is not installed"
        return Device(
            name=kind, description=f"{os.cpu_count()} cores through OpenVINO", available=there, why=why
        )
    description = f"NVIDIA GPU {number} through {_LIBRARY_NAMES[kind]}"
    try:
        gpu = _find_gpu(number)
    except NoGpu as nothing:
        return Device(name=f"{kind}:{number}", description=description, available=False, why=str(nothing))
    trouble = _trouble(kind, gpu)
    return Device(
        name=f"{kind}:{number}",
        description=f"{gpu.name} through {_LIBRARY_NAMES[kind]}" if gpu.name else description,
        available=not trouble,
        why=trouble or "a CUDA device answers",
        gpu=gpu,
    )


def _find_gpu(number: int) -> Gpu:
    """driver.find_gpu, under a name that tests replace."""
    return find_gpu(number)


def _trouble(kind: str, gpu: Gpu) -> str:
    """Why a GPU that answers cannot be used so; "" where it can."""
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return f"this onnxruntime ({ort.__version__}) is built without {PROVIDERS['cuda']}"
    missing = missing_libraries(CUDA_LIBRARIES)
    if missing:
        return f"libraries are missing: {', '.join(missing)}"
    if kind == "tensorrt":
        if PROVIDERS["tensorrt"] not in ort.get_available_providers():
            return f"this onnxruntime ({ort.__version__}) is built without {PROVIDERS['tensorrt']}"
        missing = missing_libraries(TENSORRT_LIBRARIES)
        return f"libraries of TensorRT 10 are missing: {', '.join(missing)}" if missing else ""
    if kind == "tensorrt-rtx":
        if not has_module(RTX_PLUGIN):
            return f"the package {RTX_PLUGIN.replace('_', '-')}-cu13 is not installed"
        if gpu.capability not in RTX_CAPABILITIES and gpu.capability < RTX_FROM:
            has = ".".join(map(str, gpu.capability))
            name = gpu.name or "this GPU"
            return f"TensorRT-RTX does not take {name}: compute capability {has}, due is 8.6, 8.9 or 12.0 on"
    return ""


def _way_out(kind: str, why: str) -> str:
    if "too old" in why:
        return f"Install NVIDIA's driver 580 or later, {_CPU_INSTEAD}"
    if "does not take" in why:
        return "Take --device tensorrt or cuda."
    if "no NVIDIA driver" in why or "no device" in why:
        return f"Install an NVIDIA driver, then `{INSTALL[kind]}`, {_CPU_INSTEAD}"
    if "number" in why:
        return f"Give another number (`zvc69 devices` lists what is here), {_CPU_INSTEAD}"
    return f"`{INSTALL[kind]}`, {_CPU_INSTEAD}"


_LIBRARY_NAMES: Final = {"cuda": "CUDA", "tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
