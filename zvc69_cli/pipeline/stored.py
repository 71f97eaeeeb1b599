"""Which items of a stored stream a decode needs: the part asked for, damage marked."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, Final

from zvc69_cli.errors import DamagedPacket, DamagedStream, TruncatedStream
from zvc69_cli.frames import CopiedPacket, Packet
from zvc69_cli.pipeline.order import Numbered, numbered
from zvc69_cli.pipeline.settings import DecodeSettings

if TYPE_CHECKING:
    from zvc69_cli.container.layout import IndexEntry, StreamHeader
    from zvc69_cli.container.reader import StreamReader

# Copied packets are stored near the frames that they belong to; this is how far apart they may be.
COPIED_REACH_S: Final = 1
MAX_LOST_FRAMES: Final = 10_000
COPIED_KEPT_WHILE_SKIPPING: Final = 256
COPIED_KEPT_WHILE_WAITING: Final = 1024
PACKETS_KEPT_WHILE_SKIPPING: Final = 300
USUAL_RATE: Final = 30  # frames a second, where the stream does not say

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Frames that damage took away whole; none where only its place is known."""

    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted:
    """A frame outside of the part asked for, decoded only because some inside may predict from it."""

    packet: Packet


StoredItem = Packet | CopiedPacket | Lost | Unwanted
_NumberedItem = Numbered | CopiedPacket | Lost


