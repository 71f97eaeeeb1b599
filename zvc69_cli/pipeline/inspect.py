"""What is in a .zvc69, found by walking it; damage is part of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from zvc69_cli.errors import DamagedPacket
from zvc69_cli.frames import CopiedPacket, FrameKind, Packet
from zvc69_cli.pipeline.order import DisplayOrder, Place
from zvc69_cli.pipeline.places import PIPE, Pipes, opened_for_reading
from zvc69_cli.pipeline.stats import Clock, KindTally, bitrate_kbps

if TYPE_CHECKING:
    from zvc69_cli.container.layout import StreamHeader
    from zvc69_cli.container.reader import StreamReader

Q_UNIT: Final = 256
STRENGTH_BYTE: Final = 1  # of the payload of a P or B frame, source FORMAT.md 6.2


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """One stored frame.

    payload_bytes    its coded sections
    motion_bytes     of these, what codes motion
    filter_strength  of the loop filter, in 1/128 and 0 is off; None in I frames, in skipped ones and in damaged ones
    q                its quality index, higher is better
    """

    coding_index: int
    kind: FrameKind
    temporal_layer: int
    pts: int
    dts: int
    payload_bytes: int
    motion_bytes: int
    filter_strength: int | None
    q: float


@dataclass(slots=True, kw_only=True)
class Tally:
    """Packets of one sort: how many, and their bytes."""

    packets: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.packets += 1
        self.size_bytes += size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One stream.

    size_bytes       of the whole stream; None where it cannot be known (a pipe)
    kinds            frames by their kind, those that occur
    layers           frames by their temporal layer
    copied           packets by the number of their stream
    longest_gop      frames from one keyframe to the next
    b_frames         most B frames in a row, as watched
    reorder_delay    frames that are decoded before one that is shown before them, at most
    is_complete      what the trailer says; None where there is none to say it
    is_damaged       whether a packet is damaged or the end is missing
    problems         all that is wrong, one sentence each
    frames           empty unless asked for
    """

    name: str
    header: StreamHeader
    size_bytes: int | None
    kinds: tuple[tuple[FrameKind, KindTally], ...]
    layers: tuple[tuple[int, KindTally], ...]
    copied: tuple[tuple[int, Tally], ...]
    duration_s: float
    longest_gop: int
    b_frames: int
    reorder_delay: int
    is_complete: bool | None
    is_damaged: bool
    problems: tuple[str, ...]
    frames: tuple[FrameFacts, ...] = ()

    @property
    def frame_count(self) -> int:
        return sum(tally.frames for _, tally in self.kinds)

    @property
    def payload_bytes(self) -> int:
        return sum(tally.size_bytes for _, tally in self.kinds)

    @property
    def copied_bytes(self) -> int:
        return sum(tally.size_bytes for _, tally in self.copied)

    @property
    def overhead_bytes(self) -> int | None:
        """What is neither a coded section nor a copied packet."""
        return None if self.size_bytes is None else self.size_bytes - self.payload_bytes - self.copied_bytes

    @property
    def video_kbps(self) -> float:
        return bitrate_kbps(self.payload_bytes, self.duration_s)


def inspect(in_name: str, *, pipes: Pipes | None = None, with_frames: bool = False) -> StreamReport:
    """Walk a stream from end to end; nothing is decoded, so no bundle is needed.

    raises  UsageError, InputError; NotZvc69, LaterVersion, DamagedHeader where there is nothing to walk
    """
    from zvc69_cli.container.reader import StreamReader

    with opened_for_reading(in_name, pipes or Pipes()) as source:
        name = "standard input" if in_name == PIPE else in_name
        reader = StreamReader(source, name)
        walk = _Walk(reader, with_frames=with_frames)
        walk.run()
        return walk.report(name, _size_bytes(source))


def motion_bytes(packet: Packet) -> int:
    """Bytes of a packet that code motion; 0 in I frames and where nothing can be read of it."""
    from zvc69_cli.codec.entropy import payload

    if packet.kind is FrameKind.I or packet.is_damaged:
        return 0
    return payload.motion_bytes(packet.payload)


