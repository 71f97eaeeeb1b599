"""A trained prior as integers, so that every machine computes the same symbols.

Every tensor is an integer in fixed point: a power of two as scale, one a tensor, one a row for weights. A layer is
acc = W a + B, out = clip(floor((leaky(acc) + half) 2^-n)). The precision of a row is the largest for which
sum |W| max|a| + |B| + half stays below 2^24: float32 then holds every partial sum exactly, whatever the order.
The arithmetic itself is defined by zvc69_cli.codec.prior; this module only chooses the integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from engines.training.model import (
    BRANCH_SLOPE,
    FEED_SLOPE,
    HYPER_GAIN,
    Q_LEVELS,
    Block,
    IntraNetwork,
)
from engines.training.tables import INDEXES_PER_NAT, SCALE_LOW
from zvc69_cli.codec.prior import (
    ACTIVATION_LIMIT,
    HYPER_LIMIT,
    INDEX_FRACTION,
    MEAN_FRACTION,
    SCALE_LEVELS,
)

WEIGHT_LIMIT = 2047
EXACT_LIMIT = 2**24
HEADROOM = 1.5  # what calibration saw, times this, still fits

Arrays = dict[str, np.ndarray]


def integer_prior(network: IntraNetwork, calibrate: Callable[[], None]) -> Arrays:
    """The arrays of codec.prior.IntegerPrior, named as there.

    calibrate  runs the network on typical pictures at every q; the largest activations are recorded meanwhile
    """
    peaks = _Peaks(network.prior)
    calibrate()
    peaks.close()
    prior, latent = network.prior, network.size.latent
    arrays: Arrays = {}

    scale1 = _power_of_two(max(peaks.into(prior.block1.branch_in), peaks.into(prior.block1.feed_in)))
    arrays |= _layer("up1", prior.up1, 1.0, scale1, input_limit=HYPER_LIMIT)
    arrays |= _block("block1", prior.block1, scale1, peaks)[0]
    scale2 = _power_of_two(peaks.out_of(prior.up2))
    arrays |= _layer("up2", prior.up2, scale1, scale2)
    block, scale = _block("block2", prior.block2, scale2, peaks)
    arrays |= block
    for number, module in enumerate(prior.first_blocks):
        block, scale = _block(f"first{number}", module, scale, peaks)
        arrays |= block
    head_gain = _head_gain(latent)
    arrays |= _layer("first_head", prior.first_head, scale, 1.0, output_gain=head_gain)

    # The second pass sees integers in the units of the first pass's head.
    units = _second_units(latent)
    scale = 1.0
    for number, module in enumerate(prior.second_blocks):
        block, scale = _block(
            f"second{number}", module, scale, peaks, input_gain=units if number == 0 else None
        )
        arrays |= block
    arrays |= _layer("second_head", prior.second_head, scale, 1.0, output_gain=head_gain)
    return arrays


def scale_offsets(network: IntraNetwork) -> np.ndarray:
    """int16 [64, latent]: what q adds to a scale index, in fractions of one."""
    with torch.no_grad():
        log_scale = network.analysis_log_scale(torch.arange(Q_LEVELS))[:, :, 0, 0].double()
    return torch.round((log_scale - math.log(SCALE_LOW)) * INDEXES_PER_NAT).to(torch.int16).numpy()


def hyper_offsets(network: IntraNetwork) -> np.ndarray:
    """int16 [64, hyper]: the scale index of the hyper latent at a q, in fractions of one."""
    with torch.no_grad():
        log_scale = network.hyper_log_scale(torch.arange(Q_LEVELS))[:, :, 0, 0].double()
    index = (log_scale - math.log(SCALE_LOW)) * INDEXES_PER_NAT
    return torch.round(index.clamp(0, (SCALE_LEVELS - 1) * INDEX_FRACTION)).to(torch.int16).numpy()


class _Peaks:
    """The largest absolute value that entered and left every convolution."""

    def __init__(self, module: nn.Module) -> None:
        self._seen: dict[nn.Module, tuple[float, float]] = {}
        self._hooks = [each.register_forward_hook(self._record) for each in _convolutions(module)]

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        entered, left = self._seen.get(layer, (0.0, 0.0))
        self._seen[layer] = (
            max(entered, inputs[0].detach().float().abs().max().item()),
            max(left, output.detach().float().abs().max().item()),
        )

    def into(self, layer: nn.Module) -> float:
        return self._seen[layer][0]

    def out_of(self, layer: nn.Module) -> float:
        return self._seen[layer][1]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    return (each for each in module.modules() if isinstance(each, nn.Conv2d))


def _power_of_two(peak: float) -> float:
    """The largest power of two with which `peak`, with headroom, stays within the activations' limit."""
    return 2.0 ** math.floor(math.log2(ACTIVATION_LIMIT / max(peak * HEADROOM, 1e-6)))


