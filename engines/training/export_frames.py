"""Frames that an export looks at, planned and coded as an encoder would."""

from __future__ import annotations

import numpy as np

from engines.training.data import Planes
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.plan.gop import PlannedFrame, Scheduler
from zvc69_cli.codec.quantised import QuantisedFrame
from zvc69_cli.codec.rate.quality import base_q_256
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.frames import Frame, VideoFormat

FRAME_TICKS = 3000  # of the usual time base, at 30 frames a second


def code_alone(encoder: Encoder, frame: Frame) -> QuantisedFrame:
    """A frame by itself, as an encoder of keyframes only codes it."""
    (planned,) = Scheduler(encoder.video, encoder.settings, encoder.base_q_256).push(frame)
    return encoder.quantise(planned)


def planned_frames(
    video: VideoFormat, settings: CodecSettings, clip: Planes, height: int, width: int, count: int
) -> list[PlannedFrame]:
    """The beginning of a clip in coding order, cut to a size."""
    scheduler = Scheduler(video, settings, base_q_256(settings))
    planned: list[PlannedFrame] = []
    for at in range(min(count, len(clip[0]))):
        frame = cropped_frame(tuple(plane[at] for plane in clip), height, width, pts=at * FRAME_TICKS)
        planned += scheduler.push(frame)
    return planned + scheduler.flush()


def cropped_frame(planes: tuple[np.ndarray, ...], height: int, width: int, pts: int = 0) -> Frame:
    """The upper left corner of planes of 8 bits, of a size of luma."""
    y, u, v = (
        np.ascontiguousarray(plane[: height // factor, : width // factor])
        for plane, factor in zip(planes, (1, 2, 2), strict=True)
    )
    return Frame(y=y, u=u, v=v, pts=pts)
