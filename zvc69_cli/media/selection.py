"""--seek and --frames: which frames are taken, and which copied packets belong to them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import av

from zvc69_cli.frames import CopiedPacket, CopiedStream

_LOOK_AHEAD_S: Final = 2  # how far past the last frame a file may still hold packets that belong to it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedPicture:
    """A decoded picture with its place: number from 0 in the whole input, pts and duration in ticks."""

    picture: av.VideoFrame
    number: int
    pts: int
    duration: int | None


class Selection:
    """Takes `frames` pictures after `seek`; with --seek the first one taken gets the time of the input's first.

    streams    the copied streams, by number
    time_base  of the pictures
    step       ticks that a picture without a duration lasts
    shift      ticks taken off every pts; known once a picture was taken
    """

    def __init__(
        self, seek: int, frames: int | None, streams: tuple[CopiedStream, ...], time_base: Fraction, step: int
    ) -> None:
        self.shift = 0
        self._seek = seek
        self._frames = frames
        self._streams = streams
        self._time_base = time_base
        self._step = step

    def select(self, items: Iterator[TimedPicture | CopiedPacket]) -> Iterator[TimedPicture | CopiedPacket]:
        """The pictures taken, and each packet just before the first picture that ends after it.

        A decoder gives pictures later than the file holds them, so packets wait for the picture beside them.
        """
        first_pts: int | None = None
        start = end = None
        taken = 0
        waiting: list[CopiedPacket] = []
        for item in items:
            if isinstance(item, CopiedPacket):
                if end is not None and self._time(item) > end * self._time_base + _LOOK_AHEAD_S:
                    break
                waiting.append(item)
                continue
            if end is not None:
                if item.pts * self._time_base > end * self._time_base + _LOOK_AHEAD_S:
                    break
                continue
            first_pts = item.pts if first_pts is None else first_pts
            if item.number < self._seek:
                waiting = [each for each in waiting if self._time(each, end=True) > item.pts * self._time_base]
                continue
            if start is None and self._seek:
                start = item.pts
                self.shift = start - first_pts
            item_end = item.pts + (item.duration or self._step)
            due = [each for each in waiting if self._time(each) < item_end * self._time_base]
            waiting = [each for each in waiting if self._time(each) >= item_end * self._time_base]
            yield from self._within(due, start, None)
            yield replace(item, pts=item.pts - self.shift)
            taken += 1
            if taken == self._frames:
                end = item_end
                if not self._streams:
                    return
        if taken:
            yield from self._within(waiting, start, end)

    def shifted(self, ticks: int, time_base: Fraction) -> int:
        """A time of another stream or a chapter, moved as the pictures are."""
        return ticks - round(self.shift * self._time_base / time_base)

    def _within(
        self, packets: list[CopiedPacket], start: int | None, end: int | None
    ) -> Iterator[CopiedPacket]:
        """The packets between start and end, moved; a subtitle that is on at the start is cut to it."""
        for packet in packets:
            if end is not None and self._time(packet) >= end * self._time_base:
                continue
            if start is not None and self._time(packet) < start * self._time_base:
                stream = self._streams[packet.stream_number]
                if stream.media != "subtitle" or self._time(packet, end=True) <= start * self._time_base:
                    continue
                at_start = math.ceil(start * self._time_base / stream.time_base)
                left = max(0, (packet.pts or 0) + packet.duration - at_start)
                packet = replace(packet, pts=at_start, dts=at_start, duration=left)
            yield self._moved(packet)

    def _moved(self, packet: CopiedPacket) -> CopiedPacket:
        if not self.shift:
            return packet
        time_base = self._streams[packet.stream_number].time_base
        pts, dts = (
            None if ticks is None else self.shifted(ticks, time_base) for ticks in (packet.pts, packet.dts)
        )
        return replace(packet, pts=pts, dts=dts)

    def _time(self, packet: CopiedPacket, *, end: bool = False) -> Fraction:
        ticks = packet.pts if packet.pts is not None else packet.dts
        return ((ticks or 0) + (packet.duration if end else 0)) * self._streams[packet.stream_number].time_base
