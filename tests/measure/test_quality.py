"""The measures on clips where everything is known, and against FFmpeg reading the same files by itself."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.measure.pictures import noisy, smooth_frame
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure.ffmpeg_program import find_program
from zvc69_cli.measure.meters import measure_quality
from zvc69_cli.measure.metrics import EQUAL_DB
from zvc69_cli.measure.program_encoder import PIXEL_FORMATS
from zvc69_cli.measure.quality import METRICS, Quality, Series, comparable

HAS_VMAF = find_program(filter_name="libvmaf") is not None
HAS_XPSNR = find_program(filter_name="xpsnr") is not None
FRAMES = 4


def pairs_of(width: int, height: int, bit_depth: int = 8) -> list[tuple[Frame, Frame]]:
    """Moving waves, and the same with noise of four steps of 8 bits."""
    originals = [smooth_frame(width, height, bit_depth, pts=number) for number in range(FRAMES)]
    return [(each, noisy(each, each.pts, 4.0 * (1 << (bit_depth - 8)))) for each in originals]


def measured(pairs: Sequence[tuple[Frame, Frame]], metrics: Sequence[str]) -> Quality:
    y = pairs[0][0].y
    video = VideoFormat(
        width=y.shape[1], height=y.shape[0], bit_depth=8 * y.dtype.itemsize - 6 * (y.itemsize - 1)
    )
    return measure_quality(pairs, video, metrics, threads=1)


def values(quality: Quality, name: str) -> tuple[float, ...]:
    found = quality.find(name)
    assert found is not None, f"{name} was not measured: {quality.missing}"
    return found.values


def flat(level: int, number: int) -> Frame:
    chroma = np.full((36, 44), level, np.uint8)
    return Frame(y=np.full((72, 88), level, np.uint8), u=chroma, v=chroma, pts=number)


def test_a_video_is_equal_to_itself_in_every_measure() -> None:
    pairs = [(original, original) for original, _ in pairs_of(192, 176)]
    quality = measured(pairs, METRICS)
    for name in ("psnr", "psnr_y", "psnr_u", "psnr_v", "xpsnr", "xpsnr_y"):
        assert values(quality, name) == (EQUAL_DB,) * FRAMES
    assert values(quality, "ssim") == (1.0,) * FRAMES
    if HAS_VMAF:
        assert values(quality, "ms_ssim") == pytest.approx((1.0,) * FRAMES, abs=1e-5)
        assert min(values(quality, "vmaf")) > 97
    else:
        assert any("VMAF" in each for each in quality.missing)


@pytest.mark.parametrize("offset", [1, 3, -7])
def test_a_constant_offset_gives_what_the_textbook_says(offset: int) -> None:
    quality = measured(
        [(flat(100, number), flat(100 + offset, number)) for number in range(3)], ("psnr", "ssim")
    )
    due = 20 * math.log10(255 / abs(offset))
    for name in ("psnr", "psnr_y", "psnr_u", "psnr_v"):
        assert values(quality, name) == pytest.approx((due,) * 3, abs=0.001)
    a, b = 100, 100 + offset
    assert values(quality, "ssim_y") == pytest.approx((2 * a * b / (a * a + b * b),) * 3, abs=1e-5)


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_a_shifted_video_has_the_psnr_of_its_frames_against_those_before(bit_depth: int) -> None:
    clip = [smooth_frame(96, 64, bit_depth, pts=number) for number in range(5)]
    pairs = list(zip(clip[1:], clip[:-1], strict=True))
    peak = (1 << bit_depth) - 1
    due = [
        10 * math.log10(peak**2 / float(np.mean((after.y.astype(float) - before.y.astype(float)) ** 2)))
        for after, before in pairs
    ]
    assert values(measured(pairs, ("psnr",)), "psnr_y") == pytest.approx(due, abs=0.001)


def files_of(pairs: Sequence[tuple[Frame, Frame]], folder: Path) -> tuple[list[str], list[str]]:
    """Both videos as raw yuv, each as the arguments with which ffmpeg reads it."""
    y = pairs[0][0].y
    depth = 8 if y.dtype == np.uint8 else 10
    inputs: list[list[str]] = []
    for number in range(2):
        path = folder / f"{number}.yuv"
        planes = (plane for pair in pairs for plane in (pair[number].y, pair[number].u, pair[number].v))
        path.write_bytes(b"".join(plane.tobytes() for plane in planes))
        size = f"{y.shape[1]}x{y.shape[0]}"
        inputs.append(
            ["-f", "rawvideo", "-pix_fmt", PIXEL_FORMATS[depth], "-s", size, "-r", "25", "-i", str(path)]
        )
    return inputs[0], inputs[1]


def said_by_ffmpeg(pairs: Sequence[tuple[Frame, Frame]], filter_text: str, folder: Path) -> str:
    program = find_program(filter_name=filter_text.partition("=")[0])
    assert program is not None
    reference, distorted = files_of(pairs, folder)
    command = [program.path, "-hide_banner", "-nostats", *distorted, *reference]
    command += ["-lavfi", f"[0:v][1:v]{filter_text}", "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


@pytest.mark.skipif(not HAS_XPSNR, reason="no ffmpeg program with the filter xpsnr is found")
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_xpsnr_is_that_of_the_ffmpeg_program(bit_depth: int, tmp_path: Path) -> None:
    pairs = pairs_of(160, 96, bit_depth)
    said = said_by_ffmpeg(pairs, "xpsnr", tmp_path)
    found = re.search(r"XPSNR +y: ([\d.]+) +u: ([\d.]+) +v: ([\d.]+)", said)
    assert found is not None, said
    quality = measured(pairs, ("xpsnr",))
    ours = [each.mean for each in quality.series if each.name != "xpsnr"]
    assert ours == pytest.approx([float(each) for each in found.groups()], abs=0.001)


@pytest.mark.skipif(not HAS_XPSNR, reason="no ffmpeg program with a filter ssim is found")
def test_ssim_is_that_of_the_ffmpeg_program(tmp_path: Path) -> None:
    pairs = pairs_of(160, 96)
    found = re.search(r"SSIM Y:([\d.]+) .*All:([\d.]+)", said_by_ffmpeg(pairs, "ssim", tmp_path))
    assert found is not None
    quality = measured(pairs, ("ssim",))
    means = [sum(values(quality, name)) / FRAMES for name in ("ssim_y", "ssim")]
    assert means == pytest.approx([float(each) for each in found.groups()], abs=2e-6)


@pytest.mark.skipif(not HAS_VMAF, reason="no ffmpeg program with libvmaf is found")
@pytest.mark.parametrize(("size", "bit_depth"), [((192, 176), 8), ((193, 177), 8), ((192, 176), 10)])
def test_vmaf_and_ms_ssim_are_those_of_the_ffmpeg_program(
    size: tuple[int, int], bit_depth: int, tmp_path: Path
) -> None:
    import json

    pairs = pairs_of(*size, bit_depth)
    log = tmp_path / "vmaf.json"
    said_by_ffmpeg(pairs, f"libvmaf=log_fmt=json:log_path={log}:feature=name=float_ms_ssim", tmp_path)
    frames = json.loads(log.read_text())["frames"]
    quality = measured(pairs, ("vmaf", "ms-ssim"))
    assert values(quality, "vmaf") == pytest.approx([each["metrics"]["vmaf"] for each in frames], abs=1e-4)
    due = [each["metrics"]["float_ms_ssim"] for each in frames]
    assert values(quality, "ms_ssim") == pytest.approx(due, abs=1e-6)


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_xpsnr_of_odd_sizes_is_no_noise(bit_depth: int) -> None:
    odd = measured([(original, original) for original, _ in pairs_of(67, 51, bit_depth)], ("xpsnr",))
    assert values(odd, "xpsnr_y") == (EQUAL_DB,) * FRAMES
    one, other = (
        measured(pairs_of(67, 51, bit_depth), ("xpsnr",)),
        measured(pairs_of(67, 51, bit_depth), ("xpsnr",)),
    )
    assert one == other


@pytest.mark.parametrize("size", [(16, 16), (48, 32), (16, 192), (192, 16), (64, 48), (57, 55)])
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_small_and_narrow_pictures_are_measured_or_left_out(size: tuple[int, int], bit_depth: int) -> None:
    quality = measured(pairs_of(*size, bit_depth), ("psnr", "ssim", "xpsnr"))
    assert quality.frame_count == FRAMES
    assert (quality.find("xpsnr") is None) == (size[0] * size[1] < 64 * 48) == bool(quality.missing)


def test_ms_ssim_of_small_pictures_is_left_out_by_name() -> None:
    quality = measured(pairs_of(64, 48), ("psnr", "ms-ssim"))
    assert quality.find("ms_ssim") is None
    assert quality.missing == ("MS-SSIM is left out: it needs pictures of 176x176 or more",)


def test_the_mean_is_over_frames_and_the_least_is_the_worst_one() -> None:
    series = Series(name="psnr", values=(30.0, 40.0, 38.0))
    assert (series.mean, series.least) == (36.0, 30.0)
    assert Series(name="xpsnr_y", values=(30.0, 30.0)).mean == pytest.approx(30)


def test_ssim_is_compared_in_decibels_of_what_is_missing() -> None:
    assert comparable("ssim", 0.99) == pytest.approx(20)
    assert comparable("ms_ssim", 1.0) == pytest.approx(100)
    assert comparable("vmaf", 93.0) == 93.0
