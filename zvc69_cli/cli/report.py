"""What people read while they wait: messages and progress, on standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from zvc69_cli.errors import Zvc69Error
    from zvc69_cli.pipeline.stats import Progress, Watch

PLAIN_LINE_EVERY_S: Final = 10.0
_INDENT: Final = " " * 7


def say(line: str) -> None:
    """A line on standard error; where that is closed or full, the work goes on without it."""
    with suppress(OSError, ValueError):
        click.echo(line, err=True)


def say_error(error: Zvc69Error) -> None:
    """The three parts of a refusal: where and what on one line, the next step below."""
    say(f"zvc69: {error.where}: {error.what}")
    for line in error.next_step.splitlines():
        say(_INDENT + line)


def show_messages(level: str, *, is_quiet: bool) -> None:
    """Send the program's messages of this level and above to standard error."""
    logger = logging.getLogger("zvc69_cli")
    logger.setLevel("ERROR" if is_quiet else level.upper())
    logger.handlers = [_Echo()]
    logger.propagate = False


@contextmanager
def progress(*, is_shown: bool) -> Iterator[Watch]:
    """Whom to tell about progress: a line that renews itself on a terminal, a line now and then elsewhere."""
    if not is_shown:
        yield lambda state: None
    elif sys.stderr is not None and sys.stderr.isatty():
        with _renewed_line() as tell:
            yield tell
    else:
        lines = _PlainLines()
        yield lines.tell
        lines.finish()


def progress_line(state: Progress, frames_per_s: float) -> str:
    """`[12.3%] 15/122 frames, 8.21 fps, 512.40 kb/s, eta 0:00:13`, in x265's manner."""
    rates = f"{frames_per_s:.2f} fps"
    if state.duration_s:  # what only reads writes no bits
        rates += f", {state.bitrate_kbps:.2f} kb/s"
    if not state.total_frames:
        return f"{state.frames} frames, {rates}"
    share = min(1.0, state.frames / state.total_frames)
    left = max(0, state.total_frames - state.frames)
    eta = clock_text(left / frames_per_s) if frames_per_s else "?"
    return f"[{share:.1%}] {state.frames}/{state.total_frames} frames, {rates}, eta {eta}"


def clock_text(seconds: float) -> str:
    """h:mm:ss"""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        say(f"zvc69: {prefix}{record.getMessage()}")


class _PlainLines:
    """For logs: a line every ten seconds and one at the end."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._state: Progress | None = None

    def tell(self, state: Progress) -> None:
        if self._state is None:  # what came before was loading
            self._began = time.monotonic()
        self._state = state
        if time.monotonic() - self._said >= PLAIN_LINE_EVERY_S:
            self._say(state)

    def finish(self) -> None:
        if self._state is not None:
            self._say(self._state)

    def _say(self, state: Progress) -> None:
        self._said = time.monotonic()
        elapsed_s = self._said - self._began
        say(f"zvc69: {progress_line(state, state.frames / elapsed_s if elapsed_s else 0.0)}")


@contextmanager
def _renewed_line() -> Iterator[Watch]:
    from tqdm import tqdm

    began: float | None = None
    with tqdm(bar_format="{desc}", file=sys.stderr, dynamic_ncols=True, mininterval=0, leave=True) as line:
        line_: Any = line

        def tell(state: Progress) -> None:
            nonlocal began
            began = time.monotonic() if began is None else began  # what came before was loading
            elapsed_s = time.monotonic() - began
            line_.set_description_str(progress_line(state, state.frames / elapsed_s if elapsed_s else 0.0))

        yield tell
