"""A container opened, or a refusal that says why it is no video."""

from __future__ import annotations

from typing import Final

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from zvc69_cli.errors import InputError
from zvc69_cli.media.bytestream import ByteStream, reason

PIPED_MP4: Final = "An mp4 whose index is at its end cannot be read from a pipe: give the file's name instead."

_TEXT_ART: Final = ("tty", "bin", "xbin", "adf", "idf")  # FFmpeg would draw a text file as a video
_CONTAINER_TAGS: Final = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


def open_container(file: str | ByteStream, where: str) -> InputContainer:
    try:
        container = av.open(file, "r", metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        step = (
            f"{PIPED_MP4} Raw yuv needs --input-res and --fps."
            if isinstance(file, ByteStream)
            else "Check that it is a video and that it is whole."
        )
        raise InputError(where, f"is no video that can be opened: {reason(error)}", step) from error
    if container.format.name in _TEXT_ART:
        container.close()
        raise InputError(where, "is no video: it looks like text", "Name a video file.")
    return container


def video_stream(container: InputContainer, where: str) -> VideoStream:
    videos = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not videos:
        kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
        container.close()
        raise InputError(
            where, f"has no video stream, only {', '.join(kinds)}", "Name a file with a video in it."
        )
    stream = next((each for each in videos if each.disposition & Disposition.default), videos[0])
    if stream.codec_context is None:
        raise InputError(
            where, "its video codec is not known to FFmpeg", "Convert it first: `ffmpeg -i IN OUT.mkv`."
        )
    stream.thread_type = "AUTO"
    return stream


def tags_of(metadata: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, value) for name, value in metadata.items() if name.lower() not in _CONTAINER_TAGS and value
    )
