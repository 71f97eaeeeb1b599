"""The last stage of a decode: frames in time order, held ones where damage left none, what was copied beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zvc69_cli.frames import CopiedPacket, Frame
from zvc69_cli.pipeline.stats import Clock
from zvc69_cli.pipeline.stored import Lost, copied_time_s, time_base_of

if TYPE_CHECKING:
    from zvc69_cli.container.layout import StreamHeader
    from zvc69_cli.media.sink import Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A frame that could not be decoded; the last good one stands in for it."""

    pts: int
    is_wanted: bool = True


Delivered = Frame | Held | Lost | CopiedPacket


class Delivery:
    """Writes to a sink, and counts.

    is_sought  whether the part begins after the start of the stream: then its first frame is moved there,
               and what is copied with it by the same time
    concealed  frames that another stands in for, or nothing where none was good before them
    """

    def __init__(self, sink: Sink, header: StreamHeader, *, is_sought: bool) -> None:
        self.clock = Clock(header.video.time_base, header.video.frame_rate)
        self.frames = 0
        self.copied_packets = 0
        self.concealed = 0
        self._sink = sink
        self._header = header
        self._is_sought = is_sought
        self._shift_ticks: int | None = None if is_sought else 0
        self._last_frame: Frame | None = None
        self._lost_frames = 0

    def put(self, item: Delivered) -> None:
        """Write what comes next; raises what the sink raises."""
        if isinstance(item, Lost):
            self._lost_frames += item.frames
        elif isinstance(item, CopiedPacket):
            self._write_copied(item)
        elif isinstance(item, Held):
            self._fill_gap(item.pts)
            self._write_held(item)
        else:
            self._fill_gap(item.pts)
            self._write_frame(item)
            self._last_frame = item

    def finish(self) -> None:
        """Write held frames for those that were lost at the end, at the pace of the video."""
        if self._lost_frames and self._last_frame is not None:
            video = self._header.video
            step = 1 / (video.frame_rate * video.time_base) if video.frame_rate else 1
            self._fill_gap(self._last_frame.pts + round(step * (self._lost_frames + 1)))

    def _write_frame(self, frame: Frame) -> None:
        if self._shift_ticks is None:
            self._shift_ticks = frame.pts - self._header.start_pts
        shown = replace(frame, pts=frame.pts - self._shift_ticks) if self._shift_ticks else frame
        self._sink.write_frame(shown)
        self.clock.show(shown.pts)
        self.frames += 1

    def _write_held(self, held: Held) -> None:
        if self._last_frame is not None and held.is_wanted:
            self._last_frame = replace(self._last_frame, pts=held.pts)
            self._write_frame(self._last_frame)
        self.concealed += held.is_wanted

    def _fill_gap(self, next_pts: int) -> None:
        """Held frames for those that were lost, spread evenly up to the next one."""
        count, self._lost_frames = self._lost_frames, 0
        first = self._last_frame.pts if self._last_frame is not None else 0
        for number in range(1, count + 1):
            self._write_held(Held(pts=first + (next_pts - first) * number // (count + 1)))

    def _write_copied(self, packet: CopiedPacket) -> None:
        if self._is_sought:
            if self._shift_ticks is None:
                return
            time_base = self._header.video.time_base
            time_s = copied_time_s(self._header, packet)
            if time_s is None or time_s < (self._header.start_pts + self._shift_ticks) * time_base:
                return
            shift = round(self._shift_ticks * time_base / time_base_of(self._header, packet))
            packet = replace(
                packet,
                pts=None if packet.pts is None else packet.pts - shift,
                dts=None if packet.dts is None else packet.dts - shift,
            )
        self._sink.write_copied(packet)
        self.copied_packets += 1
