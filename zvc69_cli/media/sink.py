"""Where decoded frames go: y4m or raw yuv, to a file or to standard output, or mp4, mov, mkv and webm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, Final, Protocol

from zvc69_cli.errors import OutputError, UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.frames import Chapter, CopiedPacket, CopiedStream, Frame, VideoFormat
from zvc69_cli.media.bytestream import reason
from zvc69_cli.media.mux import ContainerSink
from zvc69_cli.media.plain import PlainSink, RawSink, Y4mSink
from zvc69_cli.media.settings import OutputSettings

STANDARD_OUTPUT: Final = "-"
CONTAINERS: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
PLAIN: Final = {".y4m": Y4mSink, ".yuv": RawSink, ".raw": RawSink}

_WRITE_BUFFER_BYTES: Final = 1 << 20


class Sink(Protocol):
    """A video being written; everything but `abort` raises OutputError.

    notes  what the output cannot hold or was converted, one sentence each; may grow until `close`
    """

    @property
    def notes(self) -> list[str]: ...

    def write_frame(self, frame: Frame) -> None:
        """Write the next frame in display order."""
        ...

    def write_copied(self, packet: CopiedPacket) -> None:
        """Write a packet of one of the copied streams; a sink that holds none drops it."""
        ...

    def close(self) -> None:
        """Finish the output; standard output is flushed and left open."""
        ...

    def abort(self) -> None:
        """Give the output up: nothing stays open, what was written stays where it is. Raises nothing."""
        ...


def open_sink(
    path: str,
    video: VideoFormat,
    settings: OutputSettings,
    *,
    copied_streams: Sequence[CopiedStream] = (),
    chapters: Sequence[Chapter] = (),
    tags: Sequence[tuple[str, str]] = (),
    stdout: BinaryIO | None = None,
    final_name: str = "",
) -> Sink:
    """An output for frames of `video`, which is overwritten.

    path        where the bytes go; "-" is standard output, y4m unless --raw is set
    final_name  the name that chooses the format and stands in messages; `path` when left out
    raises      UsageError for a name or settings that fit no format, OutputError for what cannot be written
    """
    name = final_name or path
    plain, container = _format(path if path == STANDARD_OUTPUT else name, settings)
    if path == STANDARD_OUTPUT and plain is not None:
        out = stdout if stdout is not None else sys.stdout.buffer
        return plain(out, "standard output", video, settings, copied_streams, closes=False)
    kept = [
        stream
        for stream in copied_streams
        if (settings.audio if stream.media == "audio" else settings.subtitles)
    ]
    file = _open_file(path, name)
    try:
        if plain is not None:
            return plain(file, name, video, settings, kept, closes=True)
        return ContainerSink(
            file, name, container, video, settings, copied_streams=kept, chapters=chapters, tags=tags
        )
    except BaseException:
        file.close()
        raise


def check_output_name(name: str, settings: OutputSettings) -> None:
    """Raises UsageError for a name or settings that fit no format; opens nothing."""
    _format(name, settings)


def _format(name: str, settings: OutputSettings) -> tuple[type[PlainSink] | None, str]:
    """The sink for plain frames, or FFmpeg's name of a container."""
    extension = PurePath(name).suffix.lower()
    if name == STANDARD_OUTPUT or settings.raw or settings.y4m or extension in PLAIN:
        _refuse_encoder_settings(name, settings)
    if name == STANDARD_OUTPUT:
        return (RawSink if settings.raw else Y4mSink), ""
    if settings.raw or settings.y4m:
        if extension in CONTAINERS:
            flag = "--raw" if settings.raw else "--y4m"
            raise UsageError(
                flag, f"does not fit {name}, a {extension} file", "Leave the flag out, or change the name."
            )
        return (RawSink if settings.raw else Y4mSink), ""
    if extension in PLAIN:
        return PLAIN[extension], ""
    if extension in CONTAINERS:
        return None, CONTAINERS[extension]
    raise UsageError(
        name,
        f"the format is not clear from the name: {extension or 'no extension'}",
        f"Use one of {' '.join((*PLAIN, *CONTAINERS))}, or add --y4m or --raw.",
    )


def _refuse_encoder_settings(name: str, settings: OutputSettings) -> None:
    """Raises UsageError for what is asked of an encoder, where the output has none."""
    for each in flags_of(settings):
        if each.name.startswith("codec") and getattr(settings, each.field_name) is not None:
            shown = "standard output" if name == STANDARD_OUTPUT else name
            raise UsageError(
                f"--{each.name}",
                f"{shown} holds plain frames, without an encoder",
                "Leave it out, or write a .mkv.",
            )


def _open_file(path: str, name: str) -> BinaryIO:
    try:
        return Path(path).open("wb", buffering=_WRITE_BUFFER_BYTES)
    except IsADirectoryError as error:
        raise OutputError(name, "is a directory, should be a file", "Name a file inside it.") from error
    except FileNotFoundError as error:
        raise OutputError(name, "its folder does not exist", "Make the folder first.") from error
    except (OSError, ValueError) as error:
        raise OutputError(
            name, f"cannot be written: {reason(error)}", "Check the name and permissions."
        ) from error
