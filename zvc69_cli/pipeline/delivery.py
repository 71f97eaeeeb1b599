"""The last stage of a decode: frames as watched, held ones where damage left none, what was copied beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from zvc69_cli.frames import CopiedPacket, Frame
from zvc69_cli.pipeline.order import DisplayOrder, Place
from zvc69_cli.pipeline.stats import Clock
from zvc69_cli.pipeline.stored import Lost, copied_time_s, time_base_of

if TYPE_CHECKING:
    from zvc69_cli.container.layout import StreamHeader
    from zvc69_cli.media.sink import Sink

MAX_GROUP_FRAMES: Final = 32
COPIED_KEPT_WHILE_WAITING: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A frame in coding order; None where it could not be decoded, so that another stands in for it."""

    frame: Frame | None
    place: Place
    is_wanted: bool


Delivered = Decoded | Lost | CopiedPacket


class Delivery:
    """Puts frames into the order of display, writes them to a sink, and counts.

    is_sought  whether the part begins after the start of the stream: then its first frame is moved there,
               and what is copied with it by the same time
    first_pts  says when the first frame of the stream is shown
    concealed  frames that the nearest decoded one stands in for, or nothing where none was good before them
    """

    def __init__(
        self, sink: Sink, header: StreamHeader, *, is_sought: bool, first_pts: Callable[[], int]
    ) -> None:
        self.clock = Clock(header.video.time_base, header.video.frame_rate)
        self.frames = 0
        self.copied_packets = 0
        self.concealed = 0
        self._sink = sink
        self._header = header
        self._is_sought = is_sought
        self._first_pts = first_pts
        self._shift_ticks: int | None = None if is_sought else 0
        self._order: DisplayOrder[Decoded] = DisplayOrder()
        self._last_frame: Frame | None = None
        self._last_pts: int | None = None  # of the last frame that was shown or held
        self._written_pts = header.start_pts - 1
        self._held: list[int] = []  # pts of frames that wait for the next good one
        self._lost_frames = 0
        self._waiting_copied: deque[CopiedPacket] = deque(maxlen=COPIED_KEPT_WHILE_WAITING)

    def put(self, item: Delivered) -> None:
        """Write what comes next; raises what the sink raises."""
        if isinstance(item, Lost):
            self._lost_frames += item.frames
        elif isinstance(item, CopiedPacket):
            self._write_copied(item)
        else:
            if item.place.is_key:
                self._end_group(item.place.pts)
            for each in self._order.push(item, item.place):
                self._show(each)

    def finish(self, *, is_cut: bool, holds: bool) -> None:
        """Write what is held back, and held frames for those that were lost at the end, at the pace of the video.

        is_cut  whether the stream ends before its end: then there are as many lost frames as there are gaps
        holds   whether another frame stands in for those
        """
        if is_cut:
            self._lost_frames = len(self._order) * MAX_GROUP_FRAMES if holds else 0
        self._end_group(None)
        if not is_cut and self._lost_frames and self._last_pts is not None:
            self._hold_lost(self._last_pts + round((self._step or 1) * (self._lost_frames + 1)))
        self._settle_held(None)

    @property
    def _step(self) -> Fraction | None:
        """Ticks from one frame to the next; None where the stream does not say."""
        video = self._header.video
        return None if video.frame_rate is None else 1 / (video.frame_rate * video.time_base)

    def _end_group(self, next_pts: int | None) -> None:
        """Show all that comes before a keyframe, or before the end; lost frames belong where there are gaps."""
        for each in self._order.flush():
            if each.frame is None and next_pts is not None and each.place.pts >= next_pts:
                self._lost_frames += 1  # what a damaged header says of its time may be wrong
                continue
            gap = self._gap_before(each.place.pts) if self._lost_frames else 0
            before = self._last_pts or 0
            for number in range(1, min(gap, self._lost_frames) + 1):
                self._hold(before + round(number * (self._step or 0)))
                self._lost_frames -= 1
            self._show(each)
        if next_pts is not None:
            self._hold_lost(next_pts)

    def _gap_before(self, pts: int) -> int:
        """Frames that are missing between the last one and this, as the frame rate has it."""
        if self._step is None or self._last_pts is None:
            return 0
        return max(0, min(MAX_GROUP_FRAMES, round((pts - self._last_pts) / self._step) - 1))

    def _hold_lost(self, next_pts: int) -> None:
        """Held frames for those that were lost, spread evenly up to the next one."""
        count, self._lost_frames = self._lost_frames, 0
        first = self._last_pts or 0
        for number in range(1, count + 1):
            self._hold(first + (next_pts - first) * number // (count + 1))

    def _show(self, decoded: Decoded) -> None:
        """What is next in the order of display."""
        if decoded.frame is None and self._last_pts is not None and decoded.place.pts <= self._last_pts:
            self._lost_frames += decoded.is_wanted
            return
        if decoded.is_wanted and decoded.frame is None:
            self._hold(decoded.place.pts)
        elif decoded.is_wanted and decoded.frame is not None:
            self._settle_held(decoded.frame)
            self._write_frame(decoded.frame)
            self._last_frame = decoded.frame
        self._last_pts = decoded.place.pts

    def _hold(self, pts: int) -> None:
        self.concealed += 1
        if self._last_frame is not None:
            self._held.append(pts)
        self._last_pts = pts

    def _settle_held(self, next_frame: Frame | None) -> None:
        """Write the nearer one of two good frames for each that is between them."""
        held, self._held = self._held, []
        for pts in held:
            nearest = self._last_frame
            is_between = self._written_pts < pts and (next_frame is None or pts < next_frame.pts)
            if not is_between:  # a damaged header may state any time
                continue
            if nearest is not None and next_frame is not None and next_frame.pts - pts < pts - nearest.pts:
                nearest = next_frame
            if nearest is not None:
                self._write_frame(replace(nearest, pts=pts))

    def _write_frame(self, frame: Frame) -> None:
        if self._shift_ticks is None:
            self._shift_ticks = frame.pts - self._first_pts()
        shown = replace(frame, pts=frame.pts - self._shift_ticks) if self._shift_ticks else frame
        self._sink.write_frame(shown)
        self._written_pts = frame.pts
        self.clock.show(shown.pts)
        self.frames += 1
        while self._waiting_copied:
            self._write_copied(self._waiting_copied.popleft())

    def _write_copied(self, packet: CopiedPacket) -> None:
        if self._is_sought:
            if self._shift_ticks is None:
                self._waiting_copied.append(packet)
                return
            time_base = self._header.video.time_base
            time_s = copied_time_s(self._header, packet)
            if time_s is None or time_s < (self._first_pts() + self._shift_ticks) * time_base:
                return
            shift = round(self._shift_ticks * time_base / time_base_of(self._header, packet))
            packet = replace(
                packet,
                pts=None if packet.pts is None else packet.pts - shift,
                dts=None if packet.dts is None else packet.dts - shift,
            )
        self._sink.write_copied(packet)
        self.copied_packets += 1
