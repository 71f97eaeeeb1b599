"""What NVIDIA's driver says of its devices, asked without any CUDA library."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

# What onnxruntime-gpu is built for (major, minor), and the first driver that has it.
CUDA_DUE: Final = (13, 0)
DRIVER_DUE: Final = "580"

_LIBRARIES: Final = ("libcuda.so.1", "nvcuda.dll")
_NAME_BYTES: Final = 100
_MAJOR, _MINOR = 75, 76  # of cuDeviceGetAttribute: the compute capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA device.

    capability  compute capability, (9, 0) for an H200
    cuda        the CUDA version that the driver supports, (13, 0)
    """

    number: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    cuda: tuple[int, int]


class NoGpu(Exception):
    """There is no such device; says why."""


@cache
def load_driver() -> Any:
    """NVIDIA's driver library, or None where there is none."""
    for library in _LIBRARIES:
        try:
            return ctypes.CDLL(library)
        except OSError:
            continue
    return None


def find_gpu(number: int) -> Gpu:
    """The device of that number; raises NoGpu."""
    driver = load_driver()
    if driver is None:
        raise NoGpu("no NVIDIA driver on this machine")
    if driver.cuInit(0):
        raise NoGpu("the NVIDIA driver finds no device")
    count, version, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    if driver.cuDeviceGetCount(ctypes.byref(count)) or number >= count.value:
        raise NoGpu(f"the NVIDIA driver has {count.value} devices, number {number} is not among them")
    cuda = (version.value // 1000, version.value % 1000 // 10)
    if cuda < CUDA_DUE:
        raise NoGpu(
            f"the NVIDIA driver supports CUDA {cuda[0]}.{cuda[1]}, due is {CUDA_DUE[0]}.{CUDA_DUE[1]}: "
            f"it is too old (driver {DRIVER_DUE} or later has it)"
        )
    driver.cuDeviceGet(ctypes.byref(device), number)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    memory, major, minor = ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Gpu(
        number=number,
        name=name.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        memory_bytes=memory.value,
        cuda=cuda,
    )
