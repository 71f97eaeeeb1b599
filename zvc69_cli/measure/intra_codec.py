"""zvc69 itself, all-intra, from frames to a real stream in memory and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.settings import Q_LEVELS, CodecSettings
from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.frames import Frame, Packet, VideoFormat
from zvc69_cli.measure.one_engine import bundle_of
from zvc69_cli.measure.peers import Coded
from zvc69_cli.pipeline.engine import load_engine, possible_settings
from zvc69_cli.runtime.bundle import Bundle
from zvc69_cli.runtime.settings import RunSettings


class IntraCodec:
    """One bundle on one device; raises RuntimeUnavailable where either is missing."""

    def __init__(self, bundle_name: str, settings: RunSettings, coding: CodecSettings | None = None) -> None:
        """With what `coding` says, its quality and its keyframes left out."""
        self.bundle: Bundle = bundle_of(bundle_name)
        engine = load_engine(self.bundle, settings)
        self._networks, self._tables = engine.networks, engine.tables
        self._coding = possible_settings(engine, coding or CodecSettings())

    def encode_intra(self, frames: Sequence[Frame], video: VideoFormat, q: int) -> Coded:
        """Every frame as an intra frame at quality index q, and what a decoder makes of the stream.

        q  0..INTRA_Q_LEVELS - 1, higher is better
        """
        started = time.perf_counter()
        stream = self._encode(frames, video, q)
        encoded = time.perf_counter()
        decoded = self._decode(stream)
        ended = time.perf_counter()
        return Coded(
            stream_bytes=len(stream),
            text_bytes=0,
            frames=decoded,
            encode_s=encoded - started,
            decode_s=ended - encoded,
        )

    def _encode(self, frames: Sequence[Frame], video: VideoFormat, q: int) -> bytes:
        settings = replace(self._coding, qp=Q_LEVELS - 1 - q, keyint=1, min_keyint=0)
        encoder = Encoder(video, settings, self._networks, self._tables)
        header = StreamHeader(
            video=video,
            bundle_name=self.bundle.name,
            bundle_sha256=self.bundle.sha256,
            base_q_256=encoder.base_q_256,
            gop_frames=settings.keyint,
            total_frames=len(frames),
            latent_channels=self.bundle.latent_channels,
            hyper_channels=self.bundle.hyper_channels,
            start_pts=min(frame.pts for frame in frames),
        )
        out = BytesIO()
        writer = StreamWriter(out, header)
        scheduler = Scheduler(video, settings, encoder.base_q_256)
        for frame in frames:
            for planned in scheduler.push(frame):  # one, a keyframe
                writer.write_packet(encoder.pack(encoder.quantise(planned)))
        writer.close()
        return out.getvalue()

    def _decode(self, stream: bytes) -> tuple[Frame, ...]:
        reader = StreamReader(BytesIO(stream), "stream in memory")
        decoder = Decoder(reader.header.video, reader.header.base_q_256, self._networks, self._tables)
        frames: list[Frame] = []
        while (packet := reader.read()) is not None:
            if isinstance(packet, Packet):
                frames.append(decoder.reconstruct(decoder.parse(packet)))
        return tuple(frames)
