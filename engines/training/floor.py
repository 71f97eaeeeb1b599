"""How fast a step could be on this machine: arithmetic and memory, both measured and counted here."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.training.model import has_bfloat16
from engines.training.stages import Stage

FORWARD_AND_BACKWARD = 3  # a product forward is two backward, and so are the passes over an activation
COUNTED_SIDE = 256
_PROBE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What one luma pixel costs, and what the machine does in a second.

    operations_a_pixel  floating-point operations of a training step
    bytes_a_pixel       of activations: each written once and read once, forward and backward
    operations_per_s    a large product in the precision that the networks use
    bytes_per_s         a large copy, read and write counted
    """

    operations_a_pixel: float
    bytes_a_pixel: float
    operations_per_s: float
    bytes_per_s: float

    def shares(self, pixels_per_s: float) -> tuple[float, float]:
        """What part of the arithmetic floor and of the memory floor a speed reaches."""
        return (
            pixels_per_s * self.operations_a_pixel / self.operations_per_s,
            pixels_per_s * self.bytes_a_pixel / self.bytes_per_s,
        )


def measure_floor(stage: Stage, device: torch.device) -> Floor:
    """Count a step of `stage` and time the machine; takes about a second."""
    operations, elements = _count(stage)
    precise = torch.bfloat16 if has_bfloat16(device) else torch.float32
    return Floor(
        operations_a_pixel=operations,
        bytes_a_pixel=elements * 2 * FORWARD_AND_BACKWARD * precise.itemsize,
        operations_per_s=_product_rate(device, precise),
        bytes_per_s=_copy_rate(device),
    )


def _count(stage: Stage) -> tuple[float, float]:
    """Operations and activation elements of a step, a luma pixel; convolutions only."""
    operations = elements = 0

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal operations, elements
        assert isinstance(layer, nn.Conv2d)
        positions = output.shape[2] * output.shape[3]
        operations += 2 * layer.weight.numel() * positions
        elements += output.numel()

    layers = [each for each in stage.network.modules() if isinstance(each, nn.Conv2d)]
    hooks = [each.register_forward_hook(record) for each in layers]
    with torch.no_grad():
        pixels = stage.run_once(COUNTED_SIDE)
    for hook in hooks:
        hook.remove()
    return operations * FORWARD_AND_BACKWARD / pixels, elements / pixels


def _product_rate(device: torch.device, precise: torch.dtype) -> float:
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device).to(precise) for _ in range(2))
    return 2 * size**3 * _rate(lambda: left @ right, device)


def _copy_rate(device: torch.device) -> float:
    source = torch.zeros(1 << (30 if device.type == "cuda" else 27), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * _rate(lambda: target.copy_(source), device)


def _rate(work: object, device: torch.device) -> float:
    """Calls a second, after a warm-up."""
    assert callable(work)
    for _ in range(3):
        work()
    synchronise(device)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < _PROBE_S:
        work()
        synchronise(device)
        calls += 1
    return calls / (time.perf_counter() - began)


def synchronise(device: torch.device) -> None:
    """Wait for what was started there, so that a clock means something."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
