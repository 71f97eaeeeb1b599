"""What the first of two passes leaves to the second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvc69_cli.codec.rate.pass_log import PassFrame, end_line, frame_line, head_line, parse_pass_log
from zvc69_cli.codec.settings import MAX_INTRA_Q, MAX_Q
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import FrameKind

FACTS = {"width": 640, "settings": {"keyint": 250, "bframes": 3}}
FRAME = PassFrame(kind=FrameKind.P, temporal_layer=0, q_256=8000, offset=-1.5, size_bytes=1234)


def lines(frames=(FRAME, FRAME), facts=FACTS):
    return [head_line(facts), *(frame_line(each) for each in frames), end_line(len(frames))]


@given(
    st.lists(
        st.builds(
            PassFrame,
            kind=st.sampled_from([FrameKind.I, FrameKind.P, FrameKind.B]),
            temporal_layer=st.integers(0, 4),
            q_256=st.integers(0, MAX_INTRA_Q),
            offset=st.integers(-200, 200).map(lambda number: number / 8),
            size_bytes=st.integers(0, 1 << 24),
        ),
        max_size=9,
    )
)
def test_frames_come_back_as_they_were(frames):
    assert parse_pass_log(lines(frames), "a", FACTS).frames == tuple(frames)


@pytest.mark.parametrize(
    ("kind", "q_256"), [(FrameKind.I, MAX_INTRA_Q), (FrameKind.P, MAX_Q), (FrameKind.B, MAX_Q)]
)
def test_each_kind_comes_back_at_its_highest_q(kind, q_256):
    frames = (replace(FRAME, kind=kind, q_256=q_256),)
    assert parse_pass_log(lines(frames), "a", FACTS).frames == frames


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({**FACTS, "width": 320}, "width is 640 there, 320 here"),
        ({**FACTS, "settings": {"keyint": 120, "bframes": 3}}, "keyint is 250 there, 120 here"),
        ({**FACTS, "bundle": "x"}, "bundle is None there"),
    ],
)
def test_statistics_of_another_encode_are_refused_by_field(facts, named):
    with pytest.raises(UsageError, match=named):
        parse_pass_log(lines(), "a.stats", facts)


@pytest.mark.parametrize("cut", range(4))
def test_a_file_that_was_cut_is_refused(cut):
    with pytest.raises(UsageError):
        parse_pass_log(lines()[:cut], "a.stats", FACTS)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '["X", 0, 1, 0, 1]',
        '["P", 0, -1, 0, 1]',
        f'["P", 0, {MAX_Q + 1}, 0, 1]',
        f'["I", 0, {MAX_INTRA_Q + 1}, 0, 1]',
        '["P", 0, 1, 1e9, 1]',
        '["P", 0, 1, NaN, 1]',
        "7",
    ],
)
def test_a_line_that_is_no_frame_is_refused_by_number(line):
    damaged = lines()
    damaged[1] = line
    with pytest.raises(UsageError, match="line 2"):
        parse_pass_log(damaged, "a.stats", FACTS)
