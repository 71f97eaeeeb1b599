"""What a picture's numbers mean: colour tags, HDR10 light levels and rotation, read from PyAV's pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Final

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData, Type
from av.video.codeccontext import VideoCodecContext

from zvc69_cli.frames import UNSPECIFIED, ColourTags, ContentLight, MasteringDisplay, VideoFormat
from zvc69_cli.media.pictures import BT709, FULL, LIMITED, is_full_range, is_rgb

CHROMA_LOCATIONS: Final = (
    "unspecified",
    "left",
    "center",
    "topleft",
    "top",
    "bottomleft",
    "bottom",
)  # H.273 order

_MASTERING_FIELDS: Final = 10  # rationals of AVMasteringDisplayMetadata; two flags follow
_FIXED_POINT: Final = 1 << 16


def colour_tags(picture: av.VideoFrame, context: VideoCodecContext, chroma_location: int) -> ColourTags:
    """The tags of a decoded picture, or of its stream where the picture has none."""
    matrix, colour_range = (
        _known(picture.colorspace, context.colorspace),
        picture.color_range or context.color_range,
    )
    if is_rgb(picture.format):
        matrix, colour_range = BT709, LIMITED
    elif is_full_range(picture):
        colour_range = FULL
    return ColourTags(
        primaries=_known(picture.color_primaries, context.color_primaries),
        transfer=_known(picture.color_trc, context.color_trc),
        matrix=matrix,
        colour_range=colour_range if colour_range in (LIMITED, FULL) else 0,
        chroma_location=chroma_location,
    )


def chroma_location(container: InputContainer, stream_index: int) -> int:
    """Where chroma samples lie, 0 where the stream does not say.

    PyAV has no attribute for it, but FFmpeg's description of the file names it when asked in detail.
    """
    level = av.logging.get_level()
    try:
        av.logging.set_libav_level(av.logging.VERBOSE)
        av.logging.set_level(av.logging.VERBOSE)
        described: str = container.dumps_format()  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(level)
        av.logging.set_libav_level(av.logging.INFO)
    for line in described.splitlines():
        if line.lstrip().startswith(f"Stream #0:{stream_index}") and "Video:" in line:
            words = line.replace("(", " ").replace(")", " ").replace(",", " ").split()
            for number, name in enumerate(CHROMA_LOCATIONS[1:], start=1):
                if name in words:
                    return number
    return 0


def mastering_display(picture: av.VideoFrame) -> MasteringDisplay | None:
    data = side_data(picture, Type.MASTERING_DISPLAY_METADATA)
    numbers = np.frombuffer(data, "<i4") if len(data) % 4 == 0 else np.zeros(0, np.int32)
    if len(numbers) < 2 * _MASTERING_FIELDS + 2 or not numbers[2 * _MASTERING_FIELDS :][:2].all():
        return None
    pairs = numbers[: 2 * _MASTERING_FIELDS].reshape(-1, 2).tolist()
    if any(denominator == 0 for _, denominator in pairs):
        return None
    value = [Fraction(numerator, denominator) for numerator, denominator in pairs]
    return MasteringDisplay(
        red=(value[0], value[1]),
        green=(value[2], value[3]),
        blue=(value[4], value[5]),
        white=(value[6], value[7]),
        min_luminance=value[8],
        max_luminance=value[9],
    )


def content_light(picture: av.VideoFrame) -> ContentLight | None:
    data = side_data(picture, Type.CONTENT_LIGHT_LEVEL)
    if len(data) < 8:
        return None
    most, average = np.frombuffer(data[:8], "<u4").tolist()
    return ContentLight(max_content=most, max_average=average)


def rotation(picture: av.VideoFrame, notes: list[str]) -> int:
    """Clockwise degrees to show the picture with; what a rotation cannot say goes to the notes."""
    data = side_data(picture, Type.DISPLAYMATRIX)
    if len(data) < 36:
        return 0
    matrix = (np.frombuffer(data[:36], "<i4").astype(np.float64) / _FIXED_POINT).tolist()
    if matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0:
        notes.append("the display matrix mirrors the picture: mirroring is not carried")
    degrees = math.degrees(math.atan2(matrix[1], matrix[0])) % 360
    quarter = round(degrees / 90) * 90 % 360
    if min(abs(degrees - quarter), 360 - abs(degrees - quarter)) > 1:
        notes.append(f"a rotation of {degrees:.0f} degrees is no quarter turn: it is carried as {quarter}")
    return quarter


def side_data(picture: av.VideoFrame, kind: Type) -> bytes:
    """One kind of side data of a picture; b"" where it has none."""
    held: Iterable[SideData] = picture.side_data  # type: ignore[assignment]  # PyAV's stub calls it a dict
    for each in held:
        if getattr(each, "type", None) is kind:
            return bytes(each)
    return b""


def hdr10_parameters(video: VideoFormat, codec: str) -> str:
    """HDR10 metadata in the words of x264's and x265's parameter lists; "" where there is none."""
    names = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}[codec]
    parts: list[str] = []
    if (display := video.mastering_display) is not None:
        colours = "".join(
            f"{letter}({round(x * 50_000)},{round(y * 50_000)})"
            for letter, (x, y) in zip(
                ("G", "B", "R", "WP"), (display.green, display.blue, display.red, display.white), strict=True
            )
        )
        light = f"L({round(display.max_luminance * 10_000)},{round(display.min_luminance * 10_000)})"
        parts.append(f"{names[0]}={colours}{light}")
    if video.content_light is not None:
        parts.append(f"{names[1]}={video.content_light.max_content},{video.content_light.max_average}")
    return ":".join(parts)


def _known(first: int, second: int) -> int:
    return second if first in (0, UNSPECIFIED) else first
