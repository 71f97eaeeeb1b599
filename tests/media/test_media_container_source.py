"""Files that PyAV opens."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_clips import COUNT, read_all, read_clip, write_clip

from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.frames import ColourTags
from zvc69_cli.media.matroska import HEAD_BYTES, stated_bytes
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import open_source
from zvc69_cli.media.timeline import Timeline, plausible_rate

HDR10 = "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):cll=1000,400"


def test_frames_come_in_display_order_with_their_own_times(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4",
        time_base=Fraction(1, 12800),
        pts=lambda number: 70 + number * number * 100,
        configure=lambda out, stream: out.container_options.update(movie_timescale="12800"),
    )
    source, frames, _ = read_clip(path)
    assert source.video.time_base == Fraction(1, 12800)
    assert [frame.pts for frame in frames] == [70 + number * number * 100 for number in range(COUNT)]
    levels = [int(frame.y.mean()) for frame in frames]
    assert levels == sorted(levels)
    assert source.frame_count == COUNT
    assert source.notes == []


def test_planes_are_views_without_line_padding(tmp_path):
    _, frames, _ = read_clip(write_clip(tmp_path / "a.mkv", size=(50, 34)))
    assert frames[0].y.shape == (34, 50)
    assert not frames[0].y.flags.owndata


def test_odd_sizes_and_ten_bits(tmp_path):
    path = write_clip(tmp_path / "a.mkv", size=(51, 33), codec="ffv1", pixel_format="yuv420p10le", count=2)
    source, frames, _ = read_clip(path)
    assert (source.video.width, source.video.height, source.video.bit_depth) == (51, 33, 10)
    assert frames[0].u.shape == (17, 26)
    assert [int(frame.y[0, 0]) for frame in frames] == [200, 220]


def test_tags_of_colour_shape_and_light_are_kept(tmp_path):
    def configure(out, stream):
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(-90)
        out.metadata["title"] = "A title"
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 2, "time_base": Fraction(1, 10), "metadata": {"title": "One"}}]
        )

    options = {"x264-params": HDR10, "chroma_sample_location": "topleft"}
    path = write_clip(tmp_path / "a.mp4", pixel_format="yuv420p10le", options=options, configure=configure)
    source, _, _ = read_clip(path)
    video = source.video
    assert video.colour == ColourTags(primaries=9, transfer=16, matrix=9, colour_range=1, chroma_location=3)
    assert (video.sample_aspect, video.rotation_degrees) == (Fraction(4, 3), 90)
    assert video.mastering_display.green == (Fraction(13250, 50000), Fraction(34500, 50000))
    assert (video.mastering_display.max_luminance, video.mastering_display.min_luminance) == (
        1000,
        Fraction(1, 10000),
    )
    assert (video.content_light.max_content, video.content_light.max_average) == (1000, 400)
    assert source.tags == (("title", "A title"),)
    assert [
        (each.title, each.start * each.time_base, each.end * each.time_base) for each in source.chapters
    ] == [("One", 0, Fraction(1, 5))]
    assert source.notes == []


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_every_quarter_turn_is_clockwise(tmp_path, degrees):
    path = write_clip(
        tmp_path / "a.mp4", count=2, configure=lambda out, stream: stream.set_display_rotation(-degrees)
    )
    assert read_clip(path)[0].video.rotation_degrees == degrees


def test_mirroring_and_odd_turns_are_noted(tmp_path):
    mirrored = write_clip(
        tmp_path / "a.mp4", count=2, configure=lambda out, stream: stream.set_display_rotation(0, hflip=True)
    )
    assert any("mirror" in note for note in read_clip(mirrored)[0].notes)
    turned = write_clip(
        tmp_path / "b.mp4", count=2, configure=lambda out, stream: stream.set_display_rotation(-30)
    )
    source, _, _ = read_clip(turned)
    assert source.video.rotation_degrees == 0
    assert any("30 degrees is no quarter turn" in note for note in source.notes)


def test_a_clip_of_another_chroma_format_is_converted_with_one_note(tmp_path):
    path = write_clip(tmp_path / "a.mkv", codec="ffv1", pixel_format="yuv422p", count=3)
    source, frames, _ = read_clip(path)
    assert source.notes == ["yuv422p converted to yuv420p: chroma resolution halves vertically"]
    assert [int(frame.u[0, 0]) for frame in frames] == [50, 60, 70]


def test_rgb_says_which_matrix_it_was_given(tmp_path):
    path = write_clip(tmp_path / "a.mkv", codec="ffv1", pixel_format="bgra", count=2)
    source, _, _ = read_clip(path)
    assert "BT.709 matrix in limited range" in source.notes[0]
    assert "alpha channel is dropped" in source.notes[0]
    assert (source.video.colour.matrix, source.video.colour.colour_range) == (1, 1)


def test_full_range_of_yuvj_becomes_a_tag(tmp_path):
    path = write_clip(tmp_path / "a.avi", codec="mjpeg", pixel_format="yuvj420p", count=2)
    source, frames, _ = read_clip(path)
    assert source.video.colour.colour_range == 2
    assert abs(int(frames[0].y[0, 0]) - 50) <= 2


def test_audio_packets_come_beside_the_frames_they_belong_to(tmp_path):
    path = write_clip(tmp_path / "a.mp4", sound=True)
    source, frames, packets = read_clip(path)
    (stream,) = source.copied_streams
    assert (stream.media, stream.codec, stream.language, stream.time_base) == (
        "audio",
        "aac",
        "deu",
        Fraction(1, 48000),
    )
    assert stream.extradata
    assert dict(stream.parameters)["sample_rate"] == "48000"
    assert dict(stream.parameters)["initial_padding"] == "1024"
    assert packets[0].pts == -1024
    assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)
    assert len(frames) == COUNT


def test_streams_can_be_left_out(tmp_path):
    path = write_clip(tmp_path / "a.mp4", sound=True, subtitles=[(0, 100, b"\0\2hi")])
    source, _, packets = read_clip(path, InputSettings(audio=False))
    assert [stream.media for stream in source.copied_streams] == ["subtitle"]
    assert [packet.data for packet in packets] == [b"\0\2hi"]
    assert read_clip(path, InputSettings(audio=False, subtitles=False))[2] == []


def test_seek_drops_sound_before_the_start_and_keeps_it_in_sync(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4", sound=True, time_base=Fraction(1, 12800), pts=lambda number: number * 512
    )
    _, _, whole = read_clip(path)
    source, frames, packets = read_clip(path, InputSettings(seek=5))
    moved = round(Fraction(5 * 512, 12800) * 48000)
    assert [frame.pts for frame in frames] == [number * 512 for number in range(COUNT - 5)]
    assert int(frames[0].y.mean()) == 100
    assert min(packet.pts for packet in packets) >= 0
    kept = [packet for packet in whole if packet.pts >= moved]
    assert [(packet.pts + moved, packet.data) for packet in packets] == [(each.pts, each.data) for each in kept]
    assert source.frame_count == COUNT - 5


def test_frames_end_the_sound_too(tmp_path):
    path = write_clip(tmp_path / "a.mp4", sound=True)
    source, frames, packets = read_clip(path, InputSettings(frames=4))
    assert len(frames) == source.frame_count == 4
    assert max(packet.pts for packet in packets) < 4 * 48000 // 25
    assert max(packet.pts + packet.duration for packet in packets) >= 4 * 48000 // 25


def test_a_subtitle_on_at_the_start_is_cut_to_it(tmp_path):
    path = write_clip(
        tmp_path / "a.mkv", subtitles=[(40, 240, b"on"), (400, 40, b"later")], subtitle_codec="subrip"
    )
    _, _, packets = read_clip(path, InputSettings(seek=5))
    assert [(packet.data, packet.pts, packet.duration) for packet in packets] == [
        (b"on", 0, 80),
        (b"later", 200, 40),
    ]


def test_a_seek_past_the_end_selects_nothing(tmp_path):
    with pytest.raises(InputError, match="0 frames selected: --seek 12 passes the end"):
        read_clip(write_clip(tmp_path / "a.mp4"), InputSettings(seek=12))


class Pipe(io.RawIOBase):
    """Bytes that can be read once, a piece at a time, and not sought."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, count: int = -1) -> bytes:
        return self._data.read(min(count, 1000))


