"""What the entropy model of a residual is given beside the levels themselves: integers that every decoder has.

source  FORMAT.md 6.8
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.motion.fields import CELL_SIDES, Motion
from zvc69_cli.codec.networks import F32, U8
from zvc69_cli.codec.residual.layout import CELL, CLASSES, ENERGY_MEMBERS, LUMA_ENERGIES

if TYPE_CHECKING:
    from zvc69_cli.codec.entropy.tables import InterTables

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

LEVEL_LIMIT: Final = 2047  # a larger level counts as one of this size in every context
ENERGY_LIMIT: Final = 65_535
LOG_FRACTION: Final = 16  # logarithms stand in sixteenths
_QUARTERS_A_CELL: Final = 4 * CELL

# round(16 log2(1 + n)). No value lies near a half, so that every machine rounds alike.
LOGS: Final = np.rint(LOG_FRACTION * np.log2(1 + np.arange(ENERGY_LIMIT + 1))).astype(np.int32)

# Planes of the input: q, its square, whether two references are given, the class, the place in the unit, the energies
# of both references, the motion to both, and where its vectors were coded.
INPUTS: Final = 2 + 1 + CLASSES + 2 + 2 * len(ENERGY_MEMBERS) + 2 * 4 + 2 * len(CELL_SIDES)
ENERGY_PLANES: Final = slice(3 + CLASSES + 2, 3 + CLASSES + 2 + 2 * len(ENERGY_MEMBERS))


class ReferenceLevels(NamedTuple):
    """What a coded frame leaves of its levels for the frames predicted from it.

    energies  int32 [9, h, w]: sums of absolute levels by codec.residual.layout.ENERGY_GROUPS; zeros of an I frame and
              of a skipped one
    q_256     at which they were coded
    """

    energies: I32
    q_256: int


def no_levels(height: int, width: int) -> ReferenceLevels:
    """What an I frame and a skipped frame leave, on a grid of height x width cells."""
    return ReferenceLevels(np.zeros((len(ENERGY_MEMBERS), height, width), np.int32), 0)


def levels_left(levels: I32, q_256: int) -> ReferenceLevels:
    """What levels [96, h, w] leave for the frames predicted from theirs."""
    sizes = np.minimum(np.abs(levels), LEVEL_LIMIT)
    return ReferenceLevels(np.stack([sizes[members].sum(0) for members in ENERGY_MEMBERS]), q_256)


def state_inputs(
    q_256: int,
    classes: U8,
    references: Sequence[ReferenceLevels],
    motions: Sequence[Motion],
    tables: InterTables,
) -> F32:
    """The input of the entropy model, float32 [41, h, w] of integers within +-2047; h and w are even.

    classes               uint8 [h / 2, w / 2]
    references, motions   of each reference; those of a P frame's one reference count twice
    """
    height, width = 2 * classes.shape[0], 2 * classes.shape[1]
    planes = np.zeros((INPUTS, height, width), np.float32)
    planes[0] = q_256 >> 4
    planes[1] = q_256 * q_256 >> 19
    planes[2] = len(motions) - 1
    cells = classes.repeat(2, 0).repeat(2, 1)
    planes[3 : 3 + CLASSES] = cells == np.arange(CLASSES)[:, None, None]
    at = 3 + CLASSES
    planes[at] = np.arange(height)[:, None] % 2
    planes[at + 1] = np.arange(width) % 2
    at += 2
    pairs = list(zip((references[0], references[-1]), (motions[0], motions[-1]), strict=True))
    for reference, motion in pairs:
        energies = _moved(reference.energies, motion.fields[-1])
        planes[at : at + len(energies)] = LOGS[_rescaled(energies, reference.q_256, q_256, tables)]
        at += len(energies)
    for _, motion in pairs:
        planes[at : at + 4] = LOGS[_motion_sizes(motion.fields[-1])]
        at += 4
    for _, motion in pairs:
        for coded, side in zip(motion.coded, CELL_SIDES, strict=True):
            planes[at] = coded.repeat(side // CELL, 0).repeat(side // CELL, 1)[:height, :width]
            at += 1
    return planes


def _moved(energies: I32, field: I32) -> I32:
    """Energies at the cells that a field points to, whose vectors are rounded to whole cells; edges continue."""
    _, height, width = energies.shape
    whole = (field + _QUARTERS_A_CELL // 2) // _QUARTERS_A_CELL
    rows = np.clip(np.arange(height)[:, None] + whole[1], 0, height - 1)
    columns = np.clip(np.arange(width) + whole[0], 0, width - 1)
    return energies[:, rows, columns]


def _rescaled(energies: I32, from_q_256: int, to_q_256: int, tables: InterTables) -> I64:
    """Energies in steps of another q."""
    ratios = (tables.steps_at(from_q_256) << 8) // tables.steps_at(to_q_256)
    of_group = np.repeat(ratios, (LUMA_ENERGIES, len(energies) - LUMA_ENERGIES))
    rescaled: I64 = np.minimum(energies * of_group[:, None, None] >> 8, ENERGY_LIMIT)
    return rescaled


def _motion_sizes(field: I32) -> I32:
    """|x|, |y|, and how far each vector is from its left and from its upper neighbour: [4, h, w]."""
    left, upper = vector_steps(field)
    return np.concatenate([np.abs(field), left[None], upper[None]])


def vector_steps(field: I32) -> tuple[I32, I32]:
    """|difference| in x and y together of each vector from its left and from its upper neighbour; 0 at the edge."""
    left, upper = (np.zeros(field.shape[1:], np.int32) for _ in range(2))
    left[:, 1:] = np.abs(np.diff(field, axis=2)).sum(0)
    upper[1:] = np.abs(np.diff(field, axis=1)).sum(0)
    return left, upper
