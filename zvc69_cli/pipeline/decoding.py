"""The stages of a decode between reader and sink: symbols of each GOP in their order, GOPs side by side, pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.errors import DamagedStream, SymbolMismatch
from zvc69_cli.frames import CopiedPacket, Packet, VideoFormat
from zvc69_cli.pipeline.coding import FRAMES_HELD, PACKETS_A_FRAME, weigh
from zvc69_cli.pipeline.crew import FRAMES_WAITING, Crew, frames_ahead
from zvc69_cli.pipeline.delivery import Decoded, Delivered
from zvc69_cli.pipeline.engine import FrameClaim, FrameDecoder
from zvc69_cli.pipeline.order import Place
from zvc69_cli.pipeline.queues import Channel, Line
from zvc69_cli.pipeline.stored import Lost, StoredItem, Unwanted
from zvc69_cli.pipeline.window import Numbered, Window

if TYPE_CHECKING:
    from zvc69_cli.pipeline.engine import Engine

COPIES_HELD: Final = 4  # of a frame's memory that a frame takes on its way: symbols, latents, planes

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Gop:
    """What is decoded from one keyframe on; nothing of it refers to another."""

    decoder: FrameDecoder
    is_broken: bool = False  # whether its last frame could not be decoded


@dataclass(slots=True, eq=False)
class Step:
    """One stored item on its way to its symbols, which it has to wait for that item before."""

    item: StoredItem
    gop: _Gop
    before: Step | None = None
    is_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A frame between its symbols and its picture; without a claim on its references where they are damaged."""

    gop: _Gop
    claim: FrameClaim | None
    place: Place
    is_wanted: bool


class Decoding:
    """What the stages do with one item each.

    conceals  whether a damaged frame is marked instead of ending the decode
    """

    def __init__(
        self, name: str, engine: Engine, video: VideoFormat, base_q_256: int, *, conceals: bool
    ) -> None:
        self._name = name
        self._engine = engine
        self._video = video
        self._base_q_256 = base_q_256
        self._conceals = conceals

    def steps(self, items: Iterable[StoredItem]) -> Iterator[Step]:
        """Items with the GOP that each belongs to, and the one before it that it waits for."""
        gop = self._new_gop()
        before: Step | None = None
        for item in items:
            if isinstance(item, CopiedPacket):
                yield Step(item, gop)
                continue
            packet = item.packet if isinstance(item, Unwanted) else item
            if isinstance(packet, Packet) and packet.is_key:
                gop, before = self._new_gop(), None
            before = Step(item, gop, before)
            yield before

    def parse(self, step: Step) -> Parsed | Lost | CopiedPacket:
        """The symbols of an item, all of them but for what is copied."""
        step.before = None  # so that not a whole GOP is kept
        return self._parsed(step.item, step.gop)

    def reconstruct(self, parsed: Parsed | Lost | CopiedPacket) -> Delivered:
        """The picture; on any thread."""
        if not isinstance(parsed, Parsed):
            return parsed
        frame = None if parsed.claim is None else parsed.gop.decoder.show(parsed.claim)
        return Decoded(frame=frame, place=parsed.place, is_wanted=parsed.is_wanted)

    def _new_gop(self) -> _Gop:
        return _Gop(self._engine.decoder(self._video, self._base_q_256))

    def _parsed(self, item: StoredItem, gop: _Gop) -> Parsed | Lost | CopiedPacket:
        if isinstance(item, CopiedPacket):
            return item
        if isinstance(item, Lost):
            gop.decoder.lose(None)
            gop.is_broken = True
            return item
        is_wanted = not isinstance(item, Unwanted)
        packet = item.packet if isinstance(item, Unwanted) else item
        claim: FrameClaim | None = None
        if packet.is_damaged:
            gop.decoder.lose(packet)
            gop.is_broken = True
        else:
            claim = self._claimed(packet, gop)
        return Parsed(gop=gop, claim=claim, place=Place.of(packet), is_wanted=is_wanted)

    def _claimed(self, packet: Packet, gop: _Gop) -> FrameClaim | None:
        """None where the symbols are damaged and that is to be concealed; raises DamagedStream, SymbolMismatch."""
        try:
            symbols = gop.decoder.parse(packet)
        except (DamagedStream, SymbolMismatch) as cause:
            where = f"{self._name}: {cause.where}"
            if not self._conceals:
                raise type(cause)(where, cause.what, cause.next_step) from cause
            # What follows from the first damage, frame by frame, is not worth a line each.
            _log.log(logging.DEBUG if gop.is_broken else logging.WARNING, "%s: %s", where, cause.what)
            gop.decoder.lose(packet)
            gop.is_broken = True
            return None
        gop.is_broken = False
        return gop.decoder.claim(symbols)


class DecodingStages:
    """The stages put into a line: items are read from outside, `shown` gives what becomes of them.

    That may come out of order; the inner number of each is its place among all, which `InOrder` mends.
    """

    def __init__(
        self,
        line: Line,
        decoding: Decoding,
        read: Callable[[], Iterable[StoredItem]],
        crew: Crew,
        jobs: int,
        video: VideoFormat,
    ) -> None:
        ahead = frames_ahead(crew, video.frame_bytes * (COPIES_HELD if jobs > 1 else 1))
        self._symbols: Window[Step] = Window(
            line,
            (ahead if jobs > 1 else FRAMES_HELD) * PACKETS_A_FRAME,
            lambda step: weigh(step.item),
            is_ready=lambda step: step.before is None or step.before.is_done,
            is_boundary=_is_boundary if jobs > 1 else None,
        )
        pictures: Window[Numbered[Any]] = Window(
            line,
            (crew.at_once + FRAMES_WAITING) * PACKETS_A_FRAME,
            lambda numbered: weigh(numbered.item),
            is_ready=lambda numbered: _is_ready(numbered.item),
        )
        self.shown: Channel[Numbered[Numbered[Delivered]]] = line.channel(
            FRAMES_HELD * PACKETS_A_FRAME, lambda numbered: weigh(numbered.item.item)
        )

        def reconstruct(numbered: Numbered[Any]) -> Numbered[Delivered]:
            return Numbered(number=numbered.number, item=decoding.reconstruct(numbered.item))

        def steps() -> Generator[Step, None, None]:
            yield from decoding.steps(read())

        line.feed("read", steps, self._symbols)
        # Not before its symbols are handed on may the next of its GOP begin: pictures wait for those before them only.
        self._symbols.serve("parse", decoding.parse, pictures, jobs, handed_on=_end_step)
        pictures.serve("reconstruct", reconstruct, self.shown, crew.at_once)

    @property
    def has_left_out(self) -> bool:
        """Whether a stop left out items that were read already."""
        return self._symbols.has_left_out


def _end_step(step: Step) -> None:
    step.is_done = True


def _is_ready(item: Parsed | Lost | CopiedPacket) -> bool:
    """Whether a picture can be made; what is none never waits."""
    return not isinstance(item, Parsed) or item.claim is None or item.claim.is_ready


def _is_boundary(step: Step) -> bool:
    """Whether nothing that is stored behind this is watched before it."""
    return isinstance(step.item, Packet) and step.item.temporal_layer == 0
