"""Make the sample clips: `python samples/make_samples.py [NAME ...]`, with the extra [samples] installed.

All randomness is seeded, so the pictures are the same on every run; the bytes depend on the encoders' versions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from fields import F32
from garden import garden_walk
from numpy.typing import NDArray
from scenes import cafe, launch_pad
from sound import SAMPLE_RATE, room_with_music

HERE: Final = Path(__file__).resolve().parent
BT709: Final = 1  # primaries, transfer and matrix, code points of ITU-T H.273
LIMITED: Final = 1
RED_PART: Final = 0.2126
BLUE_PART: Final = 0.0722


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One clip: what is drawn, at what size and rate, how it is coded; `sound_s` 0 is silence."""

    name: str
    draw: Callable[[int, int], Iterator[F32]]
    width: int
    height: int
    rate: Fraction
    encoder: str
    bit_depth: int
    options: tuple[tuple[str, str], ...]
    sound_s: float = 0


RECIPES: Final = (
    Recipe(
        name="cafe_640x360.mp4",
        draw=cafe,
        width=640,
        height=360,
        rate=Fraction(25),
        encoder="libx264",
        bit_depth=8,
        options=(("preset", "slow"), ("crf", "15")),
        sound_s=4,
    ),
    Recipe(
        name="launch_pad_640x360_10bit.mp4",
        draw=launch_pad,
        width=640,
        height=360,
        rate=Fraction(24000, 1001),
        encoder="libx265",
        bit_depth=10,
        options=(("preset", "medium"), ("crf", "13"), ("x265-params", "log-level=error")),
    ),
    Recipe(
        name="garden_1280x720.mp4",
        draw=garden_walk,
        width=1280,
        height=720,
        rate=Fraction(30000, 1001),
        encoder="libx264",
        bit_depth=8,
        options=(("preset", "slow"), ("crf", "20")),
    ),
)


def make(recipe: Recipe) -> Path:
    """The file of one clip, drawn and encoded."""
    path = HERE / recipe.name
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream(recipe.encoder, rate=recipe.rate, options=dict(recipe.options))
        video.width, video.height = recipe.width, recipe.height
        video.pix_fmt = "yuv420p" if recipe.bit_depth == 8 else "yuv420p10le"
        video.codec_context.thread_count = 2
        context = video.codec_context
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED
        if recipe.encoder == "libx265":
            context.codec_tag = "hvc1"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo") if recipe.sound_s else None
        if audio is not None:
            audio.bit_rate = 96_000
        for number, rgb in enumerate(recipe.draw(recipe.width, recipe.height)):
            picture = _picture(_planes(rgb, recipe.bit_depth), recipe.bit_depth)
            picture.pts, picture.time_base = number, 1 / recipe.rate
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            sound = av.AudioFrame.from_ndarray(room_with_music(recipe.sound_s), format="fltp", layout="stereo")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path


def _planes(rgb: F32, bit_depth: int) -> tuple[NDArray[np.uint16], ...]:
    """Y, U and V as BT.709 limited range says, 4:2:0 by averages of four pixels."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), 2, 0)
    luma = RED_PART * red + (1 - RED_PART - BLUE_PART) * green + BLUE_PART * blue
    u = (blue - luma) / (2 * (1 - BLUE_PART))
    v = (red - luma) / (2 * (1 - RED_PART))
    unit = 1 << (bit_depth - 8)
    halves = [(c[::2, ::2] + c[1::2, ::2] + c[::2, 1::2] + c[1::2, 1::2]) / 4 for c in (u, v)]
    scaled = [16 + 219 * luma, *(128 + 224 * c for c in halves)]
    return tuple(np.clip(np.rint(c * unit), 16 * unit, 240 * unit).astype(np.uint16) for c in scaled)


def _picture(planes: tuple[NDArray[np.uint16], ...], bit_depth: int) -> av.VideoFrame:
    height, width = planes[0].shape
    picture = av.VideoFrame(width, height, "yuv420p" if bit_depth == 8 else "yuv420p10le")
    sample = np.dtype(np.uint8 if bit_depth == 8 else "<u2")
    for plane, values in zip(picture.planes, planes, strict=True):
        rows = np.frombuffer(plane, sample).reshape(plane.height, plane.line_size // sample.itemsize)
        rows[:, : plane.width] = values
    return picture


def main(names: list[str]) -> None:
    for recipe in RECIPES:
        if not names or recipe.name in names:
            path = make(recipe)
            print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
