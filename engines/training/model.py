"""The networks of zvc69-s in PyTorch: what is trained, and what export turns into a bundle.

Planes are float32 in 0..1; features are 96 channels at 1/8: Y unshuffled by 8 (64), U and V by 4 (16 each).
Latents stand in units of their quantisation step, so that means need no q (design: one model for every rate).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.training.scales import SCALE_HIGH, SCALE_LOW
from zvc69_cli.codec.rate.quality import (
    CHROMA_WEIGHT_HIGH,
    CHROMA_WEIGHT_LOW,
    LAMBDA_HIGH,
    LAMBDA_LOW,
    LUMA_WEIGHT,
)
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

HYPER_GAIN = 0.25  # what the hyper analysis and the second pass see of a picture's latent
BRANCH_SLOPE, FEED_SLOPE = 1 / 64, 1 / 8
NEAR_BOUNDARY = 0.2  # of a step: from how far a latent is told what the next symbol would change
MODULATIONS = (
    "q_entry",
    "q_down",
    "q_up",
    "q_exit",
)  # of a LatentCoder: behind its first layers, before its last


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """Widths and depths; a checkpoint carries one and refuses another.

    latent  of the 384 samples of a block of 16x16 in 4:2:0; the rest is lost whatever the rate: with 192 the best
            block transform of pictures ends at 35 to 44 dB, with 256 at 45 to 52 (five test pictures)
    prior   the width of the prior's blocks
    """

    trunk: int = 128
    latent: int = 256
    prior: int = 192
    hyper: int = 128
    analysis_blocks: int = 3
    synthesis_blocks: int = 5

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Coded(NamedTuple):
    """What a forward pass yields: decoded features, and bits a sample of latent and hyper latent."""

    features: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


class Prior(Protocol):
    """What predicts a latent, from the hyper latent and then from its decoded half."""

    def first(self, hyper: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]: ...

    def second(self, known: Tensor, state: Tensor) -> tuple[Tensor, Tensor]: ...


class Pointwise(nn.Conv2d):
    """A 1x1 convolution; on a CPU that has bfloat16 a product of rows of channels.

    Forward and backward of a block of 128 channels on 8 crops of 240 take 17 ms so, by convolutions 23 ms (two cores of
    a Zen 4).
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not is_by_rows(x):
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Block(nn.Module):
    """1x1, depthwise 3x3, 1x1, then a two-layer feed-forward, both residual.

    In training it runs in bfloat16 where that is arithmetic; what is exported and measured in float32 as it will run.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.adapt = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None
        self.branch_in = Pointwise(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.branch_out = Pointwise(channels, channels)
        self.feed_in = Pointwise(channels, 2 * channels)
        self.feed_out = Pointwise(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.adapt is not None:
            x = self.adapt(x)
        x = channels_last(x)
        with reduced_precision(x, self.training):
            branch = self.branch_out(self.depthwise(F.leaky_relu(self.branch_in(x), BRANCH_SLOPE)))
        x = x + branch.float()
        with reduced_precision(x, self.training):
            feed = self.feed_out(F.leaky_relu(self.feed_in(x), FEED_SLOPE))
        return x + feed.float()

    @torch.no_grad()
    def start_as_identity(self) -> None:
        for layer in (self.branch_out, self.feed_out):
            layer.weight.zero_()
            layer.bias.zero_()


class Modulation(nn.Module):
    """Gain and offset of each channel at each q: the log of the gain and the offset are quadratics in q.

    With it the transforms know how finely their latent will be rounded (the quality vectors of DCVC-RT, 2025).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(3, channels))
        self.offset = nn.Parameter(torch.zeros(3, channels))

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        powers = _quadratic(q)
        return (
            x * torch.exp(powers @ self.log_gain)[:, :, None, None] + (powers @ self.offset)[:, :, None, None]
        )


def quiet_modulations(size: ModelSize, stem: str = "") -> dict[str, Tensor]:
    """The weights of modulations that change nothing: older weights and bundles hold none.

    stem  beginning of the weights' names
    """
    quiet = Modulation(size.trunk).state_dict()
    return {f"{stem}{place}.{name}": weight for place in MODULATIONS for name, weight in quiet.items()}


