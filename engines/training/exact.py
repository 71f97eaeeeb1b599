"""Trained priors as integers, so that every machine computes the same symbols.

Every tensor is an integer in fixed point: a power of two as scale, one a tensor, one a row for weights. A layer is
acc = W a + B, out = clip(floor((leaky(acc) + half) 2^-n)). The precision of a row is the largest for which
sum |W| max|a| + |B| + half stays below 2^24: float32 then holds every partial sum exactly, whatever the order.
zvc69_cli.codec.entropy.layers defines the arithmetic. This module chooses the integers and trains through them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.inter import InterNetwork
from engines.training.model import (
    BRANCH_SLOPE,
    FEED_SLOPE,
    Block,
    LatentCoder,
    PriorNetwork,
)
from engines.training.motion import MotionHead, MotionPass, input_units, split_head
from engines.training.moving import STRIDES
from engines.training.residual import INDEX_UNIT, ResidualPrior, colours
from engines.training.residual import input_units as residual_units
from engines.training.scales import (
    INDEXES_PER_NAT,
    SCALE_LOW,
    SIGNIFICANCE_PER_NAT,
    SPREAD_PER_NAT,
)
from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT, HEAD_LIMIT, INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.intra.prior import HYPER_LIMIT, MEAN_FRACTION
from zvc69_cli.codec.residual.context import LEVEL_LIMIT, LOG_FRACTION
from zvc69_cli.codec.residual.layout import GROUPS, group_of_pass
from zvc69_cli.codec.residual.prior import RESIDUAL_STEM
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

WEIGHT_LIMIT = 2047
EXACT_LIMIT = 2**24
HEADROOM = 1.5  # what calibration saw, times this, still fits
MOTION_QUANTILE = (
    0.9995  # of what a motion prior sees: rare leaps saturate, so that the usual keeps its precision
)
QUANTILE_SAMPLES = 200_000
SLOPES = {"branch_in": BRANCH_SLOPE, "feed_in": FEED_SLOPE}

Arrays = dict[str, np.ndarray]
Scales = dict[str, tuple[float, float]]  # input and output scale of each layer: integer = real * scale
Network = PriorNetwork | MotionPass | ResidualPrior


@dataclass(frozen=True, slots=True)
class Integers:
    """One layer: weight [out, ...] as in the convolution, bias [out] and shift [out], whole numbers in float64."""

    weight: Tensor
    bias: Tensor
    shift: Tensor


def find_scales(prior: PriorNetwork, calibrate: Callable[[], None]) -> Scales:
    """The scale of every tensor, from the largest values that it takes.

    calibrate  runs the prior on typical pictures at every q
    """
    peaks = _Peaks(prior)
    calibrate()
    peaks.close()
    chain = _Chain(prior, peaks)
    trunk = _power_of_two(max(peaks.into(prior.block1.branch_in), peaks.into(prior.block1.feed_in)))
    chain.scales["up1"] = (1.0, trunk)
    trunk = chain.block(prior.block1, trunk)
    entering = _power_of_two(peaks.out_of(prior.up2))
    chain.scales["up2"] = (trunk, entering)
    trunk = chain.block(prior.block2, entering)
    for each in prior.first_blocks:
        trunk = chain.block(each, trunk)
    chain.scales["first_head"] = (trunk, 1.0)
    trunk = 1.0  # the second pass sees integers in the units of the first pass's head
    for each in prior.second_blocks:
        trunk = chain.block(each, trunk)
    chain.scales["second_head"] = (trunk, 1.0)
    return chain.scales


def find_residual_scales(network: ResidualPrior, calibrate: Callable[[], None]) -> Scales:
    """The scale of every tensor of the residual's entropy model.

    calibrate  runs it on typical frames at every q
    """
    peaks = _Peaks(network, MOTION_QUANTILE)
    calibrate()
    peaks.close()
    chain = _Chain(network, peaks)

    def trunk_of(block: Block) -> float:
        return _power_of_two(max(peaks.into(block.branch_in), peaks.into(block.feed_in)))

    state = trunk_of(network.state)
    chain.scales["state_in"] = (1.0, state)
    chain.block(network.state, state)
    for number, each in enumerate(network.passes):
        trunk = trunk_of(each.block)
        chain.scales[f"passes.{number}.entry"] = (state, trunk)
        chain.block(each.block, trunk)
        chain.scales[f"passes.{number}.head"] = (trunk, 1.0)
    return chain.scales


def find_motion_scales(network: InterNetwork, calibrate: Callable[[], None]) -> Scales:
    """The scales of the passes of the motion prior, by the layers' names in InterNetwork.

    calibrate  runs the network on typical groups at every q
    """
    passes = motion_passes(network)
    peaks = [_Peaks(each, MOTION_QUANTILE) for each in passes.values()]
    calibrate()
    scales: Scales = {}
    for (stem, each), seen in zip(passes.items(), peaks, strict=True):
        seen.close()
        chain = _Chain(each, seen)
        blocks = (each.block0, each.block1)
        layers = [layer for block in blocks for layer in (block.branch_in, block.feed_in)]
        trunk = _power_of_two(max(seen.into(layer) for layer in layers))
        chain.scales["entry"] = (1.0, trunk)
        for block in blocks:
            chain.block(block, trunk)
        chain.scales["head"] = (trunk, 1.0)
        scales |= {f"{stem}{name}": pair for name, pair in chain.scales.items()}
    return scales


def motion_passes(network: InterNetwork) -> dict[str, MotionPass]:
    """The passes of the motion prior by the beginning of their layers' names in `network`."""
    return {
        f"motion_prior.{order}.{level}.": getattr(network.motion_prior, order)[level]
        for level in range(len(STRIDES))
        for order in ("first", "second")
    }


