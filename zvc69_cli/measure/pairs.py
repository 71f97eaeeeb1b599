"""Two videos as pairs of frames, or an error that says what does not fit and which flag would make it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.frames import Frame, Samples, VideoFormat
from zvc69_cli.measure.program_encoder import PIXEL_FORMATS
from zvc69_cli.measure.settings import PairSettings
from zvc69_cli.media.pictures import picture_of, views
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import ALREADY_CODED, open_source
from zvc69_cli.pipeline.engine import Engines
from zvc69_cli.pipeline.places import PIPE, Pipes, check_input
from zvc69_cli.pipeline.video_file import VideoFile
from zvc69_cli.runtime.settings import RunSettings

RAW_SUFFIXES: Final = (".yuv", ".raw")
SAME_RATE: Final = 0.001  # how far two rates may be apart, of the one: 23.976 and 24 differ by this much
_SCALING: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def refuse_pipe_twice(reference: str, distorted: Sequence[str]) -> None:
    """Raises UsageError where standard input would have to be read more than once."""
    is_read_again = reference == PIPE and len(distorted) > 1
    if is_read_again or [reference, *distorted].count(PIPE) > 1:
        raise UsageError(
            PIPE,
            "is standard input, which is read only once",
            "Write the video to a file, and give its name.",
        )


class Video:
    """A file's frames, from a .zvc69 or from anything that PyAV opens, or y4m on standard input; a context manager.

    name   of the file, or PIPE
    video  true of every frame
    """

    def __init__(
        self, name: str, part: InputSettings, run: RunSettings, *, engines: Engines | None = None
    ) -> None:
        """Raises UsageError, InputError, DamagedStream, UnknownBundle, RuntimeUnavailable."""
        check_input(name, Pipes(stdin=getattr(sys.stdin, "buffer", None)))
        self.name = name
        self._stack = ExitStack()
        self._frames: Iterator[Frame]
        if is_zvc69(name):
            stored = self._stack.enter_context(VideoFile(name, run, engines=engines))
            if part.seek:
                stored.seek(part.seek)
            self.video = stored.video
            self.frame_count = None if part.frames is None else part.frames
            self._frames = islice(iter(stored), part.frames)
        else:
            is_raw = Path(name).suffix.lower() in RAW_SUFFIXES
            plain = InputSettings(
                seek=part.seek, frames=part.frames, interlace="progressive", audio=False, subtitles=False
            )
            source = open_source(name, replace(part, audio=False, subtitles=False) if is_raw else plain)
            self._stack.callback(source.close)
            self.video = source.video
            self.frame_count = source.frame_count
            self._frames = (item for item in source if isinstance(item, Frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames as watched, once; raises InputError, DamagedStream."""
        return self._frames


def is_zvc69(name: str) -> bool:
    """Whether a file is one; what comes on standard input is looked at where it is read."""
    if name == PIPE:
        return False
    try:
        with Path(name).open("rb") as file:
            return file.read(len(ALREADY_CODED)) == ALREADY_CODED
    except OSError as cause:
        raise InputError(name, f"cannot be opened: {cause.strerror}", "Check its permissions.") from cause


def parts_of(part: InputSettings, pairing: PairSettings) -> tuple[InputSettings, InputSettings]:
    """What to read of REF and of DIST."""
    ahead = max(0, -pairing.offset), max(0, pairing.offset)
    reference, distorted = (replace(part, seek=part.seek + skipped) for skipped in ahead)
    return reference, distorted


