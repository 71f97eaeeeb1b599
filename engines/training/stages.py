"""What each stage of training trains, on what, and by which loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from engines.training.chain import SHORTEST_GROUP, SPACINGS, Chain, split_frames
from engines.training.checkpoint import Checkpoint
from engines.training.data import PixelPool, load_clips, load_pictures
from engines.training.exact import (
    ExactMotionPrior,
    ExactPrior,
    Scales,
    find_inter_scales,
    find_scales,
    scales_below,
)
from engines.training.group import CodedFrame, Group, begun_group, code_group
from engines.training.inter import Priors
from engines.training.kept_groups import KeptGroup
from engines.training.model import IntraNetwork, planes_to_features, rate_lambda, weighted_error
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

LOSS_SCALE: Final = 20.0
CALIBRATION_CROPS: Final = 16
CALIBRATION_QS: Final = (0, INTRA_Q_LEVELS // 3, 2 * INTRA_Q_LEVELS // 3, INTRA_Q_LEVELS - 1)
KEPT_GROUPS: Final = 128  # 8 crops of 192 with four frames behind the first take 3 MB
CODE_EVERY_STEPS: Final = 6  # how often a kept group is trained on, on average


class Losses(NamedTuple):
    """What a batch costs: loss, bits a pixel, mean squared error, and motion's and hyper latents' bits a pixel.

    A hyper latent that takes nothing says nothing: the prior then knows a frame by others' latents alone.
    """

    loss: Tensor
    rate: Tensor
    distortion: Tensor
    motion: Tensor
    hyper: Tensor


class WrongCrop(ValueError):
    """The networks of a stage cannot take crops of this side."""


class Start(NamedTuple):
    """What a stage begins with; `pool` and `crop` are what it will train on."""

    checkpoint: Checkpoint
    device: torch.device
    compiled: bool
    pool: PixelPool
    crop: int
    trains_search: bool


class Stage(ABC):
    """One stage on one device; `network` is what it trains.

    trained        beginnings of the names of the parameters that it trains
    fixed          those of parameters among these that it leaves as they are
    crop_multiple  what the side of a crop must be a multiple of
    has_matrices   whether it trains convolutions' weights, or vectors beside them alone
    scales_rate    rate of the scales of q against that of the other outer parameters
    """

    network: Any
    trained: tuple[str, ...] = ("",)
    fixed: tuple[str, ...] = ()
    crop_multiple: int = 16  # what the codec pads to
    has_matrices: bool = True
    scales_rate: float = 4.0

    @abstractmethod
    def __init__(self, start: Start) -> None: ...

    @abstractmethod
    def loss(self, pool: PixelPool, batch: int, crop: int) -> tuple[Losses, int]:
        """Losses of one batch, and the luma pixels that were trained on."""

    @abstractmethod
    def run_once(self, side: int) -> int:
        """Forward over one square of that side, to count what it takes; returns the luma pixels coded."""

    @abstractmethod
    def keep(self, average: dict[str, Tensor], checkpoint: Checkpoint) -> None:
        """Put averaged weights where they belong."""


class IntraStage(Stage):
    """All of the intra network, by rate and distortion."""

    def __init__(self, start: Start) -> None:
        self._device = start.device
        self.network = IntraNetwork(start.checkpoint.size).to(start.device)
        self.network.load_state_dict(start.checkpoint.weights)
        self._rate_and_distortion = torch.compile(self._coded, dynamic=False) if start.compiled else self._coded

    def loss(self, pool: PixelPool, batch: int, crop: int) -> tuple[Losses, int]:
        features = planes_to_features(*pool.crops(batch, crop))
        q = torch.randint(0, INTRA_Q_LEVELS, (batch,), device=self._device)
        return self._rate_and_distortion(features, q), batch * crop**2

    def run_once(self, side: int) -> int:
        features = torch.zeros(1, 96, side // 8, side // 8, device=self._device)
        self.network(features, torch.tensor([INTRA_Q_LEVELS // 2], device=self._device))
        return side**2

    def keep(self, average: dict[str, Tensor], checkpoint: Checkpoint) -> None:
        checkpoint.weights = average

    def _coded(self, features: Tensor, q: Tensor) -> Losses:
        coded = self.network(features, q)
        pixels = _pixels(features)
        rate = (coded.latent_bits + coded.hyper_bits) / pixels
        distortion = weighted_error(coded.features, features, q)
        return Losses(
            rate_distortion(rate, distortion, q),
            rate.mean(),
            distortion.mean(),
            torch.zeros_like(rate).mean(),
            coded.hyper_bits.mean() / pixels,
        )


class IntraVectorsStage(IntraStage):
    """Of the intra network all that is no matrix: biases, and what each channel is worth at each q.

    The prior stays as it is; its scales move with those of q.
    """

    fixed = ("prior.",)
    has_matrices = False
    scales_rate = 10.0


class ExactStage(IntraStage):
    """The intra prior alone, through the integers that it will run as."""

    trained = ("prior.",)

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        checkpoint = start.checkpoint
        if checkpoint.scales is None:  # kept from then on: integers must not move while they are trained
            checkpoint.scales = self._found_scales(start.pool, start.crop)
        self._prior = ExactPrior(self.network.prior, checkpoint.scales)

    def _found_scales(self, pool: PixelPool, crop: int) -> Scales:
        features = planes_to_features(*pool.crops(CALIBRATION_CROPS, crop))

        def calibrate() -> None:
            with torch.no_grad():
                for q in CALIBRATION_QS:
                    at = torch.full((len(features),), q, device=features.device)
                    self.network(features, at, noise=False)

        return find_scales(self.network.prior, calibrate)

    def _coded(self, features: Tensor, q: Tensor) -> Losses:
        """The rate alone: nothing that is trained here reaches the picture but through a rounding."""
        with torch.no_grad():
            latent, hyper = self.network.analyse(features, q)
        _, latent_bits, hyper_bits = self.network.code(latent, hyper, q, self._prior)
        pixels = _pixels(features)
        rate = (latent_bits + hyper_bits) / pixels
        return Losses(
            rate_distortion(rate, 0, q),
            rate.mean(),
            torch.ones_like(rate).mean(),
            torch.zeros_like(rate).mean(),
            hyper_bits.mean() / pixels,
        )


class InterStage(Stage):
    """The network of P and B frames, on groups whose first picture the intra network codes."""

    crop_multiple = 64  # one vector of the coarsest search covers as much

    def __init__(self, start: Start) -> None:
        checkpoint, device, compiled = start.checkpoint, start.device, start.compiled
        self._intra = checkpoint.network().to(device).requires_grad_(False).train()
        self.network = checkpoint.inter_network().to(device)
        if checkpoint.inter is None:
            self.network.start_hyper(self._intra)
        self._device = device
        self._priors: Priors | None = None
        self._code = torch.compile(code_group, dynamic=False) if compiled else code_group
        self._chain = Chain(self._intra, device)
        if not start.trains_search:
            self.fixed = (*self.fixed, "search.")

    def loss(self, pool: PixelPool, batch: int, crop: int) -> tuple[Losses, int]:
        group = self._chain.drawn(pool, batch, crop)
        losses = []
        for planned, coded, q in self._coded(group, noise=True):
            features = planes_to_features(*group.frames[planned.time])
            bits = coded.latent_bits, coded.hyper_bits, coded.motion_bits
            losses.append(self._of_frame(features, coded.features, *bits, q))
        return _mean(losses), group.pixels

    def _coded(self, group: Group, noise: bool) -> list[CodedFrame]:
        """A group, coded; another may go on from it."""
        coded_frames = self._code(self.network, group, noise, self._priors)
        self._chain.go_on_from(group, coded_frames)
        return coded_frames

    def _of_frame(
        self, features: Tensor, decoded: Tensor, latent: Tensor, hyper: Tensor, motion: Tensor, q: Tensor
    ) -> Losses:
        """From what a frame should be and is, features both, and its bits a sample of each kind."""
        pixels = _pixels(features)
        rate = (latent + hyper + motion) / pixels
        distortion = weighted_error(decoded, features, q)
        return Losses(
            self._weighed(rate, distortion, q),
            rate.mean(),
            distortion.mean(),
            motion.mean() / pixels,
            hyper.mean() / pixels,
        )

    def _weighed(self, rate: Tensor, distortion: Tensor, q: Tensor) -> Tensor:
        return rate_distortion(rate, distortion, q)

    def run_once(self, side: int) -> int:
        last = SHORTEST_GROUP
        planes = [
            torch.zeros(1, last + 1, side // factor, side // factor, device=self._device)
            for factor in (1, 2, 2)
        ]
        frames = split_frames((planes[0], planes[1], planes[2]))
        at = torch.tensor([INTRA_Q_LEVELS // 2], device=self._device)
        code_group(self.network, begun_group(self._intra, frames, at, last), True)
        return last * side**2

    def keep(self, average: dict[str, Tensor], checkpoint: Checkpoint) -> None:
        checkpoint.inter = average


class InterKeptStage(InterStage):
    """What codes a P or B frame along motion that is known, on groups that were coded now and then and kept.

    A step then costs a third of one that searches, and sees as much: its groups have their own contents and qualities,
    stand anywhere in a chain, and pass gradients from frame to frame. Motion and its prior stay as they are.
    """

    trained = ("coder.", "context_blocks.", "mask_")

    def __init__(self, start: Start) -> None:
        super().__init__(start._replace(trains_search=False))
        self._kept: deque[KeptGroup] = deque(maxlen=KEPT_GROUPS)
        self._steps = 0

    def loss(self, pool: PixelPool, batch: int, crop: int) -> tuple[Losses, int]:
        if self._steps % CODE_EVERY_STEPS == 0 or len(self._kept) < KEPT_GROUPS // 4:
            with torch.no_grad():
                group = self._chain.drawn(pool, batch, crop)
                self._kept.append(KeptGroup(group, self._coded(group, noise=False)))
        self._steps += 1
        kept = self._kept[int(torch.randint(len(self._kept), ()))]
        losses = []
        for features, picture, q in kept.coded_again(self.network):
            still = torch.zeros_like(picture.hyper_bits)
            bits = picture.latent_bits, picture.hyper_bits, still
            losses.append(self._of_frame(features, picture.features, *bits, q))
        return _mean(losses), kept.pixels


class InterVectorsStage(InterKeptStage):
    """Of what codes a P or B frame all that is no matrix: biases, and what each channel is worth at each q.

    A few thousand numbers: a step of a few crops shows them all where to go, at rates that would ruin matrices. The
    prior stays as it is; its scales move with those of q.

    They are trained through symbols. Most of these are 0, and noise hides what it costs to make them anything else: 25
    minutes of noise took 7.5 % more bits, 22 of symbols 2.8 % fewer.
    """

    trained = ("coder.", "context_blocks.", "mask_")
    fixed = ("coder.prior.",)
    has_matrices = False
    scales_rate = 10.0

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.network.coder.near_boundaries = True


class InterExactStage(InterStage):
    """The priors of P and B frames alone, through the integers that they will run as."""

    trained = ("coder.prior.", "motion_prior.")

    def __init__(self, start: Start) -> None:
        super().__init__(start._replace(trains_search=False))
        checkpoint = start.checkpoint
        if checkpoint.inter_scales is None:  # kept from then on: integers must not move while they are trained
            checkpoint.inter_scales = find_inter_scales(
                self.network, lambda: self.run_on_groups(start.pool, CALIBRATION_CROPS, start.crop)
            )
        scales = checkpoint.inter_scales
        latent = ExactPrior(self.network.coder.prior, scales_below(scales, "coder.prior."))
        self._priors = Priors(ExactMotionPrior(self.network, scales), latent)

    def run_on_groups(self, pool: PixelPool, count: int, crop: int) -> None:
        """One pass over groups of each kind at a few q, for what watches the network meanwhile."""
        with torch.no_grad():
            for spacing in SPACINGS:
                last = max(spacing, SHORTEST_GROUP)
                frames = split_frames(pool.sequences(count, crop, last + 1))
                q = torch.tensor(CALIBRATION_QS, device=self._device)
                q = q.repeat(count // len(CALIBRATION_QS) + 1)[:count]
                code_group(self.network, begun_group(self._intra, frames, q, spacing), False)

    def _weighed(self, rate: Tensor, distortion: Tensor, q: Tensor) -> Tensor:
        """The rate alone: nothing that is trained here reaches the picture but through a rounding."""
        return rate_distortion(rate, 0, q)


def rate_distortion(rate: Tensor, distortion: Tensor | float, q: Tensor) -> Tensor:
    """Over sqrt(lambda), so that no end of the range drowns the other."""
    weight = rate_lambda(q)
    return ((rate + weight * distortion) / weight.sqrt()).mean() * LOSS_SCALE


def _mean(losses: list[Losses]) -> Losses:
    return Losses(*(torch.stack(each).mean() for each in zip(*losses, strict=True)))


def _pixels(features: Tensor) -> int:
    return features.shape[2] * features.shape[3] * 64


STAGE_CLASSES: Final[dict[str, type[Stage]]] = {
    "intra": IntraStage,
    "intra-vectors": IntraVectorsStage,
    "exact": ExactStage,
    "inter": InterStage,
    "inter-kept": InterKeptStage,
    "inter-vectors": InterVectorsStage,
    "inter-exact": InterExactStage,
}
STAGES: Final = tuple(STAGE_CLASSES)
INTER_STAGES: Final = tuple(name for name, each in STAGE_CLASSES.items() if issubclass(each, InterStage))


def check_crop(stage: str, crop: int) -> None:
    """Raises WrongCrop where a stage cannot train on squares of this side."""
    multiple = STAGE_CLASSES[stage].crop_multiple
    below = crop // multiple * multiple
    if crop > 0 and crop == below:
        return
    nearest = f"{below} or {below + multiple}" if below > 0 else str(multiple)
    raise WrongCrop(f"--crop {crop}: stage {stage} takes multiples of {multiple}; try {nearest}")


def load_pool(stage: str, folder: Path, crop: int, limit: int | None, device: torch.device) -> PixelPool:
    """The pixels that a stage trains on; raises NoTrainingData."""
    load = load_clips if stage in INTER_STAGES else load_pictures
    return PixelPool(load(folder, crop, limit), device)
