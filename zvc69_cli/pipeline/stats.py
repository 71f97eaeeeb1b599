"""What a run of the pipeline did, while it runs and when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from zvc69_cli.frames import FrameKind, Packet
from zvc69_cli.pipeline.queues import StageTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands.

    frames         written so far
    total_frames   expected; None where nobody knows
    payload_bytes  of those frames
    duration_s     of those frames, as watched
    """

    frames: int
    total_frames: int | None
    payload_bytes: int
    duration_s: float

    @property
    def bitrate_kbps(self) -> float:
        return bitrate_kbps(self.payload_bytes, self.duration_s)


@dataclass(slots=True, kw_only=True)
class KindTally:
    """Frames of one kind.

    q_sum_256  sum of their quality indexes, in 1/256
    """

    frames: int = 0
    size_bytes: int = 0
    q_sum_256: int = 0

    def add(self, packet: Packet, base_q_256: int) -> None:
        self.frames += 1
        self.size_bytes += len(packet.payload)
        self.q_sum_256 += base_q_256 + packet.q_offset

    @property
    def mean_q(self) -> float:
        return self.q_sum_256 / 256 / self.frames if self.frames else 0.0

    @property
    def mean_bytes(self) -> float:
        return self.size_bytes / self.frames if self.frames else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """What one frame became.

    display_index  from 0, as watched
    pts            ticks of the source's time base
    q              quality index, 0..127
    size_bytes     of its payload
    rate_factor    the crf that rate control coded it at; None where nothing controls the rate
    buffer_share   how full the decoder's buffer is before it is taken out, 0..1; None where there is none
    """

    coding_index: int
    display_index: int
    kind: FrameKind
    pts: int
    q: float
    size_bytes: int
    rate_factor: float | None = None
    buffer_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateReport:
    """How a stream kept to the rate that it was asked for.

    asked_kbps      None where no rate was asked for
    got_kbps        the whole of it
    peak_kbps       the most over one second
    buffer_kbit     size of the decoder's buffer; None where there is none
    least_kbit      what lay in it when it was emptiest, a frame just taken out; below 0 where that came too late
    underflows      frames that came too late
    unreachable     what no q could keep to, as a sentence; "" where the rate could be had
    """

    asked_kbps: float | None
    got_kbps: float
    peak_kbps: float
    buffer_kbit: float | None = None
    least_kbit: float | None = None
    underflows: int = 0
    unreachable: str = ""

    @property
    def miss(self) -> float | None:
        """By which share the rate is above what was asked for, below 0 where it is less."""
        return None if not self.asked_kbps else self.got_kbps / self.asked_kbps - 1


Watch = Callable[[Progress], None]
Record = Callable[[FrameRecord], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeStats:
    """What an encode did.

    stream_bytes     everything written
    payload_bytes    the coded sections of the frames
    overhead_bytes   what the container added
    copied_packets   of audio and subtitles
    duration_s       of the video, as watched
    wall_s           from the first frame to the last byte
    kinds            frames by their kind, those that occur
    rate             how it kept to a rate; None where none was asked for
    stages           time per stage of the pipeline
    networks         time per network, part of the stages' time
    """

    frames: int
    copied_packets: int
    stream_bytes: int
    payload_bytes: int
    overhead_bytes: int
    duration_s: float
    wall_s: float
    device: str
    bundle_name: str
    kinds: tuple[tuple[FrameKind, KindTally], ...] = ()
    rate: RateReport | None = None
    stages: tuple[StageTime, ...] = ()
    networks: tuple[StageTime, ...] = ()

    @property
    def entropy_s(self) -> float:
        """Time of a core in the entropy coder; it takes turns with the networks for the cores."""
        return sum(each.processor_s for each in self.stages if each.name == "pack")

    @property
    def bitrate_kbps(self) -> float:
        return bitrate_kbps(self.payload_bytes, self.duration_s)

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeStats:
    """What a decode did.

    concealed  frames that were damaged and are shown as the frame before them
    is_cut     whether the stream ends before its end
    problems   what was wrong with the stream, one sentence each; empty where it was whole
    """

    frames: int
    copied_packets: int
    payload_bytes: int
    duration_s: float
    wall_s: float
    device: str
    bundle_name: str
    concealed: int = 0
    is_cut: bool = False
    problems: tuple[str, ...] = ()
    stages: tuple[StageTime, ...] = ()
    networks: tuple[StageTime, ...] = ()

    @property
    def entropy_s(self) -> float:
        """Time in the entropy decoder: parsing without the prior that it waits for."""
        return max(0.0, busy_s(self.stages, "parse") - busy_s(self.networks, "prior"))

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s if self.wall_s else 0.0


class Clock:
    """The watched time of frames that pass by in any order, exact whatever their rate."""

    def __init__(self, time_base: Fraction, frame_rate: Fraction | None) -> None:
        self._time_base = time_base
        self._usual = Fraction(1) / (frame_rate * time_base) if frame_rate else Fraction(0)
        self._first: int | None = None
        self._last_two: list[int] = []

    def show(self, pts: int) -> None:
        self._first = pts if self._first is None else min(self._first, pts)
        self._last_two = sorted([*self._last_two, pts])[-2:]

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last, which lasts as the rate or the one before says."""
        if self._first is None:
            return 0.0
        before, last = self._last_two[0], self._last_two[-1]
        return float((last - self._first + (self._usual or last - before)) * self._time_base)


def bitrate_kbps(size_bytes: int, duration_s: float) -> float:
    return size_bytes * 8 / duration_s / 1000 if duration_s > 0 else 0.0


def times_since(times: tuple[StageTime, ...], before: tuple[StageTime, ...]) -> tuple[StageTime, ...]:
    """What clocks that never stop have gained since then; an engine may serve several runs."""
    gone = {each.name: each.busy_s for each in before}
    return tuple(replace(each, busy_s=each.busy_s - gone.get(each.name, 0.0)) for each in times)


def busy_s(times: tuple[StageTime, ...], name: str) -> float:
    return sum(each.busy_s for each in times if each.name == name)
