"""A group of pictures in training: in which order frames are coded, at which q, and from what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from engines.training.inter import Coded, InterNetwork, Planes, Priors, Reference
from engines.training.model import (
    IntraNetwork,
    features_to_planes,
    planes_to_features,
    round_through,
)
from engines.training.motion import no_motion
from zvc69_cli.codec.picture.planes import SAMPLE_PARTS
from zvc69_cli.codec.plan.gop import I_Q, LAYER_Q
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

PARTS_OF_RANGE = 255 * SAMPLE_PARTS  # of a sample of 8 bits, which training has


class Planned(NamedTuple):
    """One frame after the first: its place in display order, its references, and its layer (1 is P)."""

    time: int
    references: tuple[int, ...]
    layer: int


def coding_order(last: int, spacing: int) -> list[Planned]:
    """Frames 1..last in coding order: an anchor every `spacing` frames, a pyramid of B frames between."""
    planned: list[Planned] = []

    def split(left: int, right: int, layer: int) -> None:
        if right - left > 1:
            middle = (left + right) // 2
            planned.append(Planned(middle, (left, right), layer))
            split(left, middle, layer + 1)
            split(middle, right, layer + 1)

    for start in range(0, last, spacing):
        end = min(start + spacing, last)
        planned.append(Planned(end, (start,), 1))
        split(start, end, 2)
    return planned


class CodedFrame(NamedTuple):
    """planned: where it stands; q: what it was coded at [B]"""

    planned: Planned
    coded: Coded
    q: Tensor


def layer_q(q: Tensor, layer: int) -> Tensor:
    """What an encoder gives to I (layer 0), P (1) and the layers of B, where the stream has q."""
    offset = LAYER_Q[min(layer - 1, len(LAYER_Q) - 1)] if layer else I_Q
    return (q + offset).clamp(0, INTRA_Q_LEVELS - 1)


class Group(NamedTuple):
    """Frames in display order from a decoded start on, the start included, and how they are coded; all at q [B]."""

    plan: list[Planned]
    start: Reference
    frames: list[Planes]
    q: Tensor

    @property
    def pixels(self) -> int:
        """Luma pixels of all frames but the start."""
        return sum(luma.numel() for luma, _, _ in self.frames[1:])


def begun_group(intra: IntraNetwork, frames: list[Planes], q: Tensor, spacing: int) -> Group:
    """A group behind a picture, which is coded by itself and not trained, with an anchor every `spacing` frames."""
    with torch.no_grad():
        picture = intra(planes_to_features(*frames[0]), layer_q(q, 0), noise=False)
    height, width = frames[0][0].shape[2:]
    latent = torch.zeros(len(q), intra.size.latent, height // 16, width // 16, device=q.device)
    still = no_motion(len(q), height, width, q.device)
    start = Reference.of(0, decoded_planes(picture.features), latent, still)
    return Group(coding_order(len(frames) - 1, spacing), start, frames, q)


def referred_to(plan: Iterable[Planned]) -> set[int]:
    """Times of the frames that others are predicted from."""
    return {time for planned in plan for time in planned.references}


def code_group(
    inter: InterNetwork, group: Group, noise: bool, priors: Priors | None = None
) -> list[CodedFrame]:
    """Code the frames of a group in the order of its plan.

    priors  integers that stand in for the network's own; pictures then pass no gradients on
    """
    plan, start, frames, q = group
    decoded = {0: start}
    wanted = referred_to(plan)
    coded_frames = []
    for planned in plan:
        at = layer_q(q, planned.layer)
        references = tuple(decoded[time] for time in planned.references)
        coded = inter(frames[planned.time], planned.time, references, at, noise, priors)
        coded_frames.append(CodedFrame(planned, coded, at))
        if planned.time in wanted:
            decoded[planned.time] = Reference.of(
                planned.time,
                decoded_planes(coded.features if priors is None else coded.features.detach()),
                coded.latent.detach(),
                coded.motions[0],
                planned.time - planned.references[0],
            )
    return coded_frames


def decoded_planes(features: Tensor) -> Planes:
    """Planes as a decoder keeps them for others to be predicted from, in parts of a sample, with gradients."""
    y, u, v = (
        round_through(plane * PARTS_OF_RANGE) / PARTS_OF_RANGE
        for plane in features_to_planes(features.clamp(0, 1))
    )
    return y, u, v
