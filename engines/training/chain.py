"""Groups that go on where another ended, so that training sees frames far from a keyframe as an encoder does."""

from __future__ import annotations

import torch

from engines.training.data import PixelPool
from engines.training.group import CodedFrame, Group, begun_group, decoded_planes
from engines.training.inter import Planes, Reference
from engines.training.model import IntraNetwork
from engines.training.motion import Motion
from zvc69_cli.codec.settings import INTRA_Q_LEVELS

SPACINGS = (1, 2, 4, 8)  # frames from anchor to anchor
SPACING_SHARES = (0.25, 0.2, 0.3, 0.25)
SHORTEST_GROUP = 4  # frames after the first; a chain of P frames must learn to repair itself
CHAIN_GROUPS = 6  # of a chain, on average: 24 to 48 frames


class Chain:
    """Draws groups of frames: a new one behind a keyframe, or the one before run backwards from its end.

    Clips are short, keyframes far apart. Close behind one there are neither latents nor motion to expect anything from,
    and no errors of a chain: weights that were trained there alone, frame by frame, gained 7 to 13 % at high rates, and
    lost up to 11 % at low ones, on real files.
    """

    def __init__(self, intra: IntraNetwork, device: torch.device) -> None:
        self._intra = intra
        self._device = device
        self._next: Group | None = None

    def drawn(self, pool: PixelPool, batch: int, crop: int) -> Group:
        if self._next is not None and torch.rand(()) > 1 / CHAIN_GROUPS:
            return self._next
        spacing = SPACINGS[int(torch.multinomial(torch.tensor(SPACING_SHARES), 1))]
        last = max(spacing, SHORTEST_GROUP)
        batch = max(1, batch * SHORTEST_GROUP // last)  # as many pixels a step, whatever the group
        frames = split_frames(pool.sequences(batch, crop, last + 1))
        q = torch.randint(0, INTRA_Q_LEVELS, (batch,), device=self._device)
        return begun_group(self._intra, frames, q, spacing)

    def go_on_from(self, group: Group, coded_frames: list[CodedFrame]) -> None:
        """What is drawn next may start from the last frame of this group as it was coded."""
        planned, coded, _ = next(each for each in coded_frames if each.planned.time == len(group.frames) - 1)
        start = Reference.of(
            0,
            decoded_planes(coded.features.detach()),
            coded.latent.detach(),
            turned(coded.motions[0]),
            planned.time - planned.references[0],
        )
        self._next = group._replace(start=start, frames=group.frames[::-1])


def turned(motion: Motion) -> Motion:
    """The motion to expect where time runs backwards; without gradients."""
    return Motion(
        tuple(-each.detach() for each in motion.fields), tuple(each.detach() for each in motion.coded)
    )


def split_frames(planes: Planes) -> list[Planes]:
    """[B, T, h, w] each -> T frames of planes [B, 1, h, w]."""
    y, u, v = planes
    return [(y[:, at : at + 1], u[:, at : at + 1], v[:, at : at + 1]) for at in range(y.shape[1])]
