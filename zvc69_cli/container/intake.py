"""The bytes of a stream as they come: short reads, a checksum over all of them, and a way back to a mark."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

from zvc69_cli.container.fields import EndOfBytes, Take
from zvc69_cli.errors import InputError

PIECE_BYTES: Final = 1 << 20  # no read asks for more, so that a lie about a length takes no memory
SCAN_BYTES: Final = 1 << 16


class Intake:
    """Takes bytes from a file or a pipe in order.

    What was taken since the last mark can be given back; what lies before it is in the digest.
    `offset` counts from where the stream begins in its source.
    """

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source = source
        self._name = name
        self._begin = self._source.tell() if self.is_seekable else 0
        self._hash = hashlib.sha256()
        self._taken: list[bytes] = []
        self._ahead = b""  # given back, to be taken again
        self._ahead_at = 0
        self._ahead_marked_at = 0
        self._marked_at = 0
        self.offset = 0

    @property
    def is_seekable(self) -> bool:
        """Whether the source can go back."""
        seekable = getattr(self._source, "seekable", None)
        return bool(seekable is not None and seekable())

    @property
    def digest(self) -> bytes:
        """SHA-256 of all bytes before the mark."""
        return self._hash.digest()

    @property
    def taken_bytes(self) -> int:
        """How many bytes were taken since the mark."""
        return self.offset - self._marked_at

    def take(self, count: int) -> bytes:
        """The next `count` bytes; raises EndOfBytes where fewer are left, InputError where reading fails."""
        if self._ahead:
            piece = self._ahead[self._ahead_at : self._ahead_at + count]
            self._ahead_at += len(piece)
        else:
            piece = self._pull(min(count, PIECE_BYTES))
        if len(piece) < count:
            pieces, missing = [piece], count - len(piece)
            while missing:
                more = self._pull(min(missing, PIECE_BYTES))
                if not more:
                    break
                pieces.append(more)
                missing -= len(more)
            piece = b"".join(pieces)
        self._taken.append(piece)
        self.offset += len(piece)
        if len(piece) < count:
            raise EndOfBytes
        return piece

    def mark(self) -> None:
        """Settles what was taken: it goes into the digest and cannot be given back any more."""
        for piece in self._taken:
            self._hash.update(piece)
        self._taken.clear()
        self._marked_at = self.offset
        if self._ahead_at == len(self._ahead):
            self._ahead, self._ahead_at = b"", 0
        self._ahead_marked_at = self._ahead_at

    def rewind(self) -> None:
        """Gives back what was taken since the mark."""
        given_back = self.taken_bytes
        if given_back == self._ahead_at - self._ahead_marked_at:
            self._ahead_at = self._ahead_marked_at
        else:
            self._ahead = b"".join(self._taken) + self._ahead[self._ahead_at :]
            self._ahead_at = self._ahead_marked_at = 0
        self._taken.clear()
        self.offset = self._marked_at

    def skip_to(self, patterns: Sequence[bytes]) -> bool:
        """Takes, and settles, all bytes before the nearest of the patterns; False where the end comes first.

        patterns  of two bytes each
        """
        while True:
            places = (self._ahead.find(pattern, self._ahead_at) for pattern in patterns)
            nearest = min((place for place in places if place >= 0), default=-1)
            if nearest >= 0:
                self.take(nearest - self._ahead_at)
                self.mark()
                return True
            left = len(self._ahead) - self._ahead_at
            self.take(max(0, left - 1))
            self.mark()
            more = self._pull(SCAN_BYTES)
            if not more:
                self.take(len(self._ahead) - self._ahead_at)
                self.mark()
                return False
            self._ahead = self._ahead[self._ahead_at :] + more
            self._ahead_at = self._ahead_marked_at = 0

    def seek(self, offset: int) -> None:
        """Goes to an offset of a seekable source; the digest is worth nothing from then on."""
        self._source.seek(self._begin + offset)
        self._taken.clear()
        self._ahead, self._ahead_at, self._ahead_marked_at = b"", 0, 0
        self.offset = self._marked_at = offset

    def size(self) -> int:
        """Bytes of a seekable source, from where the stream begins."""
        with self.elsewhere():
            return max(0, self._source.seek(0, io.SEEK_END) - self._begin)

    def part(self, offset: int) -> Take:
        """Takes bytes of a seekable source from `offset` on; the place of `take` stays."""

        def take(count: int) -> bytes:
            nonlocal offset
            pieces: list[bytes] = []
            with self.elsewhere(offset):
                while count:
                    piece = self._pull(min(count, PIECE_BYTES))
                    if not piece:
                        raise EndOfBytes
                    pieces.append(piece)
                    count -= len(piece)
                    offset += len(piece)
            return b"".join(pieces)

        return take

    @contextmanager
    def elsewhere(self, offset: int = 0) -> Iterator[None]:
        """A seekable source at `offset`, put back afterwards."""
        here = self._source.tell()
        self._source.seek(self._begin + offset)
        try:
            yield
        finally:
            self._source.seek(here)

    def _pull(self, count: int) -> bytes:
        try:
            return self._source.read(count) or b""
        except OSError as error:
            raise InputError(
                self._name,
                f"cannot be read at byte {self.offset}: {error.strerror or error}",
                "Check the file.",
            ) from error
