"""Between PyAV's pictures and planes: views where the samples fit, conversions with a note elsewhere."""

from __future__ import annotations

from typing import Final

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from zvc69_cli.errors import InputError
from zvc69_cli.frames import Samples
from zvc69_cli.media.bytestream import reason

Planes = tuple[Samples, Samples, Samples]

BT709: Final = 1
LIMITED, FULL = 1, 2

_NATIVE: Final = {"yuv420p": 8, "yuvj420p": 8, "yuv420p10le": 10}
_TARGET: Final = {8: "yuv420p", 10: "yuv420p10le"}
_GREY: Final = {8: "gray", 10: "gray10le"}
_SCALING: Final = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT
)


class PictureReader:
    """Turns pictures of any pixel format into 4:2:0 planes of one bit depth.

    where      the input, for messages
    bit_depth  8 or 10: that of the first picture's samples, rounded up, never reduced from 10 to 8
    notes      gains one sentence for each format that had to be converted with a loss
    """

    def __init__(self, where: str, first: av.VideoFormat, notes: list[str]) -> None:
        self.bit_depth = 8 if _bits(first) <= 8 else 10
        self._where = where
        self._notes = notes
        self._noted: set[str] = set()
        self._scaler = VideoReformatter()

    def planes(self, picture: av.VideoFrame) -> Planes:
        """y, u, v: views into the picture where no sample has to change; raises InputError."""
        name = picture.format.name
        if _NATIVE.get(name) == self.bit_depth:
            return _three(views(picture))
        if name not in self._noted:
            self._noted.add(name)
            if note := conversion_note(picture.format, self.bit_depth):
                self._notes.append(note)
        try:
            if name.startswith("gray"):
                return self._grey(picture)
            return _three(views(self._convert(picture, _TARGET[self.bit_depth])))
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                self._where,
                f"pixel format {name} cannot be converted to 4:2:0: {reason(error)}",
                f"Convert it first: `ffmpeg -i IN -pix_fmt {_TARGET[self.bit_depth]} OUT.mkv`.",
            ) from error

    def _grey(self, picture: av.VideoFrame) -> Planes:
        luma = views(self._convert(picture, _GREY[self.bit_depth]))[0]
        chroma_shape = (luma.shape[0] + 1) // 2, (luma.shape[1] + 1) // 2
        chroma = np.full(chroma_shape, 1 << (self.bit_depth - 1), luma.dtype)
        return _three([luma, chroma, chroma])

    def _convert(self, picture: av.VideoFrame, target: str) -> av.VideoFrame:
        if picture.format.is_rgb or picture.format.has_palette:
            return self._scaler.reformat(
                picture,
                format=target,
                interpolation=_SCALING,
                dst_colorspace=BT709,
                dst_color_range=LIMITED,
                threads=1,
            )
        kept = FULL if is_full_range(picture) else picture.color_range
        return self._scaler.reformat(
            picture,
            format=target,
            interpolation=_SCALING,
            src_color_range=kept,
            dst_color_range=kept,
            threads=1,
        )


def is_rgb(form: av.VideoFormat) -> bool:
    """Whether the samples have no matrix yet, so that converting chooses one."""
    return form.is_rgb or form.has_palette


def is_full_range(picture: av.VideoFrame) -> bool:
    return picture.format.name.startswith("yuvj") or picture.color_range == FULL


def views(picture: av.VideoFrame) -> list[Samples]:
    """The planes of a planar picture as arrays over its own memory, without line padding."""
    dtype = np.dtype(np.uint8) if _bits(picture.format) <= 8 else np.dtype("<u2")
    planes: list[Samples] = []
    for plane in picture.planes:
        lines: Samples = np.frombuffer(plane, dtype).reshape(plane.height, -1)  # type: ignore[call-overload]
        planes.append(lines[:, : plane.width])
    return planes


def picture_of(planes: list[Samples], pixel_format: str, width: int, height: int) -> av.VideoFrame:
    """A picture that holds copies of the planes; nv12 and p010 take u and v as one plane."""
    picture = av.VideoFrame(width, height, pixel_format)
    for plane, samples in zip(picture.planes, planes, strict=True):
        target: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
        lines = np.ascontiguousarray(samples).view(np.uint8).reshape(plane.height, -1)
        target[:, : lines.shape[1]] = lines
    return picture


def conversion_note(form: av.VideoFormat, bit_depth: int) -> str:
    """What is lost or chosen on the way to 4:2:0; "" where every sample survives."""
    facts: list[str] = []
    if is_rgb(form):
        facts.append("the BT.709 matrix in limited range is applied")
    if lost := _lost_chroma(form):
        facts.append(f"chroma resolution {lost}")
    if any(component.is_alpha for component in form.components):
        facts.append("the alpha channel is dropped")
    if _bits(form) > bit_depth:
        facts.append(f"{_bits(form)} bits a sample become {bit_depth}")
    if form.name.startswith("gray"):
        facts.append("the missing chroma is neutral")
    return f"{form.name} converted to {_TARGET[bit_depth]}: {', '.join(facts)}" if facts else ""


def _lost_chroma(form: av.VideoFormat) -> str:
    if form.name.startswith("gray"):
        return ""
    chroma = [component for component in form.components if component.is_chroma]
    if is_rgb(form) or not chroma:
        return "halves in both directions"
    probe = av.VideoFormat(form.name, 64, 64)
    across, down = probe.chroma_width() > 32, probe.chroma_height() > 32
    if across and down:
        return "halves in both directions"
    if down:
        return "halves vertically" if probe.chroma_width() == 32 else "changes shape"
    return "halves horizontally" if across else ""


def _bits(form: av.VideoFormat) -> int:
    return max((component.bits for component in form.components), default=8)


def _three(planes: list[Samples]) -> Planes:
    y, u, v = planes
    return y, u, v
