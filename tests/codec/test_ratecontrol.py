"""Rates that are kept, buffers that last, and two passes that know better than one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.codec import rate_videos
from tests.codec.rate_videos import Scenes, run
from zvc69_cli.codec.rate.pass_log import PassLog
from zvc69_cli.errors import UsageError

TEN_SECONDS = 250


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bframes", [0, 3, 7, 15])
def test_ten_seconds_keep_their_average_rate_within_3_percent(seed, bframes):
    found = run(Scenes(TEN_SECONDS, seed, cuts=(83, 125)), bitrate="800", codec={"bframes": bframes})
    assert found.kbps == pytest.approx(800, rel=0.03)


@pytest.mark.parametrize("bframes", [3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_a_pipe_that_does_not_say_how_long_it_is_keeps_its_rate_too(seed, bframes):
    kbps = (
        1200 if (seed, bframes) == (3, 7) else 800
    )  # of groups of 8 its last scene takes more than 800 at any q
    scenes = Scenes(500, seed, cuts=(166, 250))
    found = run(scenes, bitrate=str(kbps), is_length_known=False, codec={"bframes": bframes})
    assert found.kbps == pytest.approx(kbps, rel=0.03)


@pytest.mark.parametrize("is_length_known", [True, False])
@pytest.mark.parametrize(
    ("frames", "bframes"), [(40, 3), (60, 3), (60, 7), (100, 3), (100, 7), (220, 3), (220, 7)]
)
def test_shorter_videos_keep_their_rate_within_5_percent_from_a_pipe_too(frames, bframes, is_length_known):
    for seed in range(3, 7):
        if (frames, seed) == (60, 4):
            continue  # after its cut the lowest q takes more than is left
        scenes = Scenes(frames, seed, cuts=(frames // 3, frames // 2)[: seed % 3])
        found = run(scenes, bitrate="800", is_length_known=is_length_known, codec={"bframes": bframes})
        assert found.kbps == pytest.approx(800, rel=0.05), seed


@pytest.mark.parametrize("seed", range(4))
def test_a_low_rate_is_not_missed_because_crf_23_is_where_it_begins(monkeypatch, seed):
    monkeypatch.setattr(rate_videos, "BASE_Q_256", 61 * 256)
    found = run(Scenes(50, seed, cuts=(16, 25)[: seed % 3]), bitrate="800", codec={"bframes": 3})
    assert found.kbps == pytest.approx(800, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_keyframes_alone_keep_their_rate(seed):
    found = run(Scenes(TEN_SECONDS, seed), bitrate="2500", codec={"keyint": 1})
    assert found.kbps == pytest.approx(2500, rel=0.03)


@pytest.mark.parametrize("bufsize", [0, 500])
@pytest.mark.parametrize("seed", range(4))
def test_a_constant_rate_never_empties_the_buffer(seed, bufsize):
    found = run(Scenes(TEN_SECONDS, seed, cuts=(83, 125)), bitrate="800", rc="cbr", vbv_bufsize=bufsize)
    assert found.watch.underflows == 0 and found.watch.least_bits >= 0
    assert found.kbps == pytest.approx(800, rel=0.05)


@examples(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.sets(st.integers(5, 99), max_size=3),
    kbps=st.integers(500, 1500),
    bufsize=st.integers(300, 2000),
    bframes=st.sampled_from([0, 1, 3, 7]),
)
def test_no_video_whose_rate_can_be_had_empties_the_buffer(seed, cuts, kbps, bufsize, bframes):
    scenes = Scenes(100, seed, cuts=tuple(sorted(cuts)), spread=0.3)
    found = run(scenes, vbv_maxrate=kbps, vbv_bufsize=bufsize, codec={"crf": 23, "bframes": bframes})
    lowest = run(scenes, vbv_maxrate=kbps, vbv_bufsize=bufsize, codec={"crf": 51, "bframes": bframes})
    assert found.watch.underflows == 0 or lowest.watch.underflows > 0


def test_a_buffer_that_is_large_enough_leaves_the_quality_alone():
    found = run(Scenes(100), vbv_maxrate=100_000, vbv_bufsize=100_000)
    assert max(found.bases) == pytest.approx(32) and np.ptp([base for base in found.bases if base > 0]) < 20


@pytest.mark.parametrize("kbps", [20, 200_000])
def test_a_rate_that_cannot_be_had_is_said_with_those_that_can(kbps):
    found = run(Scenes(TEN_SECONDS, 1), bitrate=str(kbps))
    assert f"{kbps} kbps cannot be had" in found.control.unreachable
    low, high = found.control.unreachable.split(", ")[1].split()[0].split("..")
    assert 100 < float(low) < 1000 < float(high) < 200_000


def test_a_rate_that_can_be_had_is_not_called_impossible():
    assert run(Scenes(TEN_SECONDS, 2, cuts=(83, 125)), bitrate="800").control.unreachable == ""


@pytest.mark.parametrize("seed", range(3))
def test_the_second_pass_meets_its_rate_at_an_almost_constant_q(seed):
    scenes = Scenes(TEN_SECONDS, seed, cuts=(83, 125))
    first = run(scenes, bitrate="800")
    second = run(scenes, bitrate="800", log=first.log, qcomp=1.0)
    assert second.kbps == pytest.approx(800, rel=0.01)
    assert np.std(second.bases) < 0.5 < np.std(first.bases)


@pytest.mark.parametrize("seed", range(3))
def test_the_second_pass_gives_easy_parts_more_and_meets_its_rate(seed):
    scenes = Scenes(TEN_SECONDS, seed, cuts=(83, 125))
    log = run(scenes, bitrate="800").log
    one, shared, even = (run(scenes, bitrate="800", log=log, qcomp=qcomp) for qcomp in (1.0, 0.6, 0.0))
    assert shared.kbps == pytest.approx(800, rel=0.01)
    assert np.std(one.bases) < np.std(shared.bases) < np.std(even.bases)
    hard = np.array([each.inter_mean for each in scenes.costs])[10:240]
    assert np.corrcoef(np.log(hard), even.bases[10:240])[0, 1] < -0.5


def test_a_second_pass_keeps_its_buffer():
    scenes = Scenes(TEN_SECONDS, 5, cuts=(83, 125))
    first = run(scenes, bitrate="800", rc="cbr", vbv_bufsize=500)
    second = run(scenes, bitrate="800", rc="cbr", vbv_bufsize=500, log=first.log)
    assert second.watch.underflows == 0
    assert second.kbps == pytest.approx(800, rel=0.05)


def test_a_size_is_met_as_a_rate_is():
    found = run(Scenes(TEN_SECONDS, 3), target_size="1M")
    assert found.kbps * 10 / 8 * 1000 == pytest.approx(1e6, rel=0.03)


def test_a_size_of_a_video_of_unknown_length_is_refused():
    with pytest.raises(UsageError, match="length of the input"):
        from zvc69_cli.codec.rate.settings import RateSettings
        from zvc69_cli.codec.rate.target import RateTarget

        RateTarget.of(RateSettings(target_size="1M"), None)


def test_sizes_are_waited_for_with_a_lag_that_the_settings_fix():
    scenes = Scenes(60)
    assert set(run(scenes, bitrate="800").lags[3:-1]) == {4}
    assert set(run(scenes, bitrate="800", rc="cbr").lags) == {0}
    assert set(run(scenes, bitrate="2500", codec={"keyint": 1}).lags[8:]) == {8}


def test_a_first_pass_of_another_video_is_refused_at_the_frame_that_differs():
    log = run(Scenes(50), bitrate="800").log
    with pytest.raises(UsageError, match=r"frame 2\d is . there, . here"):
        run(Scenes(50, cuts=(20,)), bitrate="800", log=log)
    with pytest.raises(UsageError, match="frames is 30 there"):
        run(Scenes(50), bitrate="800", log=PassLog(where="clip.stats", frames=log.frames[:30]))


def test_constant_quality_waits_for_nothing():
    found = run(Scenes(30))
    assert found.control.sizes_seen == 0
    assert set(found.bases[:8]) == {32.0}
