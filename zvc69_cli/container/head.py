"""The head of a stream: the file header, then tagged records, then their CRC-32 (FORMAT.md 2 and 3)."""

from __future__ import annotations

import zlib
from fractions import Fraction
from typing import Any, Final

from zvc69_cli.container.fields import EndOfBytes, Malformed, Take, pack_bytes, unpack_bytes
from zvc69_cli.container.layout import (
    DEFAULT_TIME_BASE,
    HEADER_START,
    MAGIC,
    MAJOR,
    MAX_EXTENSIONS_BYTES,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    MINOR,
    FileHeader,
    Flags,
    StreamHeader,
    facts_bytes,
    pack_file_header,
    unpack_file_header,
)
from zvc69_cli.container.records import Tag, pack_records, unpack_records
from zvc69_cli.errors import DamagedHeader, InputError, LaterVersion, NotZvc69, TruncatedStream
from zvc69_cli.frames import ColourTags, VideoFormat

_REMEDY: Final = "The file is damaged at its very beginning and cannot be decoded; take another copy of it."


def pack_header(header: StreamHeader) -> bytes:
    """The file header and its extensions, as they stand at the start of a stream.

    raises  InputError where what is carried along (tags, chapters, extradata) is beyond the format's limits
    """
    records = list(pack_records(header))
    if len(records) > MAX_RECORDS:
        raise InputError(
            "input",
            f"{len(records)} streams, chapters and tags, at most {MAX_RECORDS} can be carried",
            "Encode it without its chapters or tags.",
        )
    for tag, body in records:
        if len(body) > MAX_RECORD_BYTES:
            raise InputError(
                "input",
                f"its {tag.name.lower().replace('_', ' ')} takes {len(body)} bytes, at most {MAX_RECORD_BYTES} "
                "can be carried",
                "Shorten it, or encode without it.",
            )
    packed = [bytes([tag]) + pack_bytes(body) for tag, body in records]
    fixed = pack_file_header(header)
    head = fixed + b"".join(packed) + bytes([Tag.END, 0])
    if len(head) > len(fixed) + MAX_EXTENSIONS_BYTES:
        raise InputError(
            "input",
            f"its streams, chapters and tags take {len(head)} bytes, at most {MAX_EXTENSIONS_BYTES} can be "
            "carried",
            "Encode it without its chapters or tags.",
        )
    return head + zlib.crc32(head).to_bytes(4, "big")


def unpack_header(take: Take, name: str) -> StreamHeader:
    """Undoes `pack_header`, reading no byte beyond.

    name    of the file, for the messages
    raises  NotZvc69, LaterVersion, DamagedHeader, TruncatedStream
    """
    try:
        _check_magic(take(len(MAGIC)), name)
    except EndOfBytes as error:
        raise NotZvc69(
            name, "is too short to be a .zvc69 file", "Give a file that `zvc69 encode` wrote."
        ) from error
    try:
        return _unpack_checked(take, name)
    except EndOfBytes as error:
        raise TruncatedStream(name, "ends inside its header", _REMEDY) from error
    except Malformed as error:
        raise DamagedHeader(name, f"header: {error}", _REMEDY) from error


def _check_magic(magic: bytes, name: str) -> None:
    if magic != MAGIC:
        raise NotZvc69(
            name,
            f"begins with {magic!r}, a .zvc69 file with {MAGIC!r}",
            "Give a file that `zvc69 encode` wrote.",
        )


def _unpack_checked(take: Take, name: str) -> StreamHeader:
    version = take(2)
    major, minor = version
    if major > MAJOR:
        raise _later_version(name, major, minor)
    if major != MAJOR:
        raise Malformed(f"version {major}.{minor}, should be {MAJOR}.{MINOR} or later")
    start = MAGIC + version + take(HEADER_START.size - len(MAGIC) - len(version))
    fixed = start + take(facts_bytes(start))
    records, raw = _take_records(take)
    stated, found = int.from_bytes(take(4), "big"), zlib.crc32(fixed + raw)
    if stated != found:
        raise Malformed(f"crc {found:08x}, should be {stated:08x}")
    try:
        return _stream_header(unpack_file_header(fixed), unpack_records(records))
    except (Malformed, ValueError) as error:
        if minor > MINOR:
            raise _later_version(name, major, minor) from error
        raise Malformed(str(error)) from error