def test_a_container_comes_through_a_pipe(tmp_path):
    path = write_clip(tmp_path / "a.mkv", sound=True)
    _, from_file, packets = read_clip(path)
    frames, piped = read_all(open_source("-", InputSettings(), stdin=Pipe(path.read_bytes())))
    assert [frame.pts for frame in frames] == [frame.pts for frame in from_file]
    assert all(np.array_equal(a.y, b.y) for a, b in zip(frames, from_file, strict=True))
    assert piped == packets


def test_an_mp4_with_its_index_at_the_end_says_so_on_a_pipe(tmp_path):
    data = write_clip(tmp_path / "a.mov", codec="rawvideo", pixel_format="rgb24").read_bytes()
    with pytest.raises(InputError) as refused:
        open_source("-", InputSettings(), stdin=Pipe(data))
    assert "cannot be read from a pipe" in refused.value.next_step


def test_names_of_any_kind_are_files(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", count=2).read_bytes()
    for name in ("with space.mkv", "per%03dcent.mkv", "a:b.mkv", "-dash.mkv", "quote'.mkv", "日本🎬.mkv"):
        (tmp_path / name).write_bytes(clip)
        assert len(read_clip(tmp_path / name)[1]) == 2


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "is empty"),
        ("coded.zvc69", b"ZVC69\0" + bytes(200), "is a .zvc69 already"),
        ("text.txt", b"Dear diary,\n" * 40, "is no video"),
        ("text.mp4", b"Dear diary,\n" * 40, "is no video that can be opened"),
        ("noise.bin", bytes(range(256)) * 40, "is no video"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as refused:
        open_source(str(tmp_path / name), InputSettings())
    assert refused.value.where == str(tmp_path / name)
    assert refused.value.next_step


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a directory, should be a video file"):
        open_source(str(tmp_path), InputSettings())


def test_a_name_that_no_system_takes_is_refused():
    with pytest.raises(InputError, match="cannot be opened"):
        open_source("a\0b", InputSettings())


def test_a_file_with_sound_only_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        sound.sample_rate = 48000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    with pytest.raises(InputError, match="has no video stream, only audio"):
        open_source(str(tmp_path / "a.mkv"), InputSettings())


def test_a_video_stream_without_a_frame_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.nut", codec="ffv1", count=1)
    data = path.read_bytes()
    (tmp_path / "b.nut").write_bytes(data[: data.rindex(b"NK") - 1])
    with pytest.raises(InputError):
        open_source(str(tmp_path / "b.nut"), InputSettings())


def test_sizes_out_of_range_are_refused_with_the_range(tmp_path):
    path = write_clip(tmp_path / "a.mkv", size=(14, 48), codec="ffv1", count=1)
    with pytest.raises(InputError, match=r"14x48 is out of range 16x16\.\.8192x8192"):
        read_clip(path)


def test_an_mp4_without_its_index_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match="is no video that can be opened"):
        read_clip(path)


