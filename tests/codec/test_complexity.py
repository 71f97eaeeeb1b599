"""What qcomp does: bits go with complexity to a power, smoothly, and never across a cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zvc69_cli.codec.plan.complexity import MOST_Q, OCTAVE_Q, evened
from zvc69_cli.codec.rate.model import Expected, RateClass

BASE = 30.0
GROUP = ((RateClass.P, 0.0), (RateClass.B, -8.0), (RateClass.B_DEEP, -13.0), (RateClass.B_DEEP, -13.0))


def scene(weight: float, groups: int) -> list[Expected]:
    """A keyframe and so many groups of one complexity."""
    key = Expected(rate_class=RateClass.I, weight=3 * weight, offset=12)
    each = [Expected(rate_class=kind, weight=weight, offset=offset) for kind, offset in GROUP]
    return [key, *each * groups]


def test_one_quality_is_left_alone():
    assert evened(scene(1e6, 9) + scene(4e6, 9), BASE, 1.0) == [0.0] * 74


def test_nothing_is_nothing():
    assert evened([], BASE, 0.6) == []


@pytest.mark.parametrize("qcomp", [0.3, 0.6, 0.9])
def test_a_scene_of_twice_the_bits_is_given_its_share_of_an_octave_less(qcomp):
    found = evened(scene(1e6, 9) + scene(2e6, 9), BASE, qcomp)
    assert found[0] - found[-1] == pytest.approx(OCTAVE_Q * (1 - qcomp))
    assert sum(found) == pytest.approx(0, abs=1e-9)


def test_nothing_is_blurred_across_a_cut():
    found = evened(scene(1e6, 9) + scene(2e6, 9), BASE, 0.6)
    assert np.ptp(found[:37]) == pytest.approx(0, abs=1e-9) and np.ptp(found[37:]) == pytest.approx(0, abs=1e-9)


def test_within_a_scene_it_moves_slowly():
    found = evened([*scene(1e6, 20), *scene(2e6, 20)[1:]], BASE, 0.0)
    assert found[0] > 5 and found[-1] < -5
    assert np.abs(np.diff(found)).max() < 2.5


def test_keyframes_alone_are_blurred_too():
    keys = [Expected(rate_class=RateClass.I, weight=1e6 * (1 + number % 2), offset=0) for number in range(40)]
    assert np.ptp(evened(keys, BASE, 0.0)) < 0.5


@examples(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1e9), min_size=1, max_size=5),
    groups=st.integers(0, 5),
    qcomp=st.floats(0, 1),
    base=st.floats(-12, 77),
)
def test_whatever_the_video_moves_are_finite_and_bounded(weights, groups, qcomp, base):
    frames = [each for weight in weights for each in scene(weight, groups)]
    found = evened(frames, base, qcomp)
    assert len(found) == len(frames) and np.isfinite(found).all() and np.abs(found).max() <= MOST_Q
