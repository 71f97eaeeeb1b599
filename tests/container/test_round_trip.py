"""What is written comes back, through files and pipes, in both header forms."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvc69_cli.container.fields import Cursor, Malformed, pack_signed, pack_varint, unpack_signed, unpack_varint
from zvc69_cli.container.head import pack_header, unpack_header
from zvc69_cli.container.layout import MAX_BASE_Q_256, TRAILER_MARKER, StreamHeader
from zvc69_cli.container.reader import IndexEntry, StreamReader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.errors import InputError
from zvc69_cli.frames import Chapter, CopiedPacket, FrameKind, Packet, VideoFormat

from .streams import (
    AUDIO,
    HEADER,
    RICH_HEADER,
    SHA256,
    Pipe,
    filler,
    key_packet,
    key_packets,
    read_all,
    reader_of,
    written,
)

BOTH_FORMS = pytest.mark.parametrize("full", [False, True], ids=["compact", "full"])
RATIOS = st.fractions(min_value=Fraction(1, 1 << 12), max_value=1 << 12, max_denominator=1 << 16)
TICKS = st.integers(-(1 << 61), 1 << 61)
TEXT = st.text(max_size=20)


@given(st.integers(0, (1 << 64) - 1))
def test_a_varint_comes_back(value: int) -> None:
    assert unpack_varint(Cursor(pack_varint(value)).take) == value


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_signed_varint_comes_back(value: int) -> None:
    assert unpack_signed(Cursor(pack_signed(value)).take) == value


@pytest.mark.parametrize(
    "data", [b"\x80\x00", b"\xff\x00", b"\xff" * 10 + b"\x00", b"\xff" * 9 + b"\x02", b"\x80"]
)
def test_a_varint_has_one_form_only(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_varint(Cursor(data).take)


@pytest.mark.parametrize("header", [HEADER, RICH_HEADER, replace(HEADER, full_frame_headers=True)])
def test_a_header_comes_back(header: StreamHeader) -> None:
    assert unpack_header(Cursor(pack_header(header)).take, "clip.zvc69") == header


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(16, 8192),
    height=st.integers(16, 8192),
    bit_depth=st.sampled_from([8, 10]),
    time_base=RATIOS,
    frame_rate=st.none() | RATIOS,
    sample_aspect=RATIOS | st.just(Fraction(0)),
    rotation=st.sampled_from([0, 90, 180, 270]),
    base_q_256=st.integers(0, MAX_BASE_Q_256),
    gop_frames=st.just(-1) | st.integers(1, 100_000),
    total_frames=st.integers(0, (1 << 32) - 1),
    start_pts=TICKS,
    tags=st.lists(st.tuples(TEXT, TEXT), max_size=4),
    chapters=st.lists(st.tuples(TICKS, TICKS, RATIOS, TEXT), max_size=3),
    note=TEXT,
)
def test_any_header_comes_back(
    width: int,
    height: int,
    bit_depth: int,
    time_base: Fraction,
    frame_rate: Fraction | None,
    sample_aspect: Fraction,
    rotation: int,
    base_q_256: int,
    gop_frames: int,
    total_frames: int,
    start_pts: int,
    tags: list[tuple[str, str]],
    chapters: list[tuple[int, int, Fraction, str]],
    note: str,
) -> None:
    header = StreamHeader(
        video=VideoFormat(
            width=width,
            height=height,
            bit_depth=bit_depth,
            time_base=time_base,
            frame_rate=frame_rate,
            sample_aspect=sample_aspect,
            rotation_degrees=rotation,
        ),
        bundle_name="zvc69-s",
        bundle_sha256=SHA256,
        base_q_256=base_q_256,
        gop_frames=gop_frames,
        total_frames=total_frames,
        start_pts=start_pts,
        tags=tuple(tags),
        chapters=tuple(
            Chapter(start=start, end=end, time_base=base, title=title) for start, end, base, title in chapters
        ),
        settings_note=note,
    )
    assert unpack_header(Cursor(pack_header(header)).take, "clip.zvc69") == header


FRAMES = st.builds(
    Packet,
    kind=st.sampled_from(FrameKind),
    coding_index=st.just(0),
    pts=st.integers(0, 1 << 60),
    dts=st.integers(0, 1 << 60),
    payload=st.binary(max_size=300),
    symbol_crc=st.integers(0, (1 << 32) - 1),
    q_offset=st.integers(-(1 << 15), (1 << 15) - 1),
    temporal_layer=st.integers(0, 7),
    references=st.integers(0, 255),
    stored_in=st.none() | st.integers(0, 7),
)
COPIED = st.builds(
    CopiedPacket,
    stream_number=st.integers(0, 1),
    data=st.binary(max_size=300),
    pts=st.none() | TICKS,
    dts=st.none() | TICKS,
    duration=st.integers(0, (1 << 48) - 1),
    is_key=st.booleans(),
)


@BOTH_FORMS
@settings(max_examples=60, deadline=None)
@given(packets=st.lists(FRAMES | COPIED, max_size=8), start_pts=TICKS, rate=st.none() | RATIOS)
def test_any_packets_come_back(
    full: bool, packets: list[Packet | CopiedPacket], start_pts: int, rate: Fraction | None
) -> None:
    video = replace(RICH_HEADER.video, frame_rate=rate)
    header = replace(RICH_HEADER, video=video, start_pts=start_pts, full_frame_headers=full)
    numbered: list[Packet | CopiedPacket] = []
    count = 0
    for packet in packets:
        if isinstance(packet, Packet):
            kind = packet.kind if count else FrameKind.I
            dts, pts = (each + start_pts for each in sorted((packet.pts, packet.dts)))
            numbered.append(replace(packet, coding_index=count, kind=kind, pts=pts, dts=dts))
            count += 1
        else:
            numbered.append(packet)
    reader = reader_of(written(header, numbered))
    assert read_all(reader) == numbered
    assert reader.problems == []
    assert reader.complete is True


@BOTH_FORMS
@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_a_pipe_with_short_reads_gives_the_same_packets(full: bool, most: int) -> None:
    packets = [
        *key_packets(5),
        CopiedPacket(stream_number=0, data=b"sound", pts=-1024, dts=-1024, duration=1024),
    ]
    header = replace(HEADER, copied_streams=(AUDIO,), full_frame_headers=full)
    reader = StreamReader(Pipe(written(header, packets), most), "-")  # type: ignore[arg-type]
    assert read_all(reader) == packets
    assert (reader.problems, reader.complete) == ([], True)


@BOTH_FORMS
def test_the_output_is_never_sought_nor_read(full: bool) -> None:
    class WriteOnly(io.RawIOBase):
        data = b""

        def write(self, data: object) -> int:
            piece = bytes(data)[:13]  # type: ignore[call-overload]
            self.data += piece
            return len(piece)

    out = WriteOnly()
    writer = StreamWriter(out, replace(HEADER, full_frame_headers=full))  # type: ignore[arg-type]
    for packet in key_packets(3):
        writer.write_packet(packet)
    writer.close()
    assert out.data == written(replace(HEADER, full_frame_headers=full), key_packets(3))
    assert writer.bytes_written == len(out.data)
    assert writer.overhead_bytes == len(out.data) - 3 * 20


def test_a_stream_can_be_read_while_it_is_being_written() -> None:
    out = io.BytesIO()
    writer = StreamWriter(out, HEADER)
    for count, packet in enumerate(key_packets(3), start=1):
        writer.write_packet(packet)
        assert read_all(reader_of(out.getvalue())) == key_packets(count)


def test_the_trailer_counts_frames_and_ticks() -> None:
    reader = reader_of(written(HEADER, key_packets(4)))
    read_all(reader)
    assert reader.trailer is not None
    assert reader.trailer.frame_counts == (4, 0, 0, 0)
    assert reader.trailer.duration == 4 * 3000


def test_an_interrupted_stream_says_so() -> None:
    reader = reader_of(written(HEADER, key_packets(2), complete=False))
    assert read_all(reader) == key_packets(2)
    assert (reader.problems, reader.complete) == ([], False)


def test_a_stream_without_frames_is_legal() -> None:
    reader = reader_of(written(HEADER, []))
    assert read_all(reader) == []
    assert (reader.problems, reader.complete, reader.index()) == ([], True, ())


@BOTH_FORMS
def test_every_keyframe_is_in_the_index_and_can_be_sought(full: bool) -> None:
    kinds = [FrameKind.I, FrameKind.P, FrameKind.P, FrameKind.I, FrameKind.I, FrameKind.P]
    packets = [
        key_packet(number, bytes([number]) * 30, kind=kind, stored_in=number % 2 or None)
        for number, kind in enumerate(kinds)
    ]
    reader = reader_of(written(replace(HEADER, full_frame_headers=full), packets))
    assert [entry.frame_number for entry in reader.index()] == [0, 3, 4]
    assert [entry.is_reference for entry in reader.index()] == [False, True, False]
    for entry in reversed(reader.index()):
        reader.seek(entry)
        assert read_all(reader) == packets[entry.frame_number :]
    assert reader.problems == []


def test_looking_at_the_index_leaves_the_place_of_reading() -> None:
    reader = reader_of(written(HEADER, key_packets(3)))
    first = reader.read()
    reader.index()
    assert [first, *read_all(reader)] == key_packets(3)
    assert reader.problems == []


def test_a_stream_may_begin_inside_a_file() -> None:
    source = io.BytesIO(b"before" + written(HEADER, key_packets(3)))
    source.seek(6)
    reader = StreamReader(source, "clip.zvc69")
    reader.seek(reader.index()[1])
    assert read_all(reader) == key_packets(3)[1:]


def test_a_pipe_has_no_index() -> None:
    reader = StreamReader(Pipe(written(HEADER, []), 10), "-")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pipe"):
        reader.index()
    with pytest.raises(InputError, match="pipe"):
        reader.seek(IndexEntry(frame_number=0, offset_bytes=0, is_key=True, is_reference=False))


def test_copied_packets_keep_times_before_the_start() -> None:
    header = replace(RICH_HEADER, start_pts=500)
    packet = CopiedPacket(stream_number=1, data=b"", pts=None, dts=-90_000, duration=0, is_key=False)
    assert read_all(reader_of(written(header, [packet]))) == [packet]


@pytest.mark.parametrize("size", [200, 20_000])
def test_a_compact_frame_of_an_intra_stream_costs_under_16_bytes(size: int) -> None:
    count = 300
    out = io.BytesIO()
    writer = StreamWriter(out, HEADER)
    head = writer.overhead_bytes
    for packet in key_packets(count, size):
        writer.write_packet(packet)
    a_frame = (writer.overhead_bytes - head) / count
    before_index = writer.overhead_bytes
    writer.close()
    trailer = out.getvalue()[out.getvalue().rindex(TRAILER_MARKER) :]
    with_index = a_frame + (writer.overhead_bytes - before_index - len(trailer)) / count
    print(f"{size} bytes a frame: {a_frame:.2f} beside it, {with_index:.2f} with the index")
    assert a_frame <= 13
    assert with_index < 16


@pytest.mark.parametrize(("full", "most"), [(False, 140), (True, 290)])
def test_the_container_of_a_file_of_one_picture(full: bool, most: int) -> None:
    out = io.BytesIO()
    writer = StreamWriter(out, replace(HEADER, full_frame_headers=full))
    writer.write_packet(key_packet(0, filler(0, 5000)))
    writer.close()
    print(f"a file of one picture: {writer.overhead_bytes} bytes beside its payload")
    assert writer.overhead_bytes <= most


@pytest.mark.parametrize(
    ("time_base", "rate"),
    [(Fraction(1, 90_000), Fraction(25)), (Fraction(1001, 30_000), Fraction(30_000, 1001)),
     (Fraction(1, 1000), Fraction(30_000, 1001))],
)  # fmt: skip
def test_a_compact_frame_of_a_stream_with_b_frames_costs_at_most_16_bytes(
    time_base: Fraction, rate: Fraction
) -> None:
    video = replace(HEADER.video, time_base=time_base, frame_rate=rate)
    step = 1 / (rate * time_base)
    times = [round(number * step) for number in range(-2, 200)]
    header = replace(HEADER, video=video, has_b_frames=True, start_pts=times[0])
    out = io.BytesIO()
    writer = StreamWriter(out, header)
    shape = [
        (4, FrameKind.P, 0, 0, 1, 0b1),
        (2, FrameKind.B, 1, -5 * 256, 2, 0b11),
        (1, FrameKind.B, 2, -8 * 256, None, 0b101),
        (3, FrameKind.B, 2, -8 * 256, None, 0b110),
    ]
    plan = [(0, FrameKind.I, 0, 8 * 256, 0, 0)]
    plan += [(4 * group + at, *rest) for group in range(40) for at, *rest in shape]
    packets = [
        Packet(kind=kind, coding_index=index, pts=times[shown + 2], dts=times[index], payload=b"", symbol_crc=77,
               q_offset=q, temporal_layer=layer, references=references, stored_in=slot)
        for index, (shown, kind, layer, q, slot, references) in enumerate(plan)
    ]  # fmt: skip
    costs: dict[FrameKind, list[int]] = {kind: [] for kind in FrameKind}
    for packet in packets:
        before = writer.bytes_written
        writer.write_packet(packet)
        costs[packet.kind].append(writer.bytes_written - before)
    writer.close()
    mean = {kind.name: sum(each) / len(each) for kind, each in costs.items() if each}
    print(f"{rate} frames a second, base {time_base}: {mean}, with the index +{3 / len(packets):.2f} at most")
    assert max(costs[FrameKind.B]) <= 16
    assert mean["P"] <= mean["B"] <= 15
    if time_base != Fraction(1, 1000):  # where every time is as due
        assert (mean["I"], mean["P"], set(costs[FrameKind.B])) == (17, 11, {12, 13})
    assert read_all(reader_of(out.getvalue())) == packets


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"coding_index": 4}, "coding index 4, should have 0"),
        ({"kind": FrameKind.P}, "no keyframe"),
        ({"pts": -1}, "pts"),
        ({"dts": 1}, "dts is 1, should be 0..0"),
        ({"q_offset": 40_000}, "q offset"),
        ({"stored_in": 8}, "slot"),
        ({"references": 256}, "references"),
    ],
)
def test_a_packet_that_the_format_cannot_hold_is_refused(changes: dict[str, object], sentence: str) -> None:
    out = io.BytesIO()
    writer = StreamWriter(out, HEADER)
    before = out.getvalue()
    with pytest.raises(ValueError, match=sentence):
        writer.write_packet(key_packet(0, b"x", **changes))
    assert out.getvalue() == before


def test_a_payload_larger_than_the_picture_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="payload size"):
        StreamWriter(io.BytesIO(), HEADER).write_packet(key_packet(0, bytes(100_000)))


def test_b_frames_need_the_headers_word() -> None:
    writer = StreamWriter(io.BytesIO(), HEADER)
    writer.write_packet(key_packet(0, b"x"))
    with pytest.raises(ValueError, match="B frame"):
        writer.write_packet(key_packet(1, b"x", kind=FrameKind.B))


def test_a_closed_stream_takes_no_packet_and_no_second_trailer() -> None:
    out = io.BytesIO()
    writer = StreamWriter(out, HEADER)
    writer.close()
    size = len(out.getvalue())
    writer.close()
    assert len(out.getvalue()) == size
    with pytest.raises(ValueError, match="closed"):
        writer.write_packet(key_packet(0, b"x"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bundle_sha256": b"short"}, "bundle hash"),
        ({"bundle_name": ""}, "bundle name"),
        ({"base_q_256": -1}, "base q"),
        ({"base_q_256": MAX_BASE_Q_256 + 1}, "base q"),
        ({"gop_frames": 0}, "GOP size"),
        ({"total_frames": 1 << 32}, "total frames"),
        ({"latent_channels": 0}, "latent channels"),
        ({"copied_streams": (replace(AUDIO, number=1),)}, "number 1, should have 0"),
        ({"copied_streams": (replace(AUDIO, media="video"),)}, "'video'"),
        ({"copied_streams": (replace(AUDIO, time_base=Fraction(0)),)}, "time base is 0"),
        ({"video": replace(HEADER.video, time_base=Fraction(1, 1 << 40))}, "its parts at most"),
    ],
)
def test_a_header_that_the_format_cannot_hold_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(HEADER, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": (("lyrics", "la" * (1 << 20)),)},
        {"tags": (("key", "value"),) * 5000},
        {"tags": (("lyrics", "x" * ((1 << 20) - 100)),) * 5},
    ],
    ids=["one too long", "too many", "too much"],
)
def test_tags_beyond_the_limits_are_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="can be carried"):
        pack_header(replace(HEADER, **changes))  # type: ignore[arg-type]
