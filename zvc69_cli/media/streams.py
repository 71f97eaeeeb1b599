"""Audio and subtitles that are carried as packets: described when read, rebuilt when written."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from fractions import Fraction
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from zvc69_cli.errors import InputError, OutputError
from zvc69_cli.frames import CopiedPacket, CopiedStream
from zvc69_cli.media.bytestream import reason
from zvc69_cli.media.matroska import CODEC_IDS, track_head

MOV_FORMATS: Final = ("mp4", "mov")
TEXT_CODECS: Final = ("subrip", "text", "mov_text")  # one text, two ways to store it

_MARKUP: Final = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_RATE_BOX_BYTES: Final = 20
_NANOSECONDS: Final = 1_000_000_000
_OPUS_RATE: Final = 48_000
# FFmpeg's mov_text encoder wants an ASS header for the sample description that it writes.
_ASS_HEADER: Final = (
    b"[Script Info]\r\nScriptType: v4.00+\r\nPlayResX: 384\r\nPlayResY: 288\r\n\r\n[V4+ Styles]\r\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, "
    b"Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, "
    b"MarginL, MarginR, MarginV, Encoding\r\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\r\n\r\n"
    b"[Events]\r\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


def describe_stream(stream: Stream, number: int, where: str) -> CopiedStream:
    """What a sink needs to write this stream again; raises InputError for a codec that cannot be carried."""
    context = stream.codec_context
    codec = context.codec.canonical_name if context is not None else "unknown"
    if codec not in CODEC_IDS and codec != "mov_text":
        raise InputError(
            where,
            f"stream {stream.index} is {stream.type} of codec {codec}, which cannot be carried along",
            f"Leave it out with {_flag_against(stream.type)}, or convert it first.",
        )
    time_base = stream.time_base or Fraction(1, 1000)
    return CopiedStream(
        number=number,
        media=stream.type,
        codec=codec,
        time_base=time_base,
        extradata=_extradata(context.extradata or b"", codec),
        language=stream.metadata.get("language", "") if stream.metadata.get("language") != "und" else "",
        title=stream.metadata.get("title", ""),
        default=bool(stream.disposition & Disposition.default),
        parameters=tuple(_parameters(stream)),
    )


def _parameters(stream: Stream) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if isinstance(stream, AudioStream):
        context = stream.codec_context
        found += [
            ("sample_rate", str(context.sample_rate)),
            ("channels", str(context.channels)),
            ("layout", context.layout.name),
        ]
        if context.bit_rate:
            found.append(("bit_rate", str(context.bit_rate)))
    others = stream.disposition & ~Disposition.default
    if others:
        found.append(("disposition", str(int(others))))
    return found


def _flag_against(media: str) -> str:
    return "--no-audio" if media == "audio" else "--no-subtitles"


def with_padding(copied: CopiedStream, first_pts: int) -> CopiedStream:
    """The stream, told that sound before 0 only warms its decoder up; Matroska writes that down apart."""
    if copied.media != "audio" or first_pts >= 0:
        return copied
    rate = int(dict(copied.parameters)["sample_rate"])
    padding = ("initial_padding", str(round(-first_pts * copied.time_base * rate)))
    return replace(copied, parameters=(*copied.parameters, padding))


def is_pause(packet: CopiedPacket, copied: CopiedStream) -> bool:
    """Whether a packet only says that no subtitle is shown; muxers that need pauses write them themselves."""
    return copied.codec == "mov_text" and packet.data[:2] == b"\0\0"


def _extradata(data: bytes, codec: str) -> bytes:
    """The codec's own bytes, without the box of bit rates that a muxer puts behind those of mov_text."""
    while codec == "mov_text" and data[-_RATE_BOX_BYTES:][4:8] == b"btrt":
        data = data[:-_RATE_BOX_BYTES]
    return data


def packet_of(packet: av.Packet[Stream], number: int) -> CopiedPacket:
    return CopiedPacket(
        stream_number=number,
        data=bytes(packet),
        pts=packet.pts,
        dts=packet.dts,
        duration=max(0, packet.duration or 0),
        is_key=packet.is_keyframe,
    )


