"""Engines of the toy codec, and small videos to feed them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.toy import HYPER_CHANNELS, LATENT_CHANNELS, ToyNetworks, toy_tables
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UnknownBundle
from zvc69_cli.frames import Frame
from zvc69_cli.pipeline.engine import InstalledEngine
from zvc69_cli.pipeline.timed import TimedNetworks

INTRA = CodecSettings(keyint=1)
TOY_SHA256 = bytes(range(32))
WIDTH, HEIGHT = 48, 32


@dataclass
class SlowNetworks(ToyNetworks):
    """The toy at the pace of a real model."""

    delay_s: float = 0.0

    def each_frame(self):
        time.sleep(self.delay_s)

    def synthesise(self, latent, q_256, peak):
        time.sleep(self.delay_s)
        return super().synthesise(latent, q_256, peak)

    def rebuild(self, *given):
        time.sleep(self.delay_s)
        return super().rebuild(*given)


@lru_cache
def cached_tables():
    return toy_tables()


class ToyEngines:
    """Satisfies pipeline.engine.Engines; knows one bundle, "toy"."""

    def __init__(self, delay_s: float = 0.0, networks: ToyNetworks | None = None) -> None:
        self.networks = networks or SlowNetworks(delay_s)

    def for_encoding(self, run):
        return InstalledEngine(
            bundle_name="toy",
            bundle_sha256=TOY_SHA256,
            latent_channels=LATENT_CHANNELS,
            hyper_channels=HYPER_CHANNELS,
            device="toy",
            networks=TimedNetworks(self.networks),
            tables=cached_tables(),
        )

    def for_decoding(self, header, run):
        if header.bundle_sha256 != TOY_SHA256:
            raise UnknownBundle(
                header.bundle_name, f"{header.bundle_sha256.hex()} is not the toy", "Use the toy."
            )
        return self.for_encoding(run)


def coded_packets(engine, video, settings, frames):
    """The packets of these frames, in coding order."""
    encoder = engine.encoder(video, settings)
    scheduler = Scheduler(video, settings, encoder.base_q_256)
    planned = [each for frame in frames for each in scheduler.push(frame)] + scheduler.flush()
    return [encoder.pack(encoder.quantise(each)) for each in planned]


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """Frame `number` of a video whose every frame is different: a gradient that moves."""
    rows, columns = np.mgrid[:height, :width]
    y = ((rows * 2 + columns * 3 + number * 7) % 220 + 16).astype(np.uint8)
    chroma = np.full(((height + 1) // 2, (width + 1) // 2), 100 + number % 50, np.uint8)
    return Frame(y=y, u=chroma, v=chroma + 20, pts=number)


def y4m_bytes(frames: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A y4m of 25 frames a second."""
    parts = [f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420\n".encode()]
    for number in range(frames):
        frame = picture(number, width, height)
        parts += [b"FRAME\n", frame.y.tobytes(), frame.u.tobytes(), frame.v.tobytes()]
    return b"".join(parts)


def write_y4m(path: Path, frames: int, width: int = WIDTH, height: int = HEIGHT) -> Path:
    path.write_bytes(y4m_bytes(frames, width, height))
    return path


def y4m_luma(data: bytes, width: int = WIDTH, height: int = HEIGHT) -> list[bytes]:
    """The luma planes of a y4m without frame parameters."""
    size = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    start = data.index(b"\n") + 1
    step = len(b"FRAME\n") + size
    return [
        data[at + len(b"FRAME\n") : at + len(b"FRAME\n") + width * height]
        for at in range(start, len(data), step)
    ]
