"""The encoder for live frames: they are handed in and packets come out later, coded on threads of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self

from zvc69_cli.errors import UsageError
from zvc69_cli.frames import CopiedPacket, Frame, Packet, VideoFormat
from zvc69_cli.pipeline.coding import Coding, CodingStages, frames_channel
from zvc69_cli.pipeline.crew import crew_of
from zvc69_cli.pipeline.engine import Engines, InstalledEngines, plain_header, possible_settings
from zvc69_cli.pipeline.pace import Pace, frames_held
from zvc69_cli.pipeline.queues import Channel, Halted, Line, StageTime
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.sessions import FrameGate, refuse_what_needs_a_file
from zvc69_cli.pipeline.stats import Clock, bitrate_kbps, times_since
from zvc69_cli.pipeline.window import InOrder, Numbered

LATENCIES_KEPT: Final = 1 << 16
CHECK_EVERY_S: Final = 0.1  # so that Ctrl-C is answered while `flush` waits


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPacket:
    """A packet, and the milliseconds from its frame's `submit` until it was ready."""

    packet: Packet
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStats:
    """What a pipelined encoder has done so far.

    frames       that became packets
    refused      that `submit` did not take
    in_flight    that were taken and are not packets yet
    duration_s   of the video, as watched
    wall_s       from the first frame handed in to the last packet
    latencies    milliseconds of the last packets, in the order of coding
    stages       time per stage of the pipeline
    networks     time per network, part of the stages' time
    """

    frames: int
    refused: int
    in_flight: int
    payload_bytes: int
    duration_s: float
    wall_s: float
    latencies: tuple[float, ...]
    stages: tuple[StageTime, ...]
    networks: tuple[StageTime, ...]

    @property
    def bitrate_kbps(self) -> float:
        return bitrate_kbps(self.payload_bytes, self.duration_s)

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s if self.wall_s else 0.0

    def latency_ms(self, share: float) -> float:
        """What that share of the packets stayed at or below: 0.5 is the median, 1 the worst; 0 without packets."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class PipelinedEncoder:
    """Frames in with `submit`, packets out with `try_recv`; both return at once, the work is done by threads.

    The packets are those of an `Encoder` with the same options. It is used in a `with`, or closed with `close`. One
    thread hands frames in; the same or another one takes packets out.

    header  what a StreamWriter begins the stream with, and what a Decoder needs; time stamps count from 0
    options what is done, as the pace and the caller have it
    """

    def __init__(
        self,
        video: VideoFormat,
        pace: Pace = Pace.REALTIME,
        options: EncodeOptions | None = None,
        *,
        engines: Engines | None = None,
    ) -> None:
        """Options are best made by `pace.options(...)`, which takes flags by name.

        raises  UsageError where the options contradict the pace, RuntimeUnavailable where the device or the bundle
                cannot be had
        """
        from zvc69_cli.codec.rate.control import RateControl
        from zvc69_cli.codec.rate.target import RateTarget
        from zvc69_cli.pipeline.steering import frame_orders, steering_for

        options = options or pace.options()
        pace.check(options)
        refuse_what_needs_a_file(options.rate)
        crew = crew_of(options)
        engine = (engines or InstalledEngines()).for_encoding(crew.networks)
        settings = possible_settings(engine, options.codec)
        self.video = video
        self.options = options
        self.header = plain_header(engine, video, settings)
        self._pace = pace
        self._engine = engine
        self._networks_before = engine.network_times
        self._most_in_flight = frames_held(options) + crew.ahead - crew.at_once + pace.terms.in_flight
        if pace.terms.refuses:
            self._most_in_flight = frames_held(options) + pace.terms.in_flight
        self._gate = FrameGate(video)
        self._clock = Clock(video.time_base, video.frame_rate)
        self._line = Line()
        base_q_256 = self.header.base_q_256
        orders, target = frame_orders(options.rate), RateTarget.of(options.rate)
        control = RateControl(video, settings, target, base_q_256, orders=orders)
        steering, sizes = steering_for(video, settings, base_q_256, control, orders, self._line.wait_until_rung)
        encoder = engine.encoder(video, settings)
        coding = Coding(encoder, steering, sizes, self._line.changed, None)
        self._inbox: Channel[Frame] = self._line.channel(self._most_in_flight)
        arriving = frames_channel(self._line)
        self._line.feed("submit", self._frames, arriving)
        stages = CodingStages(self._line, coding, crew, arriving, video.frame_bytes, compares=False)
        self._order: InOrder[Packet | CopiedPacket] = InOrder()
        self._line.drain("deliver", stages.packed, self._deliver, lambda: None)
        self._ready: deque[TimedPacket] = deque()
        self._handed_in: dict[int, float] = {}  # by pts, of frames under way
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._frames_out = 0
        self._refused = 0
        self._payload_bytes = 0
        self._began: float | None = None
        self._last_out = 0.0
        self._is_flushed = False
        self._is_closed = False
        self._line.start()

    def submit(self, frame: Frame) -> bool:
        """Hand the next frame in, in the order of display; its planes must not be changed afterwards.

        returns  whether it was taken; False where as many frames are under way as the pace allows, and this one is
                 left out of the video. With HIGH_THROUGHPUT it waits instead
        raises   InputError where it is not of the video's format or not after the frame before it, UsageError after
                 `flush` or `close`, and what went wrong on another thread
        """
        with self._line.changed:
            self._refuse_when_ended("submit")
            self._gate.check(frame)
            if not self._has_room():
                if self._pace.terms.refuses:
                    self._refused += 1
                    return False
                self._wait_for_room()
            self._gate.pass_through(frame)
            now = time.perf_counter()
            self._began = now if self._began is None else self._began
            self._handed_in[frame.pts] = now
            self._put(frame)
        return True

    def try_recv(self) -> TimedPacket | None:
        """The next packet in the order of coding; None while none is ready, and at the end.

        raises  what went wrong on another thread, once the packets before it are taken
        """
        with self._line.changed:
            if self._ready:
                return self._ready.popleft()
            if not self._is_closed:
                self._raise_failure()
            return None

    def flush(self) -> None:
        """Say that no more frames come, and wait until all of them are packets, which can then be received.

        raises  what went wrong on another thread
        """
        if self._is_closed:
            raise UsageError("flush", "was called after close()", "Flush first.")
        self._is_flushed = True
        self._inbox.close()
        with self._line.changed:
            while self._line.is_working:
                self._line.changed.wait(CHECK_EVERY_S)
        self._line.join()
        self._raise_failure()

    def close(self) -> None:
        """Stop where it is and end every thread; packets that are ready can still be received."""
        if not self._is_closed:
            self._is_closed = True
            self._line.halt(Halted())
            self._line.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stats(self) -> PipelineStats:
        with self._line.changed:
            return PipelineStats(
                frames=self._frames_out,
                refused=self._refused,
                in_flight=len(self._handed_in),
                payload_bytes=self._payload_bytes,
                duration_s=self._clock.duration_s,
                wall_s=0.0 if self._began is None else max(0.0, self._last_out - self._began),
                latencies=tuple(self._latencies),
                stages=self._line.times,
                networks=times_since(self._engine.network_times, self._networks_before),
            )

    def _has_room(self) -> bool:
        return len(self._handed_in) < self._most_in_flight

    def _wait_for_room(self) -> None:
        """With the lock held."""
        try:
            self._line.wait_until(self._has_room)
        except Halted:
            self._raise_failure()

    def _put(self, frame: Frame) -> None:
        try:
            self._inbox.put(frame)
        except Halted:
            self._raise_failure()

    def _frames(self) -> Generator[Frame, None, None]:
        yield from self._inbox

    def _deliver(self, numbered: Numbered[Packet | CopiedPacket]) -> None:
        for each in self._order.push(numbered):
            packet = each.item
            assert isinstance(packet, Packet)
            now = time.perf_counter()
            with self._line.changed:
                latency_ms = 1e3 * (now - self._handed_in.pop(packet.pts))
                self._ready.append(TimedPacket(packet=packet, latency_ms=latency_ms))
                self._latencies.append(latency_ms)
                self._frames_out += 1
                self._payload_bytes += len(packet.payload)
                self._clock.show(packet.pts)
                self._last_out = now
                self._line.changed.notify_all()

    def _refuse_when_ended(self, method: str) -> None:
        if self._is_closed:
            raise UsageError(method, "was called after close()", "Make a new one for another video.")
        self._raise_failure()
        if self._is_flushed:
            raise UsageError(method, "was called after flush()", "Make a new one for another video.")

    def _raise_failure(self) -> None:
        if self._line.failure is not None:
            _raise(self._line.failure)


def _raise(failure: BaseException) -> NoReturn:
    raise failure
