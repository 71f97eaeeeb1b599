"""Decoded frames on their way out."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_clips import COUNT, HEIGHT, WIDTH, frame, read_all, read_clip, write_clip

from zvc69_cli.errors import OutputError, UsageError
from zvc69_cli.frames import (
    Chapter,
    ColourTags,
    ContentLight,
    CopiedPacket,
    CopiedStream,
    Frame,
    MasteringDisplay,
    VideoFormat,
)
from zvc69_cli.media.mux import ContainerSink
from zvc69_cli.media.settings import InputSettings, OutputSettings
from zvc69_cli.media.sink import check_output_name, open_sink
from zvc69_cli.media.source import open_source
from zvc69_cli.media.streams import stored_text

VIDEO = VideoFormat(width=WIDTH, height=HEIGHT, time_base=Fraction(1, 25), frame_rate=Fraction(25))
TEN_BITS = replace(VIDEO, bit_depth=10)
TEXT = CopiedStream(number=0, media="subtitle", codec="subrip", time_base=Fraction(1, 1000), language="eng")


def written(
    path: Path, video: VideoFormat, frames: list[Frame], settings: OutputSettings | None = None, **more
):
    """The notes of a sink that wrote these frames."""
    sink = open_sink(str(path), video, settings or OutputSettings(), **more)
    for each in frames:
        sink.write_frame(each)
    sink.close()
    return sink.notes


def copied(path: Path, target: Path, settings: OutputSettings | None = None) -> list[str]:
    """The notes of a sink that wrote everything a source gave."""
    source = open_source(str(path), InputSettings())
    sink = open_sink(
        str(target), source.video, settings or OutputSettings(),
        copied_streams=source.copied_streams, chapters=source.chapters, tags=source.tags,
    )  # fmt: skip
    for item in source:
        if isinstance(item, Frame):
            sink.write_frame(item)
        else:
            sink.write_copied(item)
    sink.close()
    source.close()
    return sink.notes


def same(first: Frame, second: Frame) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in "yuv")


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("size", [(64, 48), (17, 33)])
def test_y4m_gives_back_every_sample(tmp_path, depth, size):
    video = VideoFormat(
        width=size[0],
        height=size[1],
        bit_depth=depth,
        time_base=Fraction(1001, 30000),
        frame_rate=Fraction(30000, 1001),
        sample_aspect=Fraction(4, 3),
        colour=ColourTags(colour_range=1),
    )
    frames = [frame(number, width=size[0], height=size[1], depth=depth) for number in range(3)]
    assert written(tmp_path / "a.y4m", video, frames) == []
    source, read, _ = read_clip(tmp_path / "a.y4m")
    assert all(same(a, b) for a, b in zip(frames, read, strict=True))
    assert replace(source.video, colour=video.colour) == video
    assert source.video.colour.colour_range == 1


def test_ffmpeg_reads_the_y4m(tmp_path):
    written(tmp_path / "a.y4m", TEN_BITS, [frame(0, depth=10)])
    with av.open(str(tmp_path / "a.y4m")) as clip:
        assert clip.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
        assert len(list(clip.decode(video=0))) == 1


def test_raw_yuv_is_planes_and_nothing_else(tmp_path):
    written(tmp_path / "a.yuv", TEN_BITS, [frame(0, depth=10), frame(1, depth=10)])
    data = (tmp_path / "a.yuv").read_bytes()
    first = frame(0, depth=10)
    assert data.startswith(first.y.astype("<u2").tobytes() + first.u.astype("<u2").tobytes())
    assert len(data) == WIDTH * HEIGHT * 3 * 2


@pytest.mark.parametrize(
    ("settings", "start"), [(OutputSettings(), b"YUV4MPEG2 "), (OutputSettings(raw=True), b"")]
)
def test_standard_output_is_y4m_unless_raw_and_stays_open(settings, start):
    out = io.BytesIO()
    sink = open_sink("-", VIDEO, settings, stdout=out)
    sink.write_frame(frame(0))
    sink.close()
    assert out.getvalue().startswith(start or frame(0).y.tobytes())


def test_a_writer_that_takes_a_few_bytes_gets_them_all():
    class Narrow(io.BytesIO):
        def write(self, data) -> int:
            return super().write(bytes(data[:1000]))

    narrow, wide = Narrow(), io.BytesIO()
    for out in (narrow, wide):
        sink = open_sink("-", VIDEO, OutputSettings(), stdout=out)
        sink.write_frame(frame(0))
        sink.close()
    assert narrow.getvalue() == wide.getvalue()


def test_the_depth_can_be_changed_and_going_down_is_noted(tmp_path):
    notes = written(tmp_path / "a.y4m", TEN_BITS, [frame(0, depth=10)], OutputSettings(output_depth=8))
    assert notes == ["10 bits a sample become 8"]
    assert read_clip(tmp_path / "a.y4m")[0].video.bit_depth == 8
    assert written(tmp_path / "b.y4m", VIDEO, [frame(0)], OutputSettings(output_depth=10)) == []
    (up,) = read_clip(tmp_path / "b.y4m")[1]
    assert np.array_equal(up.y, frame(0).y.astype(np.uint16) * 4)


def test_what_plain_frames_cannot_hold_is_noted(tmp_path):
    video = replace(VIDEO, rotation_degrees=90, frame_rate=None)
    frames = [frame(0), frame(1, pts=5), frame(2, pts=50)]
    notes = written(tmp_path / "a.y4m", video, frames, copied_streams=[TEXT])
    assert [
        word in " ".join(notes)
        for word in ("subtitle streams", "90 degrees", "no frame rate", "times are lost")
    ] == [True] * 4
    assert len(notes) == 4


def test_a_constant_frame_rate_in_another_time_base_is_no_loss(tmp_path):
    video = VideoFormat(width=64, height=48, time_base=Fraction(1, 1000), frame_rate=Fraction(30000, 1001))
    frames = [frame(number, pts=7 + round(number * 1001 / 30)) for number in range(40)]
    assert written(tmp_path / "a.y4m", video, frames) == []


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("depth", [8, 10])
def test_a_container_holds_times_colours_shape_and_light(tmp_path, extension, depth):
    video = VideoFormat(
        width=WIDTH,
        height=HEIGHT,
        bit_depth=depth,
        time_base=Fraction(1, 1000) if extension == ".mkv" else Fraction(1, 12800),
        frame_rate=Fraction(25),
        sample_aspect=Fraction(4, 3),
        rotation_degrees=270,
        colour=ColourTags(primaries=9, transfer=16, matrix=9, colour_range=1, chroma_location=3),
        mastering_display=MasteringDisplay(
            red=(Fraction(17, 25), Fraction(8, 25)),
            green=(Fraction(53, 200), Fraction(69, 100)),
            blue=(Fraction(3, 20), Fraction(3, 50)),
            white=(Fraction(3127, 10000), Fraction(329, 1000)),
            min_luminance=Fraction(1, 10000),
            max_luminance=Fraction(1000),
        ),
        content_light=ContentLight(max_content=1000, max_average=400),
    )
    frames = [frame(number, depth=depth, pts=70 + number * number * 10) for number in range(COUNT)]
    chapters = [Chapter(start=0, end=3, time_base=Fraction(1, 10), title="One")]
    assert written(tmp_path / f"a{extension}", video, frames, chapters=chapters, tags=[("title", "T")]) == []
    source, read, _ = read_clip(tmp_path / f"a{extension}")
    assert [each.pts for each in read] == [each.pts for each in frames]
    assert replace(source.video, frame_rate=video.frame_rate) == video
    assert ("title", "T") in source.tags
    assert [(each.title, each.end * each.time_base) for each in source.chapters] == [("One", Fraction(3, 10))]
    error = np.mean([(a.y.astype(float) - b.y) ** 2 for a, b in zip(frames, read, strict=True)])
    assert 10 * np.log10(video.peak**2 / error) > 38


def test_matroska_says_when_it_rounds_times(tmp_path):
    video = replace(VIDEO, time_base=Fraction(1, 12800))
    notes = written(tmp_path / "a.mkv", video, [frame(0), frame(1, pts=100)])
    assert notes == ["matroska keeps times in whole milliseconds: they are rounded (mp4 keeps them exact)"]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1", "libvpx-vp9"])
def test_odd_sizes_keep_their_size(tmp_path, codec):
    video = replace(VIDEO, width=51, height=37)
    notes = written(
        tmp_path / "a.mkv",
        video,
        [frame(number, width=51, height=37) for number in range(3)],
        OutputSettings(codec=codec),
    )
    source, frames, _ = read_clip(tmp_path / "a.mkv")
    assert (source.video.width, source.video.height, len(frames)) == (51, 37, 3)
    assert any("4:4:4" in note for note in notes) == codec.startswith("libx26")
    if codec == "ffv1":
        assert same(frames[1], frame(1, width=51, height=37))


def test_a_video_that_starts_before_0_is_moved_with_its_sound(tmp_path):
    path = write_clip(tmp_path / "a.mp4", sound=True)
    source = open_source(str(path), InputSettings())
    sink = open_sink(
        str(tmp_path / "b.mp4"), source.video, OutputSettings(), copied_streams=source.copied_streams
    )
    ticks = round(Fraction(1, 5) / source.video.time_base)
    for item in source:
        if isinstance(item, Frame):
            sink.write_frame(replace(item, pts=item.pts - ticks))
        else:
            sink.write_copied(replace(item, pts=item.pts - 9600, dts=item.dts - 9600))
    sink.close()
    assert sink.notes == ["the video starts before 0: every stream is moved by 0.200 s"]
    _, frames, packets = read_clip(tmp_path / "b.mp4")
    _, frames_before, packets_before = read_clip(path)
    assert [each.pts for each in frames] == [each.pts for each in frames_before]
    assert [(each.pts, each.data) for each in packets] == [(each.pts, each.data) for each in packets_before]


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_sound_comes_out_as_it_went_in(tmp_path, extension):
    path = write_clip(tmp_path / "a.mp4", sound=True)
    copied(path, tmp_path / f"b{extension}")
    before, _, packets_before = read_clip(path)
    after, _, packets = read_clip(tmp_path / f"b{extension}")
    (old,), (new,) = before.copied_streams, after.copied_streams
    assert (new.codec, new.extradata, new.language, new.default) == (
        old.codec,
        old.extradata,
        old.language,
        old.default,
    )
    assert [each.data for each in packets] == [each.data for each in packets_before]
    drift = [
        abs(a.pts * new.time_base - b.pts * old.time_base) for a, b in zip(packets, packets_before, strict=True)
    ]
    assert max(drift) <= (0 if extension == ".mp4" else Fraction(1, 1000))
    with av.open(str(tmp_path / f"b{extension}")) as clip:
        sound = list(clip.decode(audio=0))
        assert (sound[0].sample_rate, sound[0].layout.name) == (48000, "stereo")
        assert np.abs(sound[4].to_ndarray()).max() > 0.5


@pytest.mark.parametrize(
    ("source_name", "codec", "stored"), [("a.mp4", "mov_text", b"\0\5hello"), ("a.mkv", "subrip", b"hello")]
)
@pytest.mark.parametrize(("target", "due"), [("b.mp4", b"\0\5hello"), ("b.mkv", b"hello")])
def test_text_subtitles_keep_text_and_times_in_every_container(
    tmp_path, source_name, codec, stored, target, due
):
    shown = [(40, 120, stored), (300, 100, stored)]
    path = write_clip(tmp_path / source_name, subtitles=shown, subtitle_codec=codec)
    assert [note for note in copied(path, tmp_path / target) if "subtitle" in note] == []
    source, _, packets = read_clip(tmp_path / target)
    assert source.copied_streams[0].codec == ("mov_text" if target == "b.mp4" else "subrip")
    assert [(each.data, each.pts, each.duration) for each in packets] == [(due, 40, 120), (due, 300, 100)]


def test_styling_that_a_container_cannot_keep_is_noted(tmp_path):
    path = write_clip(tmp_path / "a.mkv", subtitles=[(0, 100, b"<i>hello</i>")], subtitle_codec="subrip")
    assert copied(path, tmp_path / "b.mp4") == ["subtitle stream 0: its styling cannot be kept in mp4"]
    assert [each.data for each in read_clip(tmp_path / "b.mp4")[2]] == [b"\0\5hello"]


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=60).filter(lambda text: not set(text) & set("<>{}\r\n\0")))
def test_plain_text_survives_both_ways(text):
    data, lost = stored_text(text.encode(), "subrip", "mp4")
    assert not lost
    assert stored_text(data, "mov_text", "matroska") == (text.encode(), False)


@settings(deadline=None, max_examples=50)
@given(data=st.binary(max_size=40))
def test_damaged_subtitles_never_fail(data):
    for codec in ("mov_text", "subrip"):
        for format_name in ("mp4", "matroska"):
            stored_text(data, codec, format_name)


@pytest.mark.parametrize(
    ("codec", "media", "extension"),
    [("ass", "subtitle", ".mp4"), ("hdmv_pgs_subtitle", "subtitle", ".mp4"), ("tta", "audio", ".mp4"),
     ("aac", "audio", ".webm"), ("unheard_of", "audio", ".mkv")],
)  # fmt: skip
def test_a_stream_that_a_container_cannot_hold_is_refused_not_dropped(tmp_path, codec, media, extension):
    stream = CopiedStream(
        number=0, media=media, codec=codec, time_base=Fraction(1, 1000),
        parameters=(("sample_rate", "48000"), ("channels", "2")) if media == "audio" else (),
    )  # fmt: skip
    with pytest.raises(OutputError, match=f"cannot hold {media} stream 0, {codec}") as refused:
        open_sink(str(tmp_path / f"a{extension}"), VIDEO, OutputSettings(), copied_streams=[stream])
    assert ("--no-audio" if media == "audio" else "--no-subtitles") in refused.value.next_step
    flag_off = OutputSettings(audio=media != "audio", subtitles=media != "subtitle")
    assert written(tmp_path / f"b{extension}", VIDEO, [frame(0)], flag_off, copied_streams=[stream]) == []


@pytest.mark.parametrize(
    ("codec", "encoder", "extension"),
    [
        ("pcm_s16le", "pcm_s16le", ".mkv"),
        ("flac", "flac", ".mkv"),
        ("opus", "libopus", ".mkv"),
        ("opus", "libopus", ".webm"),
        ("ac3", "ac3", ".mp4"),
        ("mp3", "libmp3lame", ".mp4"),
        ("flac", "flac", ".mp4"),
        ("pcm_mulaw", "pcm_mulaw", ".mov"),
    ],
)
def test_sound_of_many_codecs_is_rebuilt(tmp_path, codec, encoder, extension):
    path = tmp_path / ("a.mov" if extension == ".mov" else "a.mkv")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream(encoder, rate=48000)
        audio.layout = "stereo"
        out.mux(stream.encode(av.VideoFrame(WIDTH, HEIGHT, "yuv420p")))
        out.mux(stream.encode(None))
        sound = av.AudioFrame(audio.codec_context.format.name, "stereo", 4800)
        for plane in sound.planes:
            np.frombuffer(plane, np.uint8)[:] = 0
        sound.sample_rate, sound.pts, sound.time_base = 48000, 0, Fraction(1, 48000)
        resampled = av.AudioResampler(
            audio.codec_context.format.name, "stereo", 48000, audio.codec_context.frame_size
        )
        for piece in [*resampled.resample(sound), *resampled.resample(None)]:
            out.mux(audio.encode(piece))
        out.mux(audio.encode(None))
    copied(path, tmp_path / f"b{extension}")
    source, _, packets = read_clip(tmp_path / f"b{extension}")
    assert source.copied_streams[0].codec == codec
    assert [each.data for each in packets] == [each.data for each in read_clip(path)[2]]
    with av.open(str(tmp_path / f"b{extension}")) as clip:
        assert sum(each.samples for each in clip.decode(audio=0)) >= 4000


def test_a_final_name_chooses_the_format_and_stands_in_messages(tmp_path):
    part = tmp_path / "out.mp4.part"
    sink = open_sink(str(part), VIDEO, OutputSettings(), final_name="out.mp4")
    sink.write_frame(frame(0))
    sink.close()
    assert read_clip(part)[0].video.width == WIDTH
    with pytest.raises(OutputError, match=r"^out\.mp4: its folder does not exist"):
        open_sink(str(tmp_path / "no" / "out.mp4.part"), VIDEO, OutputSettings(), final_name="out.mp4")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.avi", {}, "the format is not clear from the name: .avi"),
        ("a", {}, "no extension"),
        ("a.mp4", {"raw": True}, "--raw: does not fit"),
        ("a.mp4", {"y4m": True}, "--y4m: does not fit"),
        ("a.mp4", {"codec": "libx999"}, "is no encoder of this FFmpeg"),
        ("a.mp4", {"codec": "aac"}, "is no video encoder"),
        ("a.webm", {"codec": "libx264"}, "webm cannot hold libx264"),
        ("a.mkv", {"codec": "ffv1", "codec_crf": 20.0}, "ffv1 has no such setting"),
        ("a.mkv", {"codec_preset": "warp"}, "libx264 refuses 'warp'"),
        ("a.mkv", {"codec": "mpeg4", "output_depth": 10}, "mpeg4 takes no yuv420p10le"),
    ],
)
def test_settings_that_fit_no_output_are_refused(tmp_path, name, settings, message):
    with pytest.raises(UsageError, match=message):
        open_sink(str(tmp_path / name), VIDEO, OutputSettings(**settings))


@pytest.mark.parametrize("wrong", [{"output_depth": 9}, {"codec_crf": 99.0}, {"y4m": True, "raw": True}])
def test_output_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        OutputSettings(**wrong)


def test_a_name_can_be_checked_before_anything_is_opened(tmp_path):
    check_output_name("-", OutputSettings())
    check_output_name(str(tmp_path / "a.mkv"), OutputSettings())
    with pytest.raises(UsageError):
        check_output_name(str(tmp_path / "a.txt"), OutputSettings())
    assert list(tmp_path.iterdir()) == []


def test_flags_without_a_telling_name_choose_the_format(tmp_path):
    written(tmp_path / "frames", VIDEO, [frame(0)], OutputSettings(y4m=True))
    assert (tmp_path / "frames").read_bytes().startswith(b"YUV4MPEG2")


def test_the_encoder_takes_its_quality_and_preset(tmp_path):
    frames = [frame(number) for number in range(5)]
    for crf, name in ((1.0, "good"), (45.0, "poor")):
        settings = OutputSettings(codec="libx264", codec_crf=crf, codec_preset="ultrafast")
        written(tmp_path / f"{name}.mkv", VIDEO, frames, settings)
    assert (tmp_path / "good.mkv").stat().st_size > 1.3 * (tmp_path / "poor.mkv").stat().st_size


def test_a_directory_as_output_is_refused(tmp_path):
    (tmp_path / "a.y4m").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        open_sink(str(tmp_path / "a.y4m"), VIDEO, OutputSettings())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["a.y4m", "a.yuv", "a.mp4", "a.mkv"])
def test_a_full_disk_is_an_output_error(name):
    with pytest.raises(OutputError, match=f"{name}: cannot be written: no space left on device") as full:
        sink = open_sink("/dev/full", VIDEO, OutputSettings(), final_name=name)
        for number in range(400):
            sink.write_frame(frame(number))
        sink.close()
    assert full.value.next_step.startswith("Make room")


def test_a_closed_pipe_is_an_output_error():
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "wb", buffering=0) as out,
        pytest.raises(OutputError, match="the pipe was closed before the end"),
    ):
        sink = open_sink("-", VIDEO, OutputSettings(), stdout=out)
        sink.write_frame(frame(0))
        sink.close()


@pytest.mark.parametrize("name", ["a.y4m", "a.mp4", "a.mkv"])
def test_abort_leaves_nothing_open(tmp_path, name):
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    before = open_files()
    sink = open_sink(str(tmp_path / name), VIDEO, OutputSettings(), copied_streams=[])
    sink.write_frame(frame(0))
    sink.abort()
    sink.abort()
    assert open_files() == before


def test_a_container_without_frames_can_be_closed(tmp_path):
    written(tmp_path / "a.mkv", VIDEO, [])
    assert (tmp_path / "a.mkv").stat().st_size > 0


def test_packets_of_a_stream_left_out_are_passed_over(tmp_path):
    sink = open_sink(str(tmp_path / "a.mkv"), VIDEO, OutputSettings(subtitles=False), copied_streams=[TEXT])
    sink.write_copied(CopiedPacket(stream_number=0, data=b"hi", pts=0, dts=0))
    sink.write_frame(frame(0))
    sink.close()
    assert read_clip(tmp_path / "a.mkv")[2] == []


def test_nothing_is_said_on_standard_error(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("SVT_LOG", raising=False)
    for codec in ("libx264", "libx265", "libsvtav1", "libvpx-vp9"):
        written(tmp_path / "a.mkv", VIDEO, [frame(number) for number in range(3)], OutputSettings(codec=codec))
        read_all(open_source(str(tmp_path / "a.mkv"), InputSettings()))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("name", ["a.y4m", "a.yuv"])
def test_colours_that_plain_frames_cannot_say_are_noted(tmp_path, name):
    video = replace(VIDEO, colour=ColourTags(primaries=9, transfer=16, matrix=9))
    (note,) = written(tmp_path / name, video, [frame(0)])
    assert "primaries 9, transfer 16, matrix 9" in note


@pytest.mark.parametrize("name", ["a.y4m", "a.yuv", "-"])
@pytest.mark.parametrize("asked", [{"codec": "libx264"}, {"codec_crf": 3.0}, {"codec_preset": "fast"}])
def test_an_encoder_asked_for_where_there_is_none_is_not_ignored(name, asked):
    with pytest.raises(UsageError, match="without an encoder") as refused:
        check_output_name(name, OutputSettings(**asked))
    assert refused.value.where == "--" + next(iter(asked)).replace("_", "-")


def test_an_encoder_that_cannot_be_opened_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def lacking(self, settings):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("zvc69_cli.media.mux.ContainerSink._open_encoder", _opened_by(lacking))
    with pytest.raises(UsageError, match="cannot be used here: operation not permitted") as refused:
        open_sink(str(tmp_path / "a.mkv"), VIDEO, OutputSettings(codec="mpeg4"))
    assert refused.value.where == "--codec"


def _opened_by(work):
    """The sink's own way of opening an encoder, with another encoder inside."""
    real = ContainerSink._open_encoder

    def opened(self, settings):
        context = SimpleNamespace(open=lambda: work(self, settings))
        stream, self._stream = self._stream, SimpleNamespace(codec_context=context)
        try:
            real(self, settings)
        finally:
            self._stream = stream

    return opened
