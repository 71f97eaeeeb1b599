"""P and B frames on the toy: pyramids, skipped frames, lost references, damage."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.clips import (
    NETWORKS,
    TICKS,
    make_frame,
    moving_clip,
    pair,
    same_frames,
    scheduled,
    still_clip,
)
from tests.toy import ToyIntraNetworks, ToyNetworks, plan_of, toy_intra_tables
from zvc69_cli.codec.motion.fields import grid_sizes
from zvc69_cli.codec.motion.search import worth
from zvc69_cli.codec.picture.planes import latent_size, quarter_samples, search_plane
from zvc69_cli.codec.picture.references import EmptySlot, Slots
from zvc69_cli.codec.picture.skipping import LEAST_BITS, pays_to_skip, picture_error
from zvc69_cli.codec.rate.quality import error_price
from zvc69_cli.codec.settings import MAX_INTRA_Q, CodecSettings
from zvc69_cli.errors import DamagedPacket, MissingReference, SymbolMismatch
from zvc69_cli.frames import FrameKind, VideoFormat

I, P, B = FrameKind.I, FrameKind.P, FrameKind.B  # noqa: E741
VIDEO = VideoFormat(width=64, height=48)


def coded_clip(video, frames, codec_settings=None):
    """Encoder, decoder, and for each frame in coding order the plan, what was quantised and its packet."""
    encoder, decoder = pair(video, codec_settings or CodecSettings(qp=68))
    coded = []
    for planned in scheduled(video, frames, encoder.settings, encoder.base_q_256):
        quantised = encoder.quantise(planned)
        coded.append((planned, quantised, encoder.pack(quantised)))
    return encoder, decoder, coded


def assert_same_integers(one, other):
    for name in ("kind", "coding_index", "pts", "dts", "q_256", "temporal_layer", "references", "stored_in"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("hyper", "symbols", "indexes", "latent"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.is_skipped == other.is_skipped
    assert (one.motion is None) == (other.motion is None)
    assert (one.residual is None) == (other.residual is None)
    if one.residual is not None:
        for mine, theirs in zip(one.residual, other.residual, strict=True):
            assert np.array_equal(mine, theirs)
    assert one.symbol_crc() == other.symbol_crc()


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(16, 100),
    height=st.integers(16, 100),
    bit_depth=st.sampled_from([8, 10]),
    bframes=st.sampled_from([0, 1, 3, 7]),
    count=st.integers(2, 11),
    slices=st.integers(1, 3),
    crf=st.floats(0, 51),
    precision=st.sampled_from(["quarter", "half", "full"]),
    start=st.sampled_from([0, -(2**61), 2**61]),
    ticks=st.sampled_from([1, 40, 2**40]),
)
def test_a_clip_comes_back_as_the_encoder_saw_it(
    width, height, bit_depth, bframes, count, slices, crf, precision, start, ticks
):
    video = VideoFormat(width=width, height=height, bit_depth=bit_depth)
    asked = CodecSettings(bframes=bframes, crf=crf, slices=slices, motion_precision=precision)
    encoder, decoder, coded = coded_clip(video, moving_clip(video, count, 2, ticks, start), asked)
    assert sorted(planned.frame.pts for planned, _, _ in coded) == [
        start + each * ticks for each in range(count)
    ]
    for planned, quantised, packet in coded:
        parsed = decoder.parse(packet)
        assert_same_integers(parsed, quantised)
        got, due = decoder.reconstruct(parsed), encoder.reconstruct(quantised)
        assert same_frames(got, due)
        assert got.pts == planned.frame.pts
        assert got.y.shape == planned.frame.y.shape
        assert got.y.dtype == planned.frame.y.dtype


def test_a_pyramid_is_coded_as_one():
    _, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 9), CodecSettings(bframes=7, b_adapt=0, qp=68))
    assert [packet.kind for _, _, packet in coded] == [I, P, *[B] * 7]
    assert [packet.pts // TICKS for _, _, packet in coded] == [0, 8, 4, 2, 1, 3, 6, 5, 7]
    for _, quantised, packet in coded[2:]:
        assert packet.references.bit_count() == 2
        assert packet.temporal_layer == quantised.temporal_layer > 0
        assert len(quantised.motion.motions) == 2


def test_pictures_are_made_whenever_they_are_asked_for():
    """`reconstruct` once had to follow its `quantise` at once: a queue lies between them."""
    encoder, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 9))
    due = [decoder.reconstruct(decoder.parse(packet)) for _, _, packet in coded]
    got = [encoder.reconstruct(quantised) for _, quantised, _ in reversed(coded)]
    assert all(same_frames(*each) for each in zip(due, reversed(got), strict=True))


def test_pictures_may_wait_until_all_is_parsed():
    encoder, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 9))
    parsed = [decoder.parse(packet) for _, _, packet in coded]
    for each, (_, quantised, _) in zip(parsed, coded, strict=True):
        assert same_frames(decoder.reconstruct(each), encoder.reconstruct(quantised))


def test_motion_is_found_and_pays():
    frames = moving_clip(VIDEO, 3, step=4)
    _, _, coded = coded_clip(VIDEO, frames, CodecSettings(bframes=0, qp=58))
    motion = coded[1][1].motion.motions[0]
    assert any(significant.any() for significant in motion.coded)
    # The picture moves to the left: what is here now was 4 samples further to the right.
    assert np.median(motion.fields[2][0]) == 16
    assert np.median(motion.fields[2][1]) == 0


def test_whole_steps_are_whole():
    frames = moving_clip(VIDEO, 2, step=4)
    _, _, coded = coded_clip(VIDEO, frames, CodecSettings(bframes=0, qp=58, motion_precision="full"))
    motion = coded[1][1].motion
    assert motion.precision == 2
    assert not np.any(motion.motions[0].fields[0] % 4)


@pytest.mark.parametrize("effort", ["fast", "full", "thorough"])
def test_the_search_looks_as_long_as_asked(effort, monkeypatch):
    seen = []
    usual = ToyNetworks.search
    monkeypatch.setattr(
        ToyNetworks,
        "search",
        lambda self, y, samples, effort: seen.append(effort) or usual(self, y, samples, effort),
    )
    coded_clip(VIDEO, moving_clip(VIDEO, 2), CodecSettings(bframes=0, motion_search=effort))
    assert seen == [effort]


def test_a_sparse_search_leaves_out_what_no_frame_needs(monkeypatch):
    """Their motion is what is expected of them; the frames that others need are those of a fast search."""
    searched = []
    usual = ToyNetworks.search
    monkeypatch.setattr(
        ToyNetworks, "search", lambda self, *given: searched.append(given[-1]) or usual(self, *given)
    )
    frames, counts, payloads = moving_clip(VIDEO, 9, 4), [], []
    for effort in ("fast", "sparse"):
        searched.clear()
        settings = CodecSettings(bframes=3, b_adapt=0, scenecut=0, motion_search=effort)
        _, decoder, coded = coded_clip(VIDEO, frames, settings)
        counts.append(Counter(searched))
        payloads.append([packet.payload for _, _, packet in coded if packet.stored_in is not None])
        for _, quantised, packet in coded:
            parsed = decoder.parse(packet)
            assert_same_integers(parsed, quantised)
            if effort == "sparse" and packet.stored_in is None:
                assert not any(
                    significant.any() for each in parsed.motion.motions for significant in each.coded
                )
    # 8 frames behind the first: 2 P, 2 B that others need and 4 that none does.
    assert counts == [{"fast": 2 + 2 * 6}, {"fast": 2 + 2 * 2}]
    assert payloads[0] == payloads[1]


def test_a_better_q_costs_more():
    sizes = []
    for qp in (98, 73, 48):
        _, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 5), CodecSettings(qp=qp))
        sizes.append(sum(len(packet.payload) for _, _, packet in coded[1:]))
    assert sizes == sorted(sizes)


def test_packing_twice_gives_the_same_bytes():
    encoder, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 5))
    assert all(encoder.pack(quantised) == packet for _, quantised, packet in coded)


@pytest.mark.parametrize("bframes", [0, 3])
def test_a_still_clip_is_skipped(bframes):
    frames = still_clip(make_frame(VIDEO), 9)
    encoder, decoder, coded = coded_clip(VIDEO, frames, CodecSettings(bframes=bframes))
    assert len(coded[0][2].payload) > 0
    first = decoder.reconstruct(decoder.parse(coded[0][2]))
    for _, quantised, packet in coded[1:]:
        assert packet.payload == b""
        assert packet.symbol_crc == 0
        parsed = decoder.parse(packet)
        assert_same_integers(parsed, quantised)
        assert parsed.is_skipped
        assert np.array_equal(decoder.reconstruct(parsed).y, first.y)
        assert same_frames(encoder.reconstruct(quantised), dataclasses.replace(first, pts=packet.pts))


def test_after_skipped_frames_motion_goes_on():
    frames = still_clip(make_frame(VIDEO), 2)
    frames += [dataclasses.replace(each, pts=each.pts + 2 * TICKS) for each in moving_clip(VIDEO, 4)]
    asked = CodecSettings(bframes=0, scenecut=0, qp=68)
    encoder, decoder, coded = coded_clip(VIDEO, frames, asked)
    assert [quantised.is_skipped for _, quantised, _ in coded] == [False, True, False, False, False, False]
    for _, quantised, packet in coded:
        assert same_frames(decoder.reconstruct(decoder.parse(packet)), encoder.reconstruct(quantised))


def test_a_frame_that_is_to_be_better_than_its_reference_is_coded():
    encoder, _ = pair(VIDEO, CodecSettings(qp=88))
    frame = make_frame(VIDEO)
    encoder.quantise(plan_of(frame, stored_in=0))
    other = dataclasses.replace(frame, y=frame.y ^ 1, pts=TICKS)
    better = plan_of(other, P, 1, references=(0,), q_offset=512)
    assert not encoder.quantise(better).is_skipped


def test_skipping_is_paid_by_the_error_that_it_adds():
    water = LEAST_BITS / error_price(MAX_INTRA_Q) / 1000
    assert pays_to_skip(0.01 + 0.9 * water, 0.01, 1000, MAX_INTRA_Q)
    assert not pays_to_skip(0.01 + 1.1 * water, 0.01, 1000, MAX_INTRA_Q)
    assert pays_to_skip(0.01 + 1.1 * water, 0.01, 1000, MAX_INTRA_Q // 2)


def test_a_slow_fade_is_not_skipped_for_ever():
    frame = make_frame(VIDEO)
    frames = [
        dataclasses.replace(frame, y=np.minimum(frame.y, 250) + number // 3, pts=number * TICKS)
        for number in range(16)
    ]
    encoder, _, coded = coded_clip(VIDEO, frames, CodecSettings(bframes=0, qp=58, keyint=-1, scenecut=0))
    assert not all(quantised.is_skipped for _, quantised, _ in coded[1:])
    for planned, quantised, _ in coded:
        shown = encoder.reconstruct(quantised).y.astype(float)
        assert abs((shown - planned.frame.y).mean()) < 3


def test_an_error_of_a_chroma_plane_counts_half_of_lumas():
    flat = [np.full((4, 4), value, np.float32) for value in (0.5, 0.25, 0.0)]
    shown = [np.full((4, 4), value, np.float32) for value in (51.0, 0.0, 0.0)]
    assert picture_error(flat, shown, 255) == pytest.approx(0.75 * 0.09 + 0.375 * 0.0625)


@pytest.mark.parametrize(("number", "kind"), [(1, P), (2, B)])
def test_every_flipped_bit_of_a_payload_is_noticed(number, kind):
    encoder, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 3), CodecSettings(bframes=1, qp=68))
    packet = coded[number][2]
    assert packet.kind is kind
    decoder = _parsed_before(encoder, coded, packet)
    for position in range(len(packet.payload)):
        data = bytearray(packet.payload)
        data[position] ^= 1 << (position % 8)
        with pytest.raises((DamagedPacket, SymbolMismatch)):
            decoder.parse(dataclasses.replace(packet, payload=bytes(data)))
    decoder.parse(packet)


def _parsed_before(encoder, coded, packet):
    """A decoder that has parsed what comes before a packet."""
    _, decoder = pair(VIDEO, encoder.settings)
    for _, _, each in coded[: packet.coding_index]:
        decoder.parse(each)
    return decoder


def test_every_cut_payload_is_noticed():
    encoder, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 3), CodecSettings(bframes=1, qp=68))
    packet = coded[2][2]
    decoder = _parsed_before(encoder, coded, packet)
    for length in range(len(packet.payload)):
        with pytest.raises((DamagedPacket, SymbolMismatch)):
            decoder.parse(dataclasses.replace(packet, payload=packet.payload[:length]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_payload_is_refused(data):
    _, decoder, coded = _two_frames()
    decoder.parse(coded[0][2])
    with pytest.raises((DamagedPacket, SymbolMismatch)):
        decoder.parse(dataclasses.replace(coded[1][2], payload=data))


@lru_cache
def _two_frames():
    return coded_clip(VIDEO, moving_clip(VIDEO, 2), CodecSettings(bframes=0, qp=68))


def test_motion_that_another_machine_computes_differently_is_noticed():
    class Different(ToyNetworks):
        def predict_motion(self, level, second, inputs):
            return super().predict_motion(level, second, inputs) + 1

    encoder, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 2), CodecSettings(bframes=0, qp=58))
    _, decoder = pair(VIDEO, encoder.settings, Different())
    decoder.parse(coded[0][2])
    with pytest.raises(SymbolMismatch, match="computes the prior differently"):
        decoder.parse(coded[1][2])


def test_a_missing_reference_is_refused_by_its_slot():
    _, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 2), CodecSettings(bframes=0))
    with pytest.raises(MissingReference, match="packet 1: missing reference: slot 0 holds no picture"):
        decoder.parse(coded[1][2])


def test_a_lost_packet_takes_those_with_it_that_need_it_and_no_others():
    # Coding order 0 4 2 1 3, 8 6 5 7: packet 2 (shown as 2) is lost, 1 and 3 refer to it.
    encoder, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 9))
    assert [packet.pts // TICKS for _, _, packet in coded] == [0, 4, 2, 1, 3, 8, 6, 5, 7]
    shown = []
    for _, quantised, packet in coded:
        if packet.coding_index == 2:
            decoder.lose(packet)
            continue
        try:
            parsed = decoder.parse(packet)
        except MissingReference:
            continue
        assert same_frames(decoder.reconstruct(parsed), encoder.reconstruct(quantised))
        shown.append(packet.pts // TICKS)
    assert shown == [0, 4, 8, 6, 5, 7]


def test_a_packet_that_is_refused_leaves_its_slot_empty():
    _, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 4), CodecSettings(bframes=0))
    decoder.parse(coded[0][2])
    decoder.parse(coded[1][2])
    with pytest.raises(SymbolMismatch):
        decoder.parse(dataclasses.replace(coded[2][2], symbol_crc=1))
    with pytest.raises(MissingReference):
        decoder.parse(coded[3][2])


def test_after_an_unknown_loss_nothing_is_predicted_until_a_keyframe():
    asked = CodecSettings(bframes=0, keyint=3)
    _, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 5), asked)
    decoder.parse(coded[0][2])
    decoder.lose(None)
    for number in (1, 2):
        with pytest.raises(MissingReference):
            decoder.parse(coded[number][2])
    for number in (3, 4):
        decoder.reconstruct(decoder.parse(coded[number][2]))


def test_a_lost_keyframe_empties_every_slot():
    asked = CodecSettings(bframes=0, keyint=3, scenecut=0)
    _, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 5), asked)
    for number in range(3):
        decoder.parse(coded[number][2])
    assert coded[3][2].is_key
    decoder.lose(coded[3][2])
    with pytest.raises(MissingReference):
        decoder.parse(dataclasses.replace(coded[4][2], references=1 << coded[2][2].stored_in))


def test_a_picture_that_was_never_made_is_missed():
    _, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 2), CodecSettings(bframes=0))
    parsed = [decoder.parse(packet) for _, _, packet in coded]
    with pytest.raises(MissingReference):
        decoder.reconstruct(parsed[1])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"references": 0}, "references are 0x0 in a frame of type P"),
        ({"references": 3}, "references are 0x3 in a frame of type P"),
        ({"references": 0x100}, "references are 0x100"),
        ({"kind": B}, "references are 0x1 in a frame of type B"),
        ({"kind": I}, "references are 0x1 in a frame of type I"),
        ({"stored_in": 8}, "slot 8 of 8"),
        ({"q_offset": 20_000}, "q is"),
    ],
)
def test_headers_that_no_stream_can_hold_are_refused(changes, text):
    _, decoder, coded = coded_clip(VIDEO, moving_clip(VIDEO, 2), CodecSettings(bframes=0))
    decoder.parse(coded[0][2])
    with pytest.raises(DamagedPacket, match=text):
        decoder.parse(dataclasses.replace(coded[1][2], **changes))


@pytest.mark.parametrize(
    ("ticks", "past", "future", "ordered"), [(TICKS, 5, 2, (5, 2)), (0, 1, 0, (0, 1))], ids=["time", "slot"]
)
def test_references_are_ordered_by_time_and_where_that_is_equal_by_slot(ticks, past, future, ordered):
    encoder, decoder = pair(VIDEO)
    first, middle, last = moving_clip(VIDEO, 3, ticks=ticks, start=7)
    plans = [
        plan_of(first, stored_in=past),
        plan_of(last, P, 1, references=(past,), stored_in=future),
        plan_of(middle, B, 2, references=ordered[::-1]),
    ]
    for planned in plans:
        quantised = encoder.quantise(planned)
        parsed = decoder.parse(encoder.pack(quantised))
        assert_same_integers(parsed, quantised)
        assert same_frames(decoder.reconstruct(parsed), encoder.reconstruct(quantised))
    assert parsed.references == ordered


def test_an_i_frame_empties_every_slot():
    slots = Slots()
    slots.store("a", I, 3)
    slots.store("b", P, 4)
    assert (slots[3], slots[4]) == ("a", "b")
    slots.store("c", I, None)
    for slot in range(-1, 9):
        with pytest.raises(EmptySlot, match=f"slot {slot} holds no picture"):
            slots[slot]


def test_a_bundle_of_i_frames_only_codes_no_others():
    networks, tables = ToyIntraNetworks(), toy_intra_tables()
    encoder, decoder = pair(VIDEO, None, networks, tables)
    frames = moving_clip(VIDEO, 2)
    intra = encoder.quantise(plan_of(frames[0], stored_in=0))
    decoder.reconstruct(decoder.parse(encoder.pack(intra)))
    with pytest.raises(ValueError, match="codes I frames only, not P"):
        encoder.quantise(plan_of(frames[1], P, 1, references=(0,)))
    _, _, coded = coded_clip(VIDEO, frames, CodecSettings(bframes=0))
    with pytest.raises(DamagedPacket, match="frame type is P, this bundle codes I frames only"):
        decoder.parse(coded[1][2])


@pytest.mark.parametrize(("kind", "references"), [(P, (3,)), (P, ()), (B, (0,)), (B, (0, 0)), (I, (0,))])
def test_a_plan_that_refers_to_nothing_is_refused(kind, references):
    encoder, _ = pair(VIDEO)
    frames = moving_clip(VIDEO, 2)
    encoder.quantise(plan_of(frames[0], stored_in=0))
    with pytest.raises(ValueError, match=r"references|holds no picture"):
        encoder.quantise(plan_of(frames[1], kind, 1, references=references))


def test_every_cell_of_a_motion_is_coded_once():
    _, _, coded = coded_clip(VIDEO, moving_clip(VIDEO, 3), CodecSettings(bframes=1, qp=58))
    for _, quantised, _ in coded[1:]:
        cells = sum(rows * columns for rows, columns in grid_sizes(*latent_size(VIDEO)))
        rows = np.concatenate([each.indexes for each in quantised.motion.passes])
        assert np.count_nonzero(rows >= 64) == len(quantised.motion.motions) * cells


def test_an_error_above_the_water_costs_half_a_bit_a_factor_of_two():
    bits = worth(np.array([0.0, 1e-9, 0.01, 0.02, 0.04], np.float32), error_price(MAX_INTRA_Q))
    assert bits[0] == 0
    assert bits[1] == pytest.approx(51e-6)
    assert np.diff(bits[2:]).tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


def test_the_search_sees_whole_blocks_of_64():
    plane = np.arange(32 * 48, dtype=np.float32).reshape(32, 48)
    padded = search_plane(plane)
    assert padded.shape == (64, 64)
    assert (padded[32:, :48] == plane[-1]).all()
    assert NETWORKS.search(padded / 2000, quarter_samples(padded, 2000), "full")[2].shape == (2, 8, 8)


def test_quarter_samples_lie_between_the_samples():
    plane = np.random.default_rng(7).integers(0, 1021, (64, 128)).astype(np.float32)
    whole = np.rint(plane / 4)
    samples = quarter_samples(plane, 1020).astype(np.int64)
    assert samples.shape == (16, 128, 192)
    assert np.array_equal(samples[0, 32:-32, 32:-32], whole)
    assert np.array_equal(samples[:, 0, 0], [whole[0, 0]] * 16)

    def half(line):
        value = sum(
            tap * int(sample) for tap, sample in zip((-1, 4, -11, 40, 40, -11, 4, -1), line, strict=True)
        )
        return min(max((value + 32) >> 6, 0), 255)

    row, column = 20, 50
    across = half(whole[row, column - 3 : column + 5])
    own, following = int(whole[row, column]), int(whole[row, column + 1])
    at = samples[:4, 32 + row, 32 + column]
    assert at.tolist() == [own, (own + across + 1) >> 1, across, (across + following + 1) >> 1]
    assert samples[8, 32 + row, 32 + column] == half(whole[row - 3 : row + 5, column])
    halves = [half(whole[row - 3 : row + 5, each]) for each in range(column - 3, column + 5)]
    assert samples[10, 32 + row, 32 + column] == half(halves)


def test_samples_may_be_made_where_the_networks_run():
    class MakesSamples(ToyNetworks):
        makes_samples = True
        made = 0

        def quarter_samples(self, y, peak):
            MakesSamples.made += 1
            return quarter_samples(search_plane(y), peak)

    payloads = []
    for networks in (ToyNetworks(), MakesSamples()):
        encoder, _ = pair(VIDEO, CodecSettings(qp=68), networks)
        planned = scheduled(VIDEO, moving_clip(VIDEO, 5), encoder.settings, encoder.base_q_256)
        payloads.append([encoder.pack(encoder.quantise(each)).payload for each in planned])
    assert payloads[0] == payloads[1]
    assert MakesSamples.made >= 2
