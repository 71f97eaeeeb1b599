"""The Python API: frames to packets and packets to frames.

Everything happens in the caller's thread, in the call that asks for it.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.errors import InputError, UsageError, Zvc69Error
from zvc69_cli.frames import Frame, Packet, VideoFormat
from zvc69_cli.pipeline.engine import Engines, FrameDecoder, InstalledEngines, plain_header, possible_settings
from zvc69_cli.pipeline.order import DisplayOrder, Place
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.stats import Clock, bitrate_kbps
from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.codec.plan.gop import PlannedFrame
    from zvc69_cli.codec.rate.settings import RateSettings
    from zvc69_cli.container.layout import StreamHeader

MAX_PTS: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats:
    """What a session has done so far.

    payload_bytes  the coded sections of the frames
    duration_s     of the video, as watched
    busy_s         time spent coding
    """

    frames: int
    payload_bytes: int
    duration_s: float
    busy_s: float

    @property
    def bitrate_kbps(self) -> float:
        return bitrate_kbps(self.payload_bytes, self.duration_s)

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.busy_s if self.busy_s else 0.0


class _Session:
    """What both directions count."""

    def __init__(self, video: VideoFormat) -> None:
        self.video = video
        self._clock = Clock(video.time_base, video.frame_rate)
        self._frames = 0
        self._payload_bytes = 0
        self._busy_s = 0.0
        self._is_flushed = False

    @property
    def stats(self) -> SessionStats:
        return SessionStats(
            frames=self._frames,
            payload_bytes=self._payload_bytes,
            duration_s=self._clock.duration_s,
            busy_s=self._busy_s,
        )

    def flush(self) -> None:
        """Say that nothing more will be sent; what is ready can still be received."""
        self._is_flushed = True

    def _count(self, packet: Packet, began: float) -> None:
        self._clock.show(packet.pts)
        self._frames += 1
        self._payload_bytes += len(packet.payload)
        self._busy_s += time.perf_counter() - began

    def _refuse_after_flush(self, method: str) -> None:
        if self._is_flushed:
            raise UsageError(method, "was called after flush()", "Make a new session for another video.")


class FrameGate:
    """What frames of one video must be, that are handed in one by one."""

    def __init__(self, video: VideoFormat) -> None:
        self._video = video
        self._sent = 0
        self._last_pts: int | None = None

    def check(self, frame: Frame) -> None:
        """Raises InputError where the frame is not of the video's format, or not after the last one that went in."""
        where = f"frame {self._sent}"
        if not _is_whole(frame.pts) or frame.pts > MAX_PTS:
            raise InputError(
                where,
                f"pts is {frame.pts!r}, should be a whole number up to {MAX_PTS}",
                "Count in ticks of the video's time base.",
            )
        if frame.pts < 0 or (self._last_pts is not None and frame.pts <= self._last_pts):
            due = "0 or more" if self._last_pts is None else f"above {self._last_pts}"
            raise InputError(where, f"pts is {frame.pts}, should be {due}", "Send frames as watched.")
        from zvc69_cli.codec.picture.planes import check_frame

        try:
            check_frame(frame, self._video)
        except ValueError as cause:
            raise InputError(where, str(cause), "Send planes of the size and type of the video.") from cause

    def pass_through(self, frame: Frame) -> None:
        """A frame that was checked goes in."""
        self._last_pts = frame.pts
        self._sent += 1


