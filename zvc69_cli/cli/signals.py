"""The first SIGINT or SIGTERM asks for an end, the second makes one, the third waits for nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from zvc69_cli.errors import SIGNAL_EXIT, Interrupted
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
    is_raised = False

    def answer(number: int, frame: FrameType | None) -> None:
        nonlocal is_raised
        if is_raised:  # to raise once more while a thread is joined breaks Python's own ending
            os._exit(SIGNAL_EXIT + number)
        is_raised = bool(stop.signal_number) or not stop.is_under_way
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
