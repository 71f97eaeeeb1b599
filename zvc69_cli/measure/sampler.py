"""Where threads are, looked at many times a second: from that, where the time goes and how much memory it takes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from zvc69_cli.pipeline.queues import THREAD_PREFIX

EVERY_S: Final = 0.004
MEMORY_EVERY: Final = 10  # samples
_PACKAGE: Final = str(Path(__file__).resolve().parent.parent) + os.sep
_WAITING: Final = {"wait_until", "wait_until_rung"}
_MACHINERY: Final = {"pipeline.queues", "pipeline.timed"}

Place = tuple[str, str]  # module below zvc69_cli, function


@dataclass(slots=True, kw_only=True)
class Samples:
    """Seconds by stage of the pipeline and by the stack of places in it, outermost first.

    peak_bytes  most resident memory seen; 0 where the system does not tell
    """

    seconds: dict[tuple[str, tuple[Place, ...]], float] = field(default_factory=dict)
    peak_bytes: int = 0

    def add(self, stage: str, stack: tuple[Place, ...], seconds: float) -> None:
        key = stage, stack
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds

    def __iter__(self) -> Iterator[tuple[str, tuple[Place, ...], float]]:
        for (stage, stack), seconds in self.seconds.items():
            yield stage, stack, seconds


class Sampler:
    """Looks at the threads of the pipeline while it is entered; those that wait for their neighbours count nothing."""

    def __init__(self) -> None:
        self.samples = Samples()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.samples.peak_bytes = max(self.samples.peak_bytes, resident_bytes())

    def _look(self) -> None:
        before = time.perf_counter()
        count = 0
        while not self._ended.wait(EVERY_S):
            now = time.perf_counter()
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                name = names.get(ident) or ""
                if name.startswith(THREAD_PREFIX):
                    stack = _stack(frame)
                    if stack is not None:
                        self.samples.add(name.removeprefix(THREAD_PREFIX), stack, now - before)
            before = now
            count += 1
            if count % MEMORY_EVERY == 0:
                self.samples.peak_bytes = max(self.samples.peak_bytes, resident_bytes())


def _stack(top: FrameType) -> tuple[Place, ...] | None:
    """The places of this program that a thread is in, outermost first; None where it waits."""
    places: list[Place] = []
    frame: FrameType | None = top
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            module = code.co_filename[len(_PACKAGE) :].removesuffix(".py").replace(os.sep, ".")
            if module == "pipeline.queues" and code.co_name in _WAITING:
                return None
            places.append((module, code.co_name))
        frame = frame.f_back
    places.reverse()
    while places and places[0][0] == "pipeline.queues":  # the same under every stage
        places.pop(0)
    return tuple(places)


def resident_bytes() -> int:
    """Memory that this process has in RAM; where only its highest point is told, that; 0 where nothing is."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
