"""The clips in samples/ are what its README says."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
MAX_BYTES = 6_000_000


@dataclass(frozen=True)
class Sample:
    name: str
    size: tuple[int, int]
    pixel_format: str
    frame_count: int
    rate: Fraction
    has_sound: bool


EACH = (
    Sample("cafe_640x360.mp4", (640, 360), "yuv420p", 100, Fraction(25), True),
    Sample("launch_pad_640x360_10bit.mp4", (640, 360), "yuv420p10le", 72, Fraction(24000, 1001), False),
    Sample("garden_1280x720.mp4", (1280, 720), "yuv420p", 60, Fraction(30000, 1001), False),
)
each_sample = pytest.mark.parametrize("sample", EACH, ids=lambda sample: sample.name)


@each_sample
def test_a_sample_has_the_format_that_the_readme_states(sample: Sample) -> None:
    with av.open(str(SAMPLES / sample.name)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == sample.size
        assert video.format.name == sample.pixel_format
        assert (video.frames, video.average_rate) == (sample.frame_count, sample.rate)
        assert 2 <= video.frames / video.average_rate <= 5
        assert bool(container.streams.audio) == sample.has_sound
        context = video.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (
            1,
            1,
            1,
            1,
        )


@each_sample
def test_the_readme_names_every_sample_and_its_size(sample: Sample) -> None:
    stated = f"{(SAMPLES / sample.name).stat().st_size / 1e6:.2f} MB"
    lines = (SAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"| `{sample.name}`"))
    assert stated in line


def test_the_samples_are_small_enough_to_be_kept_with_the_source() -> None:
    assert {path.name for path in SAMPLES.glob("*.mp4")} == {sample.name for sample in EACH}
    assert sum(path.stat().st_size for path in SAMPLES.glob("*.mp4")) < MAX_BYTES


def test_the_ten_bit_sample_uses_its_ten_bits() -> None:
    with av.open(str(SAMPLES / "launch_pad_640x360_10bit.mp4")) as container:
        picture = next(container.decode(video=0))
    luma = np.frombuffer(picture.planes[0], "<u2")
    used = np.bincount(luma & 3, minlength=4) / luma.size
    assert used.min() > 0.2


def test_the_sound_is_as_long_as_the_picture_and_is_heard() -> None:
    with av.open(str(SAMPLES / "cafe_640x360.mp4")) as container:
        sound = container.streams.audio[0]
        assert (sound.codec_context.name, sound.rate, sound.channels) == ("aac", 48_000, 2)
        assert abs(sound.duration * sound.time_base - 4) < 0.05
        level = np.concatenate([each.to_ndarray() for each in container.decode(sound)], axis=1)
    assert 0.01 < float(np.sqrt(np.mean(level**2))) < 0.3
    assert float(np.abs(level).max()) < 1
