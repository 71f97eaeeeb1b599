"""Encoder and decoder on the toy: the same integers, the same picture, every damage noticed."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.clips import NETWORKS, TABLES, make_frame, pair
from tests.toy import ToyNetworks, plan_of
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.payload import (
    BrokenPayload,
    InterSection,
    Sections,
    Slice,
    motion_bytes,
    pack_sections,
    slice_rows,
    unpack_sections,
)
from zvc69_cli.codec.entropy.tables import SymbolTables
from zvc69_cli.codec.picture.planes import SAMPLE_PARTS, cropped_frame, hyper_size, latent_size, padded_planes
from zvc69_cli.codec.quantised import checkerboard
from zvc69_cli.codec.rate.quality import base_q_256
from zvc69_cli.codec.settings import MAX_INTRA_Q, CodecSettings
from zvc69_cli.errors import DamagedPacket, SymbolMismatch, UsageError
from zvc69_cli.frames import Frame, FrameKind, VideoFormat


def key_plan(frame, encoder):
    """A keyframe as a scheduler plans it: at the base q, or at the last q of I frames where that is lower."""
    return plan_of(frame, q_offset=min(0, MAX_INTRA_Q - encoder.base_q_256))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(16, 150),
    height=st.integers(16, 150),
    bit_depth=st.sampled_from([8, 10]),
    slices=st.integers(1, 8),
    crf=st.floats(0, 51),
    rounding=st.sampled_from(["nearest", "dead-zone"]),
)
def test_any_size_comes_back_as_the_encoder_saw_it(width, height, bit_depth, slices, crf, rounding):
    video = VideoFormat(width=width, height=height, bit_depth=bit_depth)
    encoder, decoder = pair(video, CodecSettings(crf=crf, slices=slices, rounding=rounding))
    frame = make_frame(video, pts=77)
    coded = encoder.quantise(key_plan(frame, encoder))
    parsed = decoder.parse(encoder.pack(coded))
    for name in ("hyper", "symbols", "indexes", "latent"):
        assert np.array_equal(getattr(parsed, name), getattr(coded, name)), name
    due, got = encoder.reconstruct(coded), decoder.reconstruct(parsed)
    for plane in "yuv":
        assert np.array_equal(getattr(got, plane), getattr(due, plane))
        assert getattr(got, plane).shape == getattr(frame, plane).shape
        assert getattr(got, plane).dtype == getattr(frame, plane).dtype
    assert got.pts == 77


def test_the_picture_is_near_the_original():
    video = VideoFormat(width=64, height=48)
    encoder, _ = pair(video, CodecSettings(crf=0))
    flat = Frame(
        y=np.full((48, 64), 130, np.uint8),
        u=np.full((24, 32), 90, np.uint8),
        v=np.full((24, 32), 160, np.uint8),
        pts=0,
    )
    decoded = encoder.reconstruct(encoder.quantise(key_plan(flat, encoder)))
    assert np.abs(decoded.y.astype(int) - 130).max() <= 4


def test_better_crf_costs_more():
    video = VideoFormat(width=128, height=96)
    sizes = []
    for crf in (10, 30, 51):
        encoder, _ = pair(video, CodecSettings(crf=crf))
        sizes.append(len(encoder.pack(encoder.quantise(key_plan(make_frame(video), encoder))).payload))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2]


def test_a_hyper_latent_in_a_skipped_row_is_taken_for_its_mean():
    """Such a symbol once ended the encode: only the latent's were made 0."""
    video = VideoFormat(width=96, height=96)
    row = int(TABLES.hyper_indexes(base_q_256(CodecSettings()))[0])
    skipping = dataclasses.replace(TABLES, hyper=SymbolTables(TABLES.hyper.rows, row + 1))
    encoder = Encoder(video, CodecSettings(), NETWORKS, skipping)
    assert Encoder(video, CodecSettings(), NETWORKS, TABLES).quantise(plan_of(make_frame(video))).hyper.any()
    coded = encoder.quantise(plan_of(make_frame(video)))
    assert not coded.hyper.any()
    parsed = Decoder(video, encoder.base_q_256, NETWORKS, skipping).parse(encoder.pack(coded))
    assert np.array_equal(parsed.latent, coded.latent)


def test_slices_change_the_bytes_and_not_the_picture():
    video = VideoFormat(width=64, height=160)
    one, many = pair(video)[0], pair(video, CodecSettings(slices=4))[0]
    frame = make_frame(video)
    first, second = one.quantise(plan_of(frame)), many.quantise(plan_of(frame))
    assert one.pack(first).payload != many.pack(second).payload
    assert np.array_equal(one.reconstruct(first).y, many.reconstruct(second).y)


