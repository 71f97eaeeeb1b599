"""The first SIGINT or SIGTERM asks for an end, the second makes one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from zvc69_cli.errors import Interrupted
from zvc69_cli.pipeline.stop import StopRequest, interrupted_early, signal_name

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


@contextmanager
def stopping_gently() -> Iterator[StopRequest]:
    """A StopRequest that signals fill in, while this lasts.

    raises  Interrupted, inside, at a second signal, or at the first where nothing is under way
    """
    stop = StopRequest()

    def answer(number: int, frame: FrameType | None) -> None:
        if not stop.is_under_way:
            raise interrupted_early(number)
        if stop.signal_number:
            raise Interrupted(
                signal_name(number),
                "was the second signal: stopped at once",
                "What was being written is not finished.",
                signal_number=number,
            )
        stop.signal_number = number

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    kept = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN or number == signal.SIGINT]
    for number in kept:
        signal.signal(number, answer)
    try:
        yield stop
    finally:
        for number in kept:
            signal.signal(number, before[number])
