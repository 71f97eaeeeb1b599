"""What an encode is likely to weigh."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zvc69_cli as zvc69
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.estimate import SCHEMA, estimate_bitrate
from zvc69_cli.pipeline.resolve import EncodeOptions

VIDEO = VideoFormat(width=100, height=50, frame_rate=Fraction(20))
MEDIUM = {
    "q": [3, 23, 79],
    "pixels_per_s": 10_000,
    "bits_per_pixel": {"easy": [0.01, 0.1, 0.2], "hard": [0.04, 0.4, 3.2]},
}


@pytest.fixture
def figures(tmp_path):
    path = tmp_path / "estimates.json"
    facts = {
        "schema": SCHEMA,
        "bundle": "toy",
        "machine": "a machine",
        "tables": {"medium": MEDIUM, "intra": {**MEDIUM, "pixels_per_s": 20_000}},
    }
    path.write_text(json.dumps(facts))
    return path


def estimate(path, **flags):
    return estimate_bitrate(VIDEO, EncodeOptions.of(**flags), path=path)


def test_a_measured_point_comes_out_as_measured(figures):
    found = estimate(figures, qp=104)  # q 23
    kbps_a_bit = 100 * 50 * 20 / 1000
    assert found.low_kbps == pytest.approx(0.1 * kbps_a_bit)
    assert found.high_kbps == pytest.approx(0.4 * kbps_a_bit)
    assert found.likely_kbps == pytest.approx(0.2 * kbps_a_bit)
    assert found.wall_s(VIDEO, 4) == 2


@pytest.mark.parametrize(
    ("qp", "bits"), [(127, 0.01), (124, 0.01), (114, math.sqrt(0.001)), (48, 0.2), (0, 0.2)]
)
def test_between_points_it_is_a_straight_line_of_logarithms_and_beyond_them_flat(figures, qp, bits):
    assert estimate(figures, qp=qp).low_kbps == pytest.approx(bits * 100)


def test_keyframes_only_have_a_table_of_their_own(figures):
    assert estimate(figures, qp=68, keyint=1).pixels_per_s == 20_000
    assert estimate(figures, qp=68, preset="slow").pixels_per_s == 10_000


def test_a_rate_that_is_asked_for_is_what_to_expect(figures):
    found = estimate(figures, bitrate="2M")
    assert found.low_kbps == found.likely_kbps == found.high_kbps == 2000
    capped = estimate(figures, crf=0, vbv_maxrate=15, vbv_bufsize=15)
    assert capped.high_kbps == 15


@settings(deadline=None)
@given(st.floats(0, 51), st.floats(0, 51))
def test_a_higher_crf_is_never_likely_to_weigh_more(one, other):
    low, high = sorted((one, other))
    light = zvc69.estimate_bitrate(VIDEO, EncodeOptions.of(crf=high))
    heavy = zvc69.estimate_bitrate(VIDEO, EncodeOptions.of(crf=low))
    assert light.likely_kbps <= heavy.likely_kbps * 1.000001
    assert light.low_kbps <= light.likely_kbps <= light.high_kbps


def test_the_shipped_figures_know_every_shipped_preset():
    for preset in ("ultrafast", "fast", "medium", "slow", "veryslow"):
        found = zvc69.estimate_bitrate(VIDEO, EncodeOptions.of(preset=preset))
        assert found.pixels_per_s > 0 and found.bundle


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "other"}', "[1]", '{"schema": "zvc69-estimates/1"}'])
def test_figures_that_are_none_are_refused(text, tmp_path):
    path = tmp_path / "estimates.json"
    path.write_text(text)
    with pytest.raises(RuntimeUnavailable, match="estimates"):
        estimate_bitrate(VIDEO, path=path)
    with pytest.raises(RuntimeUnavailable):
        estimate_bitrate(VIDEO, path=tmp_path / "missing.json")
