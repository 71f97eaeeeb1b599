"""y4m and raw yuv, from files and pipes."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_clips import plane_bytes, read_all, y4m_bytes

from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.frames import ColourTags, VideoFormat
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import open_source
from zvc69_cli.media.y4m import header_line, parse_header

FRAME_BYTES = 64 * 48 * 3 // 2


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time, and now and then says that there are none yet."""

    def __init__(self, data: bytes, piece_bytes: int = 7) -> None:
        self._data = io.BytesIO(data)
        self._piece_bytes = piece_bytes
        self._calls = 0

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes | None:
        self._calls += 1
        if self._calls == 3:
            return None
        return self._data.read(min(count, self._piece_bytes) if count >= 0 else self._piece_bytes)


def pipe(data: bytes, settings: InputSettings | None = None):
    return open_source("-", settings or InputSettings(), stdin=io.BytesIO(data))


def saved(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def test_a_y4m_on_standard_input_is_known_by_its_magic():
    source = pipe(
        y4m_bytes("W64 H48 F30000:1001 Ip A4:3 C420mpeg2 XCOLORRANGE=FULL", plane_bytes(3, FRAME_BYTES))
    )
    assert source.video == VideoFormat(
        width=64,
        height=48,
        time_base=Fraction(1001, 30000),
        frame_rate=Fraction(30000, 1001),
        sample_aspect=Fraction(4, 3),
        colour=ColourTags(colour_range=2, chroma_location=1),
    )
    frames, _ = read_all(source)
    assert [frame.pts for frame in frames] == [0, 1, 2]
    assert [int(frame.y[0, 0]) for frame in frames] == [1, 2, 3]
    assert frames[0].u.shape == (24, 32)
    assert source.notes == []


def test_short_reads_are_put_together():
    data = y4m_bytes("W64 H48 F25:1", plane_bytes(2, FRAME_BYTES))
    frames, _ = read_all(open_source("-", InputSettings(), stdin=Trickle(data)))
    assert [int(frame.v.max()) for frame in frames] == [1, 2]


def test_ten_bits_are_little_endian_words():
    samples = np.full(FRAME_BYTES, 1023, "<u2")
    source = pipe(y4m_bytes("W64 H48 F25:1 C420p10 XYSCSS=420P10", [samples.tobytes()]))
    (frame,), _ = read_all(source)
    assert source.video.bit_depth == 10
    assert frame.y.dtype == np.uint16
    assert frame.y.max() == 1023


def test_a_sample_above_the_depth_is_refused():
    samples = np.full(FRAME_BYTES, 1024, "<u2")
    with pytest.raises(InputError, match="frame 0 holds a sample of 1024, 10 bits reach 1023"):
        pipe(y4m_bytes("W64 H48 F25:1 C420p10", [samples.tobytes()]))


def test_odd_sizes_round_chroma_up():
    (frame,), _ = read_all(pipe(y4m_bytes("W17 H19 F25:1", [bytes(17 * 19 + 2 * 9 * 10)])))
    assert frame.y.shape == (19, 17)
    assert frame.u.shape == (10, 9)


@pytest.mark.parametrize(
    ("chroma", "frame_bytes", "depth", "note"),
    [
        ("422", 64 * 48 * 2, 8, "yuv422p converted to yuv420p: chroma resolution halves vertically"),
        ("444", 64 * 48 * 3, 8, "yuv444p converted to yuv420p: chroma resolution halves in both directions"),
        ("411", 64 * 48 * 3 // 2, 8, "yuv411p converted to yuv420p: chroma resolution changes shape"),
        ("mono", 64 * 48, 8, "gray converted to yuv420p: the missing chroma is neutral"),
        ("mono10", 64 * 48 * 2, 10, "gray10le converted to yuv420p10le: the missing chroma is neutral"),
        ("422p10", 64 * 48 * 4, 10, "yuv422p10le converted to yuv420p10le: chroma resolution halves"),
        ("420p12", 64 * 48 * 3, 10, "yuv420p12le converted to yuv420p10le: 12 bits a sample become 10"),
        ("444alpha", 64 * 48 * 4, 8, "alpha channel is dropped"),
        ("420p9", 64 * 48 * 3, 10, ""),
    ],
)  # fmt: skip
def test_other_layouts_are_converted_with_a_note(chroma, frame_bytes, depth, note):
    source = pipe(y4m_bytes(f"W64 H48 F25:1 C{chroma}", [bytes(frame_bytes)] * 2))
    frames, _ = read_all(source)
    assert len(frames) == 2
    assert source.video.bit_depth == depth
    assert frames[0].y.shape == (48, 64)
    assert frames[0].u.shape == (24, 32)
    assert [note in each for each in source.notes] == ([True] if note else [])


def test_grey_keeps_its_luma_and_gets_neutral_chroma():
    (frame,), _ = read_all(pipe(y4m_bytes("W64 H48 F25:1 Cmono", [bytes([77]) * 64 * 48])))
    assert np.unique(frame.y).tolist() == [77]
    assert np.unique(frame.u).tolist() == np.unique(frame.v).tolist() == [128]


def test_full_range_is_kept_through_a_conversion():
    data = y4m_bytes("W64 H48 F25:1 C444 XCOLORRANGE=FULL", [bytes([250]) * 64 * 48 * 3])
    (frame,), _ = read_all(pipe(data))
    assert np.unique(frame.y).tolist() == [250]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("W64", "y4m header: no tag, should be H and a number"),
        ("W64 Hx", "y4m header: Hx, should be H and a number"),
        ("W64 H48 F25", "y4m header: F25, should be Fnumber:number"),
        ("W64 H48 C999", "y4m header: C999 is no chroma layout"),
        ("W64 H48 Iz", "y4m header: Iz, should be one of"),
        ("W8 H48", "8x48 is out of range 16x16..8192x8192"),
        ("W64 H8193", "64x8193 is out of range"),
        ("W64 H48 C411p10", "pixel format yuv411p10le is not known"),
    ],
)
def test_a_wrong_header_is_refused_by_its_tag(line, message):
    with pytest.raises(InputError, match=message):
        pipe(y4m_bytes(line, []))


