"""The network of P and B frames: motion, prediction from one or two references, and what is coded given it.

One network for both kinds, so that they share weights. The prior sees integers only: the hyper latent, the latents of
the references and this frame's motion; never pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from engines.training.model import (
    Block,
    IntraNetwork,
    LatentCoder,
    ModelSize,
    Prior,
    PriorNetwork,
    planes_to_features,
    rate_lambda,
)
from engines.training.motion import VECTOR_LIMIT, CodedMotion, Motion, MotionPrior, code_motion, scaled_motion
from engines.training.moving import Samples, half_samples, quarter_samples, warp_planes
from engines.training.search import MotionSearch
from zvc69_cli.codec.rate.quality import VECTOR_SHARE
from zvc69_cli.frames import FrameKind

Planes = tuple[Tensor, Tensor, Tensor]

HYPER_GAIN_INTER = 0.5  # what the hyper analysis and the prior see of a latent; residuals are small
MASK_WIDTH = 64
CONTEXT_BLOCKS = 2
MOTION_CHANNELS = 6  # two fields and where they were coded, on the latent's grid
LATENT_GRID = 1  # the motion grid that is the latent's: 1/16
DRIFT = (
    2 / 255
)  # noise on what synthesis predicts from in training: small differences must not grow from P to P
MOTION_UNIT = 1 / 32  # what a quarter pel is worth to the prior


class CodedPicture(NamedTuple):
    """What coding a frame yields where its motion is known; bits a sample."""

    features: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor
    latent: Tensor


class Coded(NamedTuple):
    """What coding one frame yields; bits a sample."""

    features: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor
    motion_bits: Tensor
    latent: Tensor
    motions: tuple[Motion, ...]


class Passes(Protocol):
    """A motion prior: for each grid, what predicts its first and its second half."""

    @property
    def first(self) -> Any: ...

    @property
    def second(self) -> Any: ...


class Priors(NamedTuple):
    """What predicts motion and latents; the network's own, or the integers that stand in for them."""

    motion: Passes
    latent: Prior


@dataclass(frozen=True, slots=True)
class Decoded:
    """What of a decoded frame others are coded given, once their motion is known.

    latent  in steps; zeros for a picture coded by itself, whose latent means something else
    halves  half samples of its planes, with gradients
    """

    latent: Tensor
    halves: Planes

    @classmethod
    def from_planes(cls, latent: Tensor, planes: Planes) -> Decoded:
        return cls(latent, half_planes(planes))


@dataclass(frozen=True, slots=True)
class Reference(Decoded):
    """A decoded frame that others predict from.

    time    position in display order
    planes  in 0..1, rounded as a decoder rounds
    motion  to its own first reference, `span` frames before it
    samples of the luma, without gradients
    """

    time: int
    planes: Planes
    motion: Motion
    span: int
    samples: Samples

    @classmethod
    def of(cls, time: int, planes: Planes, latent: Tensor, motion: Motion, span: int = 1) -> Reference:
        """With its samples, made once for all frames that predict from it."""
        samples = quarter_samples(planes[0].detach(), sharp=True)
        return cls(latent, half_planes(planes), time, planes, motion, span, samples)