class Encoder(_Session):
    """Frames of one video to packets, which follow some frames later: as many as a group of B frames has.

    header  what a StreamWriter begins the stream with, and what a Decoder needs; time stamps count from 0
    """

    def __init__(
        self, video: VideoFormat, options: EncodeOptions | None = None, *, engines: Engines | None = None
    ) -> None:
        """Raises RuntimeUnavailable where the device or the bundle cannot be had."""
        from zvc69_cli.codec.rate.control import RateControl
        from zvc69_cli.codec.rate.target import RateTarget
        from zvc69_cli.pipeline.steering import frame_orders, steering_for

        super().__init__(video)
        options = options or EncodeOptions()
        engine = (engines or InstalledEngines()).for_encoding(options.run)
        settings = possible_settings(engine, options.codec)
        self.header = plain_header(engine, video, settings)
        self._encoder = engine.encoder(video, settings)
        base_q_256 = self.header.base_q_256
        refuse_what_needs_a_file(options.rate)
        if options.flight.jobs > 1:
            raise UsageError(
                "--jobs",
                f"{options.flight.jobs}: an Encoder does all in the caller's thread",
                "Use PipelinedEncoder, or `encode` on a file.",
            )
        orders, target = frame_orders(options.rate), RateTarget.of(options.rate)
        control = RateControl(video, settings, target, base_q_256, orders=orders)
        self._steering, self._sizes = steering_for(video, settings, base_q_256, control, orders, _is_there)
        self._packets: deque[Packet] = deque()
        self._gate = FrameGate(video)

    def send_frame(self, frame: Frame) -> None:
        """Encode the next frame, in the order of display.

        raises  InputError where it is not of the video's format or not after the frame before it
        """
        self._refuse_after_flush("send_frame")
        self._gate.check(frame)
        self._gate.pass_through(frame)
        self._encode(self._steering.push(frame))

    def flush(self) -> None:
        """Encode what was held back; nothing more can be sent, the last packets can still be received."""
        if not self._is_flushed:
            super().flush()
            self._encode(self._steering.flush())

    def receive_packet(self) -> Packet | None:
        """The next packet in coding order; None when another frame is needed, or at the end."""
        return self._packets.popleft() if self._packets else None

    def _encode(self, planned: Iterable[PlannedFrame]) -> None:
        for each in planned:
            began = time.perf_counter()
            packet = self._encoder.pack(self._encoder.quantise(each))
            self._sizes.report(packet)
            self._packets.append(packet)
            self._count(packet, began)


class Decoder(_Session):
    """Packets of one stream to frames."""

    def __init__(
        self, header: StreamHeader | bytes, run: RunSettings | None = None, *, engines: Engines | None = None
    ) -> None:
        """From a stream's header, or from the bytes that begin a .zvc69.

        raises  DamagedStream where the bytes are no header; UnknownBundle, RuntimeUnavailable
        """
        if isinstance(header, bytes):
            from zvc69_cli.container.reader import StreamReader

            self.header = StreamReader(io.BytesIO(header), "header").header
        else:
            self.header = header
        super().__init__(self.header.video)
        engine = (engines or InstalledEngines()).for_decoding(self.header, run or RunSettings())
        self._decoder = engine.decoder(self.video, self.header.base_q_256)
        self._order: DisplayOrder[Frame] = DisplayOrder()
        self._ready: deque[Frame] = deque()

    def send_packet(self, packet: Packet) -> None:
        """Decode the next packet, in coding order.

        raises  DamagedPacket, SymbolMismatch; the session can go on, and frames that predict from the damaged one
                are refused too, until the next keyframe at the latest
        """
        self._refuse_after_flush("send_packet")
        began = time.perf_counter()
        frame = self._decoder.reconstruct(parsed(self._decoder, packet))
        self._ready.extend(self._order.push(frame, Place.of(packet)))
        self._count(packet, began)

    def flush(self) -> None:
        """Say that nothing more will be sent; the last frames can then be received."""
        super().flush()
        self._ready.extend(self._order.flush())

    def receive_frame(self) -> Frame | None:
        """The next frame in the order of display; None when another packet is needed, or at the end."""
        return self._ready.popleft() if self._ready else None


def parsed(decoder: FrameDecoder, packet: Packet) -> Any:
    """The symbols of a packet; where they are damaged, what predicts from it is damaged too."""
    try:
        return decoder.parse(packet)
    except Zvc69Error:
        decoder.lose(packet)
        raise


def refuse_what_needs_a_file(rate: RateSettings) -> None:
    """Raises UsageError for what takes more than one look at the frames."""
    step = "Use `encode` on a file, or --bitrate here."
    if rate.has_two_passes:
        raise UsageError("--pass", "a session sees its frames once", step)
    if rate.quality_target is not None:
        raise UsageError(f"--target-{rate.quality_target[0]}", "a session sees its frames once", step)


def _is_there(ready: Callable[[], bool]) -> None:
    """Every frame that came out was coded before the next one was asked for."""
    assert ready()


def _is_whole(number: object) -> bool:
    """Whether it counts ticks: Python's whole numbers and NumPy's."""
    return isinstance(number, Integral)
