"""Frames of a video on their way to the encoder: scheduled, then given their q as soon as sizes of others allow it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zvc69_cli.codec.rate.control import CodedSize
from zvc69_cli.codec.rate.settings import RateSettings
from zvc69_cli.codec.rate.zones import ForcedFrame, FrameOrders, parse_qpfile, parse_zones
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import InputError
from zvc69_cli.frames import Frame, Packet, VideoFormat

if TYPE_CHECKING:
    from zvc69_cli.codec.plan.gop import PlannedFrame, Scheduler
    from zvc69_cli.codec.rate.control import RateControl

COPIED_HEADER_BYTES: Final = 12

WaitUntil = Callable[[Callable[[], bool]], None]


class Sizes:
    """What became of frames, reported in any order from any thread, and taken in the order of coding.

    report      is to be called with the lock held that `wait_until` waits with
    wait_until  returns when what it is given is true
    is_wanted   whether anybody will take them
    """

    def __init__(self, base_q_256: int, wait_until: WaitUntil, *, is_wanted: bool) -> None:
        self._base_q_256 = base_q_256
        self._is_wanted = is_wanted
        self._wait_until = wait_until
        self._known: dict[int, CodedSize] = {}

    def report(self, packet: Packet) -> None:
        """A frame is coded."""
        if not self._is_wanted:
            return
        size = CodedSize(len(packet.payload), self._base_q_256 + packet.q_offset)
        self._known[packet.coding_index] = size

    def take(self, first: int, end: int) -> list[CodedSize]:
        """Of the frames first..end-1, once all of them are known; each can be taken once."""
        wanted = range(first, end)
        self._wait_until(lambda: all(index in self._known for index in wanted))
        return [self._known.pop(index) for index in wanted]


class Steering:
    """Display order in, planned frames with their q out, in coding order.

    forced_keys  frames, by number as watched, that are to be keyframes beside those that the settings name

    Where sizes are needed, one frame has to be on its way to be coded before the next one is asked for.
    """

    def __init__(
        self, scheduler: Scheduler, control: RateControl, sizes: Sizes, forced_keys: frozenset[int]
    ) -> None:
        self._forced_keys = forced_keys
        self._scheduler = scheduler
        self._control = control
        self._sizes = sizes
        self._frames_in = 0
        self._frames_out = 0

    def push(self, frame: Frame) -> Iterator[PlannedFrame]:
        """Take the next frame as watched; what can be coded now. Raises ValueError as the scheduler does."""
        if self._frames_in in self._forced_keys:
            frame = replace(frame, force_key=True)
        self._frames_in += 1
        yield from self._steered(self._scheduler.push(frame), at_end=False)

    def flush(self) -> Iterator[PlannedFrame]:
        """What was held back."""
        yield from self._steered(self._scheduler.flush(), at_end=True)

    def carry(self, size_bytes: int) -> None:
        """Something else is stored beside the frames."""
        self._control.carry(size_bytes + COPIED_HEADER_BYTES)

    @property
    def frames_in(self) -> int:
        return self._frames_in

    @property
    def frames_out(self) -> int:
        """Frames that came out; after a whole group these are the first ones as watched."""
        return self._frames_out

    def _steered(self, planned: Iterable[PlannedFrame], *, at_end: bool) -> Iterator[PlannedFrame]:
        for each in planned:
            self._control.take(each)
        while (due := self._control.sizes_due(at_end=at_end)) is not None:
            sizes = self._sizes.take(self._control.sizes_seen, due)
            for each in self._control.go(sizes, at_end=at_end):
                self._frames_out += 1
                yield each


def steering_for(
    video: VideoFormat,
    settings: CodecSettings,
    base_q_256: int,
    control: RateControl,
    orders: FrameOrders,
    wait_until: WaitUntil,
) -> tuple[Steering, Sizes]:
    """The way of one video's frames, and where their sizes are to be reported."""
    from zvc69_cli.codec.plan.gop import Scheduler

    sizes = Sizes(base_q_256, wait_until, is_wanted=control.needs_sizes)
    scheduler = Scheduler(video, settings, base_q_256)
    return Steering(scheduler, control, sizes, orders.keys), sizes


def frame_orders(rate: RateSettings) -> FrameOrders:
    """What zones and qpfile say; raises InputError where there is no such file, UsageError where it is wrong."""
    frames: tuple[tuple[int, ForcedFrame], ...] = ()
    if rate.qpfile:
        try:
            lines = Path(rate.qpfile).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as cause:
            raise InputError(rate.qpfile, f"cannot be read: {cause}", "Name a file with --qpfile.") from cause
        frames = parse_qpfile(lines, rate.qpfile)
    return FrameOrders(zones=parse_zones(rate.zones), frames=frames)
