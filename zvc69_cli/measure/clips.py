"""The test material of a folder: pictures as clips of one frame, and the first frames of videos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.video.reformatter import ColorRange, Colorspace

from zvc69_cli.errors import InputError
from zvc69_cli.frames import ColourTags, Frame, VideoFormat
from zvc69_cli.media.pictures import views
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import open_source

PICTURES: Final = (".png",)
VIDEOS: Final = (".mkv", ".mp4", ".y4m")
PICTURE_RATE: Final = Fraction(25)  # one frame has no rate; encoders want one
BT601: Final = ColourTags(matrix=6, colour_range=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Frames to measure with.

    path   the file that they are from
    name   of the file, without its suffix
    group  the folder that the file lies in when that is not the folder searched; "" otherwise
    """

    path: Path
    name: str
    group: str
    video: VideoFormat
    frames: tuple[Frame, ...]

    @property
    def pixels(self) -> int:
        """Luma samples of all frames together."""
        return self.video.width * self.video.height * len(self.frames)

    @property
    def content_hash(self) -> str:
        """SHA-256 of size, depth and samples, in hexadecimal."""
        digest = hashlib.sha256(f"{self.video.width}x{self.video.height} {self.video.bit_depth} bits".encode())
        for frame in self.frames:
            for plane in (frame.y, frame.u, frame.v):
                digest.update(plane.tobytes())
        return digest.hexdigest()


def find_clips(folder: Path, patterns: str, suffixes: Sequence[str] = PICTURES + VIDEOS) -> list[Path]:
    """Files of a folder, and of the folders in it, that can be measured with, by name.

    patterns  of names without suffix, as a shell has them, with commas between; each has to match something
    raises    InputError where one matches nothing
    """
    if not folder.is_dir():
        raise InputError(str(folder), "is not a folder", "Name a folder that holds png, mkv, mp4 or y4m files.")
    inside = sorted([*folder.glob("*"), *folder.glob("*/*")])
    usable = [path for path in inside if path.suffix.lower() in suffixes]
    found: set[Path] = set()
    for pattern in patterns.split(","):
        matching = [path for path in usable if fnmatch(path.stem, pattern.strip())]
        if not matching:
            kinds = ", ".join(suffix.removeprefix(".") for suffix in suffixes[:-1])
            raise InputError(
                str(folder),
                f"holds no {kinds} or {suffixes[-1].removeprefix('.')} file whose name matches {pattern!r}",
                "Name a folder with test clips, or another pattern.",
            )
        found.update(matching)
    return sorted(found)


def read_clip(path: Path, folder: Path, frame_limit: int | None) -> Clip:
    """A file's first frames in 4:2:0; every frame where the limit is None.

    Pictures become BT.601 limited range by swscale; videos are read as `zvc69 encode` reads them.
    raises  InputError for a file that cannot be decoded
    """
    is_picture = path.suffix.lower() in PICTURES
    video, frames = _read_picture(path) if is_picture else _read_video(path, frame_limit)
    group = path.parent.name if path.parent != folder else ""
    return Clip(path=path, name=path.stem, group=group, video=video, frames=frames)


def _read_picture(path: Path) -> tuple[VideoFormat, tuple[Frame, ...]]:
    try:
        with av.open(str(path)) as container:
            picture = next(container.decode(video=0)).reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
            )
        video = VideoFormat(
            width=picture.width,
            height=picture.height,
            time_base=1 / PICTURE_RATE,
            frame_rate=PICTURE_RATE,
            colour=BT601,
        )
    except (av.FFmpegError, StopIteration, IndexError, OSError, ValueError) as cause:
        raise InputError(str(path), f"cannot be decoded: {cause}", "Take it out of the folder.") from cause
    y, u, v = (plane.copy() for plane in views(picture))
    return video, (Frame(y=y, u=u, v=v, pts=0),)


def _read_video(path: Path, frame_limit: int | None) -> tuple[VideoFormat, tuple[Frame, ...]]:
    source = open_source(str(path), InputSettings(frames=frame_limit, audio=False, subtitles=False))
    try:
        frames = tuple(owned(each) for each in source if isinstance(each, Frame))
    finally:
        source.close()
    return source.video, frames


def owned(frame: Frame) -> Frame:
    """The frame with samples of its own, since a source may lend views into a picture."""
    return replace(frame, y=frame.y.copy(), u=frame.u.copy(), v=frame.v.copy())