def filter_strength(packet: Packet) -> int | None:
    """The strength of the loop filter of a packet; None in I frames and where nothing can be read of it."""
    if packet.kind is FrameKind.I or packet.is_damaged or len(packet.payload) <= STRENGTH_BYTE:
        return None
    return packet.payload[STRENGTH_BYTE]


@dataclass(slots=True)
class _Walk:
    """What has been counted so far."""

    reader: StreamReader
    with_frames: bool = field(kw_only=True)
    kinds: dict[FrameKind, KindTally] = field(default_factory=dict)
    layers: dict[int, KindTally] = field(default_factory=dict)
    order: DisplayOrder[tuple[int, Packet]] = field(default_factory=DisplayOrder)
    coded: int = 0
    shown: int = 0
    b_run: int = 0
    b_frames: int = 0
    reorder_delay: int = 0
    copied: dict[int, Tally] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    frames: list[FrameFacts] = field(default_factory=list)
    clock: Clock | None = None
    since_key: int = 0
    longest_gop: int = 0

    def run(self) -> None:
        video = self.reader.header.video
        self.clock = Clock(video.time_base, video.frame_rate)
        for item in self._items():
            if isinstance(item, CopiedPacket):
                self.copied.setdefault(item.stream_number, Tally()).add(len(item.data))
            else:
                self._count(item, self.clock)
        self._show(self.order.flush())

    def report(self, name: str, size_bytes: int | None) -> StreamReport:
        reader = self.reader
        return StreamReport(
            name=name,
            header=reader.header,
            size_bytes=size_bytes,
            kinds=tuple(sorted(self.kinds.items())),
            layers=tuple(sorted(self.layers.items())),
            copied=tuple(sorted(self.copied.items())),
            duration_s=self.clock.duration_s if self.clock else 0.0,
            longest_gop=self.longest_gop,
            b_frames=self.b_frames,
            reorder_delay=self.reorder_delay,
            is_complete=None if reader.trailer is None else reader.trailer.complete,
            is_damaged=bool(self.damage) or reader.trailer is None,
            problems=tuple(dict.fromkeys([*self.damage, *reader.problems])),
            frames=tuple(self.frames),
        )

    def _items(self) -> Iterator[Packet | CopiedPacket]:
        while True:
            try:
                item = self.reader.read()
            except DamagedPacket as cause:
                self.damage.append(cause.what)
                self.reader.resync()
                continue
            if item is None:
                return
            yield item

    def _count(self, packet: Packet, clock: Clock) -> None:
        self.since_key = 1 if packet.is_key else self.since_key + 1
        self.longest_gop = max(self.longest_gop, self.since_key)
        base_q_256 = self.reader.header.base_q_256
        self.kinds.setdefault(packet.kind, KindTally()).add(packet, base_q_256)
        self.layers.setdefault(packet.temporal_layer, KindTally()).add(packet, base_q_256)
        self._show(self.order.push((self.coded, packet), Place.of(packet)))
        self.coded += 1
        clock.show(packet.pts)
        if self.with_frames:
            self.frames.append(
                FrameFacts(
                    coding_index=packet.coding_index,
                    kind=packet.kind,
                    temporal_layer=packet.temporal_layer,
                    pts=packet.pts,
                    dts=packet.dts,
                    payload_bytes=len(packet.payload),
                    motion_bytes=motion_bytes(packet),
                    filter_strength=filter_strength(packet),
                    q=(base_q_256 + packet.q_offset) / Q_UNIT,
                )
            )

    def _show(self, packets: list[tuple[int, Packet]]) -> None:
        """Frames in the order of display, with how many were coded before each."""
        for coded, packet in packets:
            self.b_run = self.b_run + 1 if packet.kind is FrameKind.B else 0
            self.b_frames = max(self.b_frames, self.b_run)
            self.reorder_delay = max(self.reorder_delay, coded - self.shown)
            self.shown += 1


def _size_bytes(source: BinaryIO) -> int | None:
    if not source.seekable():
        return None
    return source.seek(0, 2)
