"""What a video is read with and written with; none of it reaches the codec."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import check_flags, flag
from zvc69_cli.frames import BIT_DEPTHS, MAX_SIDE, MIN_SIDE, is_valid_resolution

CHROMA_LAYOUTS: Final = ("i400", "i420", "i422", "i444", "nv12", "p010")
MAX_FRAME_RATE: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """How an input is read."""

    seek: int = flag(0, "Frames to skip at the beginning.", unit="frames", low=0, high=1 << 31)
    frames: int | None = flag(
        None,
        "Frames to read after those skipped; all when left out.",
        kind=int,
        unit="frames",
        low=1,
        high=1 << 31,
    )
    input_res: str | None = flag(None, "Size of raw yuv as WxH; the input is read as raw yuv.", kind=str)
    fps: str | None = flag(
        None, "Frame rate of raw yuv, or of y4m that names none: 25, 23.976 or 30000/1001.", kind=str
    )
    input_csp: str = flag("i420", "Chroma layout of raw yuv.", choices=CHROMA_LAYOUTS)
    input_depth: int = flag(
        8, "Bits a sample of raw yuv, 8 or 10; 10 are two bytes, little endian.", unit="bits", low=8, high=10
    )
    y4m: bool = flag(False, "The input is y4m, whatever its name; found out without this flag too.")
    interlace: str = flag(
        "refuse",
        "What to do with an interlaced input: refuse it, or take its frames as they are (progressive).",
        choices=("refuse", "progressive"),
    )
    audio: bool = flag(True, "Carry the audio streams along.")
    subtitles: bool = flag(True, "Carry the subtitle streams along.")

    def __post_init__(self) -> None:
        check_flags(self)
        _check_depth("--input-depth", self.input_depth, BIT_DEPTHS)
        if self.y4m and self.input_res is not None:
            raise UsageError(
                "--y4m", "cannot go with --input-res", "A y4m carries its size: leave --input-res out."
            )
        _ = self.raw_size, self.frame_rate

    @property
    def raw_size(self) -> tuple[int, int] | None:
        """Width and height of --input-res; None where it is not given."""
        if self.input_res is None:
            return None
        found = re.fullmatch(r"(\d{1,9})[xX](\d{1,9})", self.input_res)
        if found is None:
            raise UsageError(
                "--input-res", f"{self.input_res!r} is not a size", "Give it as WxH, like 1920x1080."
            )
        width, height = int(found[1]), int(found[2])
        if not is_valid_resolution(width, height):
            raise UsageError(
                "--input-res",
                f"{width}x{height} is out of range {MIN_SIDE}x{MIN_SIDE}..{MAX_SIDE}x{MAX_SIDE}",
                "Scale or crop the video to a size within the range first.",
            )
        return width, height

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames a second of --fps; None where it is not given."""
        if self.fps is None:
            return None
        try:
            rate = parse_rate(self.fps)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(
                "--fps", f"{self.fps!r} is not a frame rate", "Give it as 25, 23.976 or 30000/1001."
            ) from error
        if not 0 < rate <= MAX_FRAME_RATE:
            raise UsageError(
                "--fps",
                f"{self.fps} is out of range: above 0, at most {MAX_FRAME_RATE}",
                "Give it in frames a second, like 25.",
            )
        return rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """How decoded frames are written."""

    y4m: bool = flag(False, "Write y4m, whatever the output's name.")
    raw: bool = flag(False, "Write raw yuv (4:2:0, planar), whatever the output's name.")
    output_depth: int = flag(
        0, "Bits a sample, 8 or 10; 0 keeps those of the video.", unit="bits", low=0, high=10
    )
    codec: str | None = flag(
        None, "Encoder for mp4, mov, mkv and webm; libx264 (in webm libvpx-vp9) when left out.", kind=str
    )
    codec_crf: float | None = flag(
        None, "Constant quality of that encoder, lower is better; near-transparent when left out.",
        kind=float, low=0, high=63,
    )  # fmt: skip
    codec_preset: str | None = flag(None, "Preset of that encoder; a fast one when left out.", kind=str)
    audio: bool = flag(True, "Write the audio streams carried along.")
    subtitles: bool = flag(True, "Write the subtitle streams carried along.")

    def __post_init__(self) -> None:
        check_flags(self)
        _check_depth("--output-depth", self.output_depth, (0, *BIT_DEPTHS))
        if self.y4m and self.raw:
            raise UsageError("--raw", "cannot go with --y4m", "Choose one of the two.")


def parse_rate(text: str) -> Fraction:
    """A frame rate from text; 23.976 and its like mean 24000/1001 and its like.

    raises  ValueError, ZeroDivisionError
    """
    rate = Fraction(text.strip().replace(":", "/"))
    if "." in text:
        ntsc = Fraction(round(rate) * 1000, 1001)
        if ntsc and abs(rate - ntsc) < Fraction(1, 1000):
            return ntsc
    return rate


def _check_depth(where: str, depth: int, allowed: tuple[int, ...]) -> None:
    if depth not in allowed:
        listed = ", ".join(str(each) for each in allowed)
        raise UsageError(where, f"{depth} is not one of {listed}", "Choose one of these.")
