"""The integers of motion, on paper: each function against the sentence of FORMAT.md that it stands for."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.clips import NETWORKS, TABLES
from tests.codec.reference_motion import decode_motion, timed
from zvc69_cli.codec.entropy.coder import BrokenString, Pass, StringReader, pack_string
from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT, HEAD_LIMIT
from zvc69_cli.codec.entropy.tables import CodecTables, InterTables, SymbolTables
from zvc69_cli.codec.motion.coding import MotionReader, code_motion
from zvc69_cli.codec.motion.fields import (
    FIELD_LIMIT,
    FIRST_CHANNELS,
    SECOND_CHANNELS,
    Motion,
    cell_odds,
    first_inputs,
    grid_sizes,
    grown,
    grown_map,
    moved,
    no_motion,
    pass_cells,
    scaled,
    second_inputs,
    time_ratio,
)
from zvc69_cli.codec.motion.prior import IntegerMotionPrior, motion_stem
from zvc69_cli.codec.picture.references import ReferenceState, first_prediction, second_prediction
from zvc69_cli.codec.residual.context import no_levels
from zvc69_cli.frames import FrameKind


def random_motion(rng, height, width, reach=60):
    sizes = grid_sizes(height, width)
    return Motion(
        tuple(rng.integers(-reach, reach + 1, (2, *size)).astype(np.int32) for size in sizes),
        tuple(rng.integers(0, 2, size).astype(np.uint8) for size in sizes),
    )


def state(pts, span_ticks, motion):
    _, height, width = motion.fields[1].shape
    return ReferenceState(pts, span_ticks, motion, no_levels(2 * height, 2 * width))


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_grids_nest(height, width):
    coarse, middle, fine = grid_sizes(height, width)
    assert middle == (height, width)
    assert fine == (2 * height, 2 * width)
    assert coarse == (-(-height // 2), -(-width // 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1), st.integers(0, 1), st.integers(0, 99))
def test_a_field_grows_by_repeating(rows, columns, less_rows, less_columns, seed):
    field = np.random.default_rng(seed).integers(-FIELD_LIMIT, FIELD_LIMIT + 1, (2, rows, columns))
    size = (2 * rows - less_rows, 2 * columns - less_columns)
    got = grown(field.astype(np.int32), size)
    assert got.shape == (2, *size)
    for axis, row, column in np.ndindex(got.shape):
        assert got[axis, row, column] == field[axis, row // 2, column // 2]


def test_a_map_grows_by_repeating():
    assert grown_map(np.array([[1, 0]], np.uint8), (2, 3)).tolist() == [[1, 1, 0], [1, 1, 0]]


@given(st.integers(1, 2**70), st.integers(1, 2**70))
def test_distances_in_time_are_halved_until_they_are_small(numerator, denominator):
    due = numerator, denominator
    while max(due) >= 2**15:
        due = tuple(max(1, each // 2) for each in due)
    assert time_ratio(numerator, denominator) == due


@given(st.integers(-FIELD_LIMIT, FIELD_LIMIT), st.integers(-(2**15) + 1, 2**15 - 1), st.integers(1, 2**15 - 1))
def test_vectors_are_scaled_and_rounded_half_up(value, numerator, denominator):
    motion = no_motion(1, 1)
    motion.fields[0][:] = value
    due = floor(Fraction(value * numerator, denominator) + Fraction(1, 2))
    got = scaled(motion, numerator, denominator)
    assert got.fields[0][0, 0, 0] == min(max(due, -FIELD_LIMIT), FIELD_LIMIT)
    assert got.coded is motion.coded


def test_the_first_motion_of_a_b_frame_is_that_of_its_last_reference_in_its_own_time():
    motion = random_motion(np.random.default_rng(1), 2, 3)
    past, future = state(100, 1, no_motion(2, 3)), state(180, 80, motion)
    got = first_prediction(120, [past, future])
    assert np.array_equal(got.fields[2], (motion.fields[2] * 20 * 2 + 80) // 160)
    on = second_prediction(got, 120, [past, future])
    assert np.array_equal(on.fields[1], (got.fields[1] * -60 * 2 + 20) // 40)
    assert np.array_equal(on.coded[1], motion.coded[1])


def test_a_p_frame_takes_the_motion_of_its_reference():
    motion = random_motion(np.random.default_rng(1), 2, 3)
    got = first_prediction(300, [state(200, 50, motion)])
    assert np.array_equal(got.fields[0], np.clip(motion.fields[0] * 2, -FIELD_LIMIT, FIELD_LIMIT))


@pytest.mark.parametrize("pts", [(0, 0, 0), (2**62, -(2**62), 5), (-(2**62), 2**62, 2**61)])
def test_no_times_are_too_far_or_too_near(pts):
    motion = random_motion(np.random.default_rng(1), 2, 3)
    first, last = state(pts[0], 1, motion), state(pts[1], 2**62, motion)
    got = second_prediction(first_prediction(pts[2], [first, last]), pts[2], [first, last])
    assert all(np.abs(field).max() <= FIELD_LIMIT for field in got.fields)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_the_first_pass_sees_ten_planes_of_integers(rows, columns, seed):
    rng = np.random.default_rng(seed)
    parent, last = rng.integers(-FIELD_LIMIT, FIELD_LIMIT + 1, (2, 2, rows, columns)).astype(np.int32)
    maps = rng.integers(0, 2, (2, rows, columns)).astype(np.uint8)
    inputs = first_inputs(parent, maps[0], last, maps[1])
    assert inputs.shape == (FIRST_CHANNELS, rows, columns)
    for row, column in np.ndindex(rows, columns):
        here = parent[:, row, column]
        left, upper = parent[:, row, max(column - 1, 0)], parent[:, max(row - 1, 0), column]
        near = np.clip(np.concatenate([here - left, here - upper]), -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        due = [*near, *np.clip(last[:, row, column] - here, -32, 32), *here, *maps[:, row, column]]
        assert inputs[:, row, column].tolist() == due


def test_the_second_pass_sees_what_the_first_decided():
    residual = np.zeros((2, 2, 2), np.int32)
    residual[:, 0, 0] = 4094, -5
    coded = np.array([[1, 0], [0, 0]], np.uint8)
    inputs = second_inputs(np.ones((FIRST_CHANNELS, 2, 2), np.float32), residual, coded)
    assert inputs.shape == (SECOND_CHANNELS, 2, 2)
    assert (inputs[:10] == 1).all()
    assert inputs[10:, 0, 0].tolist() == [ACTIVATION_LIMIT, -5, 1, 1]
    assert inputs[13].tolist() == [[1, 0], [0, 1]]


@given(st.integers(1, 7), st.integers(1, 7))
def test_the_passes_share_the_cells(rows, columns):
    first, second = pass_cells(rows, columns)
    assert sorted([*first, *second]) == list(range(rows * columns))
    assert all(sum(divmod(cell, columns)) % 2 == 0 for cell in first)


@given(st.lists(st.integers(-HEAD_LIMIT, HEAD_LIMIT), min_size=5, max_size=5), st.integers(0, 2))
def test_heads_become_rows_and_means(values, precision):
    odds = cell_odds(np.array(values, np.float32)[:, None], precision)
    assert odds.significances[0] == 64 + min(max(floor(Fraction(values[0], 4) + Fraction(1, 2)) + 32, 0), 63)
    for axis in (0, 1):
        mean = floor(Fraction(values[1 + axis], 1 << precision) + Fraction(1, 2))
        assert odds.means[axis, 0] == mean
        row = min(max(floor(Fraction(values[3 + axis] + 108, 4) + Fraction(1, 2)), 0), 63)
        assert odds.spreads[axis, 0] == max(row - 6 * precision, 0)


def test_a_vector_is_its_parent_and_so_many_units():
    parent = np.array([[3], [-2040]], np.int32)
    assert moved(parent, np.array([[-2], [-5]], np.int32), 2).tolist() == [[-5], [-2047]]


def _random_choice(rng):
    """A chooser that chooses whatever it likes."""

    def choose(level, cells, parent, odds):
        significant = rng.random(len(cells)) < 0.4
        symbols = rng.integers(-40, 41, (2, int(significant.sum()))).astype(np.int32)
        return significant, symbols

    return choose


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2), st.sampled_from([1, 2]), st.integers(0, 99))
def test_motion_comes_back_from_its_string(height, width, precision, count, seed):
    rng = np.random.default_rng(seed)
    references = [state(50 * number, 50, random_motion(rng, height, width)) for number in range(count)]
    pts = 20 if count == 2 else 90
    coded = code_motion(pts, references, precision, NETWORKS, [_random_choice(rng)] * count)
    reader = MotionReader(pack_string(coded.passes, TABLES.inter.motion), TABLES.inter)
    back = code_motion(pts, references, precision, NETWORKS, [reader] * count)
    reader.finish()
    assert back.crc() == coded.crc()
    assert len(back.motions) == count
    for one, other in zip(back.motions, coded.motions, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.fields, other.fields, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(one.coded, other.coded, strict=True))
        assert [field.shape[1:] for field in one.fields] == list(grid_sizes(height, width))
        assert max(np.abs(field).max() for field in one.fields) <= FIELD_LIMIT


def _cells(grid):
    """[2, rows, columns] or [rows, columns] as {(row, column): (x, y) or number}."""
    if grid.ndim == 3:
        return {cell: tuple(int(each) for each in grid[:, *cell]) for cell in np.ndindex(grid.shape[1:])}
    return {cell: int(grid[cell]) for cell in np.ndindex(grid.shape)}


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(1, 2**18), st.integers(0, 99))
def test_a_decoder_written_from_the_page_alone_decodes_the_same(height, width, precision, ticks, seed):
    rng = np.random.default_rng(seed)
    motion = random_motion(rng, height, width, reach=900)
    references = [state(0, 1, no_motion(height, width)), state(3 * ticks, 2 * ticks, motion)]
    coded = code_motion(ticks, references, precision, NETWORKS, [_random_choice(rng)] * 2)
    reader = StringReader(pack_string(coded.passes, TABLES.inter.motion))

    def prior(level, is_second, planes):
        rows, columns = (max(cell[axis] for cell in planes) + 1 for axis in (0, 1))
        numbers = np.array([planes[cell] for cell in np.ndindex(rows, columns)], np.float32)
        heads = NETWORKS.predict_motion(level, is_second, numbers.T.reshape(-1, rows, columns))
        return {cell: [int(each) for each in heads[:, *cell]] for cell in planes}

    def read(rows):
        return reader.read(np.array(rows, np.uint8), TABLES.inter.motion).tolist()

    predicted = [timed(_cells(field), 1, ticks, 2 * ticks) for field in motion.fields]
    maps = [_cells(each) for each in motion.coded]
    for due in coded.motions:
        fields, maps = decode_motion(predicted, maps, precision, prior, read)
        assert fields == [_cells(each) for each in due.fields]
        assert maps == [_cells(each) for each in due.coded]
        predicted = [timed(field, -1, 2 * ticks, ticks) for field in fields]
    reader.finish()


def test_cells_that_are_not_significant_take_their_parents_vectors():
    last = random_motion(np.random.default_rng(3), 3, 4)

    def nothing(level, cells, parent, odds):
        return np.zeros(len(cells), bool), np.zeros((2, 0), np.int32)

    motion = code_motion(50, [state(0, 50, last)], 0, NETWORKS, [nothing]).motions[0]
    assert np.array_equal(motion.fields[0], last.fields[0])
    assert np.array_equal(motion.fields[1], grown(last.fields[0], (3, 4)))
    assert np.array_equal(motion.fields[2], grown(motion.fields[1], (6, 8)))
    assert not any(coded.any() for coded in motion.coded)


def test_symbols_stand_in_the_order_of_the_format():
    """For each reference, level and pass: all significances, then x of the significant cells, then y."""
    rng = np.random.default_rng(5)
    references = [state(0, 1, no_motion(3, 5)), state(40, 40, random_motion(rng, 3, 5))]
    coded = code_motion(20, references, 0, NETWORKS, [_random_choice(rng)] * 2)
    assert len(coded.passes) == 2 * 3 * 2 * 2
    passes = iter(coded.passes)
    for motion in coded.motions:
        for field, significant in zip(motion.fields, motion.coded, strict=True):
            for cells in pass_cells(*significant.shape):
                flags, vectors = next(passes), next(passes)
                assert flags.symbols.tolist() == significant.ravel()[cells].tolist()
                assert flags.indexes.min() >= 64
                assert len(vectors.symbols) == 2 * int(flags.symbols.sum())
                assert (vectors.indexes < 64).all()
            assert field.shape[1:] == significant.shape


def test_a_cell_that_is_neither_significant_nor_not_is_refused():
    passes = [Pass(np.full(2, -1, np.int32), np.full(2, 96, np.uint8))]
    reader = MotionReader(pack_string(passes, TABLES.inter.motion), TABLES.inter)
    with pytest.raises(BrokenString, match="neither significant nor not"):
        code_motion(9, [state(0, 1, no_motion(1, 1))], 0, _EvenOdds(), [reader])


class _EvenOdds:
    def predict_motion(self, level, second, inputs):
        return np.zeros((5, *inputs.shape[1:]), np.float32)


def _motion_arrays(rng, channels=4):
    """Random integers in the places of a bundle's motion prior."""
    arrays = {}
    for level in range(3):
        for second in (False, True):
            entering = SECOND_CHANNELS if second else FIRST_CHANNELS
            shapes = {"entry": (channels, entering), "head": (5, channels)}
            for block in ("block0", "block1"):
                shapes |= {
                    f"{block}.branch_in": (channels, channels),
                    f"{block}.depthwise": (channels, 3, 3),
                    f"{block}.branch_out": (channels, channels),
                    f"{block}.feed_in": (2 * channels, channels),
                    f"{block}.feed_out": (channels, 2 * channels),
                }
            for name, shape in shapes.items():
                stem = f"{motion_stem(level, second)}{name}"
                arrays[f"{stem}.weight"] = rng.integers(-90, 91, shape).astype(np.int16)
                arrays[f"{stem}.bias"] = rng.integers(-500, 501, shape[0]).astype(np.int32)
                arrays[f"{stem}.shift"] = rng.integers(4, 8, shape[0]).astype(np.uint8)
    return arrays


