"""The pipeline with the bundle of this checkout: real networks, a small picture."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import zvc69_cli
from tests.pipeline.engines import ToyEngines, y4m_bytes
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import RuntimeUnavailable, UnknownBundle
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.runtime.settings import RunSettings


def test_every_decoded_frame_is_the_encoders_own_reference():
    shown, stream, out = [], io.BytesIO(), io.BytesIO()
    options = EncodeOptions(run=RunSettings(device="cpu", threads=1))
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(3, 70, 50)), stdout=stream)
    encode("-", "-", options, pipes=pipes, compare=lambda frame, reference: shown.append(reference))
    stream.seek(0)
    frames = list(zvc69_cli.open(stream, RunSettings(device="cpu", threads=1)))
    shown.sort(key=lambda reference: reference.pts)
    assert [frame.pts for frame in frames] == [reference.pts for reference in shown]
    for frame, reference in zip(frames, shown, strict=True):
        assert all(np.array_equal(getattr(frame, plane), getattr(reference, plane)) for plane in "yuv")
    stats = decode(
        "-",
        "-",
        DecodeOptions(run=RunSettings(device="cpu")),
        pipes=Pipes(stdin=io.BytesIO(stream.getvalue()), stdout=out),
    )
    assert stats.frames == 3
    assert out.getvalue().startswith(b"YUV4MPEG2 W70 H50 ")
    assert stats.device == "cpu"
    assert {each.name for each in stats.networks if each.busy_s > 0} == {
        "prior",
        "predict",
        "synthesise",
        "filter",
    }


def test_the_stream_is_the_same_for_every_number_of_threads():
    streams = []
    for threads in (1, 2, 4):
        stream = io.BytesIO()
        options = EncodeOptions(run=RunSettings(device="cpu", threads=threads), with_note=False)
        encode("-", "-", options, pipes=Pipes(stdin=io.BytesIO(y4m_bytes(6, 136, 72)), stdout=stream))
        streams.append(stream.getvalue())
    assert streams[0] == streams[1] == streams[2]


def test_arrays_in_memory_become_a_stream_and_come_back():
    zvc = zvc69_cli
    video = zvc.VideoFormat(width=64, height=48, time_base=Fraction(1, 25), frame_rate=Fraction(25))
    encoder = zvc.Encoder(video, zvc.EncodeOptions.of(crf=30, device="cpu"))
    stream = io.BytesIO()
    writer = zvc.StreamWriter(stream, encoder.header)
    for number in range(2):
        y, chroma = np.full((48, 64), 50 + 90 * number, np.uint8), np.full((24, 32), 128, np.uint8)
        encoder.send_frame(zvc.Frame(y=y, u=chroma, v=chroma, pts=number))
        while packet := encoder.receive_packet():
            writer.write_packet(packet)
    writer.close()
    stream.seek(0)
    decoded = [int(frame.y.mean()) for frame in zvc.open(stream)]
    assert decoded == [pytest.approx(50, abs=8), pytest.approx(140, abs=8)]


def test_a_stream_of_another_bundle_is_refused_by_name_and_hash():
    stream = io.BytesIO()
    encode("-", "-", EncodeOptions(), pipes=Pipes(stdin=io.BytesIO(y4m_bytes(1)), stdout=stream))
    header = zvc69_cli.StreamReader(io.BytesIO(stream.getvalue()), "clip").header
    other = replace(header, bundle_name="zvc69-x", bundle_sha256=bytes(32))
    with pytest.raises(UnknownBundle, match="zvc69-x"):
        zvc69_cli.Decoder(other)


def test_a_device_that_cannot_be_had_is_refused_before_anything_is_written(tmp_path):
    options = EncodeOptions(run=RunSettings(device="cuda:63"))
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(1)))
    with pytest.raises(RuntimeUnavailable):
        encode("-", str(tmp_path / "a.zvc69"), options, pipes=pipes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("effort", ["fast", "thorough"])
def test_an_encoder_has_the_search_loaded_that_its_settings_ask_for(effort):
    """Another one stood ready before, and the one asked for was loaded between two frames."""
    asked = []
    engine = replace(ToyEngines().for_encoding(RunSettings()), load_inter=asked.append)
    engine.encoder(VideoFormat(width=48, height=32), CodecSettings(motion_search=effort))
    engine.encoder(VideoFormat(width=48, height=32), CodecSettings(keyint=1))
    assert asked == [effort]