class StoredPart:
    """The items of the part that `settings` asks for, in stored order; frames are counted as watched.

    cut        how the stream ends before its end; None where it does not, or where its end was not reached
    first_pts  when the first frame of the stream is shown, as far as is known
    """

    def __init__(self, name: str, reader: StreamReader, source: BinaryIO, settings: DecodeSettings) -> None:
        self._name = name
        self._reader = reader
        self._source = source
        self._settings = settings
        self._is_beyond = False  # behind the part, where damage is nobody's business
        self.cut: TruncatedStream | None = None
        self.first_pts = reader.header.start_pts

    def __iter__(self) -> Generator[StoredItem, None, None]:
        wanted = self._settings.seek
        if not wanted and self._settings.frames is None:
            yield from self._stored(0)
        else:
            yield from self._limited(self._sought(numbered(self._stored(self._jump(wanted) if wanted else 0))))

    def _sought(self, items: Iterator[_NumberedItem]) -> Iterator[_NumberedItem | Unwanted]:
        """Without what comes before the part; copied packets just before its first frame follow it."""
        wanted = self._settings.seek
        skipped: list[Packet] = []  # since the last keyframe: the first wanted frame may predict from them
        recent: deque[CopiedPacket] = deque(maxlen=COPIED_KEPT_WHILE_SKIPPING)
        is_inside = not wanted
        for item in items:
            if isinstance(item, CopiedPacket) and not is_inside:
                recent.append(item)
            elif not isinstance(item, Numbered):
                yield item
            elif item.number >= wanted:
                if not item.packet.is_key:
                    yield from (Unwanted(packet=each) for each in skipped)
                skipped.clear()
                yield item
                yield from recent
                recent.clear()
                is_inside = True
            elif item.packet.stored_in is not None:
                if item.packet.is_key:
                    skipped.clear()
                skipped.append(item.packet)
                if is_inside or len(skipped) > PACKETS_KEPT_WHILE_SKIPPING:
                    yield Unwanted(packet=skipped.pop(0))

    def _jump(self, wanted: int) -> int:
        """Go to a keyframe before frame `wanted` and what is copied with it; returns its number."""
        if not self._source.seekable():
            return 0
        self._find_first_pts()
        header = self._reader.header
        rate = header.video.frame_rate or USUAL_RATE
        reach = math.ceil(rate * COPIED_REACH_S) if header.copied_streams else 0
        key = key_before(self._reader.index(), max(0, wanted - reach))
        if key is None:
            return 0
        self._reader.seek(key)
        return key.frame_number

    def _limited(self, items: Iterator[_NumberedItem | Unwanted]) -> Generator[StoredItem, None, None]:
        """Without what comes after the part: copied packets wait for the frame that they are played with."""
        header = self._reader.header
        time_base = header.video.time_base
        frames = self._settings.frames
        end = None if frames is None else self._settings.seek + frames
        end_pts: int | None = None  # of the first frame behind the part, as far as is known
        waiting: deque[CopiedPacket] = deque()
        for item in items:
            if isinstance(item, CopiedPacket) and end is not None:
                waiting.append(item)
                if len(waiting) > COPIED_KEPT_WHILE_WAITING:
                    yield waiting.popleft()
            elif not isinstance(item, Numbered):
                yield item
            elif end is None or item.number < end:
                while waiting and is_before(header, waiting[0], item.packet.pts * time_base):
                    yield waiting.popleft()
                yield item.packet
            else:
                packet = item.packet
                end_pts = packet.pts if end_pts is None else min(end_pts, packet.pts)
                self._is_beyond = self._is_beyond or packet.is_key or packet.dts >= end_pts
                if not self._is_beyond and packet.stored_in is not None:
                    yield Unwanted(packet=packet)
                is_near = (packet.pts - end_pts) * time_base < COPIED_REACH_S
                if self._is_beyond and not (header.copied_streams and is_near):
                    break
        end_s = None if end_pts is None else end_pts * time_base
        yield from (each for each in waiting if end_s is None or is_before(header, each, end_s))

    def _find_first_pts(self) -> None:
        with suppress(DamagedPacket):
            while (item := self._reader.read()) is not None:
                if isinstance(item, Packet):
                    self.first_pts = item.pts
                    return

    def _stored(self, next_index: int) -> Iterator[Packet | CopiedPacket | Lost]:
        """Everything from here on; after damage, first how many of the wanted frames it took."""
        has_gap = False
        while True:
            try:
                item = self._reader.read()
            except DamagedPacket as cause:
                if self._is_beyond:
                    return
                if self._settings.on_error == "stop":
                    raise
                _log.warning("%s: %s", cause.where, cause.what)
                self._reader.resync()
                if self._reader.damaged is None:
                    has_gap = True
                    continue
                item = self._reader.damaged
            if isinstance(item, Packet):
                if has_gap:
                    yield self._lost(next_index, item.coding_index)
                has_gap = False
                if item.coding_index == 0:
                    self.first_pts = item.pts
                next_index = item.coding_index + 1
            if item is None:
                break
            yield item
        trailer = self._reader.trailer
        if has_gap and trailer is not None:
            yield self._lost(next_index, trailer.total_frames)
        if trailer is None and not self._is_beyond:
            problems = self._reader.problems
            self.cut = TruncatedStream(self._name, problems[-1] if problems else "its end is missing", "")

    def _lost(self, first: int, end: int) -> Lost:
        """The frames first..end-1, as many of them as are wanted."""
        if self._settings.frames is not None:
            end = min(end, self._settings.seek + self._settings.frames)
        return Lost(frames=min(MAX_LOST_FRAMES, max(0, end - max(first, self._settings.seek))))


def key_before(index: Sequence[IndexEntry], frame_number: int) -> IndexEntry | None:
    """The last keyframe at or before a frame; None where there is none."""
    keys = [entry for entry in index if entry.is_key and entry.frame_number <= frame_number]
    return max(keys, key=lambda entry: entry.frame_number, default=None)


def copied_time_s(header: StreamHeader, packet: CopiedPacket) -> Fraction | None:
    """When a copied packet is played, in seconds of the frames' clock; None where it does not say."""
    ticks = packet.pts if packet.pts is not None else packet.dts
    if ticks is None:
        return None
    return ticks * time_base_of(header, packet)


def is_before(header: StreamHeader, packet: CopiedPacket, end_s: Fraction) -> bool:
    """Whether a copied packet is played before that time; one that does not say counts as if."""
    time_s = copied_time_s(header, packet)
    return time_s is None or time_s < end_s


def time_base_of(header: StreamHeader, packet: CopiedPacket) -> Fraction:
    for stream in header.copied_streams:
        if stream.number == packet.stream_number:
            return stream.time_base
    raise DamagedStream(
        f"copied packet of stream {packet.stream_number}", "there is no such stream", "The file is damaged."
    )