class LatentCoder(nn.Module):
    """Analysis, hyperprior, two-pass prior and synthesis of a picture.

    near_boundaries  whether a latent is trained through its symbols (`bits_near_boundaries`) and not through noise
    """

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.size = size
        self.near_boundaries = False
        trunk, latent, hyper = size.trunk, size.latent, size.hyper
        self.entry = nn.Conv2d(96, trunk, 1)
        self.analysis = nn.Sequential(*[Block(trunk, trunk) for _ in range(size.analysis_blocks)])
        self.down = nn.Conv2d(trunk, latent, 3, 2, 1)
        self.up = nn.Conv2d(latent, 4 * trunk, 1)
        self.synthesis = nn.Sequential(*[Block(trunk, trunk) for _ in range(size.synthesis_blocks)])
        self.exit = nn.Conv2d(trunk, 96, 1)

        self.hyper_block = Block(latent, hyper)
        self.hyper_down1 = nn.Conv2d(hyper, hyper, 3, 2, 1)
        self.hyper_down2 = nn.Conv2d(hyper, hyper, 3, 2, 1)
        self.prior = PriorNetwork(latent, hyper, size.prior)

        # Log scales as a quadratic in q, a channel each: every step trains them for every q.
        self.q_analysis = nn.Parameter(torch.zeros(3, latent))
        self.q_synthesis = nn.Parameter(torch.zeros(3, latent))
        self.q_hyper = nn.Parameter(torch.zeros(3, hyper))
        self.q_hyper.data[0] = -1.5  # quiet: a hyper latent that says nothing yet should cost nothing
        self.hyper_mean = nn.Parameter(torch.zeros(hyper))
        self.q_entry, self.q_down = Modulation(trunk), Modulation(trunk)
        self.q_up, self.q_exit = Modulation(trunk), Modulation(trunk)

    def analyse(self, features: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Latent in quantisation steps [B, latent, h/2, w/2] and hyper latent, both before rounding."""
        x = self.analysis(self.q_entry(self.entry(features), q))
        latent = self.down(self.q_down(x, q)) * torch.exp(self.analysis_log_scale(q))
        hyper = self.hyper_block(latent * HYPER_GAIN)
        hyper = self.hyper_down2(F.leaky_relu(self.hyper_down1(hyper), FEED_SLOPE))
        return latent, hyper

    def synthesise(self, latent: Tensor, q: Tensor) -> Tensor:
        """Decoded features [B, 96, 2h, 2w] of a latent in quantisation steps."""
        x = F.pixel_shuffle(self.up(latent * torch.exp(self.synthesis_log_scale(q))), 2)
        return self.exit(self.q_exit(self.synthesis(self.q_up(x, q)), q))

    def code(
        self,
        latent: Tensor,
        hyper: Tensor,
        q: Tensor,
        prior: Prior,
        noise: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The decoded latent, and the bits of latent and hyper latent a sample."""
        hyper_scale = torch.exp(self.hyper_log_scale(q)).clamp(SCALE_LOW, 64)
        hyper_bits = gaussian_bits(
            rounded_for_rate(hyper, noise) - self.hyper_mean[None, :, None, None], hyper_scale
        )
        height, width = latent.shape[2:]
        mean, log_scale, state = prior.first(round_through(hyper), height, width)
        board = checkerboard(height, width, self.size.latent, latent.device)
        near = noise and self.near_boundaries
        rounded = rounded_near_boundaries if near else round_through
        known = (rounded(latent - mean) + mean) * board
        mean2, log_scale2 = prior.second(known, state)
        mean = mean * board + mean2 * (1 - board)
        log_scale = log_scale * board + log_scale2 * (1 - board)
        scale = torch.exp(log_scale + self.analysis_log_scale(q)).clamp(SCALE_LOW, SCALE_HIGH)
        residual = latent - mean
        if near:
            latent_bits = bits_near_boundaries(residual, scale)
        else:
            latent_bits = gaussian_bits(rounded_for_rate(residual, noise), scale)
        return rounded(residual) + mean, latent_bits.sum((1, 2, 3)), hyper_bits.sum((1, 2, 3))

    def analysis_log_scale(self, q: Tensor) -> Tensor:
        return (_quadratic(q) @ self.q_analysis + start_log_scale(q)[:, None])[:, :, None, None]

    def synthesis_log_scale(self, q: Tensor) -> Tensor:
        return (_quadratic(q) @ self.q_synthesis - start_log_scale(q)[:, None])[:, :, None, None]

    def hyper_log_scale(self, q: Tensor) -> Tensor:
        return (_quadratic(q) @ self.q_hyper)[:, :, None, None]

    @torch.no_grad()
    def _start_transforms(self, analysis: Tensor, synthesis: Tensor) -> None:
        """Write a basis of 2x2 positions and 96 channels into the first and the last layers, identity between."""
        latent = self.size.latent
        forward, backward = analysis.reshape(2, 2, 96, latent), synthesis.reshape(2, 2, 96, latent)
        identity = torch.eye(96, device=analysis.device)
        self.entry.weight.mul_(0.3)
        self.entry.weight[:96] = 0
        self.entry.weight[:96, :96, 0, 0] = identity
        self.entry.bias.zero_()
        for layer in (self.down, self.up, self.exit):
            layer.weight.mul_(0.01)
            layer.bias.zero_()
        for row in range(2):
            for column in range(2):
                self.down.weight[:, :96, 1 + row, 1 + column] = forward[row, column].T
                up_rows = torch.arange(96) * 4 + 2 * row + column
                self.up.weight[up_rows, :, 0, 0] = backward[row, column]
        self.exit.weight[:, :96, 0, 0] = identity
        for block in [*self.analysis, *self.synthesis]:
            block.start_as_identity()
        self.hyper_down2.weight.mul_(0.3)
        self.hyper_down2.bias.zero_()


class IntraNetwork(LatentCoder):
    """A picture by itself."""

    def __init__(self, size: ModelSize | None = None) -> None:
        super().__init__(size or ModelSize())

    def forward(self, features: Tensor, q: Tensor, noise: bool = True) -> Coded:
        """Code features [B, 96, h, w] at quality indexes [B]."""
        latent, hyper = self.analyse(features, q)
        decoded, latent_bits, hyper_bits = self.code(latent, hyper, q, self.prior, noise)
        return Coded(self.synthesise(decoded, q), latent_bits, hyper_bits)

    @torch.no_grad()
    def start_from_klt(self, analysis: Tensor, synthesis: Tensor, mean: Tensor, deviation: Tensor) -> None:
        """Make the untrained network a block transform codec.

        analysis, synthesis  [384, latent], rows ordered (2x2 position, 96 channels)
        mean                 [96], of features
        deviation            [latent], of coefficients
        """
        self._start_transforms(analysis, synthesis)
        self.entry.bias[:96] = -mean
        self.exit.bias.copy_(mean)
        self.prior.start_from_deviation(deviation)


class PriorNetwork(nn.Module):
    """Means and log scales of the latent: once from the hyper latent, once more from the decoded half.

    width  of the blocks
    """

    def __init__(self, latent: int, hyper: int, width: int) -> None:
        super().__init__()
        self.latent = latent
        self.width = width
        self.gain = HYPER_GAIN  # what the second pass sees of the decoded half
        self.up1 = nn.Conv2d(hyper, 4 * hyper, 1)
        self.block1 = Block(hyper, hyper)
        self.up2 = nn.Conv2d(hyper, 4 * hyper, 1)
        self.block2 = Block(hyper, width)
        self.first_blocks = nn.Sequential(Block(width, width), Block(width, width))
        self.first_head = nn.Conv2d(width, 2 * latent, 1)
        self.second_blocks = nn.Sequential(Block(3 * latent, width), Block(width, width))
        self.second_head = nn.Conv2d(width, 2 * latent, 1)

    def first(self, hyper: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log scale and the state that the second pass goes on from, all at [height, width]."""
        x = self.block1(F.pixel_shuffle(self.up1(hyper), 2))
        x = self.block2(F.pixel_shuffle(self.up2(x), 2))[:, :, :height, :width]
        state = self.first_head(self.first_blocks(x))
        mean, log_scale = state.chunk(2, 1)
        return mean, log_scale, state

    def second(self, known: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([known * self.gain, state], 1)
        mean, log_scale = self.second_head(self.second_blocks(x)).chunk(2, 1)
        return mean, log_scale

    @torch.no_grad()
    def start_from_deviation(self, deviation: Tensor) -> None:
        for head in (self.first_head, self.second_head):
            head.weight.mul_(0.1)
            head.bias.zero_()
            head.bias[self.latent :] = torch.log(deviation.clamp_min(1e-3))


def planes_to_features(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """[B, 1, H, W] and two of [B, 1, H/2, W/2] -> [B, 96, H/8, W/8]."""
    return torch.cat([F.pixel_unshuffle(y, 8), F.pixel_unshuffle(u, 4), F.pixel_unshuffle(v, 4)], 1)


def features_to_planes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (
        F.pixel_shuffle(features[:, :64], 8),
        F.pixel_shuffle(features[:, 64:80], 4),
        F.pixel_shuffle(features[:, 80:], 4),
    )


def weighted_error(decoded: Tensor, original: Tensor, q: Tensor) -> Tensor:
    """Mean squared errors of the planes of features [B, 96, h, w], each by its weight at q [B], and added up. [B]"""
    error = (decoded - original) ** 2
    y, u, v = (plane.mean((1, 2, 3)) for plane in (error[:, :64], error[:, 64:80], error[:, 80:]))
    return LUMA_WEIGHT * y + chroma_weight(q) * (u + v)


def psnr_611(decoded: Tensor, original: Tensor) -> Tensor:
    """(6 Y + U + V) / 8 of the planes' PSNR in dB, a sample."""
    error = (decoded.clamp(0, 1) - original) ** 2
    y, u, v = (
        -10 * torch.log10(part.mean((1, 2, 3)).clamp_min(1e-10))
        for part in (error[:, :64], error[:, 64:80], error[:, 80:])
    )
    return (6 * y + u + v) / 8


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits that a rounded Gaussian of this scale gives to each residual."""
    distance, slope = residual.abs(), math.sqrt(0.5) / scale
    mass = 0.5 * (torch.erfc((distance - 0.5) * slope) - torch.erfc((distance + 0.5) * slope))
    return -torch.log2(mass.clamp_min(1e-9))


def round_through(x: Tensor) -> Tensor:
    """Rounding whose gradient is the identity's."""
    return x + (torch.round(x) - x).detach()


def rounded_near_boundaries(x: Tensor) -> Tensor:
    """Rounding with the gradient that a jittered one has on average.

    Within NEAR_BOUNDARY of where one integer becomes the next, it goes over linearly; elsewhere nothing moves it.
    """
    share = _share_of_next(x)
    return torch.round(x).detach() + share - share.detach()


def bits_near_boundaries(residual: Tensor, scale: Tensor) -> Tensor:
    """The bits of the rounded residuals, with such gradients; those of the scales are of the symbols as they are."""
    share, below = _share_of_next(residual), torch.floor(residual.detach())
    with torch.no_grad():
        dearer = gaussian_bits(below + 1, scale) - gaussian_bits(below, scale)
    return gaussian_bits(torch.round(residual).detach(), scale) + dearer * (share - share.detach())


def _share_of_next(x: Tensor) -> Tensor:
    """How far an element has gone over from the integer below it to the next, 0..1."""
    above = x - torch.floor(x.detach())
    return ((above - 0.5) / (2 * NEAR_BOUNDARY) + 0.5).clamp(0, 1)


def rounded_for_rate(x: Tensor, noise: bool) -> Tensor:
    return x + torch.rand_like(x) - 0.5 if noise else torch.round(x)


def rate_lambda(q: Tensor) -> Tensor:
    """Lambda of the loss R + lambda D at a quality index; R in bits a pixel, D of planes in 0..1."""
    position = q.float() / (INTRA_Q_LEVELS - 1)
    return torch.exp(math.log(LAMBDA_LOW) + (math.log(LAMBDA_HIGH) - math.log(LAMBDA_LOW)) * position)


def chroma_weight(q: Tensor) -> Tensor:
    """What the mean squared error of U or of V counts at a quality index; that of Y counts LUMA_WEIGHT."""
    return CHROMA_WEIGHT_LOW * (CHROMA_WEIGHT_HIGH / CHROMA_WEIGHT_LOW) ** (q.float() / (INTRA_Q_LEVELS - 1))


def start_log_scale(q: Tensor) -> Tensor:
    """Log of one over the step that high-rate theory asks for: sqrt(6 / (lambda ln 2))."""
    return 0.5 * torch.log(rate_lambda(q) * math.log(2) / 6)


def checkerboard(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """1 where the first pass codes; the second half of the channels swaps colour. [1, channels, height, width]"""
    even = (torch.arange(height)[:, None] + torch.arange(width)[None]) % 2 == 0
    return torch.stack([even, ~even]).repeat_interleave(channels // 2, 0)[None].float().to(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is arithmetic there; where it is emulated it is 17 times slower than float32."""
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def is_by_rows(x: Tensor) -> bool:
    return x.device.type == "cpu" and has_bfloat16(x.device)


def channels_last(x: Tensor) -> Tensor:
    """Laid out so that a pixel's channels are a row, where products of rows are faster."""
    return x.contiguous(memory_format=torch.channels_last) if is_by_rows(x) else x


def reduced_precision(x: Tensor, wanted: bool) -> torch.autocast:
    return torch.autocast(x.device.type, torch.bfloat16, enabled=wanted and has_bfloat16(x.device))


def _quadratic(q: Tensor) -> Tensor:
    position = q.float() / (INTRA_Q_LEVELS - 1) * 2 - 1
    return torch.stack([torch.ones_like(position), position, position * position], 1)