def test_an_endless_header_is_refused():
    with pytest.raises(InputError, match="longer than 4096 bytes"):
        pipe(b"YUV4MPEG2 " + b"X" * 100_000)


def test_a_y4m_without_a_frame_is_refused():
    with pytest.raises(InputError, match="holds no frame"):
        pipe(y4m_bytes("W64 H48 F25:1", []))


def test_an_interlaced_y4m_is_refused_unless_forced():
    data = y4m_bytes("W64 H48 F25:1 It", plane_bytes(1, FRAME_BYTES))
    with pytest.raises(UsageError, match="interlaced, should be progressive"):
        pipe(data)
    source = pipe(data, InputSettings(interlace="progressive"))
    assert "interlaced" in source.notes[0]


def test_a_cut_frame_is_named_with_its_bytes():
    source = pipe(y4m_bytes("W64 H48 F25:1", plane_bytes(3, FRAME_BYTES))[:-10])
    frames = iter(source)
    assert [next(frames).pts, next(frames).pts] == [0, 1]
    with pytest.raises(
        InputError, match=f"frame 2 ends after {FRAME_BYTES - 10} bytes, should be {FRAME_BYTES}"
    ):
        next(frames)


def test_bytes_that_are_no_frame_are_refused():
    data = y4m_bytes("W64 H48 F25:1", plane_bytes(1, FRAME_BYTES)) + b"GARBAGE\n"
    with pytest.raises(InputError, match="frame 1 begins with b'GARBAGE'"):
        list(pipe(data))


def test_a_missing_frame_rate_is_assumed_with_a_note_or_given():
    data = y4m_bytes("W64 H48 F0:0", plane_bytes(1, FRAME_BYTES))
    assert "25 a second are assumed" in pipe(data).notes[0]
    given_rate = pipe(data, InputSettings(fps="23.976"))
    assert given_rate.video.frame_rate == Fraction(24000, 1001)
    assert given_rate.notes == []


