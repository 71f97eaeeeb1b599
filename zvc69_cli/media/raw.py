"""How the samples of an uncompressed frame lie one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from zvc69_cli.errors import UsageError
from zvc69_cli.frames import Samples

_SHIFTS: Final = {  # of chroma, across and down; None has no chroma
    "gray": None,
    "yuv420p": (1, 1),
    "yuv422p": (1, 0),
    "yuv440p": (0, 1),
    "yuv444p": (0, 0),
    "yuv411p": (2, 0),
}
_CSP_NAMES: Final = {"i400": "gray", "i420": "yuv420p", "i422": "yuv422p", "i444": "yuv444p"}
_INTERLEAVED: Final = {"nv12": 1, "p010le": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLayout:
    """One frame in a file.

    pixel_format      FFmpeg's name
    plane_shapes      samples of each plane, [lines, columns], in the order of the file
    bytes_per_sample  1 or 2; two are little endian
    """

    pixel_format: str
    plane_shapes: tuple[tuple[int, int], ...]
    bytes_per_sample: int

    @property
    def frame_bytes(self) -> int:
        return sum(prod(shape) for shape in self.plane_shapes) * self.bytes_per_sample

    def planes(self, data: Samples) -> list[Samples]:
        """The planes as views into the bytes of one frame."""
        samples = data.view("<u2") if self.bytes_per_sample == 2 else data
        planes: list[Samples] = []
        at = 0
        for shape in self.plane_shapes:
            planes.append(samples[at : at + prod(shape)].reshape(shape))
            at += prod(shape)
        return planes


def frame_layout(pixel_format: str, width: int, height: int) -> FrameLayout:
    """The layout of a planar format, or of nv12 and p010le."""
    if pixel_format in _INTERLEAVED:
        chroma = (height + 1) // 2, (width + 1) // 2 * 2
        shapes: tuple[tuple[int, int], ...] = (height, width), chroma
        return FrameLayout(
            pixel_format=pixel_format, plane_shapes=shapes, bytes_per_sample=_INTERLEAVED[pixel_format]
        )
    base = next(
        name for name in sorted(_SHIFTS, key=len, reverse=True) if _plain(pixel_format).startswith(name)
    )
    shift = _SHIFTS[base]
    shapes = ((height, width),)
    if shift is not None:
        shapes += ((-(-height >> shift[1]), -(-width >> shift[0])),) * 2
    if pixel_format.startswith("yuva"):
        shapes += ((height, width),)
    deep = pixel_format.endswith("le")
    return FrameLayout(pixel_format=pixel_format, plane_shapes=shapes, bytes_per_sample=2 if deep else 1)


def raw_pixel_format(csp: str, depth: int) -> str:
    """FFmpeg's name for --input-csp and --input-depth; raises UsageError for a pair that does not exist."""
    if csp == "nv12" and depth != 8:
        raise UsageError("--input-csp", "nv12 has 8 bits a sample", "Take p010 for 10 bits.")
    if csp in ("nv12", "p010"):
        return "p010le" if csp == "p010" else "nv12"
    return _CSP_NAMES[csp] + ("10le" if depth == 10 else "")


def empty_frame(layout: FrameLayout) -> Samples:
    """Memory for the bytes of one frame."""
    return np.empty(layout.frame_bytes, np.uint8)


def _plain(pixel_format: str) -> str:
    return pixel_format.replace("yuva", "yuv")
