"""Keyframes by number and by time."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvc69_cli.codec.plan.forced_keys import ForcedKeys, ForcedKeyWatch
from zvc69_cli.errors import UsageError


def due(text, pts, time_base):
    watch = ForcedKeyWatch(ForcedKeys.parse(text), time_base)
    return [number for number, each in enumerate(pts) if watch.is_due(number, each)]


@pytest.mark.parametrize(
    ("text", "numbers", "times_s"),
    [
        ("", set(), ()),
        ("  ", set(), ()),
        ("3, 7f,90", {3, 7, 90}, ()),
        ("5s", set(), (5,)),
        ("2.5s,.5s", set(), (Fraction(1, 2), Fraction(5, 2))),
        ("1:30,0:00:01.25,12", {12}, (Fraction(5, 4), 90)),
        ("1:00:00", set(), (3600,)),
    ],
)
def test_frames_and_times_stand_in_one_list(text, numbers, times_s):
    assert ForcedKeys.parse(text) == ForcedKeys(numbers=frozenset(numbers), times_s=times_s)


@pytest.mark.parametrize(
    "text", [",", "5,,6", "5x", "-3", "1.5", "1:2:3:4", "s", "nan", "1e3s", "٣", "9" * 5000, "5 s"]
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(UsageError, match="--force-key-frames"):
        ForcedKeys.parse(text)


def test_a_time_falls_on_the_first_frame_that_is_not_before_it():
    assert due("1s,0.99s,2.01s", range(500, 600), Fraction(1, 25)) == [25, 51]


def test_a_time_behind_a_gap_is_not_lost():
    assert due("1s", [0, 10, 90], Fraction(1, 25)) == [2]


@settings(deadline=None)
@given(
    times=st.lists(st.integers(0, 200), min_size=1, max_size=5),
    pts=st.lists(st.integers(0, 1000), min_size=1, max_size=50, unique=True).map(sorted),
)
def test_every_time_within_the_video_makes_one_key_at_most(times, pts):
    found = due(",".join(f"{each}s" for each in times), pts, Fraction(1, 10))
    reached = [each for each in times if each * 10 <= pts[-1] - pts[0]]
    expected = {next(n for n, p in enumerate(pts) if p - pts[0] >= each * 10) for each in reached}
    assert set(found) == expected
