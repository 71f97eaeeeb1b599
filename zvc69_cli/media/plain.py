"""y4m and raw yuv, written."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.errors import OutputError
from zvc69_cli.frames import UNSPECIFIED, CopiedPacket, CopiedStream, Frame, Samples, VideoFormat
from zvc69_cli.media.bytestream import reason
from zvc69_cli.media.settings import OutputSettings
from zvc69_cli.media.uncompressed import ASSUMED_RATE
from zvc69_cli.media.y4m import FRAME_MAGIC, header_line


class PlainSink:
    """Frames one after the other; what only a container can hold is named in the notes."""

    format_name = ""

    def __init__(
        self,
        out: BinaryIO,
        name: str,
        video: VideoFormat,
        settings: OutputSettings,
        copied_streams: Sequence[CopiedStream],
        *,
        closes: bool,
    ) -> None:
        """closes: whether `out` ends with this sink."""
        self.notes: list[str] = []
        self._out = out
        self._name = name
        self._closes = closes
        self._video = video
        self._depth = settings.output_depth or video.bit_depth
        self._rate = video.frame_rate or ASSUMED_RATE
        self._first_pts: int | None = None
        self._written = 0
        self._even = True
        if copied_streams:
            media = " and ".join(sorted({stream.media for stream in copied_streams}))
            self.notes.append(f"{self.format_name} cannot hold {media} streams: they are left out")
        if video.rotation_degrees:
            turn = f"a turn of {video.rotation_degrees} degrees when it is shown"
            self.notes.append(f"{self.format_name} cannot say that the picture takes {turn}")
        colour = video.colour
        if {colour.primaries, colour.transfer, colour.matrix} - {0, UNSPECIFIED}:
            self.notes.append(
                f"{self.format_name} cannot say its colours: primaries {colour.primaries}, "
                f"transfer {colour.transfer}, matrix {colour.matrix} (H.273) are lost"
            )
        if note := depth_note(video.bit_depth, self._depth):
            self.notes.append(note)

    def write_frame(self, frame: Frame) -> None:
        self._note_times(frame)
        self._before_frame()
        for plane in (frame.y, frame.u, frame.v):
            samples = at_depth(plane, self._video.bit_depth, self._depth)
            self._write(np.ascontiguousarray(samples).data.cast("B"))
        self._written += 1

    def write_copied(self, packet: CopiedPacket) -> None:
        """Plain frames hold no other stream; the notes said so."""

    def close(self) -> None:
        try:
            self._out.flush()
            if self._closes:
                self._out.close()
        except OSError as error:
            self.abort()
            raise write_error(self._name, error) from error

    def abort(self) -> None:
        if self._closes:
            with contextlib.suppress(OSError):
                self._out.close()

    def _before_frame(self) -> None:
        """What stands before a frame."""

    def _note_times(self, frame: Frame) -> None:
        """Say once that times are lost, where they are not those of a constant frame rate."""
        if self._first_pts is None:
            self._first_pts = frame.pts
        due = Fraction(self._written) / self._rate
        found = (frame.pts - self._first_pts) * self._video.time_base
        if self._even and abs(found - due) * self._rate > Fraction(1, 2):
            self._even = False
            self.notes.append(
                f"{self.format_name} has one constant frame rate, {self._rate} a second: "
                "the frames' own times are lost (mp4 and mkv keep them)"
            )

    def _write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        try:
            while left:
                count = self._out.write(left)
                left = left[len(left) if count is None else count :]
        except (OSError, ValueError) as error:
            raise write_error(self._name, error) from error


class RawSink(PlainSink):
    """Planes and nothing else; 10 bits are two bytes, little endian."""

    format_name = "raw yuv"


class Y4mSink(PlainSink):
    """A line of tags, then frames."""

    format_name = "y4m"

    def __init__(
        self,
        out: BinaryIO,
        name: str,
        video: VideoFormat,
        settings: OutputSettings,
        copied_streams: Sequence[CopiedStream],
        *,
        closes: bool,
    ) -> None:
        super().__init__(out, name, video, settings, copied_streams, closes=closes)
        if video.frame_rate is None:
            self.notes.append(f"the video names no frame rate: the y4m says {ASSUMED_RATE} a second")
        self._write(header_line(video, self._depth, self._rate))

    def _before_frame(self) -> None:
        self._write(FRAME_MAGIC + b"\n")


def at_depth(plane: Samples, depth: int, due: int) -> Samples:
    """Samples of one bit depth at another; going down rounds to nearest."""
    if due > depth:
        return np.left_shift(plane, due - depth, dtype=np.uint16)
    if due < depth:
        half = 1 << (depth - due - 1)
        rounded = np.right_shift(np.add(plane, half, dtype=np.uint16), depth - due)
        reduced: NDArray[np.uint8] = np.minimum(rounded, (1 << due) - 1).astype(np.uint8)
        return reduced
    return plane


def depth_note(depth: int, due: int) -> str:
    """What a change of bit depth loses; "" where it loses nothing."""
    return f"{depth} bits a sample become {due}" if due < depth else ""


def write_error(name: str, error: Exception) -> OutputError:
    """An OutputError for a write that failed: a closed pipe, a full disk, anything else."""
    if isinstance(error, BrokenPipeError):
        return OutputError(name, "the pipe was closed before the end", "Check the program that reads from it.")
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        step = "Make room, or write to another disk." if full else "Check the disk and the permissions."
    else:
        step = "Choose another container or --codec."
    return OutputError(name, f"cannot be written: {reason(error)}", step)
