"""Where bytes come from and go to: files that appear under their name only when they are whole, and pipes."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from zvc69_cli.errors import InputError, OutputError, UsageError

PIPE: Final = "-"
PART: Final = ".part"

_log = logging.getLogger(__name__)

_NEXT_STEPS: Final = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Free some space, or write to another disk.",
    errno.EPIPE: "The program that read from the pipe has ended; look at its message.",
    errno.EACCES: "Write to a folder that you may write to.",
    errno.EPERM: "Write to a folder that you may write to.",
    errno.EROFS: "Write to a folder that you may write to.",
    errno.ENOENT: "Make the folder first, or write to one that exists.",
    errno.ENAMETOOLONG: "Take a shorter name.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """The process's standard streams, as bytes; None where it must not be used for data."""

    stdin: BinaryIO | None = None
    stdout: BinaryIO | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where one output goes.

    name         as the user wrote it
    is_pipe      standard output
    is_direct    written where it stands: a pipe, or a device file, which has no half-written state
    """

    name: str
    is_pipe: bool
    is_direct: bool

    @property
    def shown_name(self) -> str:
        return "standard output" if self.is_pipe else self.name

    @property
    def written_name(self) -> str:
        """The name that is written to before the work has succeeded."""
        return self.name if self.is_direct else self.name + PART

    def settle(self) -> None:
        """See the written bytes onto the disk; a file stays under its name of work."""
        if not self.is_direct:
            with writing(self.shown_name), Path(self.written_name).open("rb+") as written:
                os.fsync(written.fileno())

    def keep(self) -> None:
        """Give the written file its name, once its bytes are on the disk."""
        self.settle()
        if self.is_direct:
            return
        with writing(self.shown_name):
            Path(self.written_name).replace(self.name)
        with suppress(OSError):  # a folder cannot be synced everywhere; the file is safe already
            folder = os.open(Path(self.name).parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Leave nothing behind."""
        if not self.is_direct:
            with suppress(OSError):
                Path(self.written_name).unlink()


def choose_destination(
    out_name: str, in_name: str, pipes: Pipes, may_overwrite: Callable[[str], bool]
) -> Destination:
    """Where to write, after every check that can be made before the work.

    raises  UsageError for the input itself or a terminal, OutputError for what exists or cannot be written
    """
    if out_name == PIPE:
        if pipes.stdout is None:
            raise UsageError("standard output", "is closed", "Name a file, or send it on with `| program`.")
        if is_terminal(pipes.stdout):
            raise UsageError(
                "standard output",
                "is a terminal, which binary data would only garble",
                "Name a file, or send it on with `| program` or `> file`.",
            )
        return Destination(name=PIPE, is_pipe=True, is_direct=True)
    with writing(out_name):
        return _choose_file(out_name, in_name, may_overwrite)


def _choose_file(out_name: str, in_name: str, may_overwrite: Callable[[str], bool]) -> Destination:
    out = Path(out_name)
    for written in (out, Path(out_name + PART)):
        if in_name != PIPE and _is_same_file(written, Path(in_name)):
            raise UsageError(
                out_name, "is written over the input, which would destroy it", "Give the output another name."
            )
    if out.is_dir():
        raise OutputError(out_name, "is a directory, should be a file", "Add a file name to it.")
    if not out.parent.is_dir():
        raise OutputError(out_name, f"there is no folder {str(out.parent)!r}", "Make the folder first.")
    # What a link points to is written, as a shell's `>` would; the link stays.
    name = str(out.resolve()) if out.is_symlink() else out_name
    if not out.exists():
        return Destination(name=name, is_pipe=False, is_direct=False)
    if not stat.S_ISREG(out.stat().st_mode):
        return Destination(name=out_name, is_pipe=False, is_direct=True)
    if not may_overwrite(out_name):
        raise OutputError(out_name, "exists already", "Use -y to overwrite it, or give another name.")
    return Destination(name=name, is_pipe=False, is_direct=False)


def check_input(in_name: str, pipes: Pipes) -> None:
    """Raises UsageError for a terminal, InputError for what is no readable file."""
    if in_name == PIPE:
        if pipes.stdin is None:
            raise UsageError("standard input", "is closed", "Name a file, or send one in with `<`.")
        if is_terminal(pipes.stdin):
            raise UsageError(
                "standard input",
                "is a terminal, should be a pipe or a file",
                "Name a file, or send one in with `<`.",
            )
        return
    path = Path(in_name)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as cause:  # a name that is too long, a folder that may not be looked into
        raise InputError(
            in_name, f"cannot be opened: {cause.strerror}", "Check the name and the folder."
        ) from cause
    if is_folder:
        raise InputError(in_name, "is a directory, should be a file", "Name one file in it.")
    if not is_there:
        raise InputError(in_name, "there is no such file", "Check the name and the folder.")


@contextmanager
def opened_for_reading(in_name: str, pipes: Pipes) -> Iterator[BinaryIO]:
    """The input's bytes; closed afterwards unless they are the process's own.

    raises  UsageError, InputError
    """
    check_input(in_name, pipes)
    if in_name == PIPE and pipes.stdin is not None:
        yield pipes.stdin
        return
    try:
        source = Path(in_name).open("rb")  # noqa: SIM115 - closed below, refused here
    except OSError as cause:
        raise InputError(in_name, f"cannot be opened: {cause.strerror}", "Check its permissions.") from cause
    with source:
        yield source


@contextmanager
def opened_for_writing(destination: Destination, pipes: Pipes) -> Iterator[BinaryIO]:
    """The output's bytes; a file is closed afterwards, standard output is flushed.

    raises  OutputError
    """
    if destination.is_pipe and pipes.stdout is not None:
        yield pipes.stdout
        with writing(destination.shown_name):
            pipes.stdout.flush()
        return
    with writing(destination.shown_name):
        if not destination.is_direct and Path(destination.written_name).exists():
            _log.info("%s of an earlier run is replaced", destination.written_name)
        out = Path(destination.written_name).open("wb")  # noqa: SIM115 - closing can fail, and is checked
    try:
        yield out
    except BaseException:
        with suppress(OSError):
            out.close()
        raise
    with writing(destination.shown_name):
        out.close()


@contextmanager
def writing(name: str) -> Iterator[None]:
    """What the system refuses inside becomes an OutputError about `name`."""
    try:
        yield
    except OSError as cause:
        reason = "the reader closed the pipe" if cause.errno == errno.EPIPE else cause.strerror or str(cause)
        raise OutputError(
            name,
            f"cannot be written: {reason}",
            _NEXT_STEPS.get(cause.errno or 0, "Check the disk and its permissions."),
        ) from cause


def is_terminal(stream: BinaryIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
