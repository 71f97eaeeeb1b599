"""Planes as the transforms see them: padded to whole blocks, in 0..1."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.networks import F32, U8, Picture
from zvc69_cli.frames import Frame, Samples, VideoFormat, align_dimensions

BLOCK: Final = 16
SEARCH_BLOCK: Final = 64
# Parts of a sample that decoded planes are whole numbers of. Two decoders that differ by a rounding somewhere differ in
# what is predicted from it, and once it has spread by about such a part everywhere: behind 250 frames that was up to
# 0.24 dB in whole samples, and is up to 0.016 dB in sixteenths.
SAMPLE_PARTS: Final = 16
SEARCH_MARGIN: Final = 32  # samples around a plane: a block farther out sees the same
_HALF_TAPS: Final = (-1, 4, -11, 40)  # of half samples in H.265, mirrored; their sum is 64


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


def cropped_frame(picture: Picture, video: VideoFormat, pts: int) -> Frame:
    """A frame of the video's size from padded planes in parts of a sample."""
    y, u, v = (np.asarray(plane) for plane in picture)
    chroma = (slice(video.chroma_height), slice(video.chroma_width))
    return Frame(
        y=_samples(y[: video.height, : video.width], video),
        u=_samples(u[chroma], video),
        v=_samples(v[chroma], video),
        pts=pts,
    )


def search_plane(y: F32) -> F32:
    """A padded luma plane as the motion search sees it, continued to multiples of SEARCH_BLOCK."""
    height, width = (-(-side // SEARCH_BLOCK) * SEARCH_BLOCK for side in y.shape)
    return continued_plane(y, height, width)


def continued_plane(plane: F32, height: int, width: int) -> F32:
    """A plane continued to that size by its last column and row."""
    rows, columns = height - plane.shape[0], width - plane.shape[1]
    return np.pad(plane, ((0, rows), (0, columns)), mode="edge") if rows or columns else plane


def quarter_samples(y: F32, peak: int) -> U8:
    """A luma plane at every quarter sample, for the search: uint8 [16, H + 64, W + 64].

    For each quarter down and each quarter to the right (4 * down + right), the plane between its samples, continued
    by its edges; half samples as in H.265, quarters as means of these and whole ones.

    y  [H, W], whole numbers in 0..peak
    """
    whole = np.rint(y * np.float32(255 / peak))
    edges = (SEARCH_MARGIN + 3, SEARCH_MARGIN + 4)
    padded = np.pad(whole.astype(np.int16), (edges, edges), mode="edge")
    height, width = y.shape[0] + 2 * SEARCH_MARGIN, y.shape[1] + 2 * SEARCH_MARGIN
    samples = np.empty((16, height, width), np.uint8)
    for row, down in enumerate(_quarters(padded, 0)):
        for column, across in enumerate(_quarters(down, 1)):
            samples[4 * row + column] = across
    return samples


def _quarters(plane: NDArray[np.int16], axis: int) -> list[NDArray[np.int16]]:
    """A plane, and what lies one, two and three quarters of the way to the next sample; 7 shorter along the axis."""
    count = plane.shape[axis] - 7

    def cut(start: int) -> NDArray[np.int16]:
        return plane[start : start + count] if axis == 0 else plane[:, start : start + count]

    half = np.full(cut(0).shape, 32, np.int16)
    for place, tap in enumerate(_HALF_TAPS):
        pair = cut(place) + cut(7 - place)
        pair *= np.int16(tap)
        half += pair
    half >>= 6
    np.clip(half, 0, 255, out=half)
    whole, following = cut(3), cut(4)
    return [whole, _mean(whole, half), half, _mean(half, following)]


def _mean(left: NDArray[np.int16], right: NDArray[np.int16]) -> NDArray[np.int16]:
    mean = left + right
    mean += np.int16(1)
    mean >>= 1
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
    whole: F32 = np.floor(plane * np.float32(1 / SAMPLE_PARTS) + np.float32(0.5))
    return whole.astype(np.uint8) if video.bit_depth == 8 else whole.astype(np.uint16)


def _padded(plane: Samples, height: int, width: int, peak: int) -> F32:
    scaled: NDArray[np.float32] = np.multiply(plane, np.float32(1 / peak), dtype=np.float32)
    return continued_plane(scaled, height, width)
