"""Any file that PyAV opens: its video decoded, its audio and subtitles passed on as they are."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
import av.error
from av.sidedata.sidedata import Type
from av.stream import Discard, Stream

from zvc69_cli.errors import InputError
from zvc69_cli.frames import Chapter, CopiedPacket, CopiedStream, Frame, VideoFormat
from zvc69_cli.media.bytestream import ByteStream, reason
from zvc69_cli.media.colour import (
    chroma_location,
    colour_tags,
    content_light,
    mastering_display,
    rotation,
    side_data,
)
from zvc69_cli.media.opening import PIPED_MP4, open_container, tags_of, video_stream
from zvc69_cli.media.pictures import PictureReader
from zvc69_cli.media.selection import Selection, TimedPicture
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.streams import describe_stream, is_pause, packet_of, with_padding
from zvc69_cli.media.timeline import Timeline, plausible_rate
from zvc69_cli.media.uncompressed import check_size, interlaced

_INTERLACED_ORDERS: Final = (2, 3, 4, 5)  # AVFieldOrder: TT, BB, TB, BT
_UNCARRIED: Final = {
    Type.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    Type.DOVI_METADATA: "Dolby Vision metadata",
    Type.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    Type.FILM_GRAIN_PARAMS: "film grain parameters",
}
_MAX_FRAMES_AHEAD: Final = 4


class ContainerSource:
    """The first video stream of a container; the first selected frame has been decoded."""

    def __init__(
        self, file: str | ByteStream, where: str, settings: InputSettings, *, lacking_bytes: int = 0
    ) -> None:
        """lacking_bytes: how much shorter the file is than it says."""
        self.notes: list[str] = []
        self._where = where
        self._settings = settings
        self._lacking_bytes = lacking_bytes
        self._decoded_count = 0
        self._last: av.VideoFrame | None = None
        self._piped = isinstance(file, ByteStream)
        self._ahead: list[Frame | CopiedPacket] = []
        self._items: Iterator[Frame | CopiedPacket] = iter(())
        self._container = open_container(file, where)
        try:
            self._prepare()
        except BaseException:
            self._container.close()
            raise

    def __iter__(self) -> Iterator[Frame | CopiedPacket]:
        ahead, self._ahead = self._ahead, []
        yield from ahead
        yield from self._items

    def close(self) -> None:
        self._container.close()

    def _prepare(self) -> None:
        self._stream = video_stream(self._container, self._where)
        check_size(self._where, self._stream.codec_context.width, self._stream.codec_context.height)
        location = chroma_location(self._container, self._stream.index)
        self._time_base = self._stream.time_base or Fraction(1, 90_000)
        self._frame_rate = plausible_rate(self._stream.guessed_rate)
        self._timeline = Timeline(self._time_base, self._frame_rate, self.notes)
        self._copied = self._copied_streams()
        self.copied_streams = tuple(self._copied.values())
        self._selection = Selection(
            self._settings.seek,
            self._settings.frames,
            self.copied_streams,
            self._time_base,
            self._timeline.step,
        )
        self.tags = tags_of(self._container.metadata)
        self.frame_count = self._count()
        selected = self._selection.select(self._timed())
        self._read_ahead(selected, location)
        self.chapters = self._chapters()
        self._items = (self._frame(item) if isinstance(item, TimedPicture) else item for item in selected)

    def _read_ahead(self, selected: Iterator[TimedPicture | CopiedPacket], location: int) -> None:
        """Read up to the first picture, which says what is true of the video, and to the start of the sound."""
        silent = {stream.number for stream in self.copied_streams if stream.media == "audio"}
        frames = 0
        for item in selected:
            if isinstance(item, TimedPicture):
                if not frames:
                    self._describe(item.picture, location)
                self._ahead.append(self._frame(item))
                frames += 1
            else:
                self._ahead.append(item)
                if item.stream_number in silent and item.pts is not None and not self._settings.seek:
                    padded = with_padding(self.copied_streams[item.stream_number], item.pts)
                    self.copied_streams = tuple(
                        padded if each.number == padded.number else each for each in self.copied_streams
                    )
                silent.discard(item.stream_number)
            if frames and (not silent or frames == _MAX_FRAMES_AHEAD):
                return
        if not frames:
            raise self._nothing_selected()

    def _describe(self, picture: av.VideoFrame, location: int) -> None:
        context = self._stream.codec_context
        check_size(self._where, picture.width, picture.height)
        if context.field_order in _INTERLACED_ORDERS or picture.interlaced_frame:
            if self._settings.interlace == "refuse":
                raise interlaced(self._where)
            self.notes.append("the video is interlaced: its frames are taken as they are")
        self._reader = PictureReader(self._where, picture.format, self.notes)
        for name in dict.fromkeys(name for kind, name in _UNCARRIED.items() if side_data(picture, kind)):
            self.notes.append(f"{name} cannot be carried along and is left out")
        self.video = VideoFormat(
            width=picture.width,
            height=picture.height,
            bit_depth=self._reader.bit_depth,
            time_base=self._time_base,
            frame_rate=self._frame_rate,
            sample_aspect=self._stream.sample_aspect_ratio or Fraction(0),
            rotation_degrees=rotation(picture, self.notes),
            colour=colour_tags(picture, context, location),
            mastering_display=mastering_display(picture),
            content_light=content_light(picture),
        )

    def _frame(self, item: TimedPicture) -> Frame:
        picture = item.picture
        if (picture.width, picture.height) != (self.video.width, self.video.height):
            raise InputError(
                self._where,
                f"{self._at(item.number, item.pts)} is {picture.width}x{picture.height}, "
                f"the video began as {self.video.width}x{self.video.height}",
                "Split the input where its size changes, or scale it to one size first.",
            )
        if picture.is_corrupt:
            raise self._damaged(item.number, item.pts, "is damaged in the input")
        y, u, v = self._reader.planes(picture)
        return Frame(y=y, u=u, v=v, pts=item.pts, duration=item.duration)

    def _timed(self) -> Iterator[TimedPicture | CopiedPacket]:
        number = 0
        for item in self._decoded():
            if isinstance(item, CopiedPacket):
                yield item
                continue
            pts, duration = self._timeline.place(item, number)
            yield TimedPicture(picture=item, number=number, pts=pts, duration=duration)
            number += 1

    def _decoded(self) -> Iterator[av.VideoFrame | CopiedPacket]:
        """Pictures in display order and copied packets in the order of the file; raises InputError."""
        packets = 0
        wanted = [self._stream, *(self._container.streams[index] for index in self._copied)]
        try:
            for packet in self._container.demux(*wanted):
                if packet.stream_index in self._copied:
                    copied = self._copied[packet.stream_index]
                    if packet.size and not is_pause(carried := packet_of(packet, copied.number), copied):
                        yield carried
                elif packet.is_corrupt:
                    yield from self._pictures_before(packet.pts)
                    raise self._damaged(self._decoded_count, packet.pts, "is cut or damaged in the input")
                elif packet.size:
                    packets += 1
                    yield from self._pictures(packet)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise self._damaged(self._decoded_count, None, f"cannot be read: {reason(error)}") from error
        yield from self._pictures(None)
        self._check_complete(packets)

    def _pictures_before(self, pts: int | None) -> Iterator[av.VideoFrame]:
        """What the decoder holds of the pictures shown before a damaged one, which the rest may refer to."""
        for picture in self._pictures(None):
            if pts is None or picture.pts is None or picture.pts >= pts:
                self._decoded_count -= 1
                return
            yield picture

    def _pictures(self, packet: av.Packet[Stream] | None) -> Iterator[av.VideoFrame]:
        """The pictures that a packet completes; None asks for those that the decoder still holds."""
        try:
            for picture in self._stream.codec_context.decode(packet):
                self._last, self._decoded_count = picture, self._decoded_count + 1
                yield picture
        except av.error.EOFError:
            return  # the decoder was emptied before
        except (av.error.FFmpegError, ValueError) as error:
            last = None if self._last is None else self._last.pts
            raise self._damaged(self._decoded_count, last, f"cannot be decoded: {reason(error)}") from error

    def _check_complete(self, packets: int) -> None:
        """A file cut at its end decodes without an error, so what it promises is compared with what came."""
        promised = len(self._stream.index_entries) if "mp4" in self._container.format.name else 0
        if packets < promised:
            raise self._cut_short(f"ends after {packets} of {promised} frames")
        if self._lacking_bytes > 0:
            raise self._cut_short(
                f"ends after {self._decoded_count} frames, {self._lacking_bytes} bytes before its stated end"
            )

    def _cut_short(self, what: str) -> InputError:
        beginning = max(1, self._decoded_count - self._settings.seek)
        return InputError(
            self._where, what, f"The file is cut short: get the whole of it, or add `--frames {beginning}`."
        )

    def _damaged(self, number: int, pts: int | None, what: str) -> InputError:
        if self._piped and number == 0 and "mp4" in self._container.format.name:
            return InputError(self._where, f"{self._at(number, pts)} {what}", PIPED_MP4)
        before = number - self._settings.seek
        beginning = f", or take what comes before with `--frames {before}`." if before > 0 else "."
        return InputError(
            self._where, f"{self._at(number, pts)} {what}", f"Get a whole copy of the input{beginning}"
        )

    def _at(self, number: int, pts: int | None) -> str:
        return f"frame {number}" + ("" if pts is None else f" at {float(pts * self._time_base):.3f} s")

    def _nothing_selected(self) -> InputError:
        if self._settings.seek:
            return InputError(
                self._where,
                f"0 frames selected: --seek {self._settings.seek} passes the end",
                "Skip fewer frames.",
            )
        return InputError(self._where, "has a video stream but no frame in it", "Check how the file was made.")

    def _copied_streams(self) -> dict[int, CopiedStream]:
        """The streams to carry along, by their index in the container; the rest are told to stay silent."""
        copied: dict[int, CopiedStream] = {}
        wanted = {"audio": self._settings.audio, "subtitle": self._settings.subtitles}
        for stream in self._container.streams:
            if stream.index == self._stream.index:
                continue
            if wanted.get(stream.type, False):
                copied[stream.index] = describe_stream(stream, len(copied), self._where)
                continue
            stream.discard = Discard.all
            if stream.type not in wanted and not (stream.type == "data" and self._container.chapters()):
                self.notes.append(
                    f"stream {stream.index} ({stream.type}) cannot be carried along and is left out"
                )
        return copied

    def _chapters(self) -> tuple[Chapter, ...]:
        chapters: list[Chapter] = []
        for each in self._container.chapters():
            time_base = each["time_base"] or Fraction(1, 1000)
            start, end = (self._selection.shifted(each[name], time_base) for name in ("start", "end"))
            if end > 0 or not self._selection.shift:
                begin = max(0, start) if self._selection.shift else start
                chapters.append(
                    Chapter(start=begin, end=end, time_base=time_base, title=each["metadata"].get("title", ""))
                )
        return tuple(chapters)

    def _count(self) -> int | None:
        stored = self._stream.frames or None
        if stored is None and self._frame_rate is not None:
            if self._stream.duration is not None:
                stored = round(self._stream.duration * self._time_base * self._frame_rate)
            elif self._container.duration is not None:
                stored = round(Fraction(self._container.duration, av.time_base) * self._frame_rate)
        if stored is None:
            return self._settings.frames
        left = max(0, stored - self._settings.seek)
        return left if self._settings.frames is None else min(left, self._settings.frames)
