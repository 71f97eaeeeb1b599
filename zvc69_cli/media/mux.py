"""mp4, mov, mkv and webm: frames through one of PyAV's encoders, copied streams beside them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, Final

import av
import av.error
from av.stream import Stream
from av.video.stream import VideoStream

from zvc69_cli.errors import UsageError
from zvc69_cli.frames import Chapter, CopiedPacket, CopiedStream, Frame, Samples, VideoFormat
from zvc69_cli.media.bytestream import reason
from zvc69_cli.media.encoders import (
    DEFAULT_CODEC,
    DEFAULT_WEBM_CODEC,
    HDR10_LISTS,
    encoder_options,
    encoder_pixel_format,
)
from zvc69_cli.media.pictures import picture_of
from zvc69_cli.media.plain import at_depth, depth_note, write_error
from zvc69_cli.media.settings import OutputSettings
from zvc69_cli.media.streams import MOV_FORMATS, TEXT_CODECS, add_copied_stream, stored_text

_MAX_CLOCK: Final = (1 << 31) - 1
_MILLISECOND: Final = Fraction(1, 1000)
_Failure = (av.error.FFmpegError, OSError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A copied stream and its place in the output."""

    copied: CopiedStream
    stream: Stream


class ContainerSink:
    """A container being written to an open file, which it closes."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        format_name: str,
        video: VideoFormat,
        settings: OutputSettings,
        *,
        copied_streams: Sequence[CopiedStream],
        chapters: Sequence[Chapter],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        self.notes: list[str] = []
        self._file = file
        self._name = name
        self._format_name = format_name
        self._video = video
        self._depth = settings.output_depth or video.bit_depth
        self._codec = settings.codec or (DEFAULT_WEBM_CODEC if format_name == "webm" else DEFAULT_CODEC)
        self._pixel_format = encoder_pixel_format(self._codec, video, self._depth)
        if self._codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # its library prints to standard error and takes no option
        self._shift: int | None = None  # ticks added to every pts; known at the first frame
        self._pending: list[CopiedPacket] = []
        self._durations: dict[int, int] = {}
        self._container = av.open(
            file,
            "w",
            format=format_name,
            container_options=_clock(format_name, video, copied_streams),
        )
        try:
            self._stream = self._add_video(settings)
            self._carried = {
                copied.number: Carried(
                    copied=copied, stream=add_copied_stream(self._container, copied, format_name, name)
                )
                for copied in copied_streams
            }
            self._container.metadata.update(tags)
            self._set_chapters(chapters)
            self._open_encoder(settings)
            self._container.start_encoding()
        except _Failure as error:
            self.abort()
            raise write_error(name, error) from error
        except BaseException:
            self.abort()
            raise
        self._note_losses()

    def write_frame(self, frame: Frame) -> None:
        try:
            if self._shift is None:
                self._begin(frame.pts)
            picture = picture_of(self._planes(frame), self._pixel_format, self._video.width, self._video.height)
            picture.pts = frame.pts + (self._shift or 0)
            picture.time_base = self._video.time_base
            if frame.duration is not None:
                self._durations[picture.pts] = frame.duration
            self._tag(picture)
            self._mux(self._stream.encode(picture))
        except _Failure as error:
            raise write_error(self._name, error) from error

    def write_copied(self, packet: CopiedPacket) -> None:
        if packet.stream_number not in self._carried:
            return
        if self._shift is None:
            self._pending.append(packet)
            return
        try:
            self._write_copied(packet)
        except _Failure as error:
            raise write_error(self._name, error) from error

    def close(self) -> None:
        try:
            if self._shift is None:
                self._begin(0)
            self._mux(self._stream.encode(None))
            self._container.close()
            self._file.close()
        except _Failure as error:
            self.abort()
            raise write_error(self._name, error) from error

    def abort(self) -> None:
        # With its file closed, PyAV writes no trailer: what is there stays as it is.
        with contextlib.suppress(*_Failure):
            self._file.close()
        with contextlib.suppress(*_Failure):
            self._container.close()

    def _begin(self, first_pts: int) -> None:
        """Containers cannot start before 0: a video that does is moved, and what belongs to it with it."""
        self._shift = max(0, -first_pts)
        if self._shift:
            seconds = float(self._shift * self._video.time_base)
            self.notes.append(f"the video starts before 0: every stream is moved by {seconds:.3f} s")
        pending, self._pending = self._pending, []
        for packet in pending:
            self._write_copied(packet)

    def _write_copied(self, packet: CopiedPacket) -> None:
        carried = self._carried[packet.stream_number]
        copied = carried.copied
        data = packet.data
        if copied.codec in TEXT_CODECS:
            data, lost = stored_text(data, copied.codec, self._format_name)
            self._note_once(
                lost, f"subtitle stream {copied.number}: its styling cannot be kept in {self._format_name}"
            )
            if not data:
                return
        moved = round((self._shift or 0) * self._video.time_base / copied.time_base)
        packed: av.Packet[Stream] = av.Packet(data)
        packed.pts = None if packet.pts is None else packet.pts + moved
        packed.dts = packed.pts if packet.dts is None else packet.dts + moved
        packed.duration = packet.duration
        packed.time_base = copied.time_base
        packed.is_keyframe = packet.is_key
        packed.stream = carried.stream
        self._container.mux(packed)

    def _mux(self, packets: Sequence[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None and packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def _planes(self, frame: Frame) -> list[Samples]:
        planes = [at_depth(plane, self._video.bit_depth, self._depth) for plane in (frame.y, frame.u, frame.v)]
        if not self._pixel_format.startswith("yuv444p"):
            return planes
        height, width = planes[0].shape
        return [planes[0], *(plane.repeat(2, 0).repeat(2, 1)[:height, :width] for plane in planes[1:])]

    def _add_video(self, settings: OutputSettings) -> VideoStream:
        video = self._video
        try:
            stream = self._container.add_stream(
                self._codec, rate=video.frame_rate, options=encoder_options(self._codec, video, settings)
            )
        except ValueError as error:
            raise UsageError(
                "--codec",
                f"{self._format_name} cannot hold {self._codec}",
                "Choose another codec or container.",
            ) from error
        if not isinstance(stream, VideoStream):
            raise UsageError("--codec", f"{self._codec} is no video encoder", "Choose libx264 or another one.")
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, self._pixel_format
        stream.time_base = video.time_base
        context = stream.codec_context
        context.time_base = video.time_base
        if video.frame_rate is None:
            context.framerate = Fraction(0)
        context.color_primaries = video.colour.primaries
        context.color_trc = video.colour.transfer
        context.colorspace = video.colour.matrix
        context.color_range = video.colour.colour_range
        if video.sample_aspect:
            context.sample_aspect_ratio = video.sample_aspect
        if video.rotation_degrees:
            stream.set_display_rotation(-video.rotation_degrees)
        return stream

    def _open_encoder(self, settings: OutputSettings) -> None:
        """Before anything is written, so that what fails here is the encoder and not the disk."""
        try:
            self._stream.codec_context.open()
        except _Failure as error:
            if settings.codec_preset is not None:
                raise UsageError(
                    "--codec-preset", f"{self._codec} refuses {settings.codec_preset!r}", "Leave it out."
                ) from error
            raise UsageError(
                "--codec",
                f"{self._codec} cannot be used here: {reason(error)}",
                f"Take another one; {DEFAULT_CODEC} runs everywhere.",
            ) from error

    def _tag(self, picture: av.VideoFrame) -> None:
        colour = self._video.colour
        picture.color_primaries, picture.color_trc = colour.primaries, colour.transfer
        picture.colorspace, picture.color_range = colour.matrix, colour.colour_range

    def _set_chapters(self, chapters: Sequence[Chapter]) -> None:
        self._container.set_chapters(
            [
                {
                    "id": number,
                    "start": chapter.start,
                    "end": chapter.end,
                    "time_base": chapter.time_base,
                    "metadata": {"title": chapter.title} if chapter.title else {},
                }
                for number, chapter in enumerate(chapters, start=1)
            ]
        )

    def _note_losses(self) -> None:
        video = self._video
        self._note_once(True, depth_note(video.bit_depth, self._depth))
        in_milliseconds = self._format_name in ("matroska", "webm")
        self._note_once(
            in_milliseconds and bool((video.time_base / _MILLISECOND).denominator != 1),
            f"{self._format_name} keeps times in whole milliseconds: they are rounded (mp4 keeps them exact)",
        )
        self._note_once(
            self._pixel_format.startswith("yuv444p"),
            f"{self._codec} takes no odd sizes in 4:2:0: written as 4:4:4 (--codec libvpx-vp9 keeps 4:2:0)",
        )
        has_hdr10 = video.mastering_display is not None or video.content_light is not None
        self._note_once(
            has_hdr10 and self._codec not in HDR10_LISTS, f"{self._codec} is not given the HDR10 light levels"
        )

    def _note_once(self, applies: bool, note: str) -> None:
        if applies and note and note not in self.notes:
            self.notes.append(note)


def _clock(format_name: str, video: VideoFormat, copied_streams: Sequence[CopiedStream]) -> dict[str, str]:
    """The clock for the starts of streams in mp4 and mov: one that all times fit, not milliseconds."""
    if format_name not in MOV_FORMATS:
        return {}
    clock = math.lcm(video.time_base.denominator, *(stream.time_base.denominator for stream in copied_streams))
    return {"movie_timescale": str(clock)} if clock <= _MAX_CLOCK else {}
