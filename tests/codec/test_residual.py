"""The residual of P and B frames: its layout, contexts, passes, levels and decisions."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.clips import NETWORKS, TABLES, TICKS, make_frame, moving_clip, pair, same_frames, scheduled
from zvc69_cli.codec.entropy.coder import BrokenString, Pass, StringReader, StringWriter, pack_string
from zvc69_cli.codec.entropy.payload import Sections
from zvc69_cli.codec.motion.fields import Motion, no_motion
from zvc69_cli.codec.picture.loop_filter import STRENGTH_UNIT, best_strength, edge_planes
from zvc69_cli.codec.residual.coding import (
    CodedLevels,
    LevelReader,
    class_passes,
    code_levels,
    level_passes,
    read_classes,
)
from zvc69_cli.codec.residual.context import (
    INPUTS,
    LOGS,
    ReferenceLevels,
    levels_left,
    no_levels,
    state_inputs,
)
from zvc69_cli.codec.residual.layout import (
    BAND_ORDER,
    BANDS,
    CLASS_CONTEXTS,
    CLASSES,
    ENERGY_MEMBERS,
    FREQUENCIES,
    GROUP_SIZES,
    GROUPS,
    PASSES,
    basis,
    group_of_pass,
    pass_places,
)
from zvc69_cli.codec.residual.quantise import LevelChooser
from zvc69_cli.codec.residual.shrink import choose_classes
from zvc69_cli.codec.residual.steps import STEP_UNITS, quantiser_steps, steps_of_coefficients
from zvc69_cli.codec.settings import MAX_INTRA_Q, CodecSettings
from zvc69_cli.errors import DamagedPacket, SymbolMismatch
from zvc69_cli.frames import FrameKind, VideoFormat

INTER = TABLES.inter


def coded_clip(video, frames, codec_settings):
    encoder, decoder = pair(video, codec_settings)
    coded = [encoder.quantise(each) for each in scheduled(video, frames, codec_settings, encoder.base_q_256)]
    return encoder, decoder, coded


def test_bands_stand_in_the_order_of_coding():
    assert GROUP_SIZES == (5, 22, 69)
    assert sorted(BAND_ORDER.tolist()) == list(range(BANDS))
    assert BAND_ORDER[:6].tolist() == [0, 1, 8, 64, 80, 2]
    frequencies = FREQUENCIES[BAND_ORDER]
    for group, (low, high) in zip(GROUPS, ((0, 1), (2, 4), (5, 14)), strict=True):
        assert frequencies[group].min() == low
        assert frequencies[group].max() == high
    members = np.concatenate(ENERGY_MEMBERS)
    assert sorted(members.tolist()) == list(range(BANDS))


def test_the_transform_is_orthonormal_and_its_first_coefficients_are_means():
    rows = basis()
    assert np.allclose(rows @ rows.T, np.eye(BANDS))
    flat = rows @ np.ones(BANDS)
    assert flat[[0, 3, 4]] == pytest.approx([8, 4, 4])
    assert np.delete(flat, [0, 3, 4]) == pytest.approx(0, abs=1e-12)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_passes_and_slices_cover_every_coefficient_once(unit_rows, unit_columns, slices):
    height, width = 2 * unit_rows, 2 * unit_columns
    edges = np.linspace(0, unit_rows, min(slices, unit_rows) + 1).astype(int)
    seen = np.zeros((BANDS, height * width), int)
    for number in range(PASSES):
        group = seen[GROUPS[group_of_pass(number)]].reshape(-1)
        for start, end in itertools.pairwise(edges):
            places = pass_places(number, height, width, int(start), int(end - start))
            assert np.all(np.diff(places) > 0)
            rows = places % (height * width) // width
            assert rows.min(initial=2 * start) >= 2 * start and rows.max(initial=0) < max(1, 2 * end)
            group[places] += 1
    assert np.all(seen == 1)


def test_steps_fall_with_q_and_are_finer_in_luma():
    steps = quantiser_steps()
    assert steps.shape == (128, 2)
    assert np.all(np.diff(steps, axis=0) < 0)
    assert np.all(np.diff(np.log(steps[79:]), axis=0) == pytest.approx(-np.log(51_000 / 40) / 79 / 2, abs=1e-3))
    of_coefficients = steps_of_coefficients(INTER.steps_at(256 * 40))
    assert of_coefficients[[0, 1, 2]] == pytest.approx(steps[40, 0] / STEP_UNITS)
    assert of_coefficients[[3, 4]] == pytest.approx(steps[40, 1] / STEP_UNITS)


def test_logarithms_are_rounded_sixteenths():
    assert LOGS[[0, 1, 3, 65_535]].tolist() == [0, 16, 32, 256]
    exact = 16 * np.log2(1 + np.arange(len(LOGS)))
    assert np.abs(exact - LOGS).max() <= 0.5
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6  # no machine can round one the other way


def _moving(height, width, vector):
    still = no_motion(height // 2, width // 2)
    fields = tuple(each + np.array(vector, np.int32)[:, None, None] for each in still.fields)
    return Motion(fields, still.coded)


def test_energies_follow_the_motion_in_whole_cells():
    levels = np.zeros((BANDS, 4, 6), np.int32)
    levels[0, 2, 3], levels[5, 2, 3] = -7, 3  # luma DC, and luma (0, 2)
    left = levels_left(levels, 256 * 30)
    assert left.energies[:, 2, 3].tolist() == [7, 0, 3, 0, 0, 0, 0, 0, 0]
    classes = np.zeros((2, 3), np.uint8)
    for vector, row, column in (((0, 0), 2, 3), ((32, -32), 3, 2), ((15, 0), 2, 3), ((16, 0), 2, 2)):
        inputs = state_inputs(256 * 30, classes, [left], [_moving(4, 6, vector)], INTER)
        assert inputs.shape == (INPUTS, 4, 6)
        expected = np.zeros((4, 6))
        expected[row, column] = LOGS[7]
        assert np.array_equal(inputs[9], expected), vector
        assert np.array_equal(inputs[18], expected), vector  # a P frame's one reference counts twice


def test_energies_are_rescaled_to_the_steps_of_the_frame():
    energies = np.full((9, 2, 2), 100, np.int32)
    still = _moving(2, 2, (0, 0))
    inputs = state_inputs(
        256 * 40, np.zeros((1, 1), np.uint8), [ReferenceLevels(energies, 256 * 30)], [still], INTER
    )
    ratios = (INTER.steps_at(256 * 30) << 8) // INTER.steps_at(256 * 40)
    assert inputs[9, 0, 0] == LOGS[100 * ratios[0] >> 8]
    assert inputs[17, 0, 0] == LOGS[100 * ratios[1] >> 8]
    huge = ReferenceLevels(np.full((9, 2, 2), 200_000, np.int32), 0)
    assert state_inputs(256 * 127, np.zeros((1, 1), np.uint8), [huge], [still], INTER)[9].max() == LOGS[-1]


def test_the_other_inputs_are_as_the_format_says():
    motions = [_moving(4, 6, (5, -9)), _moving(4, 6, (0, 3))]
    motions[0].fields[2][0, 1, 2] += 4
    motions[0].coded[1][1, 2] = 1
    classes = np.arange(6).reshape(2, 3).astype(np.uint8) % CLASSES
    inputs = state_inputs(256 * 40 + 128, classes, [no_levels(4, 6)] * 2, motions, INTER)
    assert inputs[0, 0, 0] == 648 and inputs[1, 0, 0] == (256 * 40 + 128) ** 2 >> 19
    assert np.all(inputs[2] == 1)
    assert np.array_equal(inputs[3:7].argmax(0), classes.repeat(2, 0).repeat(2, 1))
    assert inputs[7, :, 0].tolist() == [0, 1, 0, 1] and inputs[8, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert not inputs[9:27].any()
    assert inputs[27, 0, 0] == LOGS[5] and inputs[28, 0, 0] == LOGS[9] and inputs[27, 1, 2] == LOGS[9]
    assert inputs[29, 1].tolist() == [0, 0, LOGS[4], LOGS[4], 0, 0]
    assert inputs[30, :, 2].tolist() == [0, LOGS[4], LOGS[4], 0]
    assert inputs[31, 0, 0] == 0 and inputs[32, 0, 0] == LOGS[3]
    assert inputs[36, 2:, 4:].all() and inputs[36].sum() == 4
    assert not inputs[38:].any()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_classes_come_back_from_their_string(rows, columns, seed):
    rng = np.random.default_rng(seed)
    classes = (rng.integers(0, CLASSES, (rows, columns)) * (rng.random((rows, columns)) < 0.4)).astype(np.uint8)
    writer = StringWriter()
    for each in class_passes(classes):
        assert each.indexes.max(initial=0) < CLASS_CONTEXTS
        writer.add(each, INTER.classes)
    reader = StringReader(writer.packed())
    assert np.array_equal(read_classes(reader, (rows, columns), INTER), classes)
    reader.finish()


@pytest.mark.parametrize("value", [-1, CLASSES])
def test_a_class_that_there_is_not_is_refused(value):
    reader = StringReader(
        pack_string([Pass(np.array([value], np.int32), np.zeros(1, np.uint8))], INTER.classes)
    )
    with pytest.raises(BrokenString, match=r"a class is not in 0\.\.3"):
        read_classes(reader, (1, 1), INTER)


def _random_case(seed, height=6, width=8, scale=1.5):
    rng = np.random.default_rng(seed)
    coefficients = rng.laplace(0, scale, (BANDS, height, width)).astype(np.float32)
    inputs = state_inputs(
        256 * 50, np.zeros((height // 2, width // 2), np.uint8), [no_levels(height, width)],
        [_moving(height, width, (3, 4))], INTER,
    )  # fmt: skip
    return coefficients, inputs


@pytest.mark.parametrize("slices", [((0, 3),), ((0, 1), (1, 2)), ((0, 1), (1, 1), (2, 1))])
def test_levels_come_back_from_their_strings(slices):
    coefficients, inputs = _random_case(4)
    coefficients[50, 3, 3] = 3_000.2  # an escape
    coded = code_levels(NETWORKS, inputs, LevelChooser(coefficients, INTER.levels, 1, 9.0))
    assert coded.levels.any()
    strings = []
    for start, count in slices:
        writer = StringWriter()
        for each in level_passes(coded, start, count):
            writer.add(each, INTER.levels)
        strings.append(writer.packed())
    sections = Sections(picture=strings[0])
    if len(slices) > 1:
        parts = tuple(_slice(*each) for each in zip(slices, strings, strict=True))
        sections = Sections(picture=b"", slices=parts)
    reader = LevelReader(sections, StringReader(sections.picture), 3, INTER.levels)
    found = code_levels(NETWORKS, inputs, reader)
    reader.finish()
    assert np.array_equal(found.levels, coded.levels)
    assert np.array_equal(found.rows, coded.rows)


def _slice(part, string):
    from zvc69_cli.codec.entropy.payload import Slice

    return Slice(*part, string)


def test_a_pass_sees_only_what_was_coded_before_it():
    coefficients, inputs = _random_case(9)
    coded = code_levels(NETWORKS, inputs, LevelChooser(coefficients, INTER.levels, 1, 9.0))
    other = coefficients.copy()
    other[GROUPS[2]] += 4  # only the last two passes see another picture
    changed = code_levels(NETWORKS, inputs, LevelChooser(other, INTER.levels, 1, 9.0))
    assert np.array_equal(changed.levels[: GROUPS[2].start], coded.levels[: GROUPS[2].start])
    assert np.array_equal(changed.rows[: GROUPS[2].start], coded.rows[: GROUPS[2].start])


def _alone(size, row, level, worth):
    """The level that is chosen of one coefficient whose row is given."""
    coefficients = np.zeros((BANDS, 2, 2), np.float32)
    coefficients[40, 0, 0] = size
    rows = np.full((GROUP_SIZES[2], 2, 2), row, np.uint8)
    chooser = LevelChooser(coefficients, INTER.levels, level, worth)
    return int(chooser(4, rows)[40 - GROUPS[2].start, 0, 0])


@given(st.floats(-40, 40), st.integers(INTER.levels.skip_below, 191), st.floats(4, 30))
def test_a_level_decided_by_its_cost_is_never_dearer_than_one_that_is_rounded(size, row, worth):
    prices, farthest = INTER.levels.prices()

    def cost(level):
        return worth * (abs(np.float32(size)) - abs(level)) ** 2 + prices[row, farthest + level]

    rounded, decided = (_alone(size, row, level, worth) for level in (0, 1))
    assert rounded == np.sign(size) * np.floor(abs(np.float32(size)) + np.float32(0.25))
    assert cost(decided) <= cost(rounded) + 1e-3
    assert decided * size >= 0


def test_a_lone_level_that_does_not_pay_is_left_out_with_its_unit():
    assert _alone(0.9, 120, 1, 9.0) == 1
    assert _alone(0.9, 120, 2, 9.0) == 0
    assert _alone(8.0, 120, 2, 9.0) == _alone(8.0, 120, 1, 9.0) == 8


def test_rows_that_are_skipped_code_nothing():
    assert all(_alone(9.0, INTER.levels.skip_below - 1, level, 9.0) == 0 for level in range(3))


def test_nothing_to_code_takes_no_bit():
    _, inputs = _random_case(2)
    nothing = LevelChooser(np.zeros((BANDS, 6, 8), np.float32), INTER.levels, 2, 9.0)
    still = np.zeros_like(inputs)
    coded = code_levels(NETWORKS, still, nothing)
    assert not coded.levels.any()
    assert pack_string(level_passes(CodedLevels(*coded), 0, 3), INTER.levels) == b""


def test_a_class_is_chosen_where_it_saves_more_than_it_costs():
    bits = np.array([[[10.0, 10.0, 10.0]], [[9.0, 7.0, 12.0]], [[8.5, 8.5, 3.0]], [[11, 11, 11]]], np.float32)
    assert choose_classes(bits).tolist() == [[0, 1, 2]]


@given(st.floats(0.05, 2.5), st.integers(0, 2**31))
def test_the_strength_has_the_least_error(share, seed):
    rng = np.random.default_rng(seed)
    correction = rng.normal(size=(3, 400))
    lack = share * correction + 0.1 * rng.normal(size=(3, 400))
    sums = [(lack * correction).sum(1), (correction**2).sum(1), (lack**2).sum(1)]
    strength = best_strength(*(each.astype(np.float32) for each in sums), 256 * 20)
    assert strength == pytest.approx(min(255, share * STRENGTH_UNIT), abs=8)


def test_a_filter_that_does_not_help_is_off():
    one = np.ones(3, np.float32)
    assert best_strength(-one, one, one, 0) == 0
    assert best_strength(0 * one, 0 * one, one, 0) == 0
    assert best_strength(one, one, 1e5 * one, 0) == 0


def test_edges_are_where_vectors_differ():
    motion = no_motion(2, 2)
    motion.fields[2][:, 1, 2] = 3, -4
    edges = edge_planes((motion,))
    assert edges.shape == (4, 4, 4)
    assert np.array_equal(edges[:2], edges[2:])
    assert edges[0, 1].tolist() == pytest.approx([0, 0, 0.75, 0.75])
    assert edges[1, :, 2].tolist() == pytest.approx([0, 0.75, 0.75, 0])


@pytest.mark.parametrize("size", [(17, 19), (127, 71)])
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("rdoq_level", [0, 1, 2])
def test_odd_sizes_come_back_as_the_encoder_saw_them(size, bit_depth, slices, rdoq_level):
    video = VideoFormat(width=size[0], height=size[1], bit_depth=bit_depth)
    asked = CodecSettings(qp=60, bframes=3, b_adapt=0, slices=slices, rdoq_level=rdoq_level, scenecut=0)
    encoder, decoder, coded = coded_clip(video, moving_clip(video, 5, 3), asked)
    strengths = set()
    for quantised in coded:
        parsed = decoder.parse(encoder.pack(quantised))
        assert parsed.symbol_crc() == quantised.symbol_crc()
        assert same_frames(decoder.reconstruct(parsed), encoder.reconstruct(quantised))
        if quantised.residual is not None:
            strengths.add(quantised.residual.strength)
    assert strengths


@pytest.mark.parametrize("strength", [0, 1, 128, 255])
def test_every_strength_decodes_as_it_was_coded(strength):
    video = VideoFormat(width=64, height=48)
    encoder, decoder, coded = coded_clip(video, moving_clip(video, 2, 3), CodecSettings(qp=60, bframes=0))
    decoder.reconstruct(decoder.parse(encoder.pack(coded[0])))
    residual = coded[1].residual._replace(strength=strength)
    changed = dataclasses.replace(coded[1], residual=residual, picture=None)
    parsed = decoder.parse(encoder.pack(changed))
    assert parsed.residual.strength == strength
    decoder.reconstruct(parsed)


def test_a_nearly_still_clip_takes_few_bytes_a_frame():
    video = VideoFormat(width=128, height=96)
    first = make_frame(video)
    frames = [first]
    for number in range(1, 6):
        y = first.y.copy()
        y[number, number] ^= 1  # not the same picture, so that nothing is skipped for being equal
        frames.append(dataclasses.replace(first, y=y, pts=number * TICKS))
    encoder, _, coded = coded_clip(video, frames, CodecSettings(qp=80, bframes=0))
    assert all(len(encoder.pack(each).payload) <= 24 for each in coded[1:])


def test_a_frame_without_a_strength_is_refused():
    video = VideoFormat(width=64, height=48)
    encoder, decoder, coded = coded_clip(video, moving_clip(video, 2, 3), CodecSettings(qp=60, bframes=0))
    decoder.parse(encoder.pack(coded[0]))
    packet = encoder.pack(coded[1])
    for payload in (packet.payload[:1], packet.payload[:2]):
        with pytest.raises(DamagedPacket):
            decoder.parse(dataclasses.replace(packet, payload=payload))


def test_a_wrong_strength_is_noticed():
    video = VideoFormat(width=64, height=48)
    encoder, decoder, coded = coded_clip(video, moving_clip(video, 2, 3), CodecSettings(qp=60, bframes=0))
    decoder.parse(encoder.pack(coded[0]))
    packet = encoder.pack(coded[1])
    payload = bytearray(packet.payload)
    payload[1] ^= 1
    with pytest.raises(SymbolMismatch):
        decoder.parse(dataclasses.replace(packet, payload=bytes(payload)))


def test_an_i_frame_above_its_last_q_is_refused():
    video = VideoFormat(width=64, height=48)
    encoder, decoder, coded = coded_clip(video, moving_clip(video, 1), CodecSettings(qp=48, keyint=1))
    packet = encoder.pack(coded[0])
    assert coded[0].q_256 == MAX_INTRA_Q
    decoder.parse(packet)
    assert packet.kind is FrameKind.I
    with pytest.raises(DamagedPacket, match="q is"):
        decoder.parse(dataclasses.replace(packet, q_offset=packet.q_offset + 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2))
def test_encoding_is_the_same_every_time(seed, level):
    coefficients, inputs = _random_case(seed)
    found = [
        code_levels(NETWORKS, inputs, LevelChooser(coefficients, INTER.levels, level, 9.0)).levels
        for _ in range(2)
    ]
    assert np.array_equal(*found)