def test_packing_twice_gives_the_same_bytes():
    video = VideoFormat(width=64, height=64)
    encoder, _ = pair(video)
    coded = encoder.quantise(plan_of(make_frame(video)))
    assert encoder.pack(coded) == encoder.pack(coded)


def test_every_flipped_bit_of_a_payload_is_noticed():
    video = VideoFormat(width=48, height=48)
    encoder, decoder = pair(video, CodecSettings(slices=2))
    packet = encoder.pack(encoder.quantise(plan_of(make_frame(video))))
    for position in range(len(packet.payload)):
        data = bytearray(packet.payload)
        data[position] ^= 1 << (position % 8)
        with pytest.raises((DamagedPacket, SymbolMismatch)):
            decoder.parse(dataclasses.replace(packet, payload=bytes(data)))


def test_every_cut_payload_is_noticed():
    video = VideoFormat(width=48, height=48)
    encoder, decoder = pair(video)
    packet = encoder.pack(encoder.quantise(plan_of(make_frame(video))))
    for length in range(len(packet.payload)):
        with pytest.raises((DamagedPacket, SymbolMismatch)):
            decoder.parse(dataclasses.replace(packet, payload=packet.payload[:length]))


def test_a_machine_that_computes_differently_is_told_from_damage():
    video = VideoFormat(width=64, height=64)
    encoder, _ = pair(video)
    packet = encoder.pack(encoder.quantise(plan_of(make_frame(video))))

    class Different(ToyNetworks):
        def predict_second(self, known, state, offsets):
            out = super().predict_second(known, state, offsets)
            return out._replace(indexes=np.minimum(out.indexes + 1, 63).astype(np.uint8))

    with pytest.raises(SymbolMismatch, match="computes the prior differently"):
        Decoder(video, encoder.base_q_256, Different(), TABLES).parse(packet)


def test_wrong_symbols_are_told_by_their_checksum():
    video = VideoFormat(width=64, height=64)
    encoder, decoder = pair(video)
    packet = encoder.pack(encoder.quantise(plan_of(make_frame(video))))
    with pytest.raises(SymbolMismatch, match="crc of the symbols"):
        decoder.parse(dataclasses.replace(packet, symbol_crc=packet.symbol_crc ^ 1))


def test_a_reserved_kind_of_frame_is_refused():
    video = VideoFormat(width=64, height=64)
    encoder, decoder = pair(video)
    packet = encoder.pack(encoder.quantise(plan_of(make_frame(video))))
    with pytest.raises(DamagedPacket, match="frame type is B_FORWARD, which is reserved"):
        decoder.parse(dataclasses.replace(packet, kind=FrameKind.B_FORWARD))


@pytest.mark.parametrize("q_offset", [-20_000, 20_000])
def test_a_q_out_of_range_is_refused(q_offset):
    video = VideoFormat(width=64, height=64)
    encoder, decoder = pair(video)
    packet = encoder.pack(encoder.quantise(plan_of(make_frame(video))))
    with pytest.raises(DamagedPacket, match="q is"):
        decoder.parse(dataclasses.replace(packet, q_offset=q_offset))


def test_a_frame_of_another_format_is_refused():
    encoder, _ = pair(VideoFormat(width=64, height=64))
    with pytest.raises(ValueError, match="plane y is"):
        encoder.quantise(plan_of(make_frame(VideoFormat(width=64, height=48))))
    with pytest.raises(ValueError, match="uint16"):
        encoder.quantise(plan_of(make_frame(VideoFormat(width=64, height=64, bit_depth=10))))


def test_tables_of_another_bundle_are_refused():
    class Wider(ToyNetworks):
        latent_channels = 16

    with pytest.raises(ValueError, match="not of one bundle"):
        Encoder(VideoFormat(width=64, height=64), CodecSettings(), Wider(), TABLES)


@given(st.integers(1, 64), st.integers(1, 64))
def test_slices_cover_every_row_once(rows, slices):
    parts = slice_rows(rows, slices)
    assert len(parts) == min(rows, slices)
    covered = [row for start, count in parts for row in range(start, start + count)]
    assert covered == list(range(rows))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_the_two_passes_cover_everything_once(half, height, width):
    board = checkerboard(2 * half, height, width, 0, height)
    positions = np.sort(np.concatenate(board.passes))
    assert np.array_equal(positions, np.arange(2 * half * height * width))


