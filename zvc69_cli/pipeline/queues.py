"""A line of threads that hand items along through bounded channels; the first failure stops them all."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)

GRACE_S: Final = 2.0  # how long a stage that sits in a foreign call is waited for once the line has stopped
THREAD_PREFIX: Final = "zvc69 "


class Halted(Exception):
    """The line stopped while a stage waited for its neighbour; ends the stage, reaches no caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long one stage worked: the time in its threads without the time waited for its neighbours.

    busy_s       seconds, summed over the stage's threads; those in which another thread had the core count too
    processor_s  seconds of a core that the stage's own threads had; a network's helpers are not among them
    threads      how many threads share the stage
    """

    name: str
    busy_s: float
    processor_s: float = 0.0
    threads: int = 1


class Inlet(Protocol[T_contra]):
    """Where a stage leaves its items."""

    def put(self, item: T_contra) -> None: ...

    def close(self) -> None: ...


class Channel(Generic[T]):
    """A queue between two stages that holds a bounded weight; one item always fits."""

    def __init__(self, line: Line, capacity: int, weigh: Callable[[T], int]) -> None:
        self._line = line
        self._capacity = capacity
        self._weigh = weigh
        self._items: deque[T] = deque()
        self._weight = 0
        self._closed = False

    def put(self, item: T) -> None:
        """Hand `item` on, waiting for room.

        raises  Halted when the line has stopped or the channel was closed
        """
        weight = self._weigh(item)
        with self._line.changed:
            self._line.wait_until(
                lambda: self._closed or not self._items or self._weight + weight <= self._capacity
            )
            if self._closed:
                raise Halted
            self._items.append(item)
            self._weight += weight
            self._line.changed.notify_all()

    def take(self) -> T:
        """The next item, waiting for one.

        raises  EOFError when the channel is closed and empty; Halted when the line has stopped
        """
        with self._line.changed:
            self._line.wait_until(lambda: self._closed or bool(self._items))
            if not self._items:
                raise EOFError
            item = self._items.popleft()
            self._weight -= self._weigh(item)
            self._line.changed.notify_all()
            return item

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                yield self.take()
            except EOFError:
                return

    def close(self) -> None:
        """Nothing more will be put; what is inside can still be taken."""
        with self._line.changed:
            self._closed = True
            self._line.changed.notify_all()


class Line:
    """Stages, each a thread or several, joined by channels.

    changed  the one lock and bell of the line; items pass a few hundred times a second at most
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._working: set[threading.Thread] = set()
        self._feeders: dict[threading.Thread, Callable[[], None]] = {}
        self._on_stop: list[Callable[[], None]] = []
        self._busy_s: dict[str, float] = {}
        self._processor_s: dict[str, float] = {}
        self._thread_counts: dict[str, int] = {}
        self._clocks = threading.local()
        self._failure: BaseException | None = None
        self._halted = False

    def channel(self, capacity: int, weigh: Callable[[T], int] = lambda item: 1) -> Channel[T]:
        return Channel(self, capacity, weigh)

    def feed(self, name: str, items: Callable[[], Generator[T, None, None]], into: Inlet[T]) -> None:
        """A stage that brings items from outside; the one that `stop_feeding` cuts off."""

        def work() -> None:
            with closing(items()) as arriving:
                for item in arriving:
                    into.put(item)
            into.close()

        self._feeders[self._add(name, work)] = into.close

    def map(
        self,
        name: str,
        work: Callable[[T], R],
        source: Channel[T],
        into: Channel[R],
        threads: int = 1,
    ) -> None:
        """A stage that turns each item into another, in order whatever the number of threads."""
        tickets = [0, 0]  # taken, delivered

        def serve() -> None:
            while True:
                with self.changed:
                    try:
                        item = source.take()
                    except EOFError:
                        break
                    ticket = tickets[0]
                    tickets[0] += 1
                result = work(item)
                is_next = partial(_is_turn, tickets, ticket)
                with self.changed:
                    self.wait_until(is_next)
                into.put(result)
                with self.changed:
                    tickets[1] += 1
                    self.changed.notify_all()
            with self.changed:
                self.wait_until(lambda: tickets[0] == tickets[1])
            into.close()

        for _ in range(threads):
            self._add(name, serve)

    def expand(
        self,
        name: str,
        work: Callable[[T], Iterable[R]],
        finish: Callable[[], Iterable[R]],
        source: Channel[T],
        into: Inlet[R],
    ) -> None:
        """A stage that turns each item into any number of others, and has some left at the end."""

        def serve() -> None:
            for item in source:
                for result in work(item):
                    into.put(result)
            for result in finish():
                into.put(result)
            into.close()

        self._add(name, serve)

    def work(self, name: str, serve: Callable[[], None], finish: Callable[[], None], threads: int = 1) -> None:
        """A stage of another making: every thread serves, the last one to end finishes."""
        left = [threads]

        def run() -> None:
            serve()
            with self.changed:
                left[0] -= 1
                is_last = not left[0]
            if is_last:
                finish()

        for _ in range(threads):
            self._add(name, run)

    def on_stop(self, call: Callable[[], None]) -> None:
        """Have this called when `stop_feeding` is."""
        self._on_stop.append(call)

    def drain(
        self, name: str, source: Channel[T], work: Callable[[T], None], finish: Callable[[], None]
    ) -> None:
        """The last stage: takes every item, then finishes."""

        def serve() -> None:
            for item in source:
                work(item)
            finish()

        self._add(name, serve)

    def run(self, watch: Callable[[], None] = lambda: None, every_s: float = 0.1) -> None:
        """Start every stage and wait for the last; `watch` is called between, in the caller's thread.

        raises  what the first failing stage raised (or `watch`), once every other stage has stopped
        """
        self.start()
        try:
            while True:
                with self.changed:
                    if not self._awaited():
                        break
                    self.changed.wait(every_s)
                watch()
        except BaseException as failure:
            self.halt(failure)
        if self._failure is not None:
            self.join()
            raise self._failure
        watch()

    def start(self) -> None:
        """Start every stage and return; for those who do not wait as `run` does."""
        for thread in self._threads:
            thread.start()

    @property
    def failure(self) -> BaseException | None:
        """What stopped the line; None where nothing has."""
        return self._failure

    @property
    def is_working(self) -> bool:
        """Whether a stage has not ended, and nothing has failed."""
        return self._awaited()

    def stop_feeding(self) -> None:
        """Take nothing more from outside; what is under way is still carried to the end."""
        for close in self._feeders.values():
            close()
        with self.changed:
            for thread in self._feeders:
                self._working.discard(thread)
        for call in self._on_stop:
            call()

    def halt(self, failure: BaseException) -> None:
        """Stop all stages where they are; the first failure is the one that counts."""
        with self.changed:
            if self._failure is None:
                self._failure = failure
            self._halted = True
            self.changed.notify_all()

    @property
    def times(self) -> tuple[StageTime, ...]:
        """Time per stage up to when each of its threads last waited, in the order in which the stages were added."""
        with self.changed:
            return tuple(
                StageTime(
                    name=name,
                    busy_s=busy_s,
                    processor_s=self._processor_s[name],
                    threads=self._thread_counts[name],
                )
                for name, busy_s in self._busy_s.items()
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait, with the lock held, and keep the wait out of the stage's time; raises Halted."""
        self._account()
        while not self._halted and not ready():
            self.changed.wait()
        self._resume()
        if self._halted:
            raise Halted

    def wait_until_rung(self, ready: Callable[[], bool]) -> None:
        """Take the lock, then wait as `wait_until` does."""
        with self.changed:
            self.wait_until(ready)

    def _add(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: self._serve(name, thread, work), name=THREAD_PREFIX + name, daemon=True
        )
        self._threads.append(thread)
        self._working.add(thread)
        self._busy_s.setdefault(name, 0.0)
        self._processor_s.setdefault(name, 0.0)
        self._thread_counts[name] = self._thread_counts.get(name, 0) + 1
        return thread

    def _serve(self, name: str, thread: threading.Thread, work: Callable[[], None]) -> None:
        self._clocks.name = name
        self._resume()
        try:
            work()
        except Halted:
            pass
        except BaseException as failure:
            self.halt(failure)
        with self.changed:
            self._account()
            self._working.discard(thread)
            self.changed.notify_all()

    def _account(self) -> None:
        """Count what this thread has worked since it last waited, with the lock held; a caller has no name."""
        name = getattr(self._clocks, "name", None)
        if name is not None:
            self._busy_s[name] += time.perf_counter() - self._clocks.resumed_s
            self._processor_s[name] += time.thread_time() - self._clocks.processor_s
            self._resume()

    def _resume(self) -> None:
        self._clocks.resumed_s = time.perf_counter()
        self._clocks.processor_s = time.thread_time()

    def _awaited(self) -> bool:
        return self._failure is None and bool(self._working)

    def join(self) -> None:
        """Wait for the stages of a line that has stopped, but not for one that sits in a foreign call."""
        until = time.monotonic() + GRACE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))


def _is_turn(tickets: list[int], ticket: int) -> bool:
    return tickets[1] == ticket


def is_stage_left_behind(wait_s: float = 0.2) -> bool:
    """Whether a stage of some line still sits in a call that nobody can interrupt (a read from a pipe)."""
    stages = [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]
    for stage in stages:
        stage.join(wait_s)
    return any(stage.is_alive() for stage in stages)
