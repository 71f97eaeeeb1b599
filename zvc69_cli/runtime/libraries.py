"""Shared libraries that a backend needs, found in installed packages and loaded before ONNX Runtime looks for them."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import site
import sys
from functools import cache
from pathlib import Path
from typing import Final

# What libonnxruntime_providers_cuda and _tensorrt are linked to (readelf -d), on Linux. On Windows the names differ
# and ONNX Runtime's own message has to do.
CUDA_LIBRARIES: Final = (
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
    "libcudnn.so.9",
)
TENSORRT_LIBRARIES: Final = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


@cache
def missing_libraries(names: tuple[str, ...]) -> tuple[str, ...]:
    """Load these libraries; those that are nowhere to be found come back."""
    if sys.platform != "linux":
        return ()
    return tuple(name for name in names if not _load(name))


def has_module(name: str) -> bool:
    """Whether a Python package is installed; it is not imported."""
    return importlib.util.find_spec(name) is not None


def _load(name: str) -> bool:
    for place in (name, *map(str, _in_packages(name))):
        try:
            ctypes.CDLL(place, mode=os.RTLD_GLOBAL | os.RTLD_NOW)
        except OSError:
            continue
        return True
    return False


def _in_packages(name: str) -> list[Path]:
    """Where NVIDIA's packages lay their libraries: nvidia/cu13/lib, nvidia/cudnn/lib, tensorrt_libs."""
    folders = [Path(each) for each in {*site.getsitepackages(), site.getusersitepackages(), *sys.path} if each]
    patterns = (f"nvidia/*/lib/{name}", f"tensorrt_libs/{name}")
    return [found for folder in folders for pattern in patterns for found in folder.glob(pattern)]
