"""Which of the vectors that a search finds an encoder takes up."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codec.clips import TABLES
from tests.toy import ToyNetworks
from zvc69_cli.codec.motion.fields import CELL_SIDES
from zvc69_cli.codec.motion.search import NEIGHBOUR_ROUNDS, MotionWeigher
from zvc69_cli.codec.picture.planes import quarter_samples
from zvc69_cli.frames import FrameKind

SIDE = 128
RANDOM = np.random.default_rng(3)


class Finds(ToyNetworks):
    """Finds the vectors that it is told to, and counts how often errors are asked for."""

    def __init__(self, field):
        self.field, self.asked = field, 0

    def search(self, y, samples, effort):
        return tuple(self.field[:, :: side // 8, :: side // 8].astype(np.float32) for side in CELL_SIDES)

    def motion_error(self, level, y, samples, field):
        self.asked += 1
        return super().motion_error(level, y, samples, field)


def settled(field, plane, effort="thorough", level=2):
    networks = Finds(field)
    weigher = MotionWeigher(networks, TABLES.inter, 0, effort)
    samples = quarter_samples(np.rint(255 * plane).astype(np.float32), 255)
    chooser = weigher.chooser(weigher.source(plane), samples, FrameKind.P, 10_000)
    parent = np.zeros((2, SIDE // CELL_SIDES[level], SIDE // CELL_SIDES[level]), np.int32)
    found, _ = chooser._settled(level, parent, chooser._bits(level, parent))
    return found, networks.asked


def strange_field():
    """Everything lies 8 quarter samples to the right, but one cell that says something else."""
    field = np.zeros((2, SIDE // 8, SIDE // 8), np.int32)
    field[0] = 8
    field[:, 5, 6] = 100, -40
    return field


def test_a_vector_that_fits_no_better_gives_way_to_its_surroundings():
    flat = np.full((SIDE, SIDE), 0.5, np.float32)
    found, _ = settled(strange_field(), flat)
    assert found[:, 5, 6].tolist() in ([8, 0], [0, 0])


def test_a_vector_that_fits_better_stays():
    """Where the right one leaves nothing and every other noise."""
    plane = RANDOM.random((SIDE, SIDE)).astype(np.float32)
    plane = np.rint(255 * plane) / np.float32(255)
    field = np.zeros((2, SIDE // 8, SIDE // 8), np.int32)
    found, _ = settled(field, plane)
    assert not found.any()
    found, _ = settled(strange_field(), plane)
    assert not found[:, 1:-1, 1:-1].any()  # the parent's, of all that were to be had


@pytest.mark.parametrize("effort", NEIGHBOUR_ROUNDS)
def test_the_effort_says_how_often_they_look(effort):
    flat = np.full((SIDE, SIDE), 0.5, np.float32)
    found, asked = settled(strange_field(), flat, effort)
    rounds = NEIGHBOUR_ROUNDS[effort]
    assert asked == 2 + 4 * rounds
    assert rounds or np.array_equal(found, strange_field())


@pytest.mark.parametrize("level", range(3))
def test_every_level_keeps_its_own_size(level):
    plane = RANDOM.random((SIDE, SIDE)).astype(np.float32)
    found, _ = settled(strange_field(), plane, level=level)
    assert found.shape == (2, SIDE // CELL_SIDES[level], SIDE // CELL_SIDES[level])