def test_the_motion_prior_reads_its_own_layers():
    rng = np.random.default_rng(8)
    arrays = _motion_arrays(rng)
    oracle = IntegerMotionPrior(arrays)
    for level in range(3):
        for second in (False, True):
            inputs = rng.integers(-2047, 2048, (SECOND_CHANNELS if second else FIRST_CHANNELS, 3, 5))
            heads = oracle(level, second, inputs)
            assert heads.shape == (5, 3, 5)
            assert heads.dtype == np.int64
            assert np.abs(heads).max() <= HEAD_LIMIT
            name = f"{motion_stem(level, second)}head.bias"
            other = IntegerMotionPrior({**arrays, name: arrays[name] + 4096})
            assert (other(level, second, inputs) > heads).all()
    assert motion_stem(2, True) == "inter.motion.2.second."


def test_inter_tables_survive_their_arrays():
    back = CodecTables.from_arrays(TABLES.to_arrays())
    assert len(back.inter.motion.rows) == 128
    for one, other in zip(back.inter.motion.rows, TABLES.inter.motion.rows, strict=True):
        assert np.array_equal(one, other)
    for name in ("levels", "classes"):
        found, due = getattr(back.inter, name), getattr(TABLES.inter, name)
        assert found.skip_below == due.skip_below
        assert all(np.array_equal(*each) for each in zip(found.rows, due.rows, strict=True))
    assert np.array_equal(back.inter.steps, TABLES.inter.steps)
    assert np.array_equal(back.inter.weights, TABLES.inter.weights)
    without = dataclasses.replace(TABLES, inter=None)
    assert CodecTables.from_arrays(without.to_arrays()).inter is None
    assert without.kinds == (FrameKind.I,)


