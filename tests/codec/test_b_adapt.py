"""Groups that fit the pictures: long where they are alike, short where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codec.test_gop import VIDEO, frame, kinds
from tests.codec.test_scenecut import texture
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.settings import CodecSettings


def groups_of(lumas, **settings):
    """Frames of each group but the last, which the end may have cut short."""
    scheduler = Scheduler(VIDEO, CodecSettings(scenecut=0, **settings), 30 * 256)
    frames = [frame(number, luma) for number, luma in enumerate(lumas)]
    planned = [each for one in frames for each in scheduler.push(one)] + scheduler.flush()
    anchors = [each.frame.pts for each in planned if each.temporal_layer == 0]
    return np.diff(anchors).tolist()


def moving(count, step):
    """A texture that moves by so many luma samples a frame."""
    wide = np.random.default_rng(3).integers(0, 255, (12, 40), np.uint8).repeat(8, 0).repeat(8, 1)
    return [np.ascontiguousarray(wide[:48, step * at : step * at + 64]) for at in range(count)]


@pytest.mark.parametrize(("bframes", "length"), [(1, 2), (3, 4), (7, 8), (15, 16)])
def test_a_still_video_has_the_longest_groups(bframes, length):
    assert groups_of([texture(1)] * 33, bframes=bframes) == [length] * (32 // length)
    flat = np.full((48, 64), 90, np.uint8)
    assert groups_of([flat] * 33, bframes=bframes) == [length] * (32 // length)


def test_what_has_little_in_common_has_few_b_frames():
    found = groups_of([texture(number) for number in range(33)], bframes=7)
    assert max(found) <= 2 and np.mean(found) < 1.5


def test_faster_motion_makes_shorter_groups():
    means = [np.mean(groups_of(moving(17, step), bframes=7)) for step in (0, 3, 12)]
    assert means == sorted(means, reverse=True) and means[0] == 8 and means[-1] < 4


def test_a_change_in_the_middle_is_met_by_short_groups_there_only():
    lumas = [texture(1)] * 17 + [texture(number) for number in range(2, 10)] + [texture(20)] * 16
    found = groups_of(lumas, bframes=7)
    assert found[:2] == [8, 8] and max(found[2:8]) <= 2 and 8 in found[8:]


def test_without_it_groups_are_as_long_as_they_may_be():
    assert groups_of([texture(number) for number in range(17)], bframes=7, b_adapt=0) == [8, 8]


def test_the_same_frames_are_grouped_alike_whatever_the_quality():
    lumas = moving(30, 5)
    plans = []
    for base in (0, 70 * 256):
        scheduler = Scheduler(VIDEO, CodecSettings(), base)
        frames = [frame(number, luma) for number, luma in enumerate(lumas)]
        plans.append(kinds([each for one in frames for each in scheduler.push(one)] + scheduler.flush()))
    assert plans[0] == plans[1]
