"""Streams that were written once and must decode for ever: the toy codec in the real container.

tests/golden/toy_*.zvc69 were made by `python -m tests.test_golden`, with the toy networks of tests/toy.py, whose
arithmetic never changes. (Streams of a real bundle join them when 0.1.0 freezes the format.)
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.toy import ToyNetworks, toy_tables
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.plan.gop import Scheduler, first_dts, has_b_frames
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.frames import Frame, VideoFormat

FOLDER = Path(__file__).resolve().parent / "golden"
STREAMS = {
    "toy_compact": (
        VideoFormat(width=50, height=35, frame_rate=Fraction(25)),
        CodecSettings(qp=84, keyint=1, refine=0),
    ),
    "toy_full_sliced": (
        VideoFormat(width=33, height=70, bit_depth=10, time_base=Fraction(1, 1000)),
        CodecSettings(qp=93, slices=3, frame_headers="full", keyint=1, refine=0),
    ),
    "toy_pyramid": (
        VideoFormat(width=70, height=50, frame_rate=Fraction(25)),
        CodecSettings(qp=84, keyint=8, bframes=3, b_adapt=0, scenecut=0, motion_precision="half", refine=0),
    ),
}
FRAMES = {"toy_compact": 3, "toy_full_sliced": 3, "toy_pyramid": 11}


def make_stream(name: str) -> bytes:
    video, settings = STREAMS[name]
    encoder = Encoder(video, settings, ToyNetworks(), toy_tables())
    header = StreamHeader(
        video=video,
        bundle_name="toy",
        bundle_sha256=b"\x69" * 32,
        base_q_256=encoder.base_q_256,
        gop_frames=settings.keyint,
        has_b_frames=has_b_frames(settings),
        start_pts=first_dts(0, video, settings),
        full_frame_headers=settings.frame_headers == "full",
    )
    out = io.BytesIO()
    writer = StreamWriter(out, header)
    scheduler = Scheduler(video, settings, encoder.base_q_256)
    frames = [picture(video, number) for number in range(FRAMES[name])]
    planned = [each for frame in frames for each in scheduler.push(frame)] + scheduler.flush()
    for each in planned:
        writer.write_packet(encoder.pack(encoder.quantise(each)))
    writer.close()
    return out.getvalue()


def picture(video: VideoFormat, number: int) -> Frame:
    """A ramp that moves, in integers, so that it is the same everywhere."""
    rows, columns = np.indices((video.height, video.width))
    luma = (rows * 3 + columns * 5 + number * 17) % (video.peak + 1)
    chroma = luma[::2, ::2][: video.chroma_height, : video.chroma_width]
    dtype = np.uint8 if video.bit_depth == 8 else np.uint16
    pts = number * (3600 if video.frame_rate else 40)
    return Frame(y=luma.astype(dtype), u=chroma.astype(dtype), v=(video.peak - chroma).astype(dtype), pts=pts)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_version_1_decodes(name):
    data = (FOLDER / f"{name}.zvc69").read_bytes()
    reader = StreamReader(io.BytesIO(data), name)
    header = reader.header
    decoder = Decoder(header.video, header.base_q_256, ToyNetworks(), toy_tables())
    shown = [decoder.reconstruct(decoder.parse(reader.read())) for _ in range(FRAMES[name])]
    shown.sort(key=lambda frame: frame.pts)
    for number, frame in enumerate(shown):
        assert frame.pts == picture(header.video, number).pts
        error = np.abs(frame.y.astype(float) - picture(header.video, number).y).mean()
        assert error < header.video.peak / 4
    assert reader.read() is None
    assert reader.problems == []
    assert reader.complete


@pytest.mark.parametrize("name", STREAMS)
def test_an_encoder_still_writes_these_bytes(name):
    assert make_stream(name) == (FOLDER / f"{name}.zvc69").read_bytes()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in STREAMS:
        (FOLDER / f"{each}.zvc69").write_bytes(make_stream(each))
