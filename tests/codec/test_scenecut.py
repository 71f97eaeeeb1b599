"""Where a new scene begins."""

from __future__ import annotations

import numpy as np
import pytest

from zvc69_cli.codec.plan.scenecut import MOST_SAMPLES, SceneCuts, small_picture


def texture(seed, height=96, width=128, peak=255):
    small = np.random.default_rng(seed).integers(0, peak + 1, (height // 8, width // 8))
    return small.repeat(8, 0).repeat(8, 1).astype(np.uint8 if peak == 255 else np.uint16)


def cuts(pictures, threshold=40, peak=255, distance=100):
    seen = SceneCuts(threshold=threshold, shortest=25, longest=250)
    return [seen.is_cut(small_picture(each, peak), distance) for each in pictures]


@pytest.mark.parametrize("peak", [255, 1023])
def test_another_picture_is_a_cut_and_a_moved_one_is_none(peak):
    first, second = texture(1, peak=peak), texture(2, peak=peak)
    pictures = [first, np.roll(first, (3, 5), (0, 1)), first, second, np.roll(second, 4, 1)]
    assert cuts(pictures, peak=peak) == [False, False, False, True, False]


def test_a_flat_picture_that_stays_is_no_cut_and_one_that_changes_is():
    grey, white = np.full((96, 128), 90, np.uint8), np.full((96, 128), 235, np.uint8)
    assert cuts([grey, grey, white, white]) == [False, False, True, False]


def test_light_that_changes_slowly_is_no_cut():
    base = texture(3).astype(float)
    assert not any(cuts([(base * share).astype(np.uint8) for share in np.linspace(0.4, 1, 30)]))


def test_a_threshold_of_zero_finds_nothing():
    assert cuts([texture(1), texture(2)], threshold=0) == [False, False]


def test_the_farther_the_last_keyframe_the_readier_it_is():
    rng = np.random.default_rng(4)
    before = texture(1).astype(float)
    after = (before * 0.45 + texture(2) * 0.55 + rng.normal(0, 2, before.shape)).astype(np.uint8)
    found = [cuts([before.astype(np.uint8), after], distance=distance)[1] for distance in (1, 30, 120, 250)]
    assert found == sorted(found)


@pytest.mark.parametrize("size", [(16, 16), (17, 400), (400, 17), (360, 640), (1080, 1920), (35, 33)])
def test_pictures_of_any_size_become_small_ones(size):
    small = small_picture(np.full(size, 77, np.uint8), 255)
    assert small.size <= MOST_SAMPLES
    assert small.shape[0] % 4 == small.shape[1] % 4 == 0
    assert np.allclose(small, 77)
