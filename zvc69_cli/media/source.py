"""Where frames come from: any file that PyAV opens, y4m and raw yuv, from files and from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO, Final, Protocol

from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.frames import Chapter, CopiedPacket, CopiedStream, Frame, VideoFormat
from zvc69_cli.media.bytestream import ByteStream, open_file
from zvc69_cli.media.demux import ContainerSource
from zvc69_cli.media.matroska import HEAD_BYTES, stated_bytes
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.uncompressed import RawSource, Y4mSource
from zvc69_cli.media.y4m import MAGIC

STANDARD_INPUT: Final = "-"


class Source(Protocol):
    """A video being read.

    video           true of every frame
    frame_count     frames that will come, after --seek and --frames; an estimate, None where nothing says
    copied_streams  audio and subtitles whose packets come along
    tags            metadata of the whole file: title, artist ...
    notes           what was converted, mended or left out, one sentence each; may grow while frames are read
    """

    @property
    def video(self) -> VideoFormat: ...
    @property
    def frame_count(self) -> int | None: ...
    @property
    def copied_streams(self) -> tuple[CopiedStream, ...]: ...
    @property
    def chapters(self) -> tuple[Chapter, ...]: ...
    @property
    def tags(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def notes(self) -> list[str]: ...

    def __iter__(self) -> Iterator[Frame | CopiedPacket]:
        """Frames in display order, copied packets where they lie between them; once only. Raises InputError."""
        ...

    def close(self) -> None: ...


ALREADY_CODED: Final = b"ZVC69\0"


def open_source(path: str, settings: InputSettings, stdin: BinaryIO | None = None) -> Source:
    """The video of a file, or of standard input for "-"; the first selected frame has been read.

    raises  InputError   missing, not readable, no video in it, no frame selected, size out of range
            UsageError   settings that do not fit the input; interlaced video
    """
    if path == STANDARD_INPUT:
        stream = ByteStream(stdin if stdin is not None else sys.stdin.buffer, "standard input")
    else:
        stream = open_file(path)
    try:
        return _open_stream(path, stream, settings)
    except BaseException:
        stream.close()
        raise


def _open_stream(path: str, stream: ByteStream, settings: InputSettings) -> Source:
    start = stream.peek(len(MAGIC))
    if not start:
        raise InputError(
            stream.name, "is empty, should hold a video", "Check that whatever writes it has finished."
        )
    if start.startswith(ALREADY_CODED):
        raise InputError(
            stream.name,
            "is a .zvc69 already, should be a video to encode",
            "`zvc69 decode` makes a video of it.",
        )
    if start == MAGIC or settings.y4m:
        if settings.input_res is not None:
            raise UsageError(
                "--input-res",
                f"{stream.name} is y4m, which carries its size",
                "Leave out the flags of raw yuv.",
            )
        _refuse_raw_settings(stream.name, settings)
        return Y4mSource(stream, settings)
    if settings.input_res is not None:
        return RawSource(stream, settings)
    if PurePath(path).suffix.lower() in (".yuv", ".raw"):
        raise UsageError(
            "--input-res", f"{path} is raw yuv, whose size must be given", "Add --input-res WxH --fps N."
        )
    if settings.fps is not None:
        raise UsageError(
            "--fps",
            f"{stream.name} carries its own times",
            "Leave it out; it is for raw yuv, and y4m without a rate.",
        )
    _refuse_raw_settings(stream.name, settings)
    if path == STANDARD_INPUT:
        return ContainerSource(stream, stream.name, settings)
    stated = stated_bytes(stream.peek(HEAD_BYTES))
    stream.close()
    lacking_bytes = stated - stream.size_bytes if stated and stream.size_bytes else 0
    return ContainerSource(f"file:{path}", path, settings, lacking_bytes=lacking_bytes)


def _refuse_raw_settings(name: str, settings: InputSettings) -> None:
    """Raises UsageError for what describes raw yuv, where the input describes itself."""
    for each in flags_of(settings):
        if each.name in ("input-csp", "input-depth") and getattr(settings, each.field_name) != each.default:
            raise UsageError(
                f"--{each.name}", f"{name} says itself what its samples are", "Leave it out; it is for raw yuv."
            )
