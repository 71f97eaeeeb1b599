"""Each way in which a header, a length or a field can be wrong, and the refusal that names it."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace

import pytest

from zvc69_cli.container.copied_headers import CopiedHeader, pack_copied_header
from zvc69_cli.container.fields import pack_bytes, pack_varint
from zvc69_cli.container.frame_headers import FrameHeader, pack_frame_header
from zvc69_cli.container.head import pack_header
from zvc69_cli.container.index import pack_trailer
from zvc69_cli.container.layout import (
    INDEX_MARKER,
    MAX_EXTENSIONS_BYTES,
    MAX_RECORD_BYTES,
    SYNC_MARKER,
    TRAILER_MARKER,
    StreamHeader,
    Trailer,
    pack_file_header,
)
from zvc69_cli.container.records import Tag
from zvc69_cli.errors import (
    DamagedHeader,
    DamagedPacket,
    DamagedStream,
    LaterVersion,
    NotZvc69,
    TruncatedStream,
)
from zvc69_cli.frames import FrameKind

from .streams import AUDIO, HEADER, RICH_HEADER, key_packets, read_all, reader_of, written

END = bytes([Tag.END, 0])
FIXED = pack_file_header(HEADER)
FULL_HEADER = replace(HEADER, full_frame_headers=True)


def sealed(head: bytes) -> bytes:
    """A header and its records, end record included, with the checksum that they should have."""
    return head + zlib.crc32(head).to_bytes(4, "big")


def with_field(offset: int, value: bytes, header: StreamHeader = HEADER) -> bytes:
    """A header with some bytes of its fixed part set, and a checksum that agrees."""
    head = pack_header(header)[:-4]
    return sealed(head[:offset] + value + head[offset + len(value) :])


def with_record(tag: int, body: bytes, header: StreamHeader = HEADER) -> bytes:
    """A header with one more record, and a checksum that agrees."""
    return sealed(pack_header(header)[: -4 - len(END)] + bytes([tag]) + pack_bytes(body) + END)


@pytest.mark.parametrize("data", [b"", b"ZVC6", b"\0\0\0\x20ftypisom" * 10, b"YUV4MPEG2 W64 H48\n" * 10])
def test_another_file_is_no_zvc69(data: bytes) -> None:
    with pytest.raises(NotZvc69, match=r"clip\.zvc69"):
        reader_of(data)


def test_a_later_major_version_is_named() -> None:
    with pytest.raises(LaterVersion, match=r"version 2\.7, this program reads 1\.0"):
        reader_of(with_field(6, b"\x02\x07"))


def test_a_later_minor_version_is_read() -> None:
    assert reader_of(with_field(7, b"\x03")).header == HEADER


def test_a_later_minor_version_that_uses_new_flags_is_named() -> None:
    with pytest.raises(LaterVersion, match=r"version 1\.3"):
        reader_of(with_field(7, b"\x03\x00\x00\x01\x6d"))


def test_an_unknown_record_is_skipped() -> None:
    assert reader_of(with_record(200, b"from a later version", RICH_HEADER)).header == RICH_HEADER


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (with_field(6, b"\0\0"), r"version 0\.0"),
        (with_field(8, b"\0\0\0\x68"), "flags"),
        (with_field(8, b"\0\0\0\x7d"), "flags"),
        (with_field(8, b"\x80\0\0\x6d"), "flags"),
        (with_field(12, b"\0\x08"), "8x48 is out of range"),
        (with_field(14, b"\xff\xff"), "64x65535 is out of range"),
        (with_field(16, b"\0\0"), "frame rate"),
        (with_field(24, b"\0"), "no GOP size"),
        (with_field(25, b"\x80"), "base q"),
        (with_field(26, b"\x01"), "colour space 1"),
        (with_field(27, b"\x0c"), "bit depth is 12"),
        (with_field(28, b"\0\0"), "latent channels"),
        (with_field(30, b"\xff\0"), "hyper channels"),
        (with_field(28, b"abcd", FULL_HEADER), "model hash 61626364"),
        (with_field(39, b"\x01", FULL_HEADER), "index offset"),
        (with_field(40, b"\0\0\0\0", FULL_HEADER), "latent channels"),
        (with_field(44, b"\xff\0\0\0", FULL_HEADER), "hyper channels"),
        (with_field(63, b"\x01", FULL_HEADER), "reserved"),
        (sealed(FIXED + END), "no bundle record"),
        (with_record(Tag.BUNDLE, bytes(40)), "two bundle records"),
        (with_record(Tag.GOP, b"\x04"), "gop said twice"),
        (with_record(Tag.BASE_Q, b"\x04"), "base_q said twice"),
        (with_record(Tag.FRAME_RATE, b"\1\1"), "frame_rate said twice"),
        (with_record(Tag.TIME_BASE, b"\1\0"), "denominator 0"),
        (with_record(Tag.TIME_BASE, b"\0\1"), "time base is 0"),
        (with_record(Tag.TIME_BASE, b"\1"), "time_base record: 1 bytes due, 0 left"),
        (with_record(Tag.TIME_BASE, pack_varint(1 << 32) + b"\1"), "time_base record: .* at most 4294967295"),
        (with_record(Tag.ROTATION, b"\0\x2d"), "rotation is 45"),
        (with_record(Tag.ROTATION, b"\0\x5a\0"), "1 bytes too many"),
        (with_record(Tag.METADATA, b"\x01\xff\x00"), "not UTF-8"),
        (with_record(Tag.COPIED_STREAM, b"\x00\x07\x00"), "medium 7"),
        (with_record(Tag.COLOUR, b"\x01"), "colour record"),
        (pack_header(HEADER)[:-1] + b"\0", "crc"),
        (FIXED + b"\x00\x05extra", "end record of 5 bytes"),
        (FIXED + b"\xc8" + pack_varint(MAX_RECORD_BYTES + 1), "at most"),
        (FIXED + b"\xc8\0" * 5000, "more than 4096"),
        (
            FIXED + (b"\xc8" + pack_bytes(bytes(MAX_RECORD_BYTES))) * 5,
            f"more than {MAX_EXTENSIONS_BYTES} bytes",
        ),
    ],
)
def test_a_wrong_header_is_refused_by_name(data: bytes, sentence: str) -> None:
    with pytest.raises(DamagedHeader, match=sentence):
        reader_of(data)


def test_a_record_longer_than_the_file_is_a_cut_file() -> None:
    with pytest.raises(TruncatedStream):
        reader_of(FIXED + b"\xc8" + pack_varint(MAX_RECORD_BYTES) + bytes(20))


FRAME = FrameHeader(kind=FrameKind.I, payload_bytes=4, pts=0, dts=0, symbol_crc=7)
COPY = CopiedHeader(stream_number=0, data_bytes=4, pts=0, dts=0, duration=0, is_key=True)
FULL = pack_frame_header(FRAME, b"data", 0, None)
FULL_COPY = pack_copied_header(COPY, b"data", full=True)
COMPACT_COPY = pack_copied_header(COPY, b"data", full=False)
SYNC = SYNC_MARKER + b"\0\0"


def changed(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + bytes([value]) + data[offset + 1 :]


@pytest.mark.parametrize(
    ("full", "packet", "sentence"),
    [
        (True, changed(FULL, 0, 4) + b"data", "frame type 4"),
        (True, SYNC + changed(FULL, 0, 1) + b"data", "begins no I frame"),
        (True, changed(FULL, 1, 8) + b"data", "temporal layer"),
        (True, changed(FULL, 2, 0x10) + b"data", "reserved bits"),
        (True, changed(FULL, 2, 0x0F) + b"data", "slot"),
        (True, changed(FULL, 4, 0xFF) + b"data", "at most 90112 allowed"),
        (True, changed(FULL, 8, 0xFF) + b"data", "pts"),
        (True, changed(FULL, 16, 0xFF) + b"data", "dts"),
        (True, changed(FULL, 26, FULL[26] ^ 1) + b"data", "crc"),
        (True, changed(FULL_COPY, 0, 0x81) + b"data", "byte 81 begins no packet"),
        (True, changed(FULL_COPY, 1, 1) + b"data", "reserved byte"),
        (True, changed(FULL_COPY, 3, 0xFF) + b"data", "reserved bits"),
        (True, changed(FULL_COPY, 4, 0xFF) + b"data", "at most 16777216 allowed"),
        (True, changed(FULL_COPY, 8, 0x7F) + b"data", "time"),
        (False, changed(COMPACT_COPY, 3, 0xFF) + b"data", "reserved bits"),
        (False, COMPACT_COPY[:4] + b"\xff\xff\xff\xff\x0f", "at most 16777216 allowed"),
        (False, b"\x0c\0\0\xff\xff\xff\xff\0\0\0\0" + b"data", "at most 90112 allowed"),
        (False, b"\xf6\x00", "no marker"),
        (False, b"\xff", "begins no packet"),
    ],
)
def test_a_wrong_packet_is_refused_by_name(full: bool, packet: bytes, sentence: str) -> None:
    header = replace(HEADER, full_frame_headers=full, copied_streams=(AUDIO,))
    with pytest.raises(DamagedPacket, match=sentence) as refusal:
        read_all(reader_of(pack_header(header) + packet + bytes(40)))
    assert "packet 0 at byte" in str(refusal.value)


def index_bytes(body: bytes) -> bytes:
    return INDEX_MARKER + body + zlib.crc32(body).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("full", "index", "sentence"),
    [
        (True, b"\xff\xff\xff\xff\0\x10\0\0", "4294967295 entries"),
        (True, b"\0\0\0\0\0\x09\0\0", "entries of 9 bytes"),
        (True, b"\0\0\0\0\0\x10\0\1", "reserved"),
        (False, pack_varint(1 << 27) + b"\1", "134217728 entries"),
        (False, b"\0\x09", "entries of 9 bytes"),
        (False, b"\1\0", "entries of 0 bytes"),
        (False, b"\1\1" + b"\x01\x00\x01" + b"\x40", "step of 0"),
        (False, b"\1\1" + b"\x02\x01\x01" + b"\x40", "at most 1 allowed"),
        (False, b"\2\1" + b"\x02\x01\x01" + b"\x40\x00", "does not come after"),
        (False, b"\1\1" + b"\x01\x01\x05" + b"\x40", "reserved bits of an index entry"),
        (False, b"\2\1" + b"\x02\xff\xff\xff\xff\x0f\x01" + b"\x40\x40", "at most 4294967295"),
        (False, b"\1\1" + b"\x01\x01\x01" + b"\x40", "lists other keyframes"),
    ],
)
def test_a_wrong_index_is_reported_and_loses_no_frame(full: bool, index: bytes, sentence: str) -> None:
    data = written(replace(HEADER, full_frame_headers=full), key_packets(2))
    cut = data.index(INDEX_MARKER)
    trailer = Trailer(
        frame_counts=(2, 0, 0, 0), duration=6000, sha256=bytes(32), index_offset=cut, complete=True
    )
    reader = reader_of(data[:cut] + index_bytes(index) + pack_trailer(trailer, full=full))
    assert read_all(reader) == key_packets(2)
    assert any(sentence in problem for problem in reader.problems)
    assert reader.complete is True


@pytest.mark.parametrize("full", [False, True], ids=["compact", "full"])
@pytest.mark.parametrize("index_offset", [0, 1 << 60])
def test_a_trailer_that_points_elsewhere_is_reported(full: bool, index_offset: int) -> None:
    data = written(replace(HEADER, full_frame_headers=full), key_packets(2))
    trailer = Trailer(
        frame_counts=(3, 0, 0, 0), duration=6000, sha256=bytes(32), index_offset=index_offset, complete=True
    )
    data = data[: data.index(TRAILER_MARKER)] + pack_trailer(trailer, full=full)
    reader = reader_of(data)
    assert read_all(reader) == key_packets(2)
    problems = "; ".join(reader.problems)
    assert "SHA-256" in problems
    assert "2 frames were found, the trailer counts 3" in problems
    assert "no index was found" in problems
    assert len(reader_of(data).index()) == 2


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (2, 0x41, "crc"),
        (-6, 0, "crc"),
        (-5, 0, "ends with"),
        (-1, 0, "ends with"),
    ],
    ids=["flags", "checksum", "size", "magic"],
)
def test_a_wrong_trailer_is_reported_and_loses_no_frame(place: int, value: int, sentence: str) -> None:
    data = bytearray(written(HEADER, key_packets(2)))
    data[data.index(TRAILER_MARKER) + place if place >= 0 else place] ^= value or 0xFF
    reader = reader_of(bytes(data))
    assert read_all(reader) == key_packets(2)
    assert any(sentence in problem for problem in reader.problems)
    assert len(reader_of(bytes(data)).index()) == 2


HUGE = replace(HEADER, video=replace(HEADER.video, width=8192, height=8192), copied_streams=(AUDIO,))


@pytest.mark.parametrize(
    "data",
    [
        FIXED + b"\xc8" + pack_varint(MAX_RECORD_BYTES),
        pack_header(HUGE) + SYNC + b"\x0c\0\0\x0f\xff\xff\xff",
        pack_header(replace(HUGE, full_frame_headers=True)) + b"\0\0\0\0\x0f\xff\xff\xff" + bytes(30),
        pack_header(HUGE) + b"\x80\0\0\x07" + pack_varint(1 << 24) + b"\0\0\0",
        pack_header(replace(HUGE, full_frame_headers=True)) + INDEX_MARKER + b"\x03\xff\xff\xff\0\x10\0\0",
        pack_header(HUGE)
        + INDEX_MARKER
        + pack_varint(0x03FFFFFF)
        + b"\x08"
        + pack_varint(0x03FFFFFF)
        + b"\x01\x01",
        pack_header(HEADER) + b"\xf6" * 60,
    ],
    ids=["record", "compact frame", "full frame", "copied packet", "full index", "compact index", "markers"],
)
def test_a_small_hostile_file_takes_little_memory(data: bytes) -> None:
    assert len(data) < 200
    tracemalloc.start()
    try:
        reader = reader_of(data)
        assert read_all(reader) == []
        assert reader.problems
        assert reader.index() == ()
    except DamagedStream:
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 4 << 20
