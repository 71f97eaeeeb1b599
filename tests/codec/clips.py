"""Pictures and plans for the tests of this room."""

from __future__ import annotations

import numpy as np

from tests.toy import ToyNetworks, toy_tables
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.frames import Frame

NETWORKS, TABLES = ToyNetworks(), toy_tables()
TICKS = 40  # from frame to frame


def make_frame(video, seed=0, pts=0):
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if video.bit_depth == 8 else np.uint16
    luma, chroma = (video.height, video.width), (video.chroma_height, video.chroma_width)
    rows, columns = np.indices(luma)
    ramp = (rows * 2 + columns * 3) % 200 / 255 + rng.random(luma) * 0.2
    planes = [ramp, rng.random(chroma), np.full(chroma, 0.5)]
    y, u, v = (np.clip(plane * video.peak, 0, video.peak).astype(dtype) for plane in planes)
    return Frame(y=y, u=u, v=v, pts=pts)


def moving_clip(video, count, step=2, ticks=TICKS, start=0):
    """Noisy blocks that move `step` samples a frame to the left."""
    rng = np.random.default_rng(7)
    rows, columns = video.height // 8 + 2, (video.width + count * step) // 8 + 2
    picture = rng.random((rows, columns)).repeat(8, 0).repeat(8, 1)
    picture = picture * 0.7 + rng.random(picture.shape) * 0.1
    dtype = np.uint8 if video.bit_depth == 8 else np.uint16
    frames = []
    for number in range(count):
        begin = number * step
        luma = (picture[: video.height, begin : begin + video.width] * video.peak).astype(dtype)
        chroma = luma[::2, ::2].copy()
        frames.append(Frame(y=luma, u=chroma, v=video.peak - chroma, pts=start + number * ticks))
    return frames


def still_clip(frame, count):
    return [Frame(y=frame.y, u=frame.u, v=frame.v, pts=number * TICKS) for number in range(count)]


def scheduled(video, frames, codec_settings, base_q_256):
    """What the scheduler makes of a clip."""
    scheduler = Scheduler(video, codec_settings, base_q_256)
    return [planned for frame in frames for planned in scheduler.push(frame)] + scheduler.flush()


def pair(video, codec_settings=None, networks=NETWORKS, tables=TABLES):
    encoder = Encoder(video, codec_settings or CodecSettings(), networks, tables)
    return encoder, Decoder(video, encoder.base_q_256, networks, tables)


def same_frames(one, other):
    return one.pts == other.pts and all(
        np.array_equal(getattr(one, plane), getattr(other, plane)) for plane in "yuv"
    )
