"""PSNR against a direct computation and against FFmpeg's filter."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import av
import av.filter
import numpy as np
import pytest

from tests.measure.pictures import noisy, smooth_frame
from zvc69_cli.frames import Frame, Samples
from zvc69_cli.measure.metrics import (
    EQUAL_DB,
    PlanePsnr,
    frame_psnr,
    mean_of,
    of_mean_error,
    plane_psnr,
    psnr_611,
)
from zvc69_cli.media.pictures import picture_of


def direct(reference: Samples, distorted: Samples, peak: int) -> float:
    error = sum((int(a) - int(b)) ** 2 for a, b in zip(reference.flat, distorted.flat, strict=True))
    return 10 * math.log10(peak**2 / (error / reference.size))


@pytest.mark.parametrize(("bit_depth", "peak"), [(8, 255), (10, 1023)])
def test_psnr_equals_a_direct_computation(bit_depth: int, peak: int) -> None:
    reference = smooth_frame(33, 17, bit_depth)
    distorted = noisy(reference, seed=1)
    y, u, v = (
        direct(a, b, peak)
        for a, b in ((reference.y, distorted.y), (reference.u, distorted.u), (reference.v, distorted.v))
    )
    measured = frame_psnr(reference, distorted)
    assert (measured.y, measured.u, measured.v) == pytest.approx((y, u, v), abs=1e-9)
    assert psnr_611(reference, distorted) == pytest.approx((6 * y + u + v) / 8, abs=1e-9)


def test_equal_planes_count_100_db() -> None:
    frame = smooth_frame()
    assert psnr_611(frame, frame) == EQUAL_DB
    almost = Frame(y=frame.y, u=frame.u, v=noisy(frame, seed=2).v, pts=0)
    measured = frame_psnr(frame, almost)
    assert (measured.y, measured.u) == (EQUAL_DB, EQUAL_DB)
    assert measured.v < 40


def test_the_mean_error_counts_bad_frames_more_than_the_mean_of_frames() -> None:
    frames = [PlanePsnr(y=40, u=45, v=50), PlanePsnr(y=30, u=45, v=40)]
    assert mean_of(frames).y == 35
    found = of_mean_error(frames)
    assert found.y == pytest.approx(-10 * math.log10((1e-4 + 1e-3) / 2))
    assert (found.u, found.v) == pytest.approx((45, 10 * math.log10(2 / 1.1e-4)))
    with pytest.raises(ValueError, match="no frames"):
        of_mean_error([])


def test_no_plane_counts_more_than_equal_planes() -> None:
    reference = np.full((1200, 1200), 500, np.uint16)
    distorted = reference.copy()
    distorted[0, 0] += 1
    assert plane_psnr(reference, distorted) == EQUAL_DB


@pytest.mark.parametrize(("offset", "expected_db"), [(1, 48.1308), (2, 42.1102), (-5, 34.1514), (255, 0.0)])
def test_a_constant_offset_gives_the_psnr_of_the_textbook(offset: int, expected_db: float) -> None:
    reference = np.full((16, 16), 0 if offset > 0 else 5, np.uint8)
    distorted = (reference + np.int16(offset)).astype(np.uint8)
    assert plane_psnr(reference, distorted) == pytest.approx(expected_db, abs=1e-4)


def test_the_mean_is_taken_over_decibels_of_frames() -> None:
    reference = smooth_frame()
    pairs = [
        (reference, noisy(reference, seed=3, strength=2)),
        (reference, noisy(reference, seed=4, strength=9)),
    ]
    each = [psnr_611(*pair) for pair in pairs]
    assert mean_of([frame_psnr(*pair) for pair in pairs]).weighted == pytest.approx(sum(each) / 2, abs=1e-9)


def test_planes_of_different_size_or_depth_are_refused() -> None:
    with pytest.raises(ValueError, match="do not compare"):
        plane_psnr(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="do not compare"):
        plane_psnr(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match="no frames"):
        mean_of([])


@pytest.mark.skipif("psnr" not in av.filter.filters_available, reason="this FFmpeg has no psnr filter")
@pytest.mark.parametrize(("bit_depth", "pixel_format"), [(8, "yuv420p"), (10, "yuv420p10le")])
def test_psnr_equals_that_of_the_filter_of_ffmpeg(bit_depth: int, pixel_format: str) -> None:
    reference = smooth_frame(64, 48, bit_depth)
    distorted = noisy(reference, seed=5)
    measured = frame_psnr(reference, distorted)
    expected = _filter_psnr(reference, distorted, pixel_format)
    assert (measured.y, measured.u, measured.v) == pytest.approx(expected, abs=0.006)  # it prints two places


def _filter_psnr(reference: Frame, distorted: Frame, pixel_format: str) -> tuple[float, float, float]:
    graph = av.filter.Graph()
    sources = [
        graph.add_buffer(
            width=64, height=48, format=av.VideoFormat(pixel_format, 64, 48), time_base=Fraction(1, 25)
        )
        for _ in range(2)
    ]
    psnr, sink = graph.add("psnr"), graph.add("buffersink")
    sources[0].link_to(psnr, 0, 0)
    sources[1].link_to(psnr, 0, 1)
    psnr.link_to(sink)
    graph.configure()
    for source, frame in zip(sources, (distorted, reference), strict=True):
        picture = picture_of([frame.y, frame.u, frame.v], pixel_format, 64, 48)
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        source.push(picture)
        source.push(None)
    tags = sink.pull().metadata
    found = {name: tags[f"lavfi.psnr.psnr.{name}"] for name in "yuv"}
    return tuple(float(re.match(r"[\d.]+", found[name])[0]) for name in "yuv")