def inter_integer_arrays(network: InterNetwork, scales: Scales) -> Arrays:
    """The arrays of every integer network of P and B frames; raises ValueError where a layer does not fit."""
    arrays = integer_arrays(network.residual, scales_below(scales, "residual."), RESIDUAL_STEM)
    for stem, each in motion_passes(network).items():
        arrays |= integer_arrays(each, scales_below(scales, stem), motion_stem(stem))
    return arrays


def motion_stem(stem: str) -> str:
    """motion_prior.first.0. -> inter.motion.0.first."""
    _, order, level, _ = stem.split(".")
    return f"inter.motion.{level}.{order}."


def scales_below(scales: Scales, stem: str) -> Scales:
    return {name.removeprefix(stem): pair for name, pair in scales.items() if name.startswith(stem)}


def integer_arrays(network: Network, scales: Scales, stem: str = "prior.") -> Arrays:
    """The arrays of codec.intra.prior, named as there; raises ValueError where a layer does not fit."""
    arrays: Arrays = {}
    for name, layer in _layers(network).items():
        chosen = _integers(network, name, layer, scales[name])
        stored = f"{stem}{_stored_name(name)}"
        shape = (layer.out_channels, 3, 3) if layer.groups > 1 else (layer.out_channels, layer.in_channels)
        arrays[f"{stored}.weight"] = chosen.weight.reshape(shape).to(torch.int16).numpy()
        arrays[f"{stored}.bias"] = chosen.bias.to(torch.int32).numpy()
        arrays[f"{stored}.shift"] = chosen.shift.to(torch.uint8).numpy()
        # Not needed to decode: with these two powers of two the trainer finds the real weights again.
        arrays[f"{stored}.scales"] = np.array([math.log2(each) for each in scales[name]], np.int8)
    return arrays


def trained_prior(
    arrays: Mapping[str, np.ndarray], network: Network, stem: str = "prior."
) -> tuple[dict[str, Tensor], Scales]:
    """The real weights that `integer_arrays` was given, as near as its integers hold them, and the scales.

    network  any of that size: for its names and shapes
    """
    weights: dict[str, Tensor] = {}
    scales: Scales = {}
    for name, layer in _layers(network).items():
        stored = f"{stem}{_stored_name(name)}"
        entering, leaving = (2.0 ** float(value) for value in arrays[f"{stored}.scales"])
        scales[name] = (entering, leaving)
        shift = torch.from_numpy(arrays[f"{stored}.shift"].astype(np.float64))
        step = entering / leaving * 2.0**-shift
        weight = torch.from_numpy(arrays[f"{stored}.weight"].astype(np.float64)).flatten(1) * step[:, None]
        bias = torch.from_numpy(arrays[f"{stored}.bias"].astype(np.float64)) * step / entering
        gain_in, gain_out = _gains(network, name, entering)
        if layer.groups == 1:
            weight = weight / gain_in
        weights[f"{name}.weight"] = (weight / gain_out[:, None]).reshape(layer.weight.shape).float()
        weights[f"{name}.bias"] = (bias / gain_out).float()
    return weights, scales


