"""What each stage of training the network of I frames trains, on what, and by which loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from engines.training.checkpoint import Checkpoint
from engines.training.data import PixelPool, load_pictures
from engines.training.exact import ExactPrior, Scales, find_scales
from engines.training.model import IntraNetwork, planes_to_features, rate_lambda, weighted_error
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

LOSS_SCALE: Final = 20.0
CALIBRATION_CROPS: Final = 16
CALIBRATION_QS: Final = (0, INTRA_Q_LEVELS // 3, 2 * INTRA_Q_LEVELS // 3, INTRA_Q_LEVELS - 1)


class Losses(NamedTuple):
    """What a batch costs: loss, bits a pixel, mean squared error, and the hyper latents' bits a pixel."""

    loss: Tensor
    rate: Tensor
    distortion: Tensor
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
            hyper_bits.mean() / pixels,
        )


def rate_distortion(rate: Tensor, distortion: Tensor | float, q: Tensor) -> Tensor:
    """Over sqrt(lambda), so that no end of the range drowns the other."""
    weight = rate_lambda(q)
    return ((rate + weight * distortion) / weight.sqrt()).mean() * LOSS_SCALE


def _pixels(features: Tensor) -> int:
    return features.shape[2] * features.shape[3] * 64


STAGE_CLASSES: Final[dict[str, type[Stage]]] = {
    "intra": IntraStage,
    "intra-vectors": IntraVectorsStage,
    "exact": ExactStage,
}
STAGES: Final = tuple(STAGE_CLASSES)


def check_crop(stage: str, crop: int) -> None:
    """Raises WrongCrop where a stage cannot train on squares of this side."""
    multiple = STAGE_CLASSES[stage].crop_multiple
    below = crop // multiple * multiple
    if crop > 0 and crop == below:
        return
    nearest = f"{below} or {below + multiple}" if below > 0 else str(multiple)
    raise WrongCrop(f"--crop {crop}: stage {stage} takes multiples of {multiple}; try {nearest}")


def load_pool(folder: Path, crop: int, limit: int | None, device: torch.device) -> PixelPool:
    """The pixels that the stages train on; raises NoTrainingData."""
    return PixelPool(load_pictures(folder, crop, limit), device)