def test_seek_and_frames_choose(tmp_path):
    path = saved(tmp_path, "a.y4m", y4m_bytes("W64 H48 F25:1", plane_bytes(6, FRAME_BYTES)))
    source = open_source(path, InputSettings(seek=2, frames=3))
    assert source.frame_count == 3
    frames, _ = read_all(source)
    assert [(frame.pts, int(frame.y[0, 0])) for frame in frames] == [(0, 3), (1, 4), (2, 5)]
    assert open_source(path, InputSettings(seek=4)).frame_count == 2


def test_a_seek_past_the_end_selects_nothing():
    data = y4m_bytes("W64 H48 F25:1", plane_bytes(2, FRAME_BYTES))
    with pytest.raises(InputError, match="0 frames selected: --seek 2 passes the end"):
        pipe(data, InputSettings(seek=2))


@pytest.mark.parametrize(
    ("csp", "depth", "frame_bytes"),
    [
        ("i420", 8, 64 * 48 * 3 // 2),
        ("i420", 10, 64 * 48 * 3),
        ("i400", 8, 64 * 48),
        ("i422", 10, 64 * 48 * 4),
        ("i444", 8, 64 * 48 * 3),
        ("nv12", 8, 64 * 48 * 3 // 2),
        ("p010", 10, 64 * 48 * 3),
    ],
)
def test_raw_yuv_is_read_as_described(tmp_path, csp, depth, frame_bytes):
    path = saved(tmp_path, "a.yuv", bytes(frame_bytes * 3))
    settings = InputSettings(input_res="64x48", fps="30", input_csp=csp, input_depth=depth)
    source = open_source(path, settings)
    assert (source.frame_count, source.video.bit_depth) == (3, depth)
    frames, _ = read_all(source)
    assert len(frames) == 3
    assert frames[0].u.shape == (24, 32)


def test_nv12_and_p010_lose_nothing():
    y, u, v = np.full((48, 64), 10), np.full((24, 32), 20), np.full((24, 32), 30)
    chroma = np.stack([u, v], 2).reshape(24, 64)
    nv12 = np.concatenate([y, chroma]).astype(np.uint8).tobytes()
    p010 = (np.concatenate([y, chroma]).astype("<u2") << 6).tobytes()
    for csp, data in (("nv12", nv12), ("p010", p010)):
        source = pipe(data, InputSettings(input_res="64x48", fps="30", input_csp=csp))
        (frame,), _ = read_all(source)
        assert [np.unique(plane).tolist() for plane in (frame.y, frame.u, frame.v)] == [[10], [20], [30]]
        assert source.notes == []


def test_raw_bytes_left_over_are_refused_with_the_remainder(tmp_path):
    path = saved(tmp_path, "a.yuv", bytes(FRAME_BYTES * 2 + 5))
    with pytest.raises(
        InputError, match=f"{FRAME_BYTES * 2 + 5} bytes are 2 frames of {FRAME_BYTES} bytes and 5"
    ):
        open_source(path, InputSettings(input_res="64x48", fps="30"))
    assert len(read_all(open_source(path, InputSettings(input_res="64x48", fps="30", frames=2)))[0]) == 2


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({}, "a.yuv", "raw yuv, whose size must be given"),
        ({"input_res": "64x48"}, "a.yuv", "raw yuv needs --input-res and --fps"),
        ({"input_res": "64x48", "fps": "25"}, "a.y4m", "is y4m, which carries its size"),
        ({"fps": "25"}, "a.y4m", "says 30 frames a second"),
        ({"fps": "25"}, "a.mkv", "carries its own times"),
        (
            {"input_res": "64x48", "fps": "25", "input_csp": "nv12", "input_depth": 10},
            "a.yuv",
            "nv12 has 8 bits",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, name, message):
    data = (
        y4m_bytes("W64 H48 F30:1", plane_bytes(1, FRAME_BYTES)) if name == "a.y4m" else bytes(FRAME_BYTES * 2)
    )
    with pytest.raises(UsageError, match=message):
        open_source(saved(tmp_path, name, data), InputSettings(**settings))


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_res": "64"},
        {"input_res": "8x8"},
        {"fps": "fast"},
        {"fps": "0"},
        {"fps": "1/0"},
        {"input_depth": 9},
        {"seek": -1},
        {"frames": 0},
        {"input_csp": "i410"},
        {"interlace": "tff"},
        {"y4m": True, "input_res": "64x48"},
    ],
)
def test_input_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        InputSettings(**wrong)


