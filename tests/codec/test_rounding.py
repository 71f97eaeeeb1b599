"""How latents become symbols: where a symbol is worth its bits."""

from __future__ import annotations

import numpy as np
import pytest

from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.intra.rounding import Rounding, dead_zone_thresholds
from zvc69_cli.runtime.bundle import find_bundle

LATENT = np.random.default_rng(0).laplace(0, 1.5, (8, 12, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def tables():
    return CodecTables.from_arrays(find_bundle().arrays).latent


def _symbols(name, tables, table):
    still = np.zeros(LATENT.shape, np.float32)
    return Rounding(name, tables).symbols(LATENT, still, np.full(LATENT.shape, table, np.uint8))


def test_nearest_is_within_half_a_step(tables):
    table = len(tables.rows) - 1
    assert np.abs(_symbols("nearest", tables, table) - LATENT).max() <= 0.5


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_a_dead_zone_makes_symbols_smaller_and_never_by_more_than_one(tables, share):
    table = int((len(tables.rows) - 1) * share)
    nearest = np.abs(_symbols("nearest", tables, table))
    lost = nearest - np.abs(_symbols("dead-zone", tables, table))
    assert set(np.unique(lost)) <= {0, 1}


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
