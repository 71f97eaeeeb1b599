"""The Python API: a .zvc69 as a sequence of frames that can be sought.

Everything happens in the caller's thread, in the call that asks for it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import takewhile
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from zvc69_cli.errors import DamagedStream, InputError, UsageError, Zvc69Error
from zvc69_cli.frames import Frame, Packet
from zvc69_cli.pipeline.engine import Engines, InstalledEngines
from zvc69_cli.pipeline.order import DisplayOrder, Numbered, Place, numbered
from zvc69_cli.pipeline.sessions import parsed
from zvc69_cli.pipeline.stored import key_before
from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.container.layout import IndexEntry

NANOSECONDS: Final = 1_000_000_000  # finer than that, a time as a float is not what was meant


class VideoFile:
    """A .zvc69 as its frames: iterate, seek, iterate on; a context manager that closes what it opened.

    video   the format of every frame
    header  everything that the stream says of itself
    """

    def __init__(self, source: str | PathLike[str] | BinaryIO, run: RunSettings | None = None, *,
                 engines: Engines | None = None) -> None:  # fmt: skip
        """Raises InputError, DamagedStream, UnknownBundle, RuntimeUnavailable."""
        from zvc69_cli.container.reader import StreamReader

        self._owned: BinaryIO | None = None
        stream: BinaryIO
        if isinstance(source, str | PathLike):
            name = str(source)
            try:
                stream = self._owned = Path(source).open("rb")  # noqa: SIM115 - closed by close()
            except OSError as cause:
                raise InputError(name, f"cannot be opened: {cause.strerror}", "Check the name.") from cause
        else:
            name, stream = str(getattr(source, "name", "stream")), source
        self._name = name
        try:
            self._reader = StreamReader(stream, name)
            self.header = self._reader.header
            self.video = self.header.video
            engine = (engines or InstalledEngines()).for_decoding(self.header, run or RunSettings())
            self._decoder = engine.decoder(self.video, self.header.base_q_256)
        except Zvc69Error:
            self.close()
            raise
        self._coming: Iterator[Numbered] = iter(())
        self._order: DisplayOrder[tuple[int, Frame]] = DisplayOrder()
        self._ready: deque[tuple[int, Frame]] = deque()
        self._has_ended = False
        self._first_wanted = 0  # frames before it are decoded only as far as others are predicted from them
        self._position = 0  # number of the frame that is read next
        self._length: int | None = None
        self._begin()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, where it was opened here."""
        if self._owned is not None:
            self._owned.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames from the current position on; raises DamagedStream, SymbolMismatch."""
        while (frame := self.read()) is not None:
            yield frame

    def read(self) -> Frame | None:
        """The next frame as watched; None at the end."""
        while not self._ready and not self._has_ended:
            try:
                entry = next(self._coming, None)
            except DamagedStream:
                self._coming = numbered(self._stored())  # what is wrong is raised again until a seek
                raise
            shown = self._order.flush() if entry is None else self._decoded(entry)
            self._ready.extend(each for each in shown if each[0] >= self._first_wanted)
            self._has_ended = entry is None
        if not self._ready:
            return None
        number, frame = self._ready.popleft()
        self._position = number + 1
        return frame

    def __len__(self) -> int:
        """Frames in the whole stream; raises InputError where the source cannot seek."""
        if self._length is None:
            keys = self._reader.index()
            length = 0
            if keys:
                self._reader.seek(keys[-1])
                length = keys[-1].frame_number + sum(1 for _ in self._stored())
            self._length = length
            if self._position < length:
                self._go_to(self._position)
        return self._length

    def seek(self, frame_number: int | None = None, *, time_s: float | Fraction | None = None) -> None:
        """Make a frame the next to be read: by its number, counted from 0 as watched, or the one shown at a time.

        time_s  seconds from the first frame
        raises  UsageError where there is no such frame, InputError where the source cannot seek
        """
        if (frame_number is None) == (time_s is None):
            raise UsageError(f"{self._name}: seek", "takes a frame number or time_s", "Give one of them.")
        count = len(self)
        number = self._number_at(time_s) if frame_number is None else frame_number
        if not 0 <= number < count:
            raise UsageError(
                f"{self._name}: seek", f"{number} is out of range 0..{count - 1}", "Seek within the video."
            )
        self._go_to(number)

    def _number_at(self, time_s: float | Fraction | None) -> int:
        """The frame that is shown at a time; -1 before the first, the last one after it."""
        keys = self._reader.index()
        if not keys or time_s is None:
            return -1
        begin = self._key_pts(keys[0])
        ticks = math.floor(Fraction(time_s).limit_denominator(NANOSECONDS) / self.video.time_base)
        at = bisect_right(keys, ticks, key=lambda entry: self._key_pts(entry) - begin)
        if not at:
            return -1
        group = self._group_pts(keys[at - 1])
        return keys[at - 1].frame_number + sum(pts - begin <= ticks for pts in group) - 1

    def _key_pts(self, key: IndexEntry) -> int:
        self._reader.seek(key)
        return next(self._stored()).pts

    def _group_pts(self, key: IndexEntry) -> list[int]:
        self._reader.seek(key)
        packets = self._stored()
        first = next(packets)
        return [first.pts, *(packet.pts for packet in takewhile(lambda packet: not packet.is_key, packets))]

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found wrong with the stream so far, one sentence each; a damaged frame is raised."""
        return tuple(self._reader.problems)

    def _go_to(self, frame_number: int) -> None:
        key = key_before(self._reader.index(), frame_number)
        if key is None:
            raise UsageError(
                f"{self._name}: seek", f"no keyframe leads to frame {frame_number}", "Read from 0."
            )
        self._reader.seek(key)
        self._first_wanted = self._position = frame_number
        self._begin()

    def _begin(self) -> None:
        """Read on from where the reader stands, at a keyframe."""
        self._coming = numbered(self._stored())
        self._order = DisplayOrder()
        self._ready.clear()
        self._has_ended = False

    def _decoded(self, entry: Numbered) -> list[tuple[int, Frame]]:
        """What can be shown, with its number, once this frame is decoded."""
        is_wanted = entry.number >= self._first_wanted
        if not is_wanted and entry.packet.stored_in is None:
            return []
        frame = self._decoder.reconstruct(parsed(self._decoder, entry.packet))
        return self._order.push((entry.number, frame), Place.of(entry.packet))

    def _stored(self) -> Iterator[Packet]:
        while (item := self._reader.read()) is not None:
            if isinstance(item, Packet):
                yield item