def _block(
    name: str, block: Block, input_scale: float, peaks: _Peaks, input_gain: Tensor | None = None
) -> tuple[Arrays, float]:
    """The arrays of one block, and the scale of its trunk."""
    arrays: Arrays = {}
    trunk = input_scale
    if block.adapt is not None:
        trunk = _power_of_two(
            max(
                peaks.into(block.branch_in),
                peaks.into(block.feed_in),
                peaks.out_of(block.branch_out),
                peaks.out_of(block.feed_out),
            )
        )
        arrays |= _layer(f"{name}.adapt", block.adapt, input_scale, trunk, input_gain=input_gain)
    inside = [_power_of_two(peaks.into(layer)) for layer in (block.depthwise, block.branch_out, block.feed_out)]
    arrays |= _layer(f"{name}.branch_in", block.branch_in, trunk, inside[0], slope=BRANCH_SLOPE)
    arrays |= _layer(f"{name}.depthwise", block.depthwise, inside[0], inside[1])
    arrays |= _layer(f"{name}.branch_out", block.branch_out, inside[1], trunk)
    arrays |= _layer(f"{name}.feed_in", block.feed_in, trunk, inside[2], slope=FEED_SLOPE)
    arrays |= _layer(f"{name}.feed_out", block.feed_out, inside[2], trunk)
    return arrays, trunk


def _layer(
    name: str,
    layer: nn.Conv2d,
    input_scale: float,
    output_scale: float,
    *,
    slope: float = 1.0,
    input_limit: int = ACTIVATION_LIMIT,
    input_gain: Tensor | None = None,
    output_gain: Tensor | None = None,
) -> Arrays:
    """Integer weight [out, in] or [out, 3, 3], bias [out] and shift [out] of one convolution.

    input_gain   real value of one unit of each input channel, where they differ
    output_gain  factor for each output channel
    raises       ValueError where no precision makes a row fit, or an output is finer than its accumulator
    """
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    if input_gain is not None:
        weight = weight * input_gain[None, :, None, None]
    if output_gain is not None:
        weight, bias = weight * output_gain[:, None, None, None], bias * output_gain
    weight = weight.flatten(1)
    finest = torch.floor(torch.log2(WEIGHT_LIMIT / weight.abs().amax(1).clamp_min(1e-9)))
    # A row of zeros would ask for precision without end.
    precision = finest.clamp_max(24)
    while True:
        shift = precision + math.log2(input_scale) - math.log2(output_scale)
        if (shift < 0).any():
            raise ValueError(f"{name}: the output is finer than the accumulator")
        half = torch.where(shift > 0, 2.0 ** (shift - 1), torch.zeros_like(shift))
        integer_weight = torch.round(weight * 2 ** precision[:, None])
        integer_bias = torch.round(bias * input_scale * 2**precision)
        largest = integer_weight.abs().sum(1) * input_limit + integer_bias.abs() + half
        if slope != 1.0:
            largest = torch.maximum(largest, half / slope)
        over = largest >= EXACT_LIMIT
        if not over.any():
            break
        precision = precision - over.double()
    shape = (layer.out_channels, 3, 3) if layer.groups > 1 else (layer.out_channels, layer.in_channels)
    return {
        f"prior.{name}.weight": integer_weight.reshape(shape).to(torch.int16).numpy(),
        f"prior.{name}.bias": integer_bias.to(torch.int32).numpy(),
        f"prior.{name}.shift": shift.to(torch.uint8).numpy(),
        # Not needed to decode: with these two powers of two the trainer finds the real weights again.
        f"prior.{name}.scales": np.array([math.log2(input_scale), math.log2(output_scale)], np.int8),
    }


def trained_prior(arrays: Mapping[str, np.ndarray], latent: int) -> dict[str, Tensor]:
    """The weights that `integer_prior` was made from, as near as its integers hold them, named as in PriorNetwork."""
    head_gain = _head_gain(latent)
    units = _second_units(latent)
    weights = {}
    for key in arrays:
        if not key.endswith(".scales"):
            continue
        name = key[len("prior.") : -len(".scales")]
        log_input, log_output = (float(value) for value in arrays[key])
        shift = torch.from_numpy(arrays[f"prior.{name}.shift"].astype(np.float64))
        step = 2.0 ** (log_input - log_output - shift)
        weight = torch.from_numpy(arrays[f"prior.{name}.weight"].astype(np.float64)).flatten(1) * step[:, None]
        bias = torch.from_numpy(arrays[f"prior.{name}.bias"].astype(np.float64)) * step * 2.0**-log_input
        if name.endswith("_head"):
            weight, bias = weight / head_gain[:, None], bias / head_gain
        if name == "second0.adapt":
            weight = weight / units
        depthwise = arrays[f"prior.{name}.weight"].ndim == 3
        shape = (len(bias), 1, 3, 3) if depthwise else (len(bias), -1, 1, 1)
        stem = _TRAINED_NAMES.get(name.partition(".")[0], name.partition(".")[0])
        path = ".".join([stem, *name.split(".")[1:]])
        weights[f"{path}.weight"], weights[f"{path}.bias"] = weight.reshape(shape).float(), bias.float()
    return weights


_TRAINED_NAMES = {
    f"{which}{number}": f"{which}_blocks.{number}" for which in ("first", "second") for number in (0, 1)
}


def _head_gain(latent: int) -> Tensor:
    """Integers in a unit of each output of a head: means, then scale indexes."""
    means = torch.full((latent,), float(MEAN_FRACTION), dtype=torch.double)
    return torch.cat([means, torch.full((latent,), INDEXES_PER_NAT, dtype=torch.double)])


def _second_units(latent: int) -> Tensor:
    """What one integer is worth in each input of the second pass: decoded half, then the first pass's head."""
    known = torch.full((latent,), HYPER_GAIN / MEAN_FRACTION, dtype=torch.double)
    return torch.cat([known, 1 / _head_gain(latent)])