class Pairs:
    """The frames of two videos side by side.

    video  of every frame that comes out: the size of REF, the greater depth of the two
    notes  what was changed to make them fit
    """

    def __init__(self, reference: Video, distorted: Video, pairing: PairSettings) -> None:
        """Raises InputError where size or rate differ, naming the flag that would help."""
        self.notes: list[str] = []
        self._reference, self._distorted, self._pairing = reference, distorted, pairing
        first, second = reference.video, distorted.video
        self._check_size(first, second)
        self._check_rate(first, second)
        depth = max(first.bit_depth, second.bit_depth)
        if first.bit_depth != second.bit_depth:
            self.notes.append(
                f"{first.bit_depth} and {second.bit_depth} bits a sample are compared at {depth} bits"
            )
        self.video = replace(first, bit_depth=depth)
        self._scaler = VideoReformatter()

    def __iter__(self) -> Iterator[tuple[Frame, Frame]]:
        """(reference, distorted), once; raises InputError where one of the two ends first."""
        first, second = iter(self._reference), iter(self._distorted)
        for count in range(1 << 62):
            reference, distorted = next(first, None), next(second, None)
            if reference is None or distorted is None:
                if (reference is None) != (distorted is None) and not self._pairing.shortest:
                    raise self._ends_early(count, is_reference=reference is None)
                return
            yield self._deepened(reference), self._deepened(self._scaled(distorted))

    def _check_size(self, first: VideoFormat, second: VideoFormat) -> None:
        if (first.width, first.height) == (second.width, second.height):
            return
        sizes = f"{second.width}x{second.height}, {self._reference.name} is {first.width}x{first.height}"
        if not self._pairing.scale:
            raise InputError(
                self._distorted.name,
                f"its size is {sizes}",
                "--scale makes it as large as the reference; without, equal sizes are due.",
            )
        self.notes.append(f"{self._distorted.name} is scaled to {first.width}x{first.height} (bicubic)")

    def _check_rate(self, first: VideoFormat, second: VideoFormat) -> None:
        if first.frame_rate is None or second.frame_rate is None:
            return
        apart = abs(first.frame_rate - second.frame_rate) / first.frame_rate
        if apart < SAME_RATE:
            return
        if not self._pairing.ignore_rate:
            raise InputError(
                self._distorted.name,
                f"its rate is {float(second.frame_rate):g} frames a second, "
                f"that of {self._reference.name} {float(first.frame_rate):g}",
                "--ignore-rate pairs them frame by frame; without, equal rates are due.",
            )
        self.notes.append("the frame rates differ: frames are paired by their number")

    def _ends_early(self, count: int, *, is_reference: bool) -> InputError:
        one, other = self._reference.name, self._distorted.name
        if not is_reference:
            one, other = other, one
        return InputError(
            one,
            f"ends after {count} frames, {other} goes on",
            f"--shortest stops there, --frames {max(1, count)} too; --offset N skips frames at one's beginning.",
        )

    def _scaled(self, frame: Frame) -> Frame:
        own = self._distorted.video
        if frame.y.shape == (self.video.height, self.video.width):
            return frame
        form = PIXEL_FORMATS[own.bit_depth]
        picture = self._scaler.reformat(
            picture_of([frame.y, frame.u, frame.v], form, own.width, own.height),
            width=self.video.width,
            height=self.video.height,
            format=form,
            interpolation=_SCALING,
            threads=1,
        )
        y, u, v = (plane.copy() for plane in views(picture))
        return replace(frame, y=y, u=u, v=v)

    def _deepened(self, frame: Frame) -> Frame:
        return deepened(frame, self.video.bit_depth)


def deepened(frame: Frame, bit_depth: int) -> Frame:
    """The frame at 10 bits where these are asked for and it has 8."""
    if bit_depth == 8 or frame.y.dtype != np.uint8:
        return frame

    def wide(plane: Samples) -> Samples:
        return np.left_shift(plane, 2, dtype=np.uint16)

    return replace(frame, y=wide(frame.y), u=wide(frame.u), v=wide(frame.v))


def shallowed(frame: Frame, bit_depth: int) -> Frame:
    """The frame at 8 bits, rounded, where these are asked for and it has 10."""
    if bit_depth != 8 or frame.y.dtype == np.uint8:
        return frame

    def narrow(plane: Samples) -> Samples:
        rounded = np.right_shift(np.add(plane, 2, dtype=np.uint16), 2)
        return np.minimum(rounded, 255).astype(np.uint8)

    return replace(frame, y=narrow(frame.y), u=narrow(frame.u), v=narrow(frame.v))