class InterNetwork(nn.Module):
    """Search, motion prior, blending of two predictions, and a LatentCoder with the prediction as context."""

    def __init__(self, size: ModelSize | None = None) -> None:
        super().__init__()
        self.size = size = size or ModelSize()
        self.search = MotionSearch()
        self.motion_prior = MotionPrior()
        self.mask_entry = nn.Conv2d(192, MASK_WIDTH, 1)
        self.mask_block = Block(MASK_WIDTH, MASK_WIDTH)
        self.mask_head = nn.Conv2d(MASK_WIDTH, 96, 1)
        self.context_blocks = nn.Sequential(*[Block(96, 96) for _ in range(CONTEXT_BLOCKS)])
        extra = 2 * size.latent + MOTION_CHANNELS
        self.coder = LatentCoder(size, context=96, extra=extra, gain=HYPER_GAIN_INTER)
        for block in self.context_blocks:
            block.start_as_identity()
        nn.init.zeros_(self.mask_head.weight)
        nn.init.zeros_(self.mask_head.bias)

    def context(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """The prediction [B, 96, h, w] from one or two moved references, all as features."""
        if second is None:
            return self.context_blocks(first)
        mask = torch.sigmoid(self.mask_head(self.mask_block(self.mask_entry(torch.cat([first, second], 1)))))
        return self.context_blocks(mask * first + (1 - mask) * second)

    def priors(self) -> Priors:
        return Priors(self.motion_prior, self.coder.prior)

    def forward(
        self,
        current: Planes,
        time: int,
        references: tuple[Reference, ...],
        q: Tensor,
        noise: bool = True,
        priors: Priors | None = None,
    ) -> Coded:
        """Code the frame at `time`: a P frame given one reference, a B frame given two, the earlier first."""
        priors = priors or self.priors()
        first, last = references[0], references[-1]
        weight = rate_lambda(q)
        span = time - first.time
        share = VECTOR_SHARE[FrameKind.P if len(references) == 1 else FrameKind.B]
        expected = scaled_motion(last.motion, span, last.span)
        found = [self._motion(current, first, expected, weight, share, noise, priors)]
        if len(references) == 2:
            expected = scaled_motion(found[0].motion, time - last.time, span)
            found.append(self._motion(current, last, expected, weight, share, noise, priors))
        motions = tuple(each.motion for each in found)
        picture = self.code_along(planes_to_features(*current), references, motions, q, noise, priors.latent)
        motion_bits = torch.stack([each.bits for each in found]).sum(0)
        return Coded(
            picture.features, picture.latent_bits, picture.hyper_bits, motion_bits, picture.latent, motions
        )

    def code_along(
        self,
        features: Tensor,
        references: Sequence[Decoded],
        motions: Sequence[Motion],
        q: Tensor,
        noise: bool,
        prior: Prior | None = None,
    ) -> CodedPicture:
        """Code features [B, 96, h, w] along known motion to each reference.

        prior  stands in for the network's own
        """
        coder = self.coder
        predictions = [
            planes_to_features(*warp_planes(reference.halves, motion.fields[-1]))
            for reference, motion in zip(references, motions, strict=True)
        ]
        extra = prior_extra(references[0].latent, references[-1].latent, motions[0], motions[-1])
        context = self.context(*predictions)
        latent, hyper = coder.analyse(features, q, context)
        decoded, latent_bits, hyper_bits = coder.code(latent, hyper, q, prior or coder.prior, noise, extra)
        if noise:  # a decoder's references may differ by a rounding from those that the latent was made for
            context = self.context(*(each + DRIFT * torch.randn_like(each) for each in predictions))
        return CodedPicture(coder.synthesise(decoded, q, context), latent_bits, hyper_bits, decoded)

    def _motion(
        self,
        current: Planes,
        reference: Reference,
        predicted: Motion,
        weight: Tensor,
        share: float,
        noise: bool,
        priors: Priors,
    ) -> CodedMotion:
        luma, samples = current[0], reference.samples
        found = self.search(luma, reference.planes[0].detach(), samples)
        return code_motion(priors.motion, found, luma, samples, predicted, weight, share, noise)

    @torch.no_grad()
    def start_from_klt(self, analysis: Tensor, synthesis: Tensor) -> None:
        """Make the untrained network a hybrid codec: a block transform of picture minus prediction."""
        coder = self.coder
        coder._start_transforms(analysis, synthesis)
        identity = torch.eye(96, device=analysis.device)
        coder.entry.weight[:96, 96:, 0, 0] = -identity
        assert coder.mix is not None
        coder.mix.weight.mul_(0.01)
        coder.mix.bias.zero_()
        coder.mix.weight[:96, :, 0, 0] = identity

    @torch.no_grad()
    def start_hyper(self, intra: IntraNetwork) -> None:
        """Let the hyper latent say what a picture's says, so that it says something.

        One that starts quiet stays so: the prior sees zeros, learns to do without, and no gradient calls for more. The
        networks of this bundle were trained on 4.5 gigapixels like that, at a cost of a tenth to a third of the bits.
        """
        coder, prior = self.coder, self.coder.prior
        for name in ("hyper_block", "hyper_down1", "hyper_down2"):
            getattr(coder, name).load_state_dict(getattr(intra, name).state_dict())
        for name in ("up1", "block1", "up2", "block2"):
            getattr(prior, name).load_state_dict(getattr(intra.prior, name).state_dict())
        coder.q_hyper.copy_(intra.q_hyper)
        coder.hyper_mean.copy_(intra.hyper_mean)

    @torch.no_grad()
    def start_prior(self, deviation: Tensor) -> None:
        """Let the prior expect latents [latent] as the untrained network really codes them."""
        coder: PriorNetwork = self.coder.prior
        coder.start_from_deviation(deviation)


def half_planes(planes: Planes) -> Planes:
    """Half samples of Y, U and V, which is what motion takes samples from."""
    y, u, v = planes
    return half_samples(y), half_samples(u), half_samples(v)


def prior_extra(first: Tensor, last: Tensor, motion: Motion, second_motion: Motion) -> Tensor:
    """What the prior sees beside the hyper latent, in its units: [B, 2 latent + 6, h, w]."""
    latents = [latent.detach() * HYPER_GAIN_INTER for latent in (first, last)]
    motions = []
    for each in (motion, second_motion):
        field = each.fields[LATENT_GRID].detach().clamp(-VECTOR_LIMIT, VECTOR_LIMIT)
        motions += [field * MOTION_UNIT, each.coded[LATENT_GRID]]
    return torch.cat([*latents, *motions], 1)
