"""The codec as the bench runs it: a real stream in memory, decoded again."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.measure.pictures import smooth_frame
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UnknownBundle
from zvc69_cli.frames import VideoFormat
from zvc69_cli.measure.intra_codec import IntraCodec
from zvc69_cli.measure.metrics import psnr_611
from zvc69_cli.runtime.bundle import DEFAULT_BUNDLE
from zvc69_cli.runtime.settings import RunSettings

ON_CPU = RunSettings(device="cpu", threads=1)


@pytest.fixture(scope="module")
def codec() -> IntraCodec:
    return IntraCodec(DEFAULT_BUNDLE, ON_CPU)


@pytest.mark.parametrize(("width", "height", "bit_depth"), [(64, 48, 8), (75, 49, 10)])
def test_a_higher_quality_index_costs_more_and_is_nearer(
    codec: IntraCodec, width: int, height: int, bit_depth: int
) -> None:
    video = VideoFormat(width=width, height=height, bit_depth=bit_depth, frame_rate=Fraction(25))
    frames = [smooth_frame(width, height, bit_depth, pts) for pts in (100, 103)]
    coarse = codec.encode_intra(frames, video, 2)
    fine = codec.encode_intra(frames, video, 61)
    assert coarse.stream_bytes < fine.stream_bytes
    assert [frame.pts for frame in fine.frames] == [100, 103]
    for before, bad, good in zip(frames, coarse.frames, fine.frames, strict=True):
        assert psnr_611(before, good) > psnr_611(before, bad) > 15


def test_it_codes_with_the_effort_that_it_is_given(codec: IntraCodec) -> None:
    video = VideoFormat(width=64, height=48, frame_rate=Fraction(25))
    frames = [smooth_frame(64, 48, 8, 0)]
    plain = IntraCodec(DEFAULT_BUNDLE, ON_CPU, CodecSettings(refine=0)).encode_intra(frames, video, 61)
    refined = codec.encode_intra(frames, video, 61)
    assert plain.stream_bytes != refined.stream_bytes
    assert psnr_611(frames[0], refined.frames[0]) > psnr_611(frames[0], plain.frames[0])


def test_a_bundle_that_is_not_installed_is_refused() -> None:
    with pytest.raises(UnknownBundle):
        IntraCodec("no-such-bundle", ON_CPU)
