"""Shifts of a channel's tables: chosen where they pay, undone by the decoder, and with no say in what is coded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.clips import make_frame, pair
from tests.toy import plan_of, toy_tables
from zvc69_cli.codec.entropy.coder import Pass, pack_string
from zvc69_cli.codec.entropy.payload import unpack_sections
from zvc69_cli.codec.entropy.tables import TOTAL_FREQUENCY, SymbolTables
from zvc69_cli.codec.intra.channel_shifts import FARTHEST, SHIFT_TABLES, ShiftChooser, shift_rows, shifted
from zvc69_cli.codec.quantised import checkerboard
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.frames import VideoFormat

LATENT = SymbolTables(toy_tables().latent.rows, 10)
SHAPE = (8, 12, 10)


def drawn(indexes, rng, louder=0):
    """Symbols as the tables `louder` rows above these would have them; 0 where nothing is coded."""
    symbols = np.zeros(indexes.shape, np.int32)
    for place in np.argwhere(indexes >= LATENT.skip_below):
        row = LATENT.rows[min(63, int(indexes[*place]) + louder)]
        reach = len(row) // 2 - 1
        symbols[*place] = rng.choice(len(row) - 1, p=row[:-1] / row[:-1].sum()) - reach
    return symbols


def bits(symbols, indexes):
    return 8 * len(pack_string([Pass(symbols.ravel(), indexes.ravel())], LATENT))


def chosen(symbols, indexes):
    rows = shift_rows(indexes, checkerboard(*SHAPE, 0, SHAPE[1]).first, LATENT.skip_below)
    return ShiftChooser(LATENT).shifts(symbols, indexes, rows)


@pytest.mark.parametrize("louder", [-6, 4])
def test_a_channel_that_is_louder_or_quieter_is_moved_and_others_stay(louder):
    rng = np.random.default_rng(1)
    indexes = np.full(SHAPE, 30, np.uint8)
    symbols = np.concatenate([drawn(indexes[:4], rng), drawn(indexes[4:], rng, louder)])
    shifts = chosen(symbols, indexes)
    assert not shifts[:4].any()
    assert (np.sign(shifts[4:]) == np.sign(louder)).all()
    moved = shifted(indexes, shifts, LATENT.skip_below)
    assert bits(symbols, moved) < bits(symbols, indexes) - 40


def test_symbols_as_expected_are_left_alone():
    rng = np.random.default_rng(2)
    indexes = rng.integers(0, 40, SHAPE).astype(np.uint8)
    assert not chosen(drawn(indexes, rng), indexes).any()


def test_a_channel_of_which_the_first_pass_codes_nothing_is_not_moved():
    first = checkerboard(*SHAPE, 0, SHAPE[1]).first
    indexes = np.where(first, 9, 30).astype(np.uint8)
    rows = shift_rows(indexes, first, LATENT.skip_below)
    assert not rows.any()
    symbols = np.where(first, 0, 5).astype(np.int32)
    assert not ShiftChooser(LATENT).shifts(symbols, indexes, rows).any()


@given(st.integers(0, 255), st.lists(st.integers(-40_000, 40_000), min_size=8, max_size=8))
def test_shifts_change_no_symbol_from_coded_to_skipped(seed, shifts):
    indexes = np.random.default_rng(seed).integers(0, 64, SHAPE).astype(np.uint8)
    moved = shifted(indexes, np.array(shifts, np.int32), LATENT.skip_below)
    assert moved.max() < 64
    coded = indexes >= LATENT.skip_below
    assert np.array_equal(moved >= LATENT.skip_below, coded)
    assert np.array_equal(moved[~coded], indexes[~coded])


def test_rows_count_what_the_first_pass_codes_in_powers_of_two():
    counts = [0, 1, 2, 3, 4, 7, 8, 60]
    first = np.ones((8, 8, 8), bool)
    indexes = np.zeros((8, 64), np.uint8)
    for channel, count in enumerate(counts):
        indexes[channel, :count] = 20
    assert shift_rows(indexes.reshape(8, 8, 8), first, 10).tolist() == [0, 1, 2, 2, 3, 3, 4, 6]
    everything = np.full((1, 256, 256), 20, np.uint8)
    assert shift_rows(everything, np.ones_like(everything, bool), 10).tolist() == [12]


def test_the_tables_are_those_of_the_page():
    assert SHIFT_TABLES.skip_below == 1
    assert [len(row) for row in SHIFT_TABLES.rows] == [2 * FARTHEST + 2] * 13
    # Row 9: 205 of 256 stay; of the other 51, 80, 14, 4 and 2 of a hundred go 1, 2, 3 and 4 steps.
    moving = 51 * (TOTAL_FREQUENCY // 256)
    each = [moving * share // 200 for share in (2, 4, 14, 80)]
    assert SHIFT_TABLES.rows[9].tolist()[:4] == each
    assert SHIFT_TABLES.rows[9].tolist()[5:] == [*each[::-1], 1]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3))
def test_a_frame_with_shifts_comes_back(seed, slices):
    """A picture that the toy's prior expects to be quieter than it is."""
    video = VideoFormat(width=96, height=80)
    encoder, decoder = pair(video, CodecSettings(slices=slices, qp=50))
    coded = encoder.quantise(plan_of(make_frame(video, seed=seed)))
    packet = encoder.pack(coded)
    back = decoder.parse(packet)
    assert np.array_equal(back.symbols, coded.symbols)
    assert np.array_equal(back.indexes, coded.indexes)
    assert np.array_equal(np.asarray(back.latent), np.asarray(coded.latent))
    rows = shift_rows(coded.indexes, checkerboard(*coded.symbols.shape, 0, coded.symbols.shape[1]).first,
                      toy_tables().latent.skip_below)  # fmt: skip
    due = ShiftChooser(toy_tables().latent).shifts(coded.symbols, coded.indexes, rows)
    assert unpack_sections(packet.payload, coded.symbols.shape[1]).is_shifted == due.any()
