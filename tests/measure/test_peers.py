"""The encoders to compare with, all-intra and as video: bytes that are all counted, frames that come back."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.measure.pictures import noisy, smooth_frame
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import VideoFormat
from zvc69_cli.measure.metrics import psnr_611
from zvc69_cli.measure.peers import (
    INTRA_PEERS,
    SVT_AV1_INTRA,
    VIDEO_PEERS,
    X264_INTRA,
    X265,
    X265_INTRA,
    Peer,
    code_with,
    is_available,
)

each_intra_peer = pytest.mark.parametrize("peer", INTRA_PEERS, ids=lambda peer: peer.name)
each_video_peer = pytest.mark.parametrize("peer", VIDEO_PEERS, ids=lambda peer: peer.name)


def needed(peer: Peer) -> None:
    if not is_available(peer):
        pytest.skip(f"this PyAV has no {peer.encoder}")


@each_intra_peer
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_a_lower_rate_factor_costs_more_and_is_nearer(peer: Peer, bit_depth: int) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, bit_depth=bit_depth, frame_rate=Fraction(25))
    frames = [noisy(smooth_frame(64, 64, bit_depth, number), seed=number) for number in range(2)]
    fine = code_with(peer, frames, video, peer.rate_factors[-1])
    coarse = code_with(peer, frames, video, peer.rate_factors[0])
    assert fine.stream_bytes > coarse.stream_bytes > coarse.text_bytes
    for before, good, bad in zip(frames, fine.frames, coarse.frames, strict=True):
        assert good.y.dtype == before.y.dtype
        assert psnr_611(before, good) > psnr_611(before, bad) > 15


@each_intra_peer
def test_every_frame_is_coded_for_itself(peer: Peer) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, frame_rate=Fraction(25))
    frame = noisy(smooth_frame(64, 64), seed=7)
    one = code_with(peer, [frame], video, 30)
    three = code_with(peer, [frame] * 3, video, 30)
    bytes_of_one, bytes_of_three = (coded.stream_bytes - coded.text_bytes for coded in (one, three))
    assert bytes_of_three > 1.5 * bytes_of_one  # inter frames of a still cost next to nothing


@pytest.mark.parametrize(
    ("peer", "least"),
    [(X264_INTRA, 300), (X265_INTRA, 1000), (SVT_AV1_INTRA, 0)],
    ids=lambda each: str(each)[:4],
)
def test_the_text_of_an_encoder_about_itself_is_counted_apart(peer: Peer, least: int) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, frame_rate=Fraction(25))
    coded = code_with(peer, [smooth_frame(64, 64)], video, 40)
    assert least <= coded.text_bytes < coded.stream_bytes
    assert coded.stream_bytes - coded.text_bytes < 1500


def test_a_size_that_an_encoder_cannot_take_is_refused_by_name() -> None:
    needed(X264_INTRA)
    video = VideoFormat(width=33, height=17, frame_rate=Fraction(25))
    with pytest.raises(RuntimeUnavailable, match="libx264 cannot code 33x17"):
        code_with(X264_INTRA, [smooth_frame(33, 17)], video, 30)


def test_settings_name_everything_that_a_result_depends_on() -> None:
    for word in ("libx264", "preset=medium", "tune=psnr", "g=1", "PyAV"):
        assert word in X264_INTRA.settings


@each_video_peer
def test_as_video_more_frames_of_a_still_cost_next_to_nothing(peer: Peer) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, frame_rate=Fraction(25))
    frame = noisy(smooth_frame(64, 64), seed=7)
    eight, sixteen = (code_with(peer, [frame] * count, video, 30) for count in (8, 16))
    assert len(sixteen.frames) == 16
    assert sixteen.stream_bytes < 1.3 * eight.stream_bytes
    assert psnr_611(frame, sixteen.frames[-1]) > 28


@each_video_peer
def test_as_video_frames_come_back_as_watched(peer: Peer) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, frame_rate=Fraction(25))
    frames = [smooth_frame(64, 64, pts=8 * number) for number in range(9)]
    decoded = code_with(peer, frames, video, peer.rate_factors[-1], threads=0).frames
    for number, frame in enumerate(decoded):
        nearest = max(range(9), key=lambda other: psnr_611(frames[other], frame))
        assert nearest == number


def test_more_threads_change_the_options_only_where_one_is_asked_for_by_option() -> None:
    assert "pools=none" in X265.options_with(1)["x265-params"]
    assert "pools" not in X265.options_with(2)["x265-params"]
