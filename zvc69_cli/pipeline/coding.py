"""The stages of an encode between source and writer: planned and claimed in order, coded on many threads, packed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.frames import CopiedPacket, Frame, Packet
from zvc69_cli.pipeline.engine import FrameClaim, FrameEncoder

if TYPE_CHECKING:
    from zvc69_cli.codec.gop import PlannedFrame
    from zvc69_cli.pipeline.steering import Sizes, Steering

COPIED_KEPT_WAITING: Final = 256

Compare = Callable[[Frame, Frame], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A frame that is planned, with its claim on references and slot."""

    frame: Frame
    claim: FrameClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A frame between networks and entropy coder.

    quantised  the codec's own
    shown      the picture that decoders make; None where nobody compares
    """

    frame: Frame
    quantised: Any
    shown: Frame | None


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

    def compare(self, item: Coded | CopiedPacket) -> Coded | CopiedPacket:
        """Show the two pictures to whoever compares."""
        if self._compare is not None and isinstance(item, Coded) and item.shown is not None:
            self._compare(item.frame, item.shown)
        return item

    def pack(self, item: Coded | CopiedPacket) -> Packet | CopiedPacket:
        """Run the entropy coder; on any thread."""
        if isinstance(item, CopiedPacket):
            return item
        packet = self._encoder.pack(item.quantised)
        with self._changed:
            self._sizes.report(packet)
            self._changed.notify_all()
        return packet

    def _claimed(self, planned: Iterable[PlannedFrame]) -> Iterator[Claimed]:
        for each in planned:
            yield Claimed(frame=each.frame, claim=self._encoder.claim(each))


def is_ready(item: Claimed | CopiedPacket) -> bool:
    """Whether the networks can run on a frame; what is copied never waits."""
    return isinstance(item, CopiedPacket) or item.claim.is_ready
