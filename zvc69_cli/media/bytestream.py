"""Bytes from a file or a pipe, in the pieces that are asked for."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import BinaryIO, Final

from zvc69_cli.errors import InputError

_CHUNK_BYTES: Final = 1 << 20
_WAIT_S: Final = 0.005


class ByteStream:
    """A source of bytes that loops over short reads and can look ahead; it never seeks a pipe.

    PyAV takes it as a file object that cannot seek (`read`), so bytes looked at are not lost to it.
    """

    def __init__(
        self, stream: BinaryIO, name: str, size_bytes: int | None = None, *, closes: bool = False
    ) -> None:
        """closes: whether the stream ends with this object."""
        self.name = name
        self.size_bytes = size_bytes
        self._stream = stream
        self._ahead = b""
        self._closes = closes

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer only at the end; they will be read again."""
        while len(self._ahead) < count:
            piece = self._next(count - len(self._ahead))
            if not piece:
                break
            self._ahead += piece
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; b"" only at the end."""
        if self._ahead:
            piece, self._ahead = self._ahead[:count], self._ahead[count:]
            return piece
        return self._next(count)

    def read_into(self, target: memoryview) -> int:
        """Fill `target`; returns the bytes read, fewer only at the end."""
        filled = 0
        while filled < len(target):
            piece = self.read(min(len(target) - filled, _CHUNK_BYTES))
            if not piece:
                break
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def read_line(self, limit: int) -> bytes:
        """The next line without its newline; fewer bytes at the end, `limit` + 1 where it is longer."""
        line = bytearray()
        while len(line) <= limit:
            piece = self.peek(256)
            if not piece:
                break
            newline = piece.find(b"\n")
            if newline >= 0:
                line += self.read(newline)
                self.read(1)
                break
            line += self.read(len(piece))
        return bytes(line[: limit + 1])

    def skip(self, count: int) -> int:
        """Pass over bytes; returns how many there were."""
        passed = 0
        while passed < count:
            piece = self.read(min(count - passed, _CHUNK_BYTES))
            if not piece:
                break
            passed += len(piece)
        return passed

    def close(self) -> None:
        if self._closes:
            self._stream.close()

    def _next(self, count: int) -> bytes:
        while True:
            try:
                piece: bytes | None = self._stream.read(count)
            except OSError as error:
                raise InputError(
                    self.name, f"cannot be read: {reason(error)}", "Check the disk or the pipe."
                ) from error
            if piece is not None:
                return piece
            time.sleep(_WAIT_S)  # a pipe that does not block has nothing yet


def open_file(path: str) -> ByteStream:
    """The bytes of a file; raises InputError for what is missing, a directory or not readable."""
    try:
        stream = Path(path).open("rb", buffering=_CHUNK_BYTES)  # noqa: SIM115  # the ByteStream closes it
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "Check the name and the folder.") from error
    except IsADirectoryError as error:
        raise InputError(path, "is a directory, should be a video file", "Name a file inside it.") from error
    except (OSError, ValueError) as error:
        raise InputError(
            path, f"cannot be opened: {reason(error)}", "Check the name and the permissions."
        ) from error
    about = os.fstat(stream.fileno())
    size_bytes = about.st_size if stat.S_ISREG(about.st_mode) else None
    return ByteStream(stream, path, size_bytes, closes=True)


def reason(error: Exception) -> str:
    """The operating system's or FFmpeg's words for an error, without its number."""
    return (getattr(error, "strerror", None) or str(error)).lower().rstrip(".")
