"""The encoders to compare with: bytes that are all counted, frames that come back."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.measure.pictures import noisy, smooth_frame
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import VideoFormat
from zvc69_cli.measure.metrics import psnr_611
from zvc69_cli.measure.peers import PEERS, SVT_AV1, X264, X265, Peer, encode_intra, is_available

each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)


def needed(peer: Peer) -> None:
    if not is_available(peer):
        pytest.skip(f"this PyAV has no {peer.encoder}")


@each_peer
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_a_lower_rate_factor_costs_more_and_is_nearer(peer: Peer, bit_depth: int) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, bit_depth=bit_depth, frame_rate=Fraction(25))
    frames = [noisy(smooth_frame(64, 64, bit_depth, number), seed=number) for number in range(2)]
    fine = encode_intra(peer, frames, video, peer.rate_factors[-1])
    coarse = encode_intra(peer, frames, video, peer.rate_factors[0])
    assert fine.stream_bytes > coarse.stream_bytes > coarse.text_bytes
    for before, good, bad in zip(frames, fine.frames, coarse.frames, strict=True):
        assert good.y.dtype == before.y.dtype
        assert psnr_611(before, good) > psnr_611(before, bad) > 15


@each_peer
def test_every_frame_is_coded_for_itself(peer: Peer) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, frame_rate=Fraction(25))
    frame = noisy(smooth_frame(64, 64), seed=7)
    one = encode_intra(peer, [frame], video, 30)
    three = encode_intra(peer, [frame] * 3, video, 30)
    bytes_of_one, bytes_of_three = (coded.stream_bytes - coded.text_bytes for coded in (one, three))
    assert bytes_of_three > 1.5 * bytes_of_one  # inter frames of a still cost next to nothing


@pytest.mark.parametrize(
    ("peer", "least"), [(X264, 300), (X265, 1000), (SVT_AV1, 0)], ids=lambda each: str(each)[:4]
)
def test_the_text_of_an_encoder_about_itself_is_counted_apart(peer: Peer, least: int) -> None:
    needed(peer)
    video = VideoFormat(width=64, height=64, frame_rate=Fraction(25))
    coded = encode_intra(peer, [smooth_frame(64, 64)], video, 40)
    assert least <= coded.text_bytes < coded.stream_bytes
    assert coded.stream_bytes - coded.text_bytes < 1500


def test_a_size_that_an_encoder_cannot_take_is_refused_by_name() -> None:
    needed(X264)
    video = VideoFormat(width=33, height=17, frame_rate=Fraction(25))
    with pytest.raises(RuntimeUnavailable, match="libx264 cannot code 33x17"):
        encode_intra(X264, [smooth_frame(33, 17)], video, 30)


def test_settings_name_everything_that_a_result_depends_on() -> None:
    for word in ("libx264", "preset=medium", "tune=psnr", "g=1", "PyAV"):
        assert word in X264.settings
