"""The stages of an encode between source and writer: planned and claimed in order, coded on many threads, packed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zvc69_cli.frames import CopiedPacket, Frame, Packet
from zvc69_cli.pipeline.crew import FRAMES_WAITING, Crew, available_cores, frames_ahead
from zvc69_cli.pipeline.engine import FrameClaim, FrameEncoder
from zvc69_cli.pipeline.queues import Channel, Line
from zvc69_cli.pipeline.window import InOrder, Numbered, Window

if TYPE_CHECKING:
    from zvc69_cli.codec.plan.gop import PlannedFrame
    from zvc69_cli.pipeline.steering import Sizes, Steering

COPIED_KEPT_WAITING: Final = 256
FRAMES_HELD: Final = 3  # frames that one channel holds
PACKETS_A_FRAME: Final = 16  # copied packets that weigh as much as a frame
MAX_PACK_THREADS: Final = 2

Compare = Callable[[Frame, Frame], None]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A frame that is planned, with its claim on references and slot.

    is_anchor  whether a stream may end before it: no frame behind it, in the order of coding, is watched before it
    """

    frame: Frame
    claim: FrameClaim
    is_anchor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A frame between networks and entropy coder.

    quantised  the codec's own
    shown      the picture that decoders make; None where nobody compares
    """

    frame: Frame
    quantised: Any
    shown: Frame | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A packet with what it was made of and what decoders make of it, for those who compare."""

    packet: Packet
    frame: Frame
    shown: Frame


class Coding:
    """What the stages do with one item each; what is copied passes through them all in its place.

    steering, sizes  where planned frames come from, and where to say what became of them
    changed          the lock and bell of the line
    compare          is given every frame and what decoders show of it
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        steering: Steering,
        sizes: Sizes,
        changed: Condition,
        compare: Compare | None,
    ) -> None:
        self._encoder = encoder
        self._steering = steering
        self._sizes = sizes
        self._changed = changed
        self._compare = compare
        self._waiting_copied: deque[tuple[int, CopiedPacket]] = (
            deque()
        )  # each with the frames that came before it

    def plan(self, item: Frame | CopiedPacket) -> Iterator[Claimed | CopiedPacket]:
        """What can be coded now, in the order of coding."""
        if isinstance(item, CopiedPacket):
            self._steering.carry(len(item.data))
            self._waiting_copied.append((self._steering.frames_in, item))
        else:
            yield from self._claimed(self._steering.push(item))
        # Copied packets stay behind the frames that they were behind, unless these come too seldom.
        waiting = self._waiting_copied
        while waiting and (waiting[0][0] <= self._steering.frames_out or len(waiting) > COPIED_KEPT_WAITING):
            yield waiting.popleft()[1]

    def plan_rest(self) -> Iterator[Claimed | CopiedPacket]:
        """What was held back."""
        yield from self._claimed(self._steering.flush())
        yield from (packet for _, packet in self._waiting_copied)

    def code(self, item: Claimed | CopiedPacket) -> Coded | CopiedPacket:
        """Run the networks; on any thread."""
        if isinstance(item, CopiedPacket):
            return item
        quantised = self._encoder.code(item.claim)
        shown = None if self._compare is None else self._encoder.reconstruct(quantised)
        return Coded(frame=item.frame, quantised=quantised, shown=shown)

    def pack(self, item: Coded | CopiedPacket) -> Packet | Packed | CopiedPacket:
        """Run the entropy coder; on any thread."""
        if isinstance(item, CopiedPacket):
            return item
        packet = self._encoder.pack(item.quantised)
        with self._changed:
            self._sizes.report(packet)
            self._changed.notify_all()
        return packet if item.shown is None else Packed(packet=packet, frame=item.frame, shown=item.shown)

    def compare(self, item: Packet | Packed | CopiedPacket) -> Packet | CopiedPacket:
        """Show the two pictures to whoever compares, in the order of coding."""
        if not isinstance(item, Packed):
            return item
        if self._compare is not None:
            self._compare(item.frame, item.shown)
        return item.packet

    def _claimed(self, planned: Iterable[PlannedFrame]) -> Iterator[Claimed]:
        for each in planned:
            is_anchor = each.temporal_layer == 0
            yield Claimed(frame=each.frame, claim=self._encoder.claim(each), is_anchor=is_anchor)


class CodingStages:
    """The stages put into a line: frames arrive from a channel, packets and what is copied come out of `packed`.

    Packets may come out of order, each with its number; `InOrder` mends that.
    """

    def __init__(
        self,
        line: Line,
        coding: Coding,
        crew: Crew,
        arriving: Channel[Any],
        frame_bytes: int,
        *,
        compares: bool,
    ) -> None:
        self.packed: Channel[Numbered[Any]] = _numbered_channel(line)
        ahead = frames_ahead(crew, frame_bytes)
        self._window: Window[Claimed | CopiedPacket] = Window(
            line,
            ahead * PACKETS_A_FRAME,
            weigh,
            is_ready=is_ready,
            is_boundary=_is_boundary if ahead > crew.at_once + FRAMES_WAITING else None,
        )
        coded: Channel[Numbered[Coded | CopiedPacket]] = _numbered_channel(line)
        line.expand("plan", coding.plan, coding.plan_rest, arriving, self._window)
        self._window.serve("quantise", coding.code, coded, crew.at_once)
        threads = min(MAX_PACK_THREADS, available_cores())
        if not compares:
            line.map("pack", _kept_numbered(coding.pack), coded, self.packed, threads=threads)
            return
        # Frames wait for their turn as packets: what the networks left of them would take far more memory.
        packed: Channel[Numbered[Packet | Packed | CopiedPacket]] = _numbered_channel(line)
        line.map("pack", _kept_numbered(coding.pack), coded, packed, threads=threads)
        line.expand("compare", _in_order(coding.compare), list, packed, self.packed)

    @property
    def has_left_out(self) -> bool:
        """Whether a stop left out frames that were planned already."""
        return self._window.has_left_out


def _in_order(work: Callable[[T], R]) -> Callable[[Numbered[T]], Iterator[Numbered[R]]]:
    """`work` for numbered items that come in any order, done in the order of their numbers."""
    order: InOrder[T] = InOrder()

    def do(numbered: Numbered[T]) -> Iterator[Numbered[R]]:
        for each in order.push(numbered):
            yield Numbered(number=each.number, item=work(each.item))

    return do


def _kept_numbered(work: Callable[[T], R]) -> Callable[[Numbered[T]], Numbered[R]]:
    """`work` for numbered items."""
    return lambda each: Numbered(number=each.number, item=work(each.item))


def frames_channel(line: Line) -> Channel[Any]:
    """A channel that holds a few frames, or as many copied packets as weigh that much."""
    return line.channel(FRAMES_HELD * PACKETS_A_FRAME, weigh)


def _numbered_channel(line: Line) -> Channel[Any]:
    return line.channel(FRAMES_HELD * PACKETS_A_FRAME, lambda numbered: weigh(numbered.item))


def weigh(item: Any) -> int:
    """What an item weighs in a channel."""
    return 1 if isinstance(item, CopiedPacket) else PACKETS_A_FRAME


def _is_boundary(item: Claimed | CopiedPacket) -> bool:
    return isinstance(item, Claimed) and item.is_anchor


def is_ready(item: Claimed | CopiedPacket) -> bool:
    """Whether the networks can run on a frame; what is copied never waits."""
    return isinstance(item, CopiedPacket) or item.claim.is_ready
