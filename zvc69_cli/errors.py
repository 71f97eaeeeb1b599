"""The refusals: one family for each exit code, every message in three parts.

Where it happened, what was found against what was due, what to do next. Only the command line prints them.
"""

from __future__ import annotations

from typing import Final

SIGNAL_EXIT: Final = 128  # what shells add to a signal's number


class Zvc69Error(Exception):
    """Something that the user should read instead of a traceback.

    where      file, flag or device that it is about
    what       what was found against what was due
    next_step  what to do about it
    """

    exit_code = 1

    def __init__(self, where: str, what: str, next_step: str) -> None:
        super().__init__(where, what, next_step)
        self.where = where
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n{self.next_step}"


class UsageError(Zvc69Error):
    """A flag, a preset or a pair of them cannot be had."""

    exit_code = 2


class InputError(Zvc69Error):
    """The input cannot be opened, read or decoded, or holds nothing to encode."""

    exit_code = 3


class OutputError(Zvc69Error):
    """The output exists already or cannot be written."""

    exit_code = 4


class RuntimeUnavailable(Zvc69Error):
    """The bundle, the device or the memory that is asked for is not there."""

    exit_code = 5


class UnknownBundle(RuntimeUnavailable):
    """The stream was made with networks that are not installed."""


class Aborted(Zvc69Error):
    """The work ended before its end; what was written is kept."""

    exit_code = 6


class Interrupted(Aborted):
    """A signal ended the work early; the exit code is the shell's for that signal."""

    def __init__(self, where: str, what: str, next_step: str, *, signal_number: int) -> None:
        super().__init__(where, what, next_step)
        self.exit_code = SIGNAL_EXIT + signal_number


class DamagedStream(Zvc69Error):
    """Bytes that are not what a writer of the format wrote."""

    exit_code = 7


class NotZvc69(DamagedStream):
    """The file does not begin with the magic of the format."""


class LaterVersion(DamagedStream):
    """The file's major version is later than this program's."""


class DamagedHeader(DamagedStream):
    """A field of the file header or of its extensions is wrong, or their checksum is."""


class DamagedPacket(DamagedStream):
    """A frame header or a payload is wrong, or its checksum is."""


class TruncatedStream(DamagedStream):
    """The bytes end before the structure does."""


class MissingReference(DamagedPacket):
    """A frame predicts from a picture that was not decoded."""


class SymbolMismatch(Zvc69Error):
    """The payload is whole but its symbols are not the encoder's: this machine computes differently."""

    exit_code = 8


class ConstraintMissed(Zvc69Error):
    """A promise asked for with a strict flag could not be kept."""

    exit_code = 9
