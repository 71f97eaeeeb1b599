"""Planes as the transforms see them: padded to whole blocks, in 0..1."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.networks import F32
from zvc69_cli.frames import Frame, Samples, VideoFormat, align_dimensions

BLOCK: Final = 16
SEARCH_BLOCK: Final = 64


def latent_size(video: VideoFormat) -> tuple[int, int]:
    """Rows and columns of the latent's grid."""
    width, height = align_dimensions(video.width, video.height, BLOCK)
    return height // BLOCK, width // BLOCK


def hyper_size(video: VideoFormat) -> tuple[int, int]:
    """Rows and columns of the hyper latent's grid."""
    height, width = latent_size(video)
    return -(-height // 4), -(-width // 4)


def padded_planes(frame: Frame, video: VideoFormat) -> tuple[F32, F32, F32]:
    """The planes of a frame in 0..1, continued at the right and the bottom by their last column and row."""
    width, height = align_dimensions(video.width, video.height, BLOCK)
    return (
        _padded(frame.y, height, width, video.peak),
        _padded(frame.u, height // 2, width // 2, video.peak),
        _padded(frame.v, height // 2, width // 2, video.peak),
    )


def cropped_frame(planes: tuple[F32, F32, F32], video: VideoFormat, pts: int) -> Frame:
    """A frame of the video's size from padded planes of whole samples; undoes `padded_planes`."""
    y, u, v = planes
    chroma = (slice(video.chroma_height), slice(video.chroma_width))
    return Frame(
        y=_samples(y[: video.height, : video.width], video),
        u=_samples(u[chroma], video),
        v=_samples(v[chroma], video),
        pts=pts,
    )


def search_plane(y: F32) -> F32:
    """A padded luma plane as the motion search sees it, continued to multiples of SEARCH_BLOCK."""
    rows, columns = (-side % SEARCH_BLOCK for side in y.shape)
    return np.pad(y, ((0, rows), (0, columns)), mode="edge") if rows or columns else y


def halved(plane: F32) -> F32:
    """A plane of half the size: means of 2x2 samples."""
    rows = plane[0::2] + plane[1::2]
    mean: F32 = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
    return mean


def check_frame(frame: Frame, video: VideoFormat) -> None:
    """Raises ValueError where a frame is not of this format."""
    dtype: type[np.uint8] | type[np.uint16] = np.uint8 if video.bit_depth == 8 else np.uint16
    luma, chroma = (video.height, video.width), (video.chroma_height, video.chroma_width)
    for name, plane, shape in (("y", frame.y, luma), ("u", frame.u, chroma), ("v", frame.v, chroma)):
        if plane.shape != shape or plane.dtype != dtype:
            raise ValueError(
                f"plane {name} is {plane.dtype} {list(plane.shape)}, should be {np.dtype(dtype)} {list(shape)}"
            )


def _samples(plane: F32, video: VideoFormat) -> Samples:
    return plane.astype(np.uint8) if video.bit_depth == 8 else plane.astype(np.uint16)


def _padded(plane: Samples, height: int, width: int, peak: int) -> F32:
    scaled: NDArray[np.float32] = np.multiply(plane, np.float32(1 / peak), dtype=np.float32)
    rows, columns = height - plane.shape[0], width - plane.shape[1]
    return np.pad(scaled, ((0, rows), (0, columns)), mode="edge") if rows or columns else scaled
