"""The bench of rates, and the search for a quality."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.pipeline.engines import ToyEngines, picture, write_y4m
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.measure.clips import Clip
from zvc69_cli.measure.quality_target import MOST_PROBES, reach_quality, search_crf
from zvc69_cli.measure.rate_bench import RateResult, films, in_turn, looped, summary
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.resolve import EncodeOptions

RESULT = RateResult(
    clip="a",
    mode="abr",
    asked_kbps=100,
    got_kbps=102,
    miss_percent=2.0,
    peak_kbps=200,
    buffer_kbit=None,
    least_kbit=None,
    underflows=0,
    unreachable="",
    psnr_db=30.0,
    global_psnr_db=29.0,
    wall_s=1.0,
)


def test_a_clip_goes_forwards_and_backwards_without_a_cut():
    frames = [picture(number) for number in range(4)]
    assert [each.pts for each in islice(looped(frames), 9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [each.pts for each in islice(looped(frames[:1]), 3)] == [0, 0, 0]


def test_clips_of_one_size_are_shown_in_turn_as_well():
    def clip(name, numbers, height=48):
        video = VideoFormat(width=64, height=height, bit_depth=8, time_base=Fraction(1, 25))
        frames = tuple(picture(number) for number in numbers)
        return Clip(path=Path(name), name=name, group="", video=video, frames=frames)

    a, b, other = clip("a", range(3)), clip("b", range(10, 15)), clip("other", range(2), height=64)
    assert [[each.name for each in film] for film in films([a, other, b])] == [
        ["a"],
        ["other"],
        ["b"],
        ["a", "b"],
    ]
    assert [each.pts for each in islice(in_turn([a, b], 2), 10)] == [0, 1, 10, 11, 2, 1, 12, 13, 0, 1]


def test_the_summary_leaves_out_what_could_not_be_had_and_weighs_two_passes():
    results = [
        RESULT,
        replace(RESULT, clip="b", miss_percent=-60.0, unreachable="no"),
        replace(RESULT, mode="two-pass", miss_percent=0.5, psnr_db=30.25, global_psnr_db=29.5),
    ]
    lines = list(summary(results))
    assert "abr: 1 encodes, worst miss +2.00 % (a), 0 underflows" in lines
    assert "two passes against one: +0.250 dB on average of 1, PSNR of frames, at equal rates" in lines
    assert "two passes against one: +0.500 dB on average of 1, PSNR of the mean error, at equal rates" in lines


def test_two_passes_are_weighed_at_equal_rates():
    results = [
        RESULT,  # 30 dB at 102 kbps, and 33 at twice that
        replace(RESULT, asked_kbps=200, got_kbps=204, psnr_db=33.0),
        replace(RESULT, mode="two-pass", got_kbps=51, psnr_db=27.5),
        replace(RESULT, mode="two-pass", asked_kbps=200, got_kbps=204, psnr_db=33.5, unreachable="no"),
    ]
    line = "two passes against one: +0.500 dB on average of 1, PSNR of frames, at equal rates"
    assert line in list(summary(results))


@examples(max_examples=100, deadline=None)
@given(top=st.floats(36, 45), fall=st.floats(0.2, 0.6), bend=st.floats(0, 0.004), goal=st.floats(30, 35))
def test_a_quality_is_found_in_few_probes(top, fall, bend, goal):
    tried = []

    def probe(crf):
        tried.append(crf)
        return top - fall * crf - bend * crf * crf

    found = search_crf(probe, goal, 0.05)
    assert len(tried) <= MOST_PROBES
    reach = (probe(51), probe(0))
    if reach[0] <= goal <= reach[1]:
        assert found.is_reached and found.quality == pytest.approx(goal, abs=0.15)


@pytest.mark.parametrize(("goal", "end"), [(90.0, 0.0), (1.0, 51.0)])
def test_a_quality_that_no_crf_has_takes_the_nearest_and_says_so(goal, end):
    found = search_crf(lambda crf: 40 - crf / 4, goal, 0.05)
    assert found.crf == end and not found.is_reached


def test_a_video_gets_the_psnr_that_is_asked_for(tmp_path):
    clip = str(write_y4m(tmp_path / "in.y4m", 20))
    asked = EncodeOptions.of(target_psnr=20.5, preset="ultrafast")
    options = reach_quality(clip, asked, ToyEngines())
    assert options.rate.quality_target is None and 0 <= options.codec.crf <= 51
    assert options.codec.rounding == asked.codec.rounding
    assert encode(clip, str(tmp_path / "out.zvc69"), options, engines=ToyEngines()).frames == 20


def test_a_pipe_is_refused():
    with pytest.raises(UsageError, match="pipe"):
        reach_quality("-", EncodeOptions.of(target_psnr=30.0), ToyEngines())


def test_options_without_a_target_stay_as_they_are():
    options = EncodeOptions.of(crf=math.pi)
    assert reach_quality("-", options) is options
