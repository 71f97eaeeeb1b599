"""The tagged records behind the file header, one by one (FORMAT.md 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, Final

from zvc69_cli.container.fields import (
    MAX_U32,
    Cursor,
    Malformed,
    decode_text,
    pack_bytes,
    pack_ratio,
    pack_signed,
    pack_text,
    pack_varint,
    unpack_bytes,
    unpack_ratio,
    unpack_signed,
    unpack_text,
    unpack_varint,
)
from zvc69_cli.container.layout import (
    DEFAULT_TIME_BASE,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    MEDIA,
    StreamHeader,
    fits_gop,
    fits_quality_level,
    fits_rate,
)
from zvc69_cli.frames import Chapter, ColourTags, ContentLight, CopiedStream, MasteringDisplay


class Tag(IntEnum):
    """Which record it is; numbers that are not here are skipped."""

    END = 0
    BUNDLE = 1
    TIME_BASE = 2
    FRAME_RATE = 3
    GOP = 4
    BASE_Q = 5
    START = 6
    SAMPLE_ASPECT = 7
    ROTATION = 8
    COLOUR = 9
    MASTERING_DISPLAY = 10
    CONTENT_LIGHT = 11
    COPIED_STREAM = 12
    CHAPTER = 13
    METADATA = 14
    SETTINGS_NOTE = 15


_REPEATED: Final = frozenset({Tag.COPIED_STREAM, Tag.CHAPTER, Tag.METADATA})


def pack_records(header: StreamHeader) -> Iterator[tuple[Tag, bytes]]:
    """Every record that differs from what its absence means."""
    video = header.video
    yield Tag.BUNDLE, header.bundle_sha256 + header.bundle_name.encode("utf-8", "replace")
    if video.time_base != DEFAULT_TIME_BASE:
        yield Tag.TIME_BASE, pack_ratio(video.time_base)
    if video.frame_rate is not None and not fits_rate(video.frame_rate):
        yield Tag.FRAME_RATE, pack_ratio(video.frame_rate)
    if not fits_gop(header.gop_frames):
        yield Tag.GOP, pack_signed(header.gop_frames)
    if not fits_quality_level(header.base_q_256):
        yield Tag.BASE_Q, pack_varint(header.base_q_256)
    if header.start_pts:
        yield Tag.START, pack_signed(header.start_pts)
    if video.sample_aspect:
        yield Tag.SAMPLE_ASPECT, pack_ratio(video.sample_aspect)
    if video.rotation_degrees:
        yield Tag.ROTATION, video.rotation_degrees.to_bytes(2, "big")
    if video.colour != ColourTags():
        yield Tag.COLOUR, _pack_colour(video.colour)
    if video.mastering_display is not None:
        yield Tag.MASTERING_DISPLAY, _pack_mastering_display(video.mastering_display)
    if video.content_light is not None:
        yield Tag.CONTENT_LIGHT, _pack_content_light(video.content_light)
    for stream in header.copied_streams:
        yield Tag.COPIED_STREAM, _pack_copied_stream(stream)
    for chapter in header.chapters:
        yield Tag.CHAPTER, _pack_chapter(chapter)
    for key, value in header.tags:
        yield Tag.METADATA, pack_text(key) + pack_text(value)
    if header.settings_note:
        yield Tag.SETTINGS_NOTE, header.settings_note.encode("utf-8", "replace")


def unpack_records(records: list[tuple[int, bytes]]) -> dict[Tag, list[Any]]:
    """What the known records hold, by tag; raises Malformed."""
    values: dict[Tag, list[Any]] = {tag: [] for tag in Tag}
    for number, body in records:
        if number not in _UNPACKERS:
            continue
        tag, cursor = Tag(number), Cursor(body)
        if values[tag] and tag not in _REPEATED:
            raise Malformed(f"two {tag.name.lower()} records")
        try:
            values[tag].append(_UNPACKERS[tag](cursor))
            cursor.check_done()
        except Malformed as error:
            raise Malformed(f"{tag.name.lower()} record: {error}") from error
    return values


def _pack_colour(colour: ColourTags) -> bytes:
    return bytes(
        [colour.primaries, colour.transfer, colour.matrix, colour.colour_range, colour.chroma_location]
    )


def _unpack_colour(cursor: Cursor) -> ColourTags:
    primaries, transfer, matrix, colour_range, chroma_location = cursor.take(5)
    return ColourTags(
        primaries=primaries,
        transfer=transfer,
        matrix=matrix,
        colour_range=colour_range,
        chroma_location=chroma_location,
    )


def _pack_mastering_display(display: MasteringDisplay) -> bytes:
    points = (*display.red, *display.green, *display.blue, *display.white)
    return b"".join(map(pack_ratio, (*points, display.min_luminance, display.max_luminance)))


def _unpack_mastering_display(cursor: Cursor) -> MasteringDisplay:
    red, green, blue, white = (
        (unpack_ratio(cursor.take), unpack_ratio(cursor.take)) for _ in ("red", "green", "blue", "white")
    )
    return MasteringDisplay(
        red=red,
        green=green,
        blue=blue,
        white=white,
        min_luminance=unpack_ratio(cursor.take),
        max_luminance=unpack_ratio(cursor.take),
    )


def _pack_content_light(light: ContentLight) -> bytes:
    return light.max_content.to_bytes(4, "big") + light.max_average.to_bytes(4, "big")


def _unpack_content_light(cursor: Cursor) -> ContentLight:
    return ContentLight(
        max_content=int.from_bytes(cursor.take(4), "big"), max_average=int.from_bytes(cursor.take(4), "big")
    )


def _pack_copied_stream(stream: CopiedStream) -> bytes:
    parameters = b"".join(pack_text(key) + pack_text(value) for key, value in stream.parameters)
    return b"".join(
        (
            bytes([stream.number, MEDIA.index(stream.media), stream.default]),
            pack_ratio(stream.time_base),
            pack_text(stream.codec),
            pack_text(stream.language),
            pack_text(stream.title),
            pack_bytes(stream.extradata),
            pack_varint(len(stream.parameters)),
            parameters,
        )
    )


def _unpack_copied_stream(cursor: Cursor) -> CopiedStream:
    take = cursor.take
    number, media, default = take(3)
    if media >= len(MEDIA) or default > 1:
        raise Malformed(f"medium {media} and default {default}, should be at most {len(MEDIA) - 1} and 1")
    time_base = unpack_ratio(take)
    codec, language, title = (unpack_text(take, MAX_RECORD_BYTES) for _ in ("codec", "language", "title"))
    extradata = unpack_bytes(take, MAX_RECORD_BYTES)
    count = unpack_varint(take, MAX_RECORDS)
    return CopiedStream(
        number=number,
        media=MEDIA[media],
        codec=codec,
        time_base=time_base,
        extradata=extradata,
        language=language,
        title=title,
        default=bool(default),
        parameters=tuple(_unpack_pair(cursor) for _ in range(count)),
    )


def _pack_chapter(chapter: Chapter) -> bytes:
    times = pack_signed(chapter.start) + pack_signed(chapter.end)
    return times + pack_ratio(chapter.time_base) + pack_text(chapter.title)


def _unpack_chapter(cursor: Cursor) -> Chapter:
    start, end = unpack_signed(cursor.take), unpack_signed(cursor.take)
    time_base = unpack_ratio(cursor.take)
    return Chapter(start=start, end=end, time_base=time_base, title=unpack_text(cursor.take, MAX_RECORD_BYTES))


def _unpack_pair(cursor: Cursor) -> tuple[str, str]:
    return unpack_text(cursor.take, MAX_RECORD_BYTES), unpack_text(cursor.take, MAX_RECORD_BYTES)


_UNPACKERS: Final[dict[int, Callable[[Cursor], Any]]] = {
    Tag.BUNDLE: lambda cursor: (cursor.take(32), decode_text(cursor.rest())),
    Tag.TIME_BASE: lambda cursor: unpack_ratio(cursor.take),
    Tag.FRAME_RATE: lambda cursor: unpack_ratio(cursor.take),
    Tag.GOP: lambda cursor: unpack_signed(cursor.take),
    Tag.BASE_Q: lambda cursor: unpack_varint(cursor.take, MAX_U32),
    Tag.START: lambda cursor: unpack_signed(cursor.take),
    Tag.SAMPLE_ASPECT: lambda cursor: unpack_ratio(cursor.take),
    Tag.ROTATION: lambda cursor: int.from_bytes(cursor.take(2), "big"),
    Tag.COLOUR: _unpack_colour,
    Tag.MASTERING_DISPLAY: _unpack_mastering_display,
    Tag.CONTENT_LIGHT: _unpack_content_light,
    Tag.COPIED_STREAM: _unpack_copied_stream,
    Tag.CHAPTER: _unpack_chapter,
    Tag.METADATA: _unpack_pair,
    Tag.SETTINGS_NOTE: lambda cursor: decode_text(cursor.rest()),
}