@settings(deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_payload_is_read_or_refused(data, is_inter):
    with contextlib.suppress(BrokenPayload):
        unpack_sections(data, 4, is_inter=is_inter)


WHOLE = Sections(picture=b"hyper and latent")
SLICED = Sections(picture=b"h", slices=(Slice(0, 2, b"abc"), Slice(2, 2, b"de")))


@pytest.mark.parametrize("sections", [WHOLE, SLICED], ids=["whole", "sliced"])
@pytest.mark.parametrize("is_shifted", [False, True])
def test_sections_come_back(sections, is_shifted):
    shifted = dataclasses.replace(sections, is_shifted=is_shifted)
    assert unpack_sections(pack_sections(shifted), 4) == shifted
    for precision, strength in ((0, 0), (1, 128), (2, 255)):
        inter = InterSection(precision, b"m" * 200, strength, has_classes=is_shifted)
        moving = dataclasses.replace(sections, inter=inter)
        assert unpack_sections(pack_sections(moving), 4, is_inter=True) == moving
        assert motion_bytes(pack_sections(moving)) == 202


def test_a_whole_latent_costs_one_byte_beside_its_string():
    assert len(pack_sections(WHOLE)) == 1 + len(WHOLE.picture)


def _sliced(**changes):
    """The payload of SLICED with single bytes changed: at an offset from the magic ZVCP."""
    data = bytearray(pack_sections(SLICED))
    begin = data.index(b"ZVCP")
    for place, value in changes.items():
        data[begin + int(place[1:])] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "no byte"),
        (b"\x01", "precision of the motion is 1 where there is no motion"),
        (b"\x10", "reserved bits of the head 0x10"),
        (b"\x80!", "reserved bits of the head 0x80"),
        (b"\x04", "end inside a varint"),
        (b"\x04\x05abc", "hyper section has 5 bytes, but 3 remain"),
        (b"\x04\x01\x01Z", "ZVCP"),
        (_sliced(_4=2), "version is 2"),
        (_sliced(_5=1), "1 slices"),
        (_sliced(_5=4), "do not fit"),
        (_sliced(_7=1), "reserved"),
        (_sliced(_11=1), "go on from row 0"),
        (_sliced(_15=3), "go on from row 3"),
        (_sliced(_19=1), "has bytes 1"),
        (_sliced(_39=1), "cover 4 of 4 rows and 4 of 5 bytes"),
    ],
)
def test_broken_sections_are_refused(payload, text):
    with pytest.raises(BrokenPayload, match=text):
        unpack_sections(payload, 4)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"\x00", "strength of the loop filter is missing"),
        (b"\x00\x80", "end inside a varint"),
        (b"\x03\x00\x00", "precision of the motion is 3"),
        (b"\x00\x00\x09\x00", "motion section has 9 bytes"),
        (b"\x10\x00\x00", "reserved bits of the head 0x10"),
        (b"\x04\x00\x00\x09\x00", "classes section has 9 bytes"),
    ],
)
def test_broken_motion_sections_are_refused(payload, text):
    with pytest.raises(BrokenPayload, match=text):
        unpack_sections(payload, 4, is_inter=True)
    assert motion_bytes(payload) <= max(0, len(payload) - 2)


@given(st.integers(16, 300), st.integers(16, 300), st.integers(-SAMPLE_PARTS // 2, SAMPLE_PARTS // 2 - 1))
def test_padding_is_undone_by_cropping(width, height, parts):
    """And so is what is less than a sample; halves go up."""
    video = VideoFormat(width=width, height=height)
    frame = make_frame(video)
    planes = padded_planes(frame, video)
    assert planes[0].shape[0] % 16 == planes[0].shape[1] % 16 == 0
    decoded = tuple(
        np.rint(plane * 255).astype(np.float32) * SAMPLE_PARTS + np.float32(parts) for plane in planes
    )
    back = cropped_frame(decoded, video, 0)
    assert np.array_equal(back.y, frame.y)
    assert np.array_equal(back.v, frame.v)
    assert planes[0].shape == tuple(16 * side for side in latent_size(video))
    assert hyper_size(video) == (-(-height // 64), -(-width // 64))


def test_crf_falls_from_the_best_q_to_the_worst():
    values = [base_q_256(CodecSettings(crf=crf)) for crf in np.arange(0, 51.01, 0.25)]
    assert values[0] == 106 * 256
    assert values[-1] == 0
    assert all(a > b for a, b in itertools.pairwise(values))


def test_qp_counts_down_from_the_best_q():
    assert [base_q_256(CodecSettings(qp=qp)) for qp in (0, 48, 127)] == [127 * 256, 79 * 256, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"crf": 51.5},
        {"crf": -1},
        {"qp": 128},
        {"slices": 0},
        {"slices": 65},
        {"keyint": -2},
        {"keyint": 0},
        {"rounding": "up"},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError) as caught:
        CodecSettings(**wrong)
    assert str(next(iter(wrong.values()))) in str(caught.value)
