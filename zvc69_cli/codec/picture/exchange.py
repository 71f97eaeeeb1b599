"""Frames of one video as planes where the networks run, and back.

Where networks keep arrays in a device's memory, samples travel as they are and everything else happens there; a CPU has
NumPy do the same.
"""

from __future__ import annotations

import numpy as np

from zvc69_cli.codec.networks import Networks, Picture, Tensor
from zvc69_cli.codec.picture.planes import BLOCK, SAMPLE_PARTS, continued_plane, cropped_frame, padded_planes
from zvc69_cli.codec.picture.skipping import picture_error
from zvc69_cli.frames import Frame, VideoFormat, align_dimensions


class PictureExchange:
    """What goes between the frames of one video and the planes that its networks are given and yield."""

    def __init__(self, video: VideoFormat, networks: Networks) -> None:
        self._video, self._networks = video, networks

    @property
    def peak(self) -> int:
        """The largest number in decoded planes, which are whole ones: they count parts of a sample."""
        return self._video.peak * SAMPLE_PARTS

    def source(self, frame: Frame) -> Picture:
        """A frame's padded planes in 0..1."""
        if not self._networks.keeps_arrays:
            return padded_planes(frame, self._video)
        width, height = align_dimensions(self._video.width, self._video.height, BLOCK)
        return self._networks.take((frame.y, frame.u, frame.v), height, width, self._video.peak)

    def shown(self, picture: Picture, pts: int) -> Frame:
        """A frame of the video's size from decoded planes, padded as they are."""
        video = self._video
        if not self._networks.keeps_arrays:
            return cropped_frame(picture, video, pts)
        size, chroma = (video.height, video.width), (video.chroma_height, video.chroma_width)
        y, u, v = self._networks.give(picture, size, chroma, video.bit_depth)
        return Frame(y=y, u=u, v=v, pts=pts)

    def error(self, source: Picture, decoded: Picture) -> float:
        """codec.picture.skipping.picture_error between what `source` yields and decoded planes."""
        if not self._networks.keeps_arrays:
            return picture_error(source, decoded, self.peak)
        return self._networks.picture_error(source, decoded, self.peak)


def continued(plane: Tensor, networks: Networks, multiple: int) -> Tensor:
    """A plane continued by its last column and row until its sides are multiples of `multiple`."""
    rows, columns = (-(-side // multiple) * multiple for side in plane.shape)
    if (rows, columns) == tuple(plane.shape):
        return plane
    if networks.keeps_arrays:
        return networks.continued(plane, rows, columns)
    return continued_plane(np.asarray(plane), rows, columns)
