"""How latents become symbols: where a symbol is worth its bits."""

from __future__ import annotations

import numpy as np
import pytest

from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.intra.rounding import BITS_PER_SQUARED_STEP, Rounding, dead_zone_thresholds
from zvc69_cli.frames import FrameKind
from zvc69_cli.runtime.bundle import find_bundle

LATENT = np.random.default_rng(0).laplace(0, 1.5, (8, 12, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def tables():
    inter = CodecTables.from_arrays(find_bundle().arrays).inter
    assert inter is not None
    return inter.latent


def _symbols(name, tables, kind, table):
    still = np.zeros(LATENT.shape, np.float32)
    return Rounding(name, tables, kind).symbols(LATENT, still, np.full(LATENT.shape, table, np.uint8))


def test_nearest_is_within_half_a_step(tables):
    table = len(tables.rows) - 1
    assert np.abs(_symbols("nearest", tables, FrameKind.P, table) - LATENT).max() <= 0.5


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_a_dead_zone_makes_symbols_smaller_and_never_by_more_than_one(tables, share):
    table = int((len(tables.rows) - 1) * share)
    nearest = np.abs(_symbols("nearest", tables, FrameKind.P, table))
    lost = nearest - np.abs(_symbols("dead-zone", tables, FrameKind.P, table))
    assert set(np.unique(lost)) <= {0, 1}


def test_frames_that_others_are_predicted_from_keep_more_symbols(tables):
    """What a P frame leaves out, the frames behind it lack as well."""
    assert BITS_PER_SQUARED_STEP[FrameKind.P] > BITS_PER_SQUARED_STEP[FrameKind.B]
    table = len(tables.rows) // 2
    kept = {
        kind: np.abs(_symbols("dead-zone", tables, kind, table)).sum() for kind in (FrameKind.P, FrameKind.B)
    }
    assert kept[FrameKind.P] > kept[FrameKind.B]


def test_a_threshold_is_where_the_error_saved_is_worth_the_bits(tables):
    worth = 30.0
    thresholds = dead_zone_thresholds(tables, worth)
    index = len(tables.rows) - 1
    row = tables.rows[index] / tables.rows[index].sum()
    zero = int(tables.reach[index])
    dearer = np.log2(row[zero] / row[zero + 1])
    at = thresholds[index, 0]
    saved = at**2 - (1 - at) ** 2
    np.testing.assert_allclose(saved * worth, max(dearer, 0), atol=1e-3)