def clip_with_index_first(tmp_path):
    return write_clip(
        tmp_path / "a.mp4", configure=lambda out, stream: out.container_options.update(movflags="faststart")
    )


def test_an_mp4_cut_in_its_pictures_names_the_frame_and_keeps_those_before(tmp_path):
    path = clip_with_index_first(tmp_path)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[:-60])
    frames = []
    with pytest.raises(InputError, match=r"frame \d+ at 0\.\d+ s is cut") as refused:
        source = open_source(str(path), InputSettings())
        for frame in source:
            frames.append(frame)
    assert "--frames" in refused.value.next_step or "whole copy" in refused.value.next_step
    assert [frame.pts for frame in frames] == [number * 512 for number in range(len(frames))]
    assert f"frame {len(frames)} at {len(frames) / 25:.3f} s" in refused.value.what


def test_a_matroska_cut_in_its_pictures_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mkv", count=50, codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"ends after \d+ frames, \d+ bytes before its stated end"):
        read_clip(path)


def test_damaged_pictures_are_refused_by_number(tmp_path):
    path = write_clip(tmp_path / "a.mkv", codec="ffv1", count=8, options={"slicecrc": "1"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    for at in range(middle, middle + 60):
        data[at] ^= 0x5A
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"frame \d+"):
        read_clip(path)


def test_a_size_that_changes_is_refused_where_it_does(tmp_path):
    first = write_clip(tmp_path / "a.h264", count=5).read_bytes()
    second = write_clip(tmp_path / "b.h264", count=5, size=(96, 64)).read_bytes()
    (tmp_path / "c.h264").write_bytes(first + second)
    with pytest.raises(InputError, match=r"frame \d+ at .* s is 96x64, the video began as 64x48"):
        read_clip(tmp_path / "c.h264")


def test_interlaced_video_is_refused_unless_forced(tmp_path):
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = write_clip(tmp_path / "a.mkv", options=options)
    with pytest.raises(UsageError, match="is interlaced"):
        read_clip(path)
    source, frames, _ = read_clip(path, InputSettings(interlace="progressive"))
    assert len(frames) == COUNT
    assert "interlaced" in source.notes[0]


def test_sound_of_a_codec_that_cannot_be_carried_is_refused_not_dropped(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("adpcm_ms", rate=44100)
        audio.layout = "stereo"
        out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(stream.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.int16), "s16", "stereo")
        sound.sample_rate = 44100
        out.mux(audio.encode(sound))
    with pytest.raises(InputError, match="audio of codec adpcm_ms, which cannot be carried along"):
        read_clip(tmp_path / "a.avi")
    assert len(read_clip(tmp_path / "a.avi", InputSettings(audio=False))[1]) == 1


def test_other_streams_are_left_out_with_a_note(tmp_path):
    path = write_clip(
        tmp_path / "a.mkv", configure=lambda out, stream: out.add_attachment("f.ttf", "font/ttf", b"font")
    )
    assert "stream 1 (attachment) cannot be carried along and is left out" in read_clip(path)[0].notes


class Shown:
    def __init__(self, pts, dts=None, duration=0):
        self.pts, self.dts, self.duration = pts, dts, duration


def test_missing_and_backward_times_are_mended_with_a_note_each():
    notes: list[str] = []
    timeline = Timeline(Fraction(1, 100), Fraction(25), notes)
    shown = [Shown(-8), Shown(None), Shown(None, dts=2), Shown(2), Shown(1), Shown(None), Shown(50, duration=3)]
    placed = [timeline.place(each, number) for number, each in enumerate(shown)]
    assert [pts for pts, _ in placed] == [-8, -4, 2, 3, 4, 8, 50]
    assert placed[-1][1] == 3
    assert len(notes) == 2
    assert "frame 1 has no time" in notes[0]
    assert "frame 3 has the time 2, not after 2" in notes[1]


def test_a_raw_h264_stream_gets_times_from_its_frame_rate(tmp_path):
    path = write_clip(tmp_path / "a.h264", options={"bf": "0"})
    source, frames, _ = read_clip(path)
    steps = {(b.pts - a.pts) * source.video.time_base for a, b in pairwise(frames)}
    assert len(frames) == COUNT
    assert steps == {Fraction(1, 25)}


def test_a_clock_is_no_frame_rate():
    assert plausible_rate(Fraction(90000)) is None
    assert plausible_rate(Fraction(0)) is None
    assert plausible_rate(Fraction(30000, 1001)) == Fraction(30000, 1001)


@given(head=st.binary(max_size=64))
def test_the_stated_length_of_anything_is_read_or_unknown(head):
    for start in (b"", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x81\x00\x18\x53\x80\x67"):
        stated = stated_bytes(start + head)
        assert stated is None or stated > 0


def test_a_matroska_states_its_length_unless_it_is_streamed(tmp_path):
    data = write_clip(tmp_path / "a.mkv", count=2).read_bytes()
    assert stated_bytes(data[:HEAD_BYTES]) == len(data)
    at = data.index(b"\x18\x53\x80\x67") + 4
    assert stated_bytes(data[:at] + b"\x01" + b"\xff" * 7) is None
