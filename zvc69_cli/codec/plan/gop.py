"""Which frame is coded when, as what, and from which others: display order in, coding order out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from zvc69_cli.codec.plan.b_adapt import GroupChoice
from zvc69_cli.codec.plan.forced_keys import ForcedKeyWatch
from zvc69_cli.codec.plan.scenecut import SceneCuts, small_picture
from zvc69_cli.codec.rate.quality import highest_q_256
from zvc69_cli.codec.settings import Q_UNIT, CodecSettings
from zvc69_cli.frames import Frame, FrameKind, VideoFormat

SLOTS: Final = 8  # pictures that a decoder keeps to predict from

# What a frame is given over the base q, in whole indexes: the more others are predicted from it, the more.
# (Against an I frame at 12 and layers at -8, -13, -15: an I frame at 8 takes 0.6 % fewer bits, layers at -5, -9, -11,
# -12 take 0.4 % fewer; four training clips, 17 frames, crf 24 to 38.)
I_Q: Final = 9
LAYER_Q: Final = (0, -6, -10, -12, -13)

_OPEN_KEYINT: Final = 250  # what an open keyint counts as where a share of it is asked for
_USUAL_RATE: Final = 25  # frames a second, where the source does not say


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedFrame:
    """A frame in coding order, with all that was decided about it.

    dts             ticks of the video's time base: strictly increasing in coding order, never above the pts
    q_offset        1/256 of a quality index against the stream's base q; their sum is one
                    that codec.rate.quality.highest_q_256 allows
    temporal_layer  0 for I and P frames, 1.. for B frames
    references      slots of the decoded picture buffer in order of their frames' pts: none for I, the past for P,
                    past and future for B
    stored_in       slot that the decoded frame goes to; None where nobody refers to it
    most_bytes      payload that the frame must not exceed, at whatever q below its own; None where nothing limits it
    """

    frame: Frame
    kind: FrameKind
    coding_index: int
    dts: int
    q_offset: int
    temporal_layer: int
    references: tuple[int, ...]
    stored_in: int | None
    most_bytes: int | None = None


class Scheduler:
    """Plans one video: keyframes, groups of P and B frames, their references and slots, times of decoding.

    A group runs from one anchor (an I or P frame) to the next; between them lies a pyramid of B frames, its middle
    coded first. The last frame before a keyframe is an anchor and nothing refers across a keyframe, so that every
    keyframe opens a closed GOP. At most so many frames are held back as the largest group has.
    """

    def __init__(self, video: VideoFormat, settings: CodecSettings, base_q_256: int) -> None:
        self._video = video
        self._settings = settings
        self._base_q_256 = base_q_256
        self._group_frames = group_frames(settings)
        self._choice = GroupChoice() if settings.b_adapt and self._group_frames > 1 else None
        self._min_keyint = min_keyint(settings, video.frame_rate)
        threshold = settings.scenecut if settings.keyint != 1 else 0
        self._looks = threshold > 0 or self._choice is not None
        self._cuts = SceneCuts(
            threshold=threshold,
            shortest=self._min_keyint,
            longest=settings.keyint if settings.keyint > 0 else _OPEN_KEYINT,
        )
        self._forced = ForcedKeyWatch(settings.forced_keys, video.time_base)
        self._frames_in = 0
        self._waiting: list[Frame] = []
        self._dts: deque[int] = deque()  # of the frames that are not coded yet, as far as it is known
        self._last_pts: int | None = None
        self._since_key = 0
        self._coding_index = 0
        self._anchor = 0  # slot of the last I or P frame
        self._free = set(range(SLOTS))

    @property
    def is_holding(self) -> bool:
        """Whether a frame that was pushed has not come out yet."""
        return bool(self._waiting)

    def push(self, frame: Frame) -> list[PlannedFrame]:
        """Take the next frame as watched; returns what can be coded now, in coding order.

        raises  ValueError where its pts is not above that of the frame before it
        """
        if self._last_pts is None:
            self._dts.extend(_dts_before(frame.pts, self._video, self._settings))
        elif frame.pts <= self._last_pts:
            raise ValueError(f"pts is {frame.pts}, should be above {self._last_pts}")
        self._last_pts = frame.pts
        self._dts.append(frame.pts)
        self._since_key += 1
        picture = small_picture(frame.y, self._video.peak) if self._looks else None
        is_cut = picture is not None and self._cuts.is_cut(picture, self._since_key)
        is_key = self._is_key_due(frame, is_cut=is_cut)
        self._frames_in += 1
        if is_key:
            planned = [*self._close_all(), self._plan_key(frame)]
            if self._choice is not None and picture is not None:
                self._choice.start(picture)
            return planned
        closed = self._close_all() if is_cut else []  # the frames before a cut have their anchor before it
        self._waiting.append(frame)
        if self._choice is not None and picture is not None:
            self._choice.add(picture)
        if is_cut or len(self._waiting) == self._group_frames:
            closed += self._close_group()
        return closed

    def flush(self) -> list[PlannedFrame]:
        """What was held back, the last of it as an anchor."""
        return self._close_all()

    def _is_key_due(self, frame: Frame, *, is_cut: bool) -> bool:
        is_full = 0 < self._settings.keyint <= self._since_key
        is_forced = self._forced.is_due(self._frames_in, frame.pts) or frame.force_key
        return not self._frames_in or is_forced or is_full or (is_cut and self._since_key >= self._min_keyint)

    def _plan_key(self, frame: Frame) -> PlannedFrame:
        self._since_key = 0
        self._free = set(range(SLOTS))
        if self._settings.keyint == 1:
            return self._plan(frame, FrameKind.I)
        self._anchor = self._take_slot()
        return self._plan(frame, FrameKind.I, stored_in=self._anchor)

    def _close_all(self) -> list[PlannedFrame]:
        """The frames that wait, in one group or several."""
        planned = []
        while self._waiting:
            planned += self._close_group()
        return planned

    def _close_group(self) -> list[PlannedFrame]:
        """The first frames that wait, all of them or as many as fit, the last as the anchor that they lie before."""
        length = len(self._waiting) if self._choice is None else self._choice.take_group()
        past, self._anchor = self._anchor, self._take_slot()
        *between, last = self._waiting[:length]
        self._waiting = self._waiting[length:]
        anchor = self._plan(last, FrameKind.P, references=(past,), stored_in=self._anchor)
        planned = [anchor, *self._plan_between(between, past, self._anchor, 1)]
        self._free.add(past)
        return planned

    def _plan_between(self, frames: list[Frame], past: int, future: int, layer: int) -> Iterator[PlannedFrame]:
        """A pyramid of B frames: the middle one, then those before it, then those behind it."""
        if not frames:
            return
        middle = (len(frames) - 1) // 2
        slot = self._take_slot() if len(frames) > 1 else None
        yield self._plan(
            frames[middle],
            FrameKind.B,
            layer=layer,
            references=(past, future),
            stored_in=slot,
        )
        if slot is not None:
            yield from self._plan_between(frames[:middle], past, slot, layer + 1)
            yield from self._plan_between(frames[middle + 1 :], slot, future, layer + 1)
            self._free.add(slot)

    def _plan(
        self,
        frame: Frame,
        kind: FrameKind,
        *,
        layer: int = 0,
        references: tuple[int, ...] = (),
        stored_in: int | None = None,
    ) -> PlannedFrame:
        index, self._coding_index = self._coding_index, self._coding_index + 1
        q = usual_q(kind, layer, self._settings)
        q_256 = int(np.clip(self._base_q_256 + q * Q_UNIT, 0, highest_q_256(kind)))
        return PlannedFrame(
            frame=frame,
            kind=kind,
            coding_index=index,
            dts=self._dts.popleft(),
            q_offset=q_256 - self._base_q_256,
            temporal_layer=layer,
            references=references,
            stored_in=stored_in,
        )

    def _take_slot(self) -> int:
        slot = min(self._free)
        self._free.remove(slot)
        return slot


def usual_q(kind: FrameKind, temporal_layer: int, settings: CodecSettings) -> int:
    """What a frame is given over the base q by its place, or by an order for its kind, in whole indexes."""
    of_kinds = settings.qp_of_kinds
    if of_kinds is not None:
        return (settings.base_qp or 0) - of_kinds[min(kind, FrameKind.B_FORWARD)]
    if kind is FrameKind.I:
        return 0 if settings.keyint == 1 else I_Q
    return LAYER_Q[temporal_layer]


def group_frames(settings: CodecSettings) -> int:
    """Frames from one anchor to the next: the largest power of two that the B frames asked for allow."""
    if settings.keyint == 1:
        return 1
    return 1 << (settings.bframes + 1).bit_length() - 1


def reorder_delay(settings: CodecSettings) -> int:
    """Frames that are coded before the one that is shown first can surely be shown: the depth of a pyramid."""
    return group_frames(settings).bit_length() - 1


def has_b_frames(settings: CodecSettings) -> bool:
    return group_frames(settings) > 1


def first_dts(first_pts: int, video: VideoFormat, settings: CodecSettings) -> int:
    """When the first frame of a video is decoded: no time of the stream is before it."""
    return [*_dts_before(first_pts, video, settings), first_pts][0]


def min_keyint(settings: CodecSettings, frame_rate: Fraction | None) -> int:
    """Least frames from a keyframe to one at a scene cut; x265's choice where it is left open."""
    if settings.min_keyint:
        return settings.min_keyint
    longest = settings.keyint if settings.keyint > 0 else _OPEN_KEYINT
    return max(1, min(longest // 10, round(frame_rate or _USUAL_RATE)))


def _dts_before(first_pts: int, video: VideoFormat, settings: CodecSettings) -> list[int]:
    """Times below the first pts, as many as the reordering delay: a frame apart, a tick where no rate is known."""
    rate = video.frame_rate
    step = Fraction(1) if rate is None else 1 / (rate * video.time_base)
    ticks = [max(frames, int((2 * frames * step + 1) // 2)) for frames in range(reorder_delay(settings) + 1)]
    return [first_pts - ticks[-1] + each for each in ticks[:-1]]
