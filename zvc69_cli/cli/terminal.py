"""The process's standard streams, and the one question that is asked of a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.errors import OutputError, UsageError
from zvc69_cli.pipeline.places import Pipes, writing

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST: Final = 100  # columns where the output is no terminal


def standard_pipes() -> Pipes:
    """Standard input and output as bytes; None for one that was closed before the program began."""
    return Pipes(stdin=getattr(sys.stdin, "buffer", None), stdout=getattr(sys.stdout, "buffer", None))


def overwrite_policy(*, overwrite: bool, no_overwrite: bool) -> Callable[[str], bool]:
    """Whether an existing file may go: as the flags say, else as a person at the terminal says, else not."""
    if overwrite and no_overwrite:
        raise UsageError("-y", "was given together with -n", "Choose one of the two.")

    def may_overwrite(name: str) -> bool:
        if overwrite or no_overwrite:
            return overwrite
        if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
            return False
        try:
            return click.confirm(f"zvc69: {name} exists already. Overwrite it?", default=False, err=True)
        except click.Abort:  # the end of the input is no consent; Ctrl-C is answered by cli.signals
            return False

    return may_overwrite


def write_json(facts: Any, *, in_a_line: bool = False) -> None:
    """One JSON value and a newline on standard output, without others in it where more follow; raises OutputError."""
    with printing():
        click.echo(json.dumps(facts, indent=None if in_a_line else 2, ensure_ascii=False))


def make_console() -> Console:
    """Where tables are printed; as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise

    console = Ours()
    return console if console.is_terminal else Ours(width=max(NARROWEST, console.width))


@contextmanager
def printing() -> Iterator[None]:
    """What is printed inside is on standard output afterwards, or an OutputError says why not."""
    if sys.stdout is None:
        raise OutputError(
            "standard output", "is closed", "Open it, or send it on with `| program` or `> file`."
        )
    with writing("standard output"):
        yield
        sys.stdout.flush()
