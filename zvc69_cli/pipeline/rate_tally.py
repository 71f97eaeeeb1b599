"""How a stream keeps to its rate, followed packet by packet as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zvc69_cli.codec.plan.gop import usual_q
from zvc69_cli.codec.rate.quality import crf_at
from zvc69_cli.codec.rate.vbv import BufferWatch, header_bytes
from zvc69_cli.codec.settings import Q_UNIT, CodecSettings
from zvc69_cli.frames import Packet, VideoFormat
from zvc69_cli.pipeline.stats import FrameRecord, RateReport, bitrate_kbps

if TYPE_CHECKING:
    from zvc69_cli.codec.rate.target import RateTarget


class RateTally:
    """Counts a frame as its payload and its header, as the rate control does."""

    def __init__(
        self, video: VideoFormat, settings: CodecSettings, target: RateTarget, base_q_256: int
    ) -> None:
        self._settings = settings
        self._target = target
        self._base_q_256 = base_q_256
        self._header_bytes = header_bytes(settings.frame_headers)
        self._watch = BufferWatch(video.time_base, target.buffer)
        self._size_bytes = 0

    def take(self, packet: Packet) -> None:
        """The next frame in the order of coding."""
        size = len(packet.payload) + self._header_bytes
        self._size_bytes += size
        self._watch.take(packet.dts, 8 * size)

    def described(self, packet: Packet, display_index: int) -> FrameRecord:
        """What the last frame became."""
        return FrameRecord(
            coding_index=packet.coding_index,
            display_index=display_index,
            kind=packet.kind,
            pts=packet.pts,
            q=(self._base_q_256 + packet.q_offset) / Q_UNIT,
            size_bytes=len(packet.payload),
            rate_factor=self._rate_factor(packet),
            buffer_share=self._buffer_share(),
        )

    def _buffer_share(self) -> float | None:
        """How full the decoder's buffer was before the last frame was taken out; None where there is none."""
        buffer = self._target.buffer
        return None if buffer is None else self._watch.before_bits / buffer.size_bits

    def _rate_factor(self, packet: Packet) -> float | None:
        """The crf that a frame was coded at; None where nothing controls the rate."""
        if self._target.bits_per_s is None and self._target.buffer is None:
            return None
        usual = usual_q(packet.kind, packet.temporal_layer, self._settings)
        return crf_at((self._base_q_256 + packet.q_offset) / Q_UNIT - usual)

    def report(self, duration_s: float, unreachable: str) -> RateReport:
        """The end of it; `unreachable` is what the rate control has to say."""
        asked, buffer = self._target.bits_per_s, self._target.buffer
        return RateReport(
            asked_kbps=None if asked is None else asked / 1000,
            got_kbps=bitrate_kbps(self._size_bytes, duration_s),
            peak_kbps=self._watch.peak_bits / 1000 / min(1.0, duration_s or 1.0),
            buffer_kbit=None if buffer is None else buffer.size_bits / 1000,
            least_kbit=None if buffer is None else self._watch.least_bits / 1000,
            underflows=self._watch.underflows,
            unreachable=unreachable,
        )