@pytest.mark.parametrize(("rows", "skip_below"), [(64, 0), (128, 1)])
def test_motion_tables_of_another_size_are_refused(rows, skip_below):
    motion = SymbolTables(TABLES.inter.motion.rows[:rows], skip_below)
    fields = {each.name: getattr(TABLES.inter, each.name) for each in dataclasses.fields(InterTables)}
    with pytest.raises(ValueError, match="motion tables are"):
        InterTables(**{**fields, "motion": motion})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"levels": SymbolTables(TABLES.inter.levels.rows[:64], 0)}, "level tables are 64 rows"),
        ({"classes": SymbolTables(TABLES.inter.classes.rows[:2], 0)}, "class tables are 2 rows"),
        ({"classes": SymbolTables(TABLES.inter.classes.rows, 1)}, "that skip 1"),
        ({"steps": TABLES.inter.steps[:80]}, "quantiser steps are"),
        ({"steps": 0 * TABLES.inter.steps}, "quantiser steps are"),
        ({"weights": TABLES.inter.weights[:, :64]}, "band weights are"),
    ],
)
def test_tables_of_residuals_of_another_size_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(TABLES.inter, **changes)


def test_prices_are_those_of_the_coder():
    prices, farthest = TABLES.inter.motion.prices()
    rng = np.random.default_rng(9)
    symbols = rng.integers(-30, 31, 4000).astype(np.int32)
    rows = np.full(4000, 20, np.uint8)
    got = 8 * len(pack_string([Pass(symbols, rows)], TABLES.inter.motion))
    assert abs(got - prices[20, symbols + farthest].sum()) < 80
