"""From coding order to the order of display, as early as the times of decoding allow."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from zvc69_cli.errors import DamagedStream
from zvc69_cli.frames import Packet

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a coded frame stands in both orders."""

    pts: int
    dts: int
    is_key: bool

    @classmethod
    def of(cls, packet: Packet) -> Place:
        return cls(pts=packet.pts, dts=packet.dts, is_key=packet.is_key)


class DisplayOrder(Generic[T]):
    """Holds what is decoded until everything that is shown before it is.

    No later frame is shown before the time at which this one is decoded, and none behind a keyframe before it.
    """

    def __init__(self) -> None:
        self._held: list[tuple[int, int, T]] = []
        self._tickets = count()  # so that no two items are compared themselves

    def __len__(self) -> int:
        return len(self._held)

    def push(self, item: T, place: Place) -> list[T]:
        """Take the next in coding order; returns those whose turn has come, as watched."""
        shown = self.flush() if place.is_key else []
        heapq.heappush(self._held, (place.pts, next(self._tickets), item))
        while self._held and self._held[0][0] <= place.dts:
            shown.append(heapq.heappop(self._held)[2])
        return shown

    def flush(self) -> list[T]:
        """All that is held, as watched."""
        shown = [item for _, _, item in sorted(self._held, key=lambda held: held[:2])]
        self._held.clear()
        return shown


@dataclass(slots=True, kw_only=True)
class Numbered:
    """A packet and its display index, counted from the keyframe before it; -1 while it is not known."""

    packet: Packet
    number: int = -1


def numbered(items: Iterable[Packet | R]) -> Iterator[Numbered | R]:
    """Stored items with the packets numbered as watched, still in coding order.

    Reads ahead as far as that takes, a group of B frames; what the source raises is raised behind what was read.
    """
    order: DisplayOrder[Numbered] = DisplayOrder()
    waiting: deque[Numbered | R] = deque()
    number = 0
    failure: DamagedStream | None = None
    source = iter(items)
    while True:
        try:
            item = next(source)
        except StopIteration:
            break
        except DamagedStream as cause:
            failure = cause
            break
        settled: list[Numbered] = []
        if isinstance(item, Packet):
            entry = Numbered(packet=item)
            waiting.append(entry)
            if item.is_key:
                number = _count(order.flush(), number)
                number = item.coding_index
            settled = order.push(entry, Place.of(item))
        else:
            waiting.append(item)
        number = _count(settled, number)
        while waiting and not (isinstance(waiting[0], Numbered) and waiting[0].number < 0):
            yield waiting.popleft()
    _count(order.flush(), number)
    yield from waiting
    if failure is not None:
        raise failure


def _count(shown: list[Numbered], number: int) -> int:
    """Number what is shown next; returns the number of what follows."""
    for entry in shown:
        entry.number = number
        number += 1
    return number