def test_forced_y4m_must_be_y4m():
    with pytest.raises(InputError, match="begins with b'RIFF'"):
        pipe(b"RIFF\n", InputSettings(y4m=True))


def test_an_empty_input_is_refused():
    with pytest.raises(InputError, match="is empty"):
        pipe(b"")


def test_a_read_error_is_told():
    class Broken(io.RawIOBase):
        def read(self, count: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="cannot be read: input/output error"):
        open_source("-", InputSettings(), stdin=Broken())


@settings(deadline=None, max_examples=50)
@given(
    width=st.integers(16, 8192),
    height=st.integers(16, 8192),
    rate=st.fractions(Fraction(1, 1000), 1000, max_denominator=10**6),
    aspect=st.fractions(0, 100, max_denominator=1000),
    depth=st.sampled_from([8, 10]),
    colour_range=st.integers(0, 2),
)
def test_a_written_header_reads_as_itself(width, height, rate, aspect, depth, colour_range):
    video = VideoFormat(
        width=width,
        height=height,
        bit_depth=depth,
        sample_aspect=aspect,
        colour=ColourTags(colour_range=colour_range, chroma_location=1),
    )
    header = parse_header(header_line(video, depth, rate).rstrip(b"\n"), "x")
    assert (header.width, header.height, header.frame_rate) == (width, height, rate)
    assert (header.sample_aspect, header.colour_range) == (aspect, colour_range)
    assert header.pixel_format == ("yuv420p" if depth == 8 else "yuv420p10le")
    assert header.chroma_location == (1 if depth == 8 else 0)


@settings(deadline=None, max_examples=50)
@given(line=st.binary(max_size=120))
def test_any_header_is_read_or_refused(line):
    with pytest.raises((InputError, UsageError)):
        list(pipe(b"YUV4MPEG2 " + line.replace(b"\n", b" ") + b"\nFRAME\n"))


@settings(deadline=None, max_examples=50)
@given(
    width=st.integers(16, 40), height=st.integers(16, 40), count=st.integers(1, 3),
    csp=st.sampled_from(["i400", "i420", "i422", "i444", "nv12"]), extra=st.integers(0, 20),
)  # fmt: skip
def test_raw_yuv_of_any_size_is_whole_or_refused(width, height, count, csp, extra):
    chroma_height, chroma_width = (height + 1) // 2, (width + 1) // 2
    chroma = {
        "i400": 0, "i420": 2 * chroma_height * chroma_width, "nv12": 2 * chroma_height * chroma_width,
        "i422": 2 * height * chroma_width, "i444": 2 * height * width,
    }[csp]  # fmt: skip
    data = bytes((width * height + chroma) * count + extra)
    source = pipe(data, InputSettings(input_res=f"{width}x{height}", fps="25", input_csp=csp))
    if extra:
        with pytest.raises(InputError, match=f"frame {count} ends after {extra} bytes"):
            list(source)
    else:
        frames, _ = read_all(source)
        assert len(frames) == count
        assert frames[-1].v.shape == (chroma_height, chroma_width)


@pytest.mark.parametrize(
    ("asked", "flag"), [({"input_csp": "nv12"}, "--input-csp"), ({"input_depth": 10}, "--input-depth")]
)
def test_a_description_of_raw_yuv_is_not_ignored_where_the_input_has_its_own(asked, flag):
    with pytest.raises(UsageError, match="says itself") as refused:
        pipe(y4m_bytes("W64 H48 F25:1", plane_bytes(1, FRAME_BYTES)), InputSettings(**asked))
    assert refused.value.where == flag


def test_raw_yuv_on_a_pipe_without_its_size_is_told_what_is_missing():
    with pytest.raises(InputError) as refused:
        pipe(bytes(FRAME_BYTES))
    assert "--input-res and --fps" in refused.value.next_step


def test_a_frame_rate_of_0_is_not_said_to_be_outside_a_range_that_holds_it():
    with pytest.raises(UsageError, match="above 0"):
        InputSettings(fps="0")
