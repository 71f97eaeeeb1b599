"""The Python API, with the toy codec."""

import io
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import zvc69_cli
from tests.pipeline.engines import HEIGHT, WIDTH, ToyEngines, picture
from zvc69_cli.errors import InputError, NotZvc69, UsageError
from zvc69_cli.pipeline.sessions import Decoder, Encoder
from zvc69_cli.pipeline.video_file import VideoFile

VIDEO = zvc69_cli.VideoFormat(width=WIDTH, height=HEIGHT, time_base=Fraction(1, 25), frame_rate=Fraction(25))


def coded(frames):
    """An encoder that was given frames, and the packets that it made."""
    encoder = Encoder(VIDEO, engines=ToyEngines())
    packets = []
    for number in range(frames):
        encoder.send_frame(picture(number))
    encoder.flush()
    while (packet := encoder.receive_packet()) is not None:
        packets.append(packet)
    return encoder, packets


def stream(frames):
    encoder, packets = coded(frames)
    out = io.BytesIO()
    writer = zvc69_cli.StreamWriter(out, encoder.header)
    for packet in packets:
        writer.write_packet(packet)
    writer.close()
    return out.getvalue()


def test_frames_become_packets_become_frames():
    encoder, packets = coded(5)
    assert encoder.receive_packet() is None
    decoder = Decoder(encoder.header, engines=ToyEngines())
    frames = []
    for packet in packets:
        decoder.send_packet(packet)
        while (frame := decoder.receive_frame()) is not None:
            frames.append(frame)
    decoder.flush()
    while (frame := decoder.receive_frame()) is not None:
        frames.append(frame)
    assert [frame.pts for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].y.shape == (HEIGHT, WIDTH)
    assert encoder.stats.frames == decoder.stats.frames == 5
    assert encoder.stats.payload_bytes == sum(len(packet.payload) for packet in packets)
    assert encoder.stats.duration_s == pytest.approx(0.2)
    assert encoder.stats.bitrate_kbps > 0
    assert encoder.stats.frames_per_s > 0


def test_a_decoder_can_be_made_from_the_bytes_that_begin_a_stream():
    data = stream(1)
    assert Decoder(data, engines=ToyEngines()).video == VIDEO
    with pytest.raises(NotZvc69):
        Decoder(b"no video at all, whatever it may be" * 4, engines=ToyEngines())


def test_nothing_can_be_sent_after_flush():
    encoder, _ = coded(1)
    with pytest.raises(UsageError, match="flush"):
        encoder.send_frame(picture(1))


@pytest.mark.parametrize("pts", [0, -1])
def test_frames_must_come_in_the_order_of_display(pts):
    encoder, _ = Encoder(VIDEO, engines=ToyEngines()), None
    encoder.send_frame(picture(0))
    with pytest.raises(InputError, match="pts is"):
        encoder.send_frame(zvc69_cli.Frame(y=picture(0).y, u=picture(0).u, v=picture(0).v, pts=pts))


def test_a_frame_of_another_format_is_refused_and_says_what_is_due():
    with pytest.raises(InputError, match="should be"):
        Encoder(VIDEO, engines=ToyEngines()).send_frame(picture(0, 64, 64))


def test_a_file_is_a_sequence_of_frames_that_can_be_sought(tmp_path):
    (tmp_path / "a.zvc69").write_bytes(stream(7))
    with VideoFile(tmp_path / "a.zvc69", engines=ToyEngines()) as video:
        assert video.video == VIDEO
        assert len(video) == 7
        frames = list(video)
        assert [frame.pts for frame in frames] == list(range(7))
        video.seek(4)
        assert len(video) == 7
        again = list(video)
        assert [frame.pts for frame in again] == [4, 5, 6]
        assert np.array_equal(again[0].y, frames[4].y)
        assert video.problems == ()
        for number in (-1, 7):
            with pytest.raises(UsageError, match=r"out of range 0\.\.6"):
                video.seek(number)


def test_asking_for_the_length_does_not_move_the_place():
    video = VideoFile(io.BytesIO(stream(5)), engines=ToyEngines())
    assert video.read().pts == 0
    assert len(video) == 5
    assert video.read().pts == 1


def test_a_file_object_is_left_open_and_a_path_is_closed(tmp_path):
    source = io.BytesIO(stream(2))
    with VideoFile(source, engines=ToyEngines()):
        pass
    assert not source.closed
    with pytest.raises(InputError, match="cannot be opened"):
        VideoFile(tmp_path / "missing.zvc69")


def test_a_cut_file_plays_to_its_last_whole_frame():
    video = VideoFile(io.BytesIO(stream(6)[:-200]), engines=ToyEngines())
    frames = list(video)
    assert 0 < len(frames) < 6
    assert len(video) == len(frames)
    assert video.problems


def test_every_public_name_is_there():
    for name in zvc69_cli.__all__:
        assert getattr(zvc69_cli, name) is not None
    assert set(zvc69_cli.__all__) <= set(dir(zvc69_cli))
    with pytest.raises(AttributeError, match="nothing_of_it"):
        _ = zvc69_cli.nothing_of_it


def test_sizes_can_be_asked_about():
    assert zvc69_cli.align_dimensions(1921, 1080) == (1936, 1088)
    assert zvc69_cli.is_valid_resolution(16, 8192)
    assert not zvc69_cli.is_valid_resolution(15, 64)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, zvc69_cli; print({'numpy', 'av', 'onnxruntime', 'click'} & set(sys.modules))"
    root = Path(zvc69_cli.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("pts", [0.5, 1 << 70, "1"])
def test_a_time_that_no_stream_can_hold_is_refused_when_it_is_sent(pts):
    encoder = Encoder(VIDEO, engines=ToyEngines())
    with pytest.raises(InputError, match="should be a whole number"):
        encoder.send_frame(replace(picture(0), pts=pts))


def test_a_time_counted_by_numpy_is_a_time():
    Encoder(VIDEO, engines=ToyEngines()).send_frame(replace(picture(0), pts=np.int64(3)))
