"""The decoder's buffer."""

from __future__ import annotations

from fractions import Fraction

import pytest

from zvc69_cli.codec.rate.vbv import Buffer, BufferWatch, ceilings

BUFFER = Buffer(size_bits=1000, rate_bps=1000, initial_bits=900)


def test_a_buffer_fills_between_frames_and_never_beyond_its_size():
    watch = BufferWatch(Fraction(1, 10), BUFFER)
    for dts, bits, left in ((0, 500, 400), (2, 100, 500), (20, 10, 990)):
        watch.take(dts, bits)
        assert watch.before_bits - bits == pytest.approx(left)
    assert watch.underflows == 0 and watch.least_bits == pytest.approx(400)


def test_a_frame_that_is_not_whole_when_it_is_due_is_an_underflow():
    watch = BufferWatch(Fraction(1, 10), BUFFER)
    watch.take(0, 950)
    watch.take(1, 50)
    assert watch.underflows == 1 and watch.least_bits == pytest.approx(-50)


def test_the_peak_is_the_most_of_any_second():
    watch = BufferWatch(Fraction(1, 10), None)
    for dts in range(40):
        watch.take(dts, 100 if 10 <= dts < 20 else 10)
    assert watch.peak_bits == 1000


def test_frames_at_their_ceilings_just_leave_something():
    frames = [(300.0, 0.1), (100.0, 0.1), (100.0, 0.1)]
    most = ceilings(BUFFER, 700.0, frames)
    assert all(limit > bits for limit, (bits, _) in zip(most, frames, strict=True))
    assert BUFFER.least(700.0, zip(most, [0.1] * 3, strict=True)) > 0


def test_frames_that_will_not_fit_are_made_to():
    most = ceilings(BUFFER, 300.0, [(400.0, 0.1), (200.0, 0.1)])
    assert most[0] < 300
    assert ceilings(BUFFER, 0.0, [(400.0, 0.1)])[0] > 0
