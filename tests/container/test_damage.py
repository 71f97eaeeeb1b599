"""Bytes that no writer wrote are refused or reported, and never change a packet silently."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zvc69_cli.container.layout import INDEX_MARKER, SYNC_MARKER, TRAILER_MARKER
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.errors import DamagedPacket, DamagedStream, TruncatedStream
from zvc69_cli.frames import CopiedPacket, FrameKind, Packet

from .streams import AUDIO, HEADER, Pipe, key_packet, key_packets, read_all, reader_of, saved, written

BOTH_FORMS = pytest.mark.parametrize("full", [False, True], ids=["compact", "full"])


def mixed_packets() -> list[Packet | CopiedPacket]:
    """Key and predicted frames with every optional field, and copied packets between them."""
    return [
        key_packet(0, b"first key frame", stored_in=0),
        CopiedPacket(stream_number=0, data=b"sound one", pts=-1024, dts=-1024, duration=1024),
        key_packet(
            1, b"predicted", kind=FrameKind.P, q_offset=-300, references=1, stored_in=1, pts=3001, dts=3001
        ),
        key_packet(2, b"second key frame"),
        CopiedPacket(stream_number=0, data=b"sound two", pts=0, dts=None, duration=1024),
        key_packet(3, b"third key frame"),
        key_packet(4, b"last"),
    ]


def mixed_stream(full: bool) -> bytes:
    header = replace(HEADER, copied_streams=(AUDIO,), full_frame_headers=full)
    return written(header, mixed_packets())


@BOTH_FORMS
@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_a_flipped_bit_anywhere_is_refused_or_reported(full: bool, piped: bool) -> None:
    whole, originals = mixed_stream(full), mixed_packets()
    for place in range(len(whole)):
        for bit in [place % 8] if piped else [place % 8, (place + 5) % 8]:
            data = bytearray(whole)
            data[place] ^= 1 << bit
            try:
                reader = StreamReader(Pipe(bytes(data), 50), "-") if piped else reader_of(bytes(data))  # type: ignore[arg-type]
            except DamagedStream:
                continue
            packets, failures = saved(reader)
            assert failures or reader.problems, (place, bit)
            assert reader.problems, (place, bit)
            assert all(packet in originals for packet in packets), (place, bit)
            lost = len(originals) - len(packets)
            assert lost <= 3, (place, bit)  # a key frame, the sound behind it and what is predicted from it


@BOTH_FORMS
def test_a_flipped_bit_is_seen_by_whoever_asks_for_the_index_alone(full: bool) -> None:
    whole = mixed_stream(full)
    due = reader_of(whole).index()
    index_at = whole.index(INDEX_MARKER)
    for place in range(index_at, len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        reader = reader_of(bytes(data))
        assert reader.index() == due, place
        # The checksum of all bytes is compared only where all are read.
        assert reader.problems, place


@BOTH_FORMS
def test_a_cut_anywhere_leaves_every_whole_packet_and_says_so(full: bool) -> None:
    whole, originals = mixed_stream(full), mixed_packets()
    seen = 0
    for size in range(len(whole)):
        try:
            reader = reader_of(whole[:size])
        except DamagedStream:
            assert seen == 0
            continue
        packets = read_all(reader)
        assert packets == originals[: len(packets)]
        assert len(packets) in (seen, seen + 1)
        seen = len(packets)
        assert (reader.complete, reader.trailer) == (False, None)
        assert len(reader.problems) >= 1
    assert seen == len(originals)


@BOTH_FORMS
def test_the_index_of_a_cut_file_is_made_anew(full: bool) -> None:
    whole = mixed_stream(full)
    due = reader_of(whole).index()
    for size in range(whole.index(SYNC_MARKER), len(whole)):
        reader = reader_of(whole[:size])
        found = reader.index()
        assert found == due[: len(found)]
        assert "made anew" in reader.problems[0]
        assert reader.complete is False
    assert found == due


def test_a_cut_header_is_named() -> None:
    with pytest.raises(TruncatedStream, match="inside its header"):
        reader_of(written(HEADER, [])[:70])


def test_a_damaged_payload_is_named_with_packet_and_offset() -> None:
    data = bytearray(written(HEADER, key_packets(3)))
    offset = reader_of(bytes(data)).index()[1].offset_bytes
    data[offset + 20] ^= 4
    reader = reader_of(bytes(data))
    reader.read()
    with pytest.raises(DamagedPacket, match=rf"packet 1 at byte {offset}: crc [0-9a-f]{{4}}, should be"):
        reader.read()
    with pytest.raises(DamagedPacket):
        reader.read()
    assert reader.resync()
    assert read_all(reader) == key_packets(3)[2:]
    assert any("left out" in problem for problem in reader.problems)


@BOTH_FORMS
def test_frames_that_are_missing_are_noticed_and_the_rest_keeps_its_numbers(full: bool) -> None:
    header = replace(HEADER, full_frame_headers=full)
    data = written(header, key_packets(600))
    index = reader_of(data).index()
    hole = data[: index[100].offset_bytes] + data[index[500].offset_bytes :]
    reader = StreamReader(Pipe(hole, 1 << 16), "-")  # type: ignore[arg-type]
    packets, failures = saved(reader)
    assert packets == key_packets(600)[:100] + key_packets(600)[500:]
    assert failures == 1
    assert any("frames are missing" in problem for problem in reader.problems)


def test_zeros_over_many_packets_cost_only_these() -> None:
    data = written(HEADER, key_packets(40, 200))
    index = reader_of(data).index()
    start, end = index[10].offset_bytes + 50, index[20].offset_bytes + 50
    packets, _ = saved(reader_of(data[:start] + bytes(end - start) + data[end:]))
    assert packets == key_packets(40, 200)[:10] + key_packets(40, 200)[21:]


def test_a_size_that_swallows_what_follows_loses_one_frame() -> None:
    data = bytearray(written(HEADER, key_packets(5)))
    offset = reader_of(bytes(data)).index()[1].offset_bytes
    assert data[offset + 7] == 20
    data[offset + 7] = 255
    packets, failures = saved(reader_of(bytes(data)))
    assert packets == key_packets(5)[:1] + key_packets(5)[2:]
    assert failures == 1


def test_a_damaged_sync_marker_is_reported_and_costs_nothing() -> None:
    data = bytearray(written(HEADER, key_packets(3)))
    data[reader_of(bytes(data)).index()[1].offset_bytes] ^= 0x10
    reader = reader_of(bytes(data))
    assert read_all(reader) == key_packets(3)
    assert any("marker" in problem for problem in reader.problems)


def test_a_key_frame_without_its_marker_is_reported_and_read() -> None:
    data = written(HEADER, key_packets(2))
    offset = reader_of(data).index()[1].offset_bytes
    reader = reader_of(data[:offset] + data[offset + 4 :])
    assert read_all(reader) == key_packets(2)
    assert any("sync marker of packet 1 is missing" in problem for problem in reader.problems)


def test_a_damaged_copied_packet_is_reported_and_left_out() -> None:
    packets = mixed_packets()
    data = mixed_stream(False).replace(b"sound one", b"sound 0ne")
    reader = reader_of(data)
    assert read_all(reader) == packets[:1] + packets[2:]
    assert any("copied stream 0" in problem for problem in reader.problems)


def test_a_missing_index_is_reported() -> None:
    data = written(HEADER, key_packets(2))
    cut = data[: data.index(INDEX_MARKER)] + data[data.index(TRAILER_MARKER) :]
    reader = reader_of(cut)
    assert read_all(reader) == key_packets(2)
    assert any("no index was found" in problem for problem in reader.problems)
    assert len(reader_of(cut).index()) == 2


def test_bytes_after_the_end_are_reported() -> None:
    reader = reader_of(written(HEADER, key_packets(2)) + b"x")
    assert read_all(reader) == key_packets(2)
    assert reader.problems == ["bytes follow the end of the stream"]


def test_damage_up_to_the_end_ends_the_stream() -> None:
    data = written(HEADER, key_packets(3))
    offset = reader_of(data).index()[1].offset_bytes
    reader = reader_of(data[:offset] + bytes(1000))
    reader.read()
    with pytest.raises(DamagedPacket):
        reader.read()
    assert reader.resync() is False
    assert reader.read() is None
    assert reader.complete is False


PAYLOAD = b"forty bytes of a payload, all of it seen"


def predicted_packets(*, late: int = 0) -> list[Packet | CopiedPacket]:
    """A keyframe and four frames after it, the third later than is due."""
    late_by = [0, 0, 0, late, late]
    return [key_packet(0, PAYLOAD, stored_in=0)] + [
        key_packet(number, PAYLOAD, kind=FrameKind.P, references=1, stored_in=0,
                   pts=3000 * number + late_by[number], dts=3000 * number + late_by[number])
        for number in range(1, 5)
    ]  # fmt: skip


def read_over_damage(data: bytes) -> tuple[list[Packet | CopiedPacket], list[Packet]]:
    """What can be read, and what was said of single frames that could not."""
    reader, items, damaged = reader_of(data), [], []
    while True:
        try:
            item = reader.read()
        except DamagedPacket:
            reader.resync()
            if reader.damaged is not None:
                damaged.append(reader.damaged)
            continue
        if item is None:
            return items, damaged
        items.append(item)


@BOTH_FORMS
@pytest.mark.parametrize("number", range(1, 5))
def test_a_damaged_payload_loses_its_frame_alone(full: bool, number: int) -> None:
    packets = predicted_packets()
    header = replace(HEADER, full_frame_headers=full)
    whole = written(header, packets)
    at = -40
    for _ in range(number + 1):
        at = whole.index(PAYLOAD, at + 40)
    hurt = bytearray(whole)
    hurt[at + 7] ^= 0x10
    items, damaged = read_over_damage(bytes(hurt))
    assert items == packets[:number] + packets[number + 1 :]
    assert [each.coding_index for each in damaged] == [number]
    assert damaged[0].is_damaged and damaged[0].stored_in == 0


def test_a_damaged_time_is_not_counted_on_from() -> None:
    packets = predicted_packets(late=500)
    whole = written(HEADER, packets)
    at = -40
    for _ in range(4):
        at = whole.index(PAYLOAD, at + 40)
    hurt = bytearray(whole)
    hurt[at + 3] ^= 1  # in the frame whose time is not due
    items, damaged = read_over_damage(bytes(hurt))
    assert items == packets[:3]
    assert damaged == []