def stored_codec(copied: CopiedStream, format_name: str) -> str:
    """The codec that a container holds this stream in: only that of plain text subtitles changes."""
    if copied.codec in TEXT_CODECS:
        return "mov_text" if format_name in MOV_FORMATS else "subrip"
    return copied.codec


def add_copied_stream(container: OutputContainer, copied: CopiedStream, format_name: str, where: str) -> Stream:
    """A stream of the output that takes this stream's packets; raises OutputError where it cannot hold them."""
    try:
        if stored_codec(copied, format_name) == "mov_text":
            stream = _add_mov_text(container, copied)
        else:
            stream = _add_from_head(container, copied, stored_codec(copied, format_name))
    except (ValueError, KeyError, av.error.FFmpegError) as error:
        other = "a .mkv" if format_name != "matroska" else "another container"
        raise OutputError(
            where,
            f"{format_name} cannot hold {copied.media} stream {copied.number}, {copied.codec}: {reason(error)}",
            f"Write {other}, or leave it out with {_flag_against(copied.media)}.",
        ) from error
    stream.time_base = copied.time_base
    if copied.language:
        stream.metadata["language"] = copied.language
    if copied.title:
        stream.metadata["title"] = copied.title
    others = int(dict(copied.parameters).get("disposition", "0"))
    stream.disposition = Disposition(others) | (Disposition.default if copied.default else Disposition(0))
    return stream


def _add_from_head(container: OutputContainer, copied: CopiedStream, codec: str) -> Stream:
    """PyAV copies streams from an open input only, so the smallest input that describes this one is made."""
    parameters = dict(copied.parameters)
    rate, channels = int(parameters.get("sample_rate", "0")), int(parameters.get("channels", "0"))
    delay = Fraction(
        int(parameters.get("initial_padding", "0")), max(1, _OPUS_RATE if codec == "opus" else rate)
    )
    extradata = copied.extradata if codec == copied.codec else b""
    head = track_head(
        codec,
        is_audio=copied.media == "audio",
        sample_rate=rate,
        channels=channels,
        extradata=extradata,
        delay_ns=round(delay * _NANOSECONDS),
    )
    with av.open(io.BytesIO(head), "r", format="matroska") as described:
        template = described.streams[0]
        if template.codec_context is None:
            raise ValueError("this FFmpeg has no decoder for it")
        stream = container.add_stream_from_template(template)
    context = stream.codec_context
    context.extradata = extradata or None
    if isinstance(stream, AudioStream):
        stream.codec_context.sample_rate = rate
        if layout := parameters.get("layout", ""):
            _set_layout(stream, layout)
        if "bit_rate" in parameters:
            stream.codec_context.bit_rate = int(parameters["bit_rate"])
    return stream


def _set_layout(stream: AudioStream, layout: str) -> None:
    try:
        stream.codec_context.layout = layout
    except ValueError:
        return  # a layout without a name: the number of channels, set already, is all there is to say


def _add_mov_text(container: OutputContainer, copied: CopiedStream) -> Stream:
    stream = container.add_stream("mov_text")
    if not isinstance(stream, SubtitleStream):
        raise ValueError("this FFmpeg has no mov_text encoder")
    context = stream.codec_context
    context.subtitle_header = _ASS_HEADER
    context.time_base = copied.time_base
    context.open()
    if copied.codec == "mov_text" and copied.extradata:
        context.extradata = copied.extradata
    return stream


def stored_text(data: bytes, codec: str, format_name: str) -> tuple[bytes, bool]:
    """The bytes of a text subtitle for a container, and whether its styling was lost.

    mov_text is a two-byte length, the text, then boxes of styles; subrip is the text with tags in it. Going
    from one to the other keeps the text. An empty result is a pause, which only mov_text writes down.
    """
    if codec == "mov_text":
        if format_name in MOV_FORMATS:
            return data, False
        length = int.from_bytes(data[:2], "big")
        return data[2 : 2 + length], len(data) > 2 + length
    if format_name not in MOV_FORMATS:
        return data, False
    text = data.decode("utf-8", "replace").rstrip("\r\n\0")
    plain = _MARKUP.sub("", text).replace("\r\n", "\n").encode()[:0xFFFF]
    return len(plain).to_bytes(2, "big") + plain, plain != text.replace("\r\n", "\n").encode()
