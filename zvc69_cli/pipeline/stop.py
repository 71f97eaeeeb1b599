"""A request to end early, made by a signal handler and seen by the pipeline between two items."""

from __future__ import annotations

import signal

from zvc69_cli.errors import Interrupted


class StopRequest:
    """Zero until a signal arrives.

    signal_number   of the first signal, 0 before it
    is_under_way    whether the pipeline runs and will finish what it holds; before, a signal ends all
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self.is_under_way = False


def interrupted_early(signal_number: int) -> Interrupted:
    """What to raise where nothing has been written yet."""
    return Interrupted(
        signal_name(signal_number),
        "came before anything was written",
        "Start again.",
        signal_number=signal_number,
    )


def signal_name(number: int) -> str:
    """ "SIGINT" of 2."""
    return signal.Signals(number).name
