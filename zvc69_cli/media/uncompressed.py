"""y4m and raw yuv, read."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av

from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.frames import (
    MAX_SIDE,
    MIN_SIDE,
    Chapter,
    ColourTags,
    CopiedPacket,
    CopiedStream,
    Frame,
    Samples,
    VideoFormat,
    is_valid_resolution,
)
from zvc69_cli.media.bytestream import ByteStream
from zvc69_cli.media.pictures import PictureReader, Planes, picture_of
from zvc69_cli.media.raw import FrameLayout, empty_frame, frame_layout, raw_pixel_format
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.y4m import FRAME_MAGIC, MAX_HEADER_BYTES, PROGRESSIVE, Y4mHeader, parse_header

ASSUMED_RATE: Final = Fraction(25)

_NATIVE: Final = ("yuv420p", "yuv420p10le")
_FRAME_LINE_BYTES: Final = len(FRAME_MAGIC) + 1


class UncompressedSource:
    """Frames of one size, one after the other; `_before_frame` reads what stands before each."""

    copied_streams: tuple[CopiedStream, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()

    def __init__(
        self,
        stream: ByteStream,
        settings: InputSettings,
        header: Y4mHeader,
        frame_rate: Fraction,
        overhead_bytes: int,
    ) -> None:
        """overhead_bytes: what stands before the first frame."""
        check_size(stream.name, header.width, header.height)
        self.notes: list[str] = []
        self._stream = stream
        self._settings = settings
        self._layout = frame_layout(header.pixel_format, header.width, header.height)
        self._reader = PictureReader(stream.name, _form(header, stream.name), self.notes)
        self.video = VideoFormat(
            width=header.width,
            height=header.height,
            bit_depth=self._reader.bit_depth,
            time_base=1 / frame_rate,
            frame_rate=frame_rate,
            sample_aspect=header.sample_aspect,
            colour=ColourTags(colour_range=header.colour_range, chroma_location=header.chroma_location),
        )
        self.frame_count = self._count(overhead_bytes)
        self._skip()
        self._first = self._read(0)
        if self._first is None:
            found = (
                f"0 frames selected: --seek {settings.seek} passes the end"
                if settings.seek
                else "holds no frame"
            )
            raise InputError(
                stream.name, found, "Skip fewer frames." if settings.seek else "Check how it was made."
            )

    def __iter__(self) -> Iterator[Frame | CopiedPacket]:
        frame, self._first = self._first, None
        pts = 0
        while frame is not None:
            yield frame
            pts += 1
            if pts == self._settings.frames:
                return
            frame = self._read(pts)

    def close(self) -> None:
        self._stream.close()

    def _before_frame(self, number: int) -> bool:
        """Read what stands before a frame; False at the end."""
        return bool(self._stream.peek(1))

    def _frame_overhead_bytes(self) -> int:
        return 0

    def _read(self, pts: int) -> Frame | None:
        number = pts + self._settings.seek
        if not self._before_frame(number):
            return None
        data = empty_frame(self._layout)
        found = self._stream.read_into(memoryview(data))  # type: ignore[arg-type]
        if found < len(data):
            raise self._cut(number, found)
        y, u, v = self._planes(self._layout.planes(data), number)
        return Frame(y=y, u=u, v=v, pts=pts, duration=1)

    def _planes(self, planes: list[Samples], number: int) -> Planes:
        name = self._layout.pixel_format
        if name in _NATIVE:
            y, u, v = planes
            if name != "yuv420p" and (most := max(int(plane.max()) for plane in planes)) > self.video.peak:
                raise InputError(
                    self._stream.name,
                    f"frame {number} holds a sample of {most}, 10 bits reach {self.video.peak}",
                    "Check the depth: samples of 10 bits lie in the low bits of two bytes.",
                )
            return y, u, v
        picture = picture_of(planes, name, self.video.width, self.video.height)
        picture.color_range = self.video.colour.colour_range
        return self._reader.planes(picture)

    def _skip(self) -> None:
        for number in range(self._settings.seek):
            if not self._before_frame(number):
                return
            passed = self._stream.skip(self._layout.frame_bytes)
            if passed < self._layout.frame_bytes:
                raise self._cut(number, passed)

    def _cut(self, number: int, found_bytes: int) -> InputError:
        return InputError(
            self._stream.name,
            f"frame {number} ends after {found_bytes} bytes, should be {self._layout.frame_bytes}",
            f"The input is cut short: make it again, or add `--frames {max(1, number - self._settings.seek)}`.",
        )

    def _count(self, overhead_bytes: int) -> int | None:
        asked = self._settings.frames
        if self._stream.size_bytes is None:
            return asked
        stored = (self._stream.size_bytes - overhead_bytes) // (
            self._layout.frame_bytes + self._frame_overhead_bytes()
        )
        left = max(0, stored - self._settings.seek)
        return left if asked is None else min(left, asked)


class Y4mSource(UncompressedSource):
    """The frames of a y4m; its header has not been read yet."""

    def __init__(self, stream: ByteStream, settings: InputSettings) -> None:
        line = stream.read_line(MAX_HEADER_BYTES)
        if len(line) > MAX_HEADER_BYTES:
            raise InputError(
                stream.name, f"y4m header: longer than {MAX_HEADER_BYTES} bytes", "Make the file again."
            )
        header = parse_header(line, stream.name)
        if header.interlacing not in PROGRESSIVE and settings.interlace == "refuse":
            raise interlaced(stream.name)
        if header.frame_rate is not None and settings.fps is not None:
            raise UsageError(
                "--fps", f"{stream.name} says {header.frame_rate} frames a second", "Leave --fps out."
            )
        rate = header.frame_rate or settings.frame_rate
        super().__init__(stream, settings, header, rate or ASSUMED_RATE, len(line) + 1)
        if rate is None:
            self.notes.append(
                f"the y4m names no frame rate: {ASSUMED_RATE} a second are assumed (--fps sets it)"
            )
        if header.interlacing not in PROGRESSIVE:
            self.notes.append("the y4m is interlaced: its frames are taken as they are")

    def _frame_overhead_bytes(self) -> int:
        return _FRAME_LINE_BYTES

    def _before_frame(self, number: int) -> bool:
        line = self._stream.read_line(MAX_HEADER_BYTES)
        if line == FRAME_MAGIC or line.startswith(FRAME_MAGIC + b" "):
            return True
        if not line and not self._stream.peek(1):
            return False
        raise InputError(
            self._stream.name,
            f"frame {number} begins with {line[:16]!r}, should be {FRAME_MAGIC!r}",
            "The y4m is damaged or cut short: make it again.",
        )


class RawSource(UncompressedSource):
    """The frames of raw yuv, described by the settings."""

    def __init__(self, stream: ByteStream, settings: InputSettings) -> None:
        size, rate = settings.raw_size, settings.frame_rate
        if size is None or rate is None:
            missing = "--input-res" if size is None else "--fps"
            raise UsageError(
                missing, "raw yuv needs --input-res and --fps", "Add both: --input-res 1920x1080 --fps 25."
            )
        width, height = size
        pixel_format = raw_pixel_format(settings.input_csp, settings.input_depth)
        self._check_whole(stream, frame_layout(pixel_format, width, height), settings)
        header = Y4mHeader(width=width, height=height, pixel_format=pixel_format)
        super().__init__(stream, settings, header, rate, 0)

    @staticmethod
    def _check_whole(stream: ByteStream, layout: FrameLayout, settings: InputSettings) -> None:
        if stream.size_bytes is None or not (rest := stream.size_bytes % layout.frame_bytes):
            return
        if (
            settings.frames is not None
            and (settings.seek + settings.frames) * layout.frame_bytes <= stream.size_bytes
        ):
            return
        raise InputError(
            stream.name,
            f"{stream.size_bytes} bytes are {stream.size_bytes // layout.frame_bytes} frames of "
            f"{layout.frame_bytes} bytes and {rest} left over",
            "Check --input-res, --input-csp and --input-depth; if the end is cut, add --frames.",
        )


def check_size(where: str, width: int, height: int) -> None:
    """Raises InputError, with the range, for a size that cannot be coded."""
    if not is_valid_resolution(width, height):
        raise InputError(
            where,
            f"{width}x{height} is out of range {MIN_SIDE}x{MIN_SIDE}..{MAX_SIDE}x{MAX_SIDE}",
            "Scale or crop the video to a size within the range first.",
        )


def interlaced(where: str) -> UsageError:
    return UsageError(
        where,
        "is interlaced, should be progressive",
        "Deinterlace it first (`ffmpeg -i IN -vf bwdif OUT.mkv`), or add --interlace progressive.",
    )


def _form(header: Y4mHeader, where: str) -> av.VideoFormat:
    try:
        return av.VideoFormat(header.pixel_format, header.width, header.height)
    except ValueError as error:
        raise InputError(
            where, f"pixel format {header.pixel_format} is not known", "Convert it to 4:2:0 first."
        ) from error
