"""The encoders that mp4, mov, mkv and webm are written with: their samples and their settings."""

from __future__ import annotations

from typing import Final

import av

from zvc69_cli.errors import UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.media.colour import CHROMA_LOCATIONS, hdr10_parameters
from zvc69_cli.media.settings import OutputSettings

DEFAULT_CODEC: Final = "libx264"
DEFAULT_WEBM_CODEC: Final = "libvpx-vp9"

# Near-transparent and fast: what is written has been lossy once already, and is often watched once only.
_DEFAULTS: Final = {
    "libx264": {"crf": "16", "preset": "veryfast"},
    "libx265": {"crf": "16", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    "libsvtav1": {"crf": "20", "preset": "9"},
}
HDR10_LISTS: Final = {"libx264": "x264-params", "libx265": "x265-params"}
_EVEN_ONLY: Final = ("libx264", "libx265")  # H.264 and H.265 crop 4:2:0 in steps of two samples


def encoder_options(codec: str, video: VideoFormat, settings: OutputSettings) -> dict[str, str]:
    """What the encoder is opened with; raises UsageError for a setting that it does not have."""
    options = dict(_DEFAULTS.get(codec, {}))
    for key, value in (("crf", settings.codec_crf), ("preset", settings.codec_preset)):
        if value is None:
            continue
        if not _has_option(codec, key):
            raise UsageError(f"--codec-{key}", f"{codec} has no such setting", "Leave it out.")
        options[key] = f"{value:g}" if isinstance(value, float) else value
    if video.colour.chroma_location < len(CHROMA_LOCATIONS):
        options["chroma_sample_location"] = CHROMA_LOCATIONS[video.colour.chroma_location]
    parameters = ["log-level=none"] if codec == "libx265" else []
    if codec in HDR10_LISTS and (hdr10 := hdr10_parameters(video, codec)):
        parameters.append(hdr10)
    if parameters:
        options[HDR10_LISTS[codec]] = ":".join(parameters)
    return options


def encoder_pixel_format(codec: str, video: VideoFormat, depth: int) -> str:
    """The samples that an encoder is given; raises UsageError for an encoder that cannot be had."""
    try:
        encoder = av.codec.Codec(codec, "w")
    except ValueError as error:
        raise UsageError(
            "--codec",
            f"{codec!r} is no encoder of this FFmpeg",
            "Choose libx264, libx265, libsvtav1 or libvpx-vp9.",
        ) from error
    if encoder.type != "video":
        raise UsageError("--codec", f"{codec} is no video encoder", "Choose libx264 or another one.")
    odd = video.width % 2 == 1 or video.height % 2 == 1
    name = ("yuv444p" if odd and codec in _EVEN_ONLY else "yuv420p") + ("10le" if depth == 10 else "")
    offered = [form.name for form in encoder.video_formats or ()]
    if offered and name not in offered:
        raise UsageError(
            "--codec", f"{codec} takes no {name}", "Choose libx264 or libx265, or reduce with --output-depth 8."
        )
    return name


def _has_option(codec: str, option: str) -> bool:
    return any(each.name == option for each in av.CodecContext.create(codec, "w").supported_options.private)
