"""Groups that were coded a while ago, kept with their motion, to be coded again without searching for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from engines.training.group import PARTS_OF_RANGE, CodedFrame, Group, decoded_planes, referred_to
from engines.training.inter import CodedPicture, Decoded, InterNetwork, Planes
from engines.training.model import planes_to_features
from engines.training.motion import Motion


class CodedAgain(NamedTuple):
    """A frame of a kept group: what it should be, as features, what coding it yields, and its q [B]."""

    features: Tensor
    picture: CodedPicture
    q: Tensor


class KeptGroup:
    """A group and the motion that was coded for it.

    Planes are kept in 8 bits, which is what they came in, those of the start in 16, which hold a decoder's parts of a
    sample; motion and latents in float16, which holds their integers.

    pixels  luma pixels of its frames, the start left out
    """

    def __init__(self, group: Group, coded_frames: list[CodedFrame]) -> None:
        self._start = group.start.latent.half(), _in_integers(group.start.planes, PARTS_OF_RANGE, torch.int16)
        self._frames = [
            (
                planned,
                _in_integers(group.frames[planned.time], 255, torch.uint8),
                tuple(map(_in_halves, coded.motions)),
                q,
            )
            for planned, coded, q in coded_frames
        ]

        self.pixels = group.pixels

    def coded_again(self, inter: InterNetwork, noise: bool = True) -> Iterator[CodedAgain]:
        """Each frame in coding order; gradients pass from frame to frame, and none to motion."""
        latent, planes = self._start
        decoded = {0: Decoded.from_planes(latent.float(), _from_integers(planes, PARTS_OF_RANGE))}
        wanted = referred_to(planned for planned, *_ in self._frames)
        for planned, planes, halves, q in self._frames:
            features = planes_to_features(*_from_integers(planes, 255))
            motions = [Motion(*(tuple(map(Tensor.float, each)) for each in motion)) for motion in halves]
            references = [decoded[time] for time in planned.references]
            picture = inter.code_along(features, references, motions, q, noise)
            if planned.time in wanted:
                decoded[planned.time] = Decoded.from_planes(
                    picture.latent.detach(), decoded_planes(picture.features)
                )
            yield CodedAgain(features, picture, q)


def _in_integers(planes: Planes, top: int, kept_as: torch.dtype) -> Planes:
    """Planes in 0..1 as whole numbers in 0..top."""
    y, u, v = ((plane.detach() * top).round().to(kept_as) for plane in planes)
    return y, u, v


def _from_integers(planes: Planes, top: int) -> Planes:
    y, u, v = (plane.float() / top for plane in planes)
    return y, u, v


def _in_halves(motion: Motion) -> Motion:
    fields, coded = (tuple(each.detach().half() for each in part) for part in motion)
    return Motion(fields, coded)
