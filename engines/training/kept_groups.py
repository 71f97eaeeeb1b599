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
        self._start = group.start.latent.half(), _in_parts(group.start.planes)
        self._frames = [
            (planned, _in_bytes(group.frames[planned.time]), tuple(map(_in_halves, coded.motions)), q)
            for planned, coded, q in coded_frames
        ]

        self.pixels = group.pixels

    def coded_again(self, inter: InterNetwork, noise: bool = True) -> Iterator[CodedAgain]:
        """Each frame in coding order; gradients pass from frame to frame, and none to motion."""
        latent, planes = self._start
        decoded = {0: Decoded.from_planes(latent.float(), _from_parts(planes))}
        wanted = referred_to(planned for planned, *_ in self._frames)
        for planned, planes, halves, q in self._frames:
            features = planes_to_features(*_from_bytes(planes))
            motions = [Motion(*(tuple(map(Tensor.float, each)) for each in motion)) for motion in halves]
            references = [decoded[time] for time in planned.references]
            picture = inter.code_along(features, references, motions, q, noise)
            if planned.time in wanted:
                decoded[planned.time] = Decoded.from_planes(
                    picture.latent.detach(), decoded_planes(picture.features)
                )
            yield CodedAgain(features, picture, q)


def _in_bytes(planes: Planes) -> Planes:
    y, u, v = ((plane.detach() * 255).round().to(torch.uint8) for plane in planes)
    return y, u, v


def _from_bytes(planes: Planes) -> Planes:
    y, u, v = (plane.float() / 255 for plane in planes)
    return y, u, v


def _in_parts(planes: Planes) -> Planes:
    y, u, v = ((plane.detach() * PARTS_OF_RANGE).round().to(torch.int16) for plane in planes)
    return y, u, v


def _from_parts(planes: Planes) -> Planes:
    y, u, v = (plane.float() / PARTS_OF_RANGE for plane in planes)
    return y, u, v


def _in_halves(motion: Motion) -> Motion:
    fields, coded = (tuple(each.detach().half() for each in part) for part in motion)
    return Motion(fields, coded)