def scale_offsets(network: LatentCoder) -> np.ndarray:
    """int16 [64, latent]: what q adds to a scale index, in fractions of one."""
    with torch.no_grad():
        log_scale = network.analysis_log_scale(torch.arange(INTRA_Q_LEVELS))[:, :, 0, 0].double()
    return torch.round((log_scale - math.log(SCALE_LOW)) * INDEXES_PER_NAT).to(torch.int16).numpy()


def hyper_offsets(network: LatentCoder) -> np.ndarray:
    """int16 [64, hyper]: the scale index of the hyper latent at a q, in fractions of one."""
    with torch.no_grad():
        log_scale = network.hyper_log_scale(torch.arange(INTRA_Q_LEVELS))[:, :, 0, 0].double()
    index = (log_scale - math.log(SCALE_LOW)) * INDEXES_PER_NAT
    return torch.round(index.clamp(0, (SCALE_LEVELS - 1) * INDEX_FRACTION)).to(torch.int16).numpy()


class ExactNetwork:
    """Layers as they will run: the same integers, with gradients that pass through every rounding.

    Its weights are those of `network`; training them trains what is exported.
    """

    def __init__(self, network: Network, scales: Scales) -> None:
        self._network = network
        self._scales = scales
        self._names = {module: name for name, module in network.named_modules()}

    def _block(self, block: Block, x: Tensor) -> Tensor:
        if block.adapt is not None:
            x = self._run(block.adapt, x)
        for path in ((block.branch_in, block.depthwise, block.branch_out), (block.feed_in, block.feed_out)):
            branch = x
            for layer in path:
                branch = self._run(layer, branch)
            x = (x + branch).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return x

    def _run(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        name = self._names[layer]
        entering, leaving = self._scales[name]
        gain_in, gain_out = (each.to(x) for each in _gains(self._network, name, entering))
        with torch.no_grad():
            chosen = _integers(self._network, name, layer, (entering, leaving))
            step = (2.0**-chosen.shift).float().to(x.device)
            weight_due = chosen.weight.float().to(x.device) * step.view(-1, 1, 1, 1)
            bias_due = chosen.bias.float().to(x.device) * step
            half = torch.where(chosen.shift > 0, 0.5, 0.0).float().to(x.device).view(1, -1, 1, 1)
        factor = gain_out.view(-1, 1, 1, 1)
        weight = layer.weight * (leaving / entering) * gain_in.view(1, -1, 1, 1) * factor
        bias = layer.bias * leaving * gain_out
        weight, bias = weight + (weight_due - weight).detach(), bias + (bias_due - bias).detach()
        x = F.conv2d(x, weight, bias, padding=layer.padding, groups=layer.groups)
        slope = SLOPES.get(name.rsplit(".", 1)[-1], 1.0)
        x = F.leaky_relu(x, slope) if slope != 1.0 else x
        limit = HEAD_LIMIT if name.endswith("head") else ACTIVATION_LIMIT
        return _through(torch.floor, x + half).clamp(-limit, limit)


class ExactPrior(ExactNetwork):
    """PriorNetwork as it will run; stands in for LatentCoder.prior."""

    def __init__(self, prior: PriorNetwork, scales: Scales) -> None:
        super().__init__(prior, scales)
        self._prior = prior

    def first(self, hyper: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        prior = self._prior
        x = hyper.clamp(-HYPER_LIMIT, HYPER_LIMIT)
        x = self._block(prior.block1, F.pixel_shuffle(self._run(prior.up1, x), 2))
        x = self._block(prior.block2, F.pixel_shuffle(self._run(prior.up2, x), 2))[:, :, :height, :width]
        for each in prior.first_blocks:
            x = self._block(each, x)
        return self._prediction(self._run(prior.first_head, x))

    def second(self, known: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        units = _second_units(self._prior).to(state).view(1, -1, 1, 1)
        x = torch.cat([known * self._prior.gain, state], 1) / units
        x = _through(torch.round, x).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        for each in self._prior.second_blocks:
            x = self._block(each, x)
        mean, log_scale, _ = self._prediction(self._run(self._prior.second_head, x))
        return mean, log_scale

    def _prediction(self, head: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = head / _head_gain(self._prior).to(head).view(1, -1, 1, 1)
        mean, log_scale = state.chunk(2, 1)
        return mean, log_scale, state


class ExactResidualPrior(ExactNetwork):
    """ResidualPrior as it will run."""

    def __init__(self, network: ResidualPrior, scales: Scales) -> None:
        super().__init__(network, scales)
        self._prior = network

    def __call__(self, levels: Tensor, inputs: Tensor) -> Tensor:
        """As ResidualPrior.forward, but the inputs are codec.residual.context.state_inputs, integers."""
        logs = torch.round(LOG_FRACTION * torch.log2(1 + levels.abs().clamp(max=LEVEL_LIMIT)))
        even = colours(*levels.shape[2:]).to(levels)
        inputs = inputs.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        state = self._block(self._prior.state, self._run(self._prior.state_in, inputs))
        known, parts = torch.zeros_like(logs), []
        for number, each in enumerate(self._prior.passes):
            group = GROUPS[group_of_pass(number)]
            here = even if number % 2 == 0 else 1 - even
            x = self._run(each.entry, torch.cat([known[:, : each.known], state], 1))
            head = self._run(each.head, self._block(each.block, x))
            parts.append((head / INDEX_FRACTION).clamp(0, SCALE_LEVELS - 1) * here)
            mask = torch.zeros(levels.shape[1], device=levels.device)
            mask[group] = 1
            known = known + logs * here * mask[None, :, None, None]
        return torch.cat([one + other for one, other in zip(parts[::2], parts[1::2], strict=True)], 1)


class ExactMotionPass(ExactNetwork):
    """MotionPass as it will run."""

    def __init__(self, network: MotionPass, scales: Scales) -> None:
        super().__init__(network, scales)
        self._pass = network

    def __call__(self, inputs: Tensor) -> MotionHead:
        x = self._run(self._pass.entry, inputs.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT))
        for block in (self._pass.block0, self._pass.block1):
            x = self._block(block, x)
        head = self._run(self._pass.head, x)
        return split_head(head / _head_gain(self._pass).to(head).view(1, -1, 1, 1))


class ExactMotionPrior:
    """MotionPrior as it will run."""

    def __init__(self, network: InterNetwork, scales: Scales) -> None:
        passes = {
            stem: ExactMotionPass(each, scales_below(scales, stem))
            for stem, each in motion_passes(network).items()
        }
        self.first = [each for stem, each in passes.items() if ".first." in stem]
        self.second = [each for stem, each in passes.items() if ".second." in stem]


class _Chain:
    """The scales of layers one after another."""

    def __init__(self, network: nn.Module, peaks: _Peaks) -> None:
        self._names = {module: name for name, module in network.named_modules()}
        self._peaks = peaks
        self.scales: Scales = {}

    def block(self, each: Block, entering: float) -> float:
        """Scale of what leaves the block."""
        names, peaks = self._names, self._peaks
        trunk = entering
        if each.adapt is not None:
            reach = (peaks.into(each.branch_in), peaks.into(each.feed_in))
            trunk = _power_of_two(max(*reach, peaks.out_of(each.branch_out), peaks.out_of(each.feed_out)))
            self.scales[names[each.adapt]] = (entering, trunk)
        inside = [
            _power_of_two(peaks.into(layer)) for layer in (each.depthwise, each.branch_out, each.feed_out)
        ]
        self.scales[names[each.branch_in]] = (trunk, inside[0])
        self.scales[names[each.depthwise]] = (inside[0], inside[1])
        self.scales[names[each.branch_out]] = (inside[1], trunk)
        self.scales[names[each.feed_in]] = (trunk, inside[2])
        self.scales[names[each.feed_out]] = (inside[2], trunk)
        return trunk


class _Peaks:
    """The largest absolute value that entered and left every convolution.

    quantile  1 for the largest of all; less for that of each call
    """

    def __init__(self, module: nn.Module, quantile: float = 1.0) -> None:
        self._quantile = quantile
        self._seen: dict[nn.Module, tuple[float, float]] = {}
        layers = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
        self._hooks = [each.register_forward_hook(self._record) for each in layers]

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        entered, left = self._seen.get(layer, (0.0, 0.0))
        self._seen[layer] = (max(entered, self._peak(inputs[0])), max(left, self._peak(output)))

    def _peak(self, x: Tensor) -> float:
        sizes = x.detach().float().abs()
        if self._quantile == 1.0:
            return sizes.max().item()
        flat = sizes.flatten()
        return flat[:: len(flat) // QUANTILE_SAMPLES + 1].quantile(self._quantile).item()

    def into(self, layer: nn.Module) -> float:
        return self._seen[layer][0]

    def out_of(self, layer: nn.Module) -> float:
        return self._seen[layer][1]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _integers(network: Network, name: str, layer: nn.Conv2d, scales: tuple[float, float]) -> Integers:
    """The finest integers of one layer whose sums float32 holds.

    raises  ValueError where an output is finer than its accumulator
    """
    entering, leaving = scales
    gain_in, gain_out = (each.to(layer.weight.device) for each in _gains(network, name, entering))
    weight = layer.weight.detach().double() * gain_in.view(1, -1, 1, 1) * gain_out.view(-1, 1, 1, 1)
    bias = layer.bias.detach().double() * gain_out
    flat = weight.flatten(1)
    limit = HYPER_LIMIT if name == "up1" else ACTIVATION_LIMIT
    slope = SLOPES.get(name.rsplit(".", 1)[-1], 1.0)
    # A row of zeros would ask for precision without end.
    precision = torch.floor(torch.log2(WEIGHT_LIMIT / flat.abs().amax(1).clamp_min(1e-9))).clamp_max(24)
    while True:
        shift = precision + math.log2(entering) - math.log2(leaving)
        if (shift < 0).any():
            raise ValueError(f"{name}: the output is finer than the accumulator")
        half = torch.where(shift > 0, 2.0 ** (shift - 1), torch.zeros_like(shift))
        rows = torch.round(flat * 2 ** precision[:, None])
        offset = torch.round(bias * entering * 2**precision)
        largest = torch.maximum(rows.abs().sum(1) * limit + offset.abs() + half, half / slope)
        over = largest >= EXACT_LIMIT
        if not over.any():
            return Integers(rows.reshape(weight.shape), offset, shift)
        precision = precision - over.double()


def _layers(network: Network) -> dict[str, nn.Conv2d]:
    return {name: each for name, each in network.named_modules() if isinstance(each, nn.Conv2d)}


def _stored_name(name: str) -> str:
    """first_blocks.0.adapt -> first0.adapt"""
    return name.replace("_blocks.", "").replace("passes.", "pass")


def _gains(network: Network, name: str, entering: float) -> tuple[Tensor, Tensor]:
    """What one integer is worth in each input, where inputs differ, and integers in a unit of each output."""
    one = torch.ones(1, dtype=torch.double)
    if name.endswith("head"):
        return one, _head_gain(network)
    if isinstance(network, MotionPass):
        return (input_units(network.inputs).double(), one) if name == "entry" else (one, one)
    if isinstance(network, ResidualPrior):
        if name == "state_in":
            return residual_units(), one
        if name.endswith("entry"):
            # Logarithms in sixteenths, then the state at the scale `entering`.
            known = network.get_submodule(name.removesuffix(".entry")).known
            logs = torch.full((known,), entering / LOG_FRACTION, dtype=torch.double)
            return torch.cat([logs, one.expand(network.state.branch_in.in_channels)]), one
        return one, one
    if name == "second_blocks.0.adapt":
        return _second_units(network), one
    return one, one


def _head_gain(network: Network) -> Tensor:
    """Integers in a unit of each output of a head."""
    if isinstance(network, MotionPass):
        return torch.tensor(
            [SIGNIFICANCE_PER_NAT, 1.0, 1.0, SPREAD_PER_NAT, SPREAD_PER_NAT], dtype=torch.double
        )
    if isinstance(network, ResidualPrior):
        return torch.full((1,), INDEX_FRACTION * INDEX_UNIT, dtype=torch.double)
    means = torch.full((network.latent,), float(MEAN_FRACTION), dtype=torch.double)
    return torch.cat([means, torch.full((network.latent,), INDEXES_PER_NAT, dtype=torch.double)])


def _second_units(prior: PriorNetwork) -> Tensor:
    """What one integer is worth in each input of the second pass: decoded half, then the first pass's head."""
    known = torch.full((prior.latent,), prior.gain / MEAN_FRACTION, dtype=torch.double)
    return torch.cat([known, 1 / _head_gain(prior)])


def _power_of_two(peak: float) -> float:
    """The largest power of two with which `peak`, with headroom, stays within the activations' limit."""
    return 2.0 ** math.floor(math.log2(ACTIVATION_LIMIT / max(peak * HEADROOM, 1e-6)))


def _through(rounding: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A rounding whose gradient is the identity's."""
    return x + (rounding(x) - x).detach()
