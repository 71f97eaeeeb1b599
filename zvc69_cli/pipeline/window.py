"""A stage that works on whatever is ready among the next items, so that closed GOPs can go side by side."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from zvc69_cli.pipeline.queues import Halted, Inlet, Line

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered(Generic[T]):
    """An item and its place among all that come by, from 0."""

    number: int
    item: T


class Window(Generic[T]):
    """Holds items from the first that is not done yet; of those the first that is ready is worked on next.

    Items depend on earlier ones only. So the first that is not done is ready or worked on, and nothing ever hangs.

    capacity     weight of all that it holds, of items too that are done and behind the first; one always fits
    is_ready     whether an item can be worked on, which only the end of the work on an earlier one changes
    is_boundary  whether the items may end before this one, so that a stop may leave it out and all behind it; None
                 where every item that came in is to come out
    """

    def __init__(
        self,
        line: Line,
        capacity: int,
        weigh: Callable[[T], int],
        *,
        is_ready: Callable[[T], bool],
        is_boundary: Callable[[T], bool] | None = None,
    ) -> None:
        self._line = line
        self._capacity = capacity
        self._weigh = weigh
        self._is_ready = is_ready
        self._is_boundary = is_boundary
        self._pending: dict[int, T] = {}  # in the order of their numbers
        self._weights: dict[int, int] = {}
        self._weight = 0
        self._done: set[int] = set()
        self._taken = 0
        self._first = 0  # that is not done
        self._end: int | None = None  # the first that is left out
        self._is_cutting = False
        self._is_closed = False

    @property
    def has_left_out(self) -> bool:
        """Whether a stop cost items that had come in."""
        return self._end is not None

    def put(self, item: T) -> None:
        """Hand an item in, waiting for room; raises Halted when the line has stopped or this was closed."""
        weight = self._weigh(item)
        with self._line.changed:
            self._line.wait_until(
                lambda: (
                    self._is_closed
                    or self._end is not None
                    or not self._weights
                    or self._weight + weight <= self._capacity
                )
            )
            if self._is_closed:
                raise Halted
            if self._is_cutting and self._end is None and self._may_end_before(item):
                self._end = self._taken
            if self._end is not None:
                return
            self._pending[self._taken] = item
            self._weights[self._taken] = weight
            self._weight += weight
            self._taken += 1
            self._line.changed.notify_all()

    def close(self) -> None:
        """Nothing more will be put."""
        with self._line.changed:
            self._is_closed = True
            self._line.changed.notify_all()

    def serve(
        self,
        name: str,
        work: Callable[[T], R],
        into: Inlet[Numbered[R]],
        threads: int,
        *,
        handed_on: Callable[[T], None] = lambda item: None,
    ) -> None:
        """Add the stage to the line: results come as they are done, each with its item's number.

        handed_on  called with an item when its result is with the next stage, and the lock held
        """
        self._line.work(name, lambda: self._work(work, into, handed_on), into.close, threads)
        self._line.on_stop(self._cut)

    def _work(self, work: Callable[[T], R], into: Inlet[Numbered[R]], handed_on: Callable[[T], None]) -> None:
        while (chosen := self._choose()) is not None:
            result = work(chosen.item)
            if self._end is None or chosen.number < self._end:
                into.put(Numbered(number=chosen.number, item=result))
            with self._line.changed:
                handed_on(chosen.item)
                self._settle(chosen.number)

    def _choose(self) -> Numbered[T] | None:
        """The first item that is ready; None where there will never be one."""
        found: list[Numbered[T]] = []

        def look() -> bool:
            for number, item in self._pending.items():
                if self._is_ready(item):
                    found.append(Numbered(number=number, item=item))
                    return True
            return self._is_closed and not self._pending

        with self._line.changed:
            self._line.wait_until(look)
            if not found:
                return None
            del self._pending[found[0].number]
            return found[0]

    def _settle(self, number: int) -> None:
        """An item is done; with the lock held."""
        self._done.add(number)
        while self._first in self._done:
            self._done.remove(self._first)
            self._weight -= self._weights.pop(self._first)
            self._first += 1
        self._line.changed.notify_all()

    def _cut(self) -> None:
        """Leave out what comes behind the next boundary that nobody has begun."""
        with self._line.changed:
            if self._is_boundary is None or self._is_cutting:
                return
            self._is_cutting = True
            ends = (number for number, item in self._pending.items() if self._may_end_before(item))
            self._end = next(ends, None)
            if self._end is not None:
                self._pending = {number: item for number, item in self._pending.items() if number < self._end}
            self._line.changed.notify_all()

    def _may_end_before(self, item: T) -> bool:
        return self._is_boundary is not None and self._is_boundary(item)


class InOrder(Generic[T]):
    """Numbered items, which come in any order, in the order of their numbers."""

    def __init__(self) -> None:
        self._next = 0
        self._held: list[tuple[int, Numbered[T]]] = []

    def push(self, numbered: Numbered[T]) -> Iterator[Numbered[T]]:
        """Take one more; yields those whose turn has come."""
        heapq.heappush(self._held, (numbered.number, numbered))
        while self._held and self._held[0][0] == self._next:
            self._next += 1
            yield heapq.heappop(self._held)[1]
