"""The scheduler: what is coded when, as what, and from which others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zvc69_cli.codec.plan.gop import (
    I_Q,
    LAYER_Q,
    SLOTS,
    PlannedFrame,
    Scheduler,
    first_dts,
    group_frames,
    min_keyint,
    reorder_delay,
)
from zvc69_cli.codec.rate.quality import base_q_256
from zvc69_cli.codec.settings import INTRA_Q_LEVELS, MAX_INTRA_Q, MAX_Q, Q_LEVELS, CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import Frame, FrameKind, VideoFormat

VIDEO = VideoFormat(width=64, height=48, time_base=Fraction(1, 25), frame_rate=Fraction(25))
FLAT = np.full((48, 64), 90, np.uint8)
TOP = Q_LEVELS - 1


def frame(pts, luma=FLAT, **facts):
    return Frame(y=luma, u=FLAT[::2, ::2], v=FLAT[::2, ::2], pts=pts, **facts)


def plan(frames, video=VIDEO, base_q=30 * 256, **settings):
    scheduler = Scheduler(video, CodecSettings(**settings), base_q)
    return [each for one in frames for each in scheduler.push(one)] + scheduler.flush()


def kinds(planned):
    return "".join(each.kind.name for each in planned)


def check(planned: list[PlannedFrame], frames, settings: CodecSettings) -> None:
    """What holds for every plan of whatever frames."""
    assert [each.coding_index for each in planned] == list(range(len(frames)))
    assert sorted(each.frame.pts for each in planned) == [each.pts for each in frames]
    numbers = {each.pts: number for number, each in enumerate(frames)}
    slots: dict[int, PlannedFrame] = {}
    last_key = last_dts = None
    for each in planned:
        number = numbers[each.frame.pts]
        assert each.dts <= each.frame.pts
        assert last_dts is None or each.dts > last_dts
        last_dts = each.dts
        if each.kind is FrameKind.I:
            assert number == each.coding_index  # all before it are coded before it
            slots.clear()
            assert each.references == () and each.temporal_layer == 0
            last_key = number
        else:
            pts = [slots[slot].frame.pts for slot in each.references]
            now = each.frame.pts
            assert pts == sorted(pts)
            if each.kind is FrameKind.P:
                assert len(pts) == 1 and pts[0] < now and each.temporal_layer == 0
            else:
                assert each.kind is FrameKind.B
                assert len(pts) == 2 and pts[0] < now < pts[1]
                assert 1 <= each.temporal_layer <= reorder_delay(settings)
                assert all(slots[slot].temporal_layer < each.temporal_layer for slot in each.references)
            assert last_key is not None and last_key < number
            assert settings.keyint < 0 or number - last_key < settings.keyint
        if each.stored_in is not None:
            assert 0 <= each.stored_in < SLOTS
            slots[each.stored_in] = each
        assert 0 <= 30 * 256 + each.q_offset <= MAX_Q


@examples(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    start=st.integers(-20, 50),
    keyint=st.sampled_from([-1, 1, 2, 3, 7, 16, 250]),
    bframes=st.integers(0, 15),
    b_adapt=st.integers(0, 1),
    forced=st.sets(st.integers(0, 59), max_size=5),
    scenes=st.sets(st.integers(0, 59), max_size=5),
    rate=st.sampled_from([None, Fraction(25), Fraction(30000, 1001), Fraction(120)]),
)
def test_every_plan_is_one_that_a_decoder_can_follow(
    steps, start, keyint, bframes, b_adapt, forced, scenes, rate
):
    video = VideoFormat(width=64, height=48, time_base=Fraction(1, 100), frame_rate=rate)
    settings = CodecSettings(keyint=keyint, bframes=bframes, b_adapt=b_adapt, min_keyint=min(4, abs(keyint)))
    frames, pts, luma = [], start, FLAT
    for number, step in enumerate(steps):
        if number in scenes:
            luma = np.random.default_rng(number).integers(0, 255, FLAT.shape, np.uint8)
        frames.append(frame(pts, luma, force_key=number in forced))
        pts += step
    scheduler = Scheduler(video, settings, 30 * 256)
    planned = []
    for each in frames:
        planned += scheduler.push(each)
        shown = frames.index(each) + 1
        assert shown - len(planned) < group_frames(settings)
    planned += scheduler.flush()
    check(planned, frames, settings)
    keys = {each.frame.pts for each in planned if each.kind is FrameKind.I}
    assert {frames[number].pts for number in forced if number < len(frames)} <= keys
    assert planned[0].dts == first_dts(start, video, settings)


def test_three_b_frames_form_a_pyramid():
    planned = plan(map(frame, range(9)), bframes=3)
    assert [each.frame.pts for each in planned] == [0, 4, 2, 1, 3, 8, 6, 5, 7]
    assert kinds(planned) == "IPBBBPBBB"
    assert [each.temporal_layer for each in planned] == [0, 0, 1, 2, 2, 0, 1, 2, 2]
    assert [each.q_offset // 256 for each in planned] == [9, 0, -6, -10, -10, 0, -6, -10, -10]
    assert [each.dts for each in planned] == list(range(-2, 7))
    assert [each.frame.pts for each in planned if each.stored_in is None] == [1, 3, 5, 7]


@pytest.mark.parametrize(("bframes", "group"), [(0, 1), (1, 2), (2, 2), (3, 4), (6, 4), (7, 8), (15, 16)])
def test_groups_are_powers_of_two(bframes, group):
    settings = CodecSettings(bframes=bframes)
    assert group_frames(settings) == group
    assert 1 << reorder_delay(settings) == group


def test_no_more_than_a_group_is_held_back():
    scheduler = Scheduler(VIDEO, CodecSettings(bframes=3), 0)
    out = [len(scheduler.push(frame(number))) for number in range(9)]
    assert out == [1, 0, 0, 0, 4, 0, 0, 0, 4]
    assert not scheduler.is_holding


@pytest.mark.parametrize("tail", range(1, 17))
def test_a_tail_of_any_length_ends_in_an_anchor(tail):
    settings = {"bframes": 15, "keyint": -1}
    planned = plan(map(frame, range(17 + tail)), **settings)
    check(planned, [frame(number) for number in range(17 + tail)], CodecSettings(**settings))
    last = next(each for each in planned if each.frame.pts == 16 + tail)
    assert last.kind is FrameKind.P


def test_the_last_frame_before_a_keyframe_is_an_anchor():
    planned = plan(map(frame, range(14)), keyint=7, bframes=3)
    assert [each.frame.pts for each in planned] == [0, 4, 2, 1, 3, 6, 5, 7, 11, 9, 8, 10, 13, 12]
    assert kinds(planned) == "IPBBBPB" * 2


def test_intra_only_streams_have_no_offsets_no_slots_and_no_delay():
    planned = plan(map(frame, range(5)), keyint=1)
    assert kinds(planned) == "IIIII"
    assert [each.dts for each in planned] == list(range(5))
    assert {(each.q_offset, each.stored_in, each.references) for each in planned} == {(0, None, ())}


def test_an_open_keyint_has_one_keyframe():
    assert kinds(plan(map(frame, range(600)), keyint=-1)).count("I") == 1


def test_without_b_frames_every_frame_follows_the_one_before():
    planned = plan(map(frame, range(6)), bframes=0)
    assert kinds(planned) == "IPPPPP"
    assert [each.dts for each in planned] == list(range(6))


def scenes(*lengths):
    """Frames of one random picture each scene, moving by a sample a frame."""
    frames = []
    for number, length in enumerate(lengths):
        luma = np.random.default_rng(number).integers(0, 255, (6, 8), np.uint8).repeat(8, 0).repeat(8, 1)
        frames += [frame(len(frames) + at, np.roll(luma, at, 1)) for at in range(length)]
    return frames


def test_a_scene_begins_with_a_keyframe():
    planned = plan(scenes(40, 33, 50))
    assert [each.frame.pts for each in planned if each.kind is FrameKind.I] == [0, 40, 73]


def test_without_scenecut_it_does_not():
    assert kinds(plan(scenes(40, 33), scenecut=0)).count("I") == 1


def test_a_scene_too_near_to_a_keyframe_begins_with_an_anchor_instead():
    planned = plan(scenes(40, 10, 50), min_keyint=20)
    assert [each.frame.pts for each in planned if each.kind is FrameKind.I] == [0, 40]
    by_pts = {each.frame.pts: each for each in planned}
    assert by_pts[49].kind is by_pts[50].kind is FrameKind.P


def test_a_forced_keyframe_comes_however_near_the_last_one_is():
    frames = [frame(number, force_key=number in (3, 4)) for number in range(8)]
    planned = plan(frames, min_keyint=100)
    assert [each.frame.pts for each in planned if each.kind is FrameKind.I] == [0, 3, 4]


def test_keyframes_can_be_forced_by_number():
    planned = plan(map(frame, range(100, 112)), force_key_frames="3, 7,90")
    assert [each.frame.pts for each in planned if each.kind is FrameKind.I] == [100, 103, 107]


@pytest.mark.parametrize("text", ["a", "1,,2", "-3", "1.5", "1;2", ","])
def test_what_is_no_list_of_frames_is_refused(text):
    with pytest.raises(UsageError, match="--force-key-frames"):
        CodecSettings(force_key_frames=text)


def test_the_least_distance_is_x265s():
    assert min_keyint(CodecSettings(), Fraction(24)) == 24
    assert min_keyint(CodecSettings(keyint=100), Fraction(25)) == 10
    assert min_keyint(CodecSettings(keyint=5), None) == 1
    assert min_keyint(CodecSettings(keyint=-1), Fraction(60)) == 25
    assert min_keyint(CodecSettings(min_keyint=7), Fraction(60)) == 7


def test_offsets_stay_within_the_quality_indexes():
    for base_q in (0, 3 * 256, MAX_INTRA_Q, MAX_Q):
        planned = plan(map(frame, range(17)), bframes=15, base_q=base_q)
        assert all(0 <= base_q + each.q_offset <= MAX_Q for each in planned)
        highest = max(base_q + each.q_offset for each in planned if each.kind is FrameKind.I)
        assert highest == min(MAX_INTRA_Q, base_q + I_Q * 256)


def test_keyframes_alone_have_their_highest_q_where_more_is_asked_for():
    planned = plan(map(frame, range(3)), keyint=1, base_q=MAX_Q)
    assert {MAX_Q + each.q_offset for each in planned} == {MAX_INTRA_Q}


def test_times_that_do_not_grow_are_refused():
    scheduler = Scheduler(VIDEO, CodecSettings(), 0)
    scheduler.push(frame(5))
    with pytest.raises(ValueError, match="should be above 5"):
        scheduler.push(frame(5))


def test_a_keyint_below_the_least_distance_is_refused():
    with pytest.raises(UsageError, match="--min-keyint"):
        CodecSettings(keyint=10, min_keyint=11)


def q_of_kinds(base_q, **settings):
    """The q that each kind of frame comes to, as quantiser indexes."""
    settings = CodecSettings(**settings)
    assert base_q_256(settings) == base_q * 256
    planned = plan(
        [frame(pts) for pts in range(9)],
        base_q=base_q * 256,
        qp=settings.qp,
        keyint=settings.keyint,
        bframes=3,
    )
    found: dict[str, set[int]] = {}
    for each in planned:
        found.setdefault(each.kind.name, set()).add(TOP - (base_q * 256 + each.q_offset) // 256)
    return found


def test_each_kind_has_the_quantiser_that_was_ordered_for_it():
    assert q_of_kinds(TOP - 73, qp="68:73:88") == {"I": {68}, "P": {73}, "B": {88}}
    assert q_of_kinds(TOP - 0, qp="127:0:1") == {"I": {127}, "P": {0}, "B": {1}}


def test_an_i_frame_has_the_lowest_quantiser_of_its_networks_where_a_lower_one_is_ordered():
    assert q_of_kinds(TOP - 25, qp="20:25:40") == {"I": {Q_LEVELS - INTRA_Q_LEVELS}, "P": {25}, "B": {40}}


def test_one_quantiser_stands_for_all_with_the_usual_distances():
    found = q_of_kinds(TOP - 73, qp=73)
    assert found == {"I": {73 - I_Q}, "P": {73}, "B": {73 - LAYER_Q[1], 73 - LAYER_Q[2]}}


def test_keyframes_alone_have_the_quantiser_of_keyframes():
    assert q_of_kinds(TOP - 68, qp="68:73:88", keyint=1) == {"I": {68}}