def _later_version(name: str, major: int, minor: int) -> LaterVersion:
    return LaterVersion(
        name,
        f"is a stream of version {major}.{minor}, this program reads {MAJOR}.{MINOR}",
        "Install a later zvc69; or the file's first bytes are damaged.",
    )


def _take_records(take: Take) -> tuple[list[tuple[int, bytes]], bytes]:
    """The records up to the end record, and their bytes as they stood."""
    raw = bytearray()

    def recorded(count: int) -> bytes:
        if len(raw) + count > MAX_EXTENSIONS_BYTES:
            raise Malformed(f"extensions of more than {MAX_EXTENSIONS_BYTES} bytes")
        piece = take(count)
        raw.extend(piece)
        return piece

    records: list[tuple[int, bytes]] = []
    while True:
        tag = recorded(1)[0]
        body = unpack_bytes(recorded, MAX_RECORD_BYTES)
        if tag == Tag.END:
            if body:
                raise Malformed(f"an end record of {len(body)} bytes, should be 0")
            return records, bytes(raw)
        records.append((tag, body))
        if len(records) > MAX_RECORDS:
            raise Malformed(f"more than {MAX_RECORDS} extension records")


def _stream_header(fixed: FileHeader, values: dict[Tag, list[Any]]) -> StreamHeader:
    """The header that both halves make; raises Malformed and ValueError."""

    def only(tag: Tag, default: Any) -> Any:
        return values[tag][0] if values[tag] else default

    if not values[Tag.BUNDLE]:
        raise Malformed("no bundle record")
    sha256, bundle_name = values[Tag.BUNDLE][0]
    if fixed.model_hash is not None and sha256[:4] != fixed.model_hash:
        raise Malformed(
            f"model hash {fixed.model_hash.hex()}, should be {sha256[:4].hex()} as in the bundle record"
        )
    rate, rate_scale = fixed.frame_rate
    if fixed.gop_frames == 0 and not values[Tag.GOP]:
        raise Malformed("no GOP size")
    for tag, stated in ((Tag.FRAME_RATE, rate), (Tag.GOP, fixed.gop_frames), (Tag.BASE_Q, fixed.quality_level)):
        if stated and values[tag]:
            raise Malformed(f"{tag.name.lower()} said twice: in the header and in a record")
    video = VideoFormat(
        width=fixed.width,
        height=fixed.height,
        bit_depth=fixed.bit_depth,
        time_base=only(Tag.TIME_BASE, DEFAULT_TIME_BASE),
        frame_rate=only(Tag.FRAME_RATE, Fraction(rate, rate_scale) if rate else None),
        sample_aspect=only(Tag.SAMPLE_ASPECT, Fraction(0)),
        rotation_degrees=only(Tag.ROTATION, 0),
        colour=only(Tag.COLOUR, ColourTags()),
        mastering_display=only(Tag.MASTERING_DISPLAY, None),
        content_light=only(Tag.CONTENT_LIGHT, None),
    )
    return StreamHeader(
        video=video,
        bundle_name=bundle_name,
        bundle_sha256=sha256,
        base_q_256=only(Tag.BASE_Q, fixed.quality_level * 256),
        gop_frames=only(Tag.GOP, fixed.gop_frames),
        total_frames=fixed.total_frames,
        latent_channels=fixed.latent_channels,
        hyper_channels=fixed.hyper_channels,
        full_frame_headers=not fixed.flags & Flags.COMPACT,
        has_b_frames=bool(fixed.flags & Flags.HAS_B_FRAMES),
        start_pts=only(Tag.START, 0),
        copied_streams=tuple(values[Tag.COPIED_STREAM]),
        chapters=tuple(values[Tag.CHAPTER]),
        tags=tuple(values[Tag.METADATA]),
        settings_note=only(Tag.SETTINGS_NOTE, ""),
    )
