"""Which q every frame gets: so that the stream keeps to a rate and a buffer, decided a group at a time.

A group is an I frame, or a P frame with the B frames that lie before it. Frames wait here until so many others are
planned behind them; then the base q of the next group is the one at which these and the rest of the video are expected
to take the bits that are left for them. What the frames before really took is learnt with a fixed delay, so that frames
can be coded beside each other and the choice is the same whatever the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple

from zvc69_cli.codec.plan.complexity import evened
from zvc69_cli.codec.plan.gop import PlannedFrame, group_frames, usual_q
from zvc69_cli.codec.plan.lookahead import FrameCosts, Lookahead
from zvc69_cli.codec.plan.propagation import preferences
from zvc69_cli.codec.rate.model import Expected, RateClass, SizeModel, class_of, curve, top_q
from zvc69_cli.codec.rate.pass_log import PassFrame, PassLog
from zvc69_cli.codec.rate.plan import RatePlan
from zvc69_cli.codec.rate.quality import highest_q_256
from zvc69_cli.codec.rate.target import RateTarget
from zvc69_cli.codec.rate.vbv import base_that_lasts, ceilings, header_bytes
from zvc69_cli.codec.rate.zones import FrameOrders
from zvc69_cli.codec.settings import Q_UNIT, CodecSettings
from zvc69_cli.frames import FrameKind, VideoFormat

INTRA_LAG: Final = 8  # frames that may be worked on beside each other where none refers to another
INTER_LAG: Final = 4  # the same where the later anchor waits for the earlier one
_USUAL_RATE: Final = Fraction(25)
_LEAST_BITS: Final = 100.0  # of a frame in the first pass, where it was skipped


class CodedSize(NamedTuple):
    """What became of a frame: its q may be lower than planned where it would have been too large."""

    payload_bytes: int
    q_256: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """A frame that waits for its q, or whose size is not known yet.

    cost        what its size is in proportion to: of the lookahead, or of the first pass
    offset      of its q from the base
    duration_s  until the next frame is decoded
    """

    planned: PlannedFrame
    rate_class: RateClass
    cost: float
    offset: float
    duration_s: float
    costs: FrameCosts | None
    q: float = 0.0


def prefers_frames(codec: CodecSettings) -> bool:
    """Whether frames are moved by what becomes of them: where they refer to one another, and where q may move."""
    return codec.cutree and codec.qp is None and codec.keyint != 1 and codec.rc_lookahead > 0


class RateControl:
    """Gives planned frames their q.

    base_q_256    of the stream, which the frames' q are written against
    total_frames  of the video; None where nobody knows
    log           of the first of two passes
    orders        of single frames and of parts
    needs_sizes   whether what becomes of the frames decides about later ones
    """

    def __init__(
        self,
        video: VideoFormat,
        codec: CodecSettings,
        target: RateTarget,
        base_q_256: int,
        total_frames: int | None = None,
        log: PassLog | None = None,
        orders: FrameOrders | None = None,
    ) -> None:
        self.needs_sizes = target.needs_sizes
        self._codec = codec
        self._target = target
        self._log = log
        self._orders = orders or FrameOrders()
        self._frames_out = 0
        self._base_q_256 = base_q_256
        self._tick_s = float(video.time_base)
        self._frame_s = float(1 / (video.frame_rate or _USUAL_RATE))
        self._header_bits = 8 * header_bytes(codec.frame_headers)
        self._prefers = log is None and prefers_frames(codec)
        self._looks = log is None and (self.needs_sizes or self._prefers)
        self._ahead = codec.rc_lookahead if self._looks or target.buffer is not None else 0
        self._lookahead = Lookahead(video.peak)
        self._model = SizeModel(1 if log else video.width * video.height)
        self._logged = [] if log is None else _all_expected(log, target.qcomp)
        self._plan = RatePlan(
            target,
            frame_s=self._frame_s,
            base=base_q_256 / Q_UNIT,
            total_frames=len(log.frames) if log else total_frames,
            rest=None if log is None else self._logged,
        )
        self._held: deque[_Held] = deque()
        self._under_way: deque[_Held] = deque()
        self._offsets: dict[int, float] | None = None
        self._sizes_seen = 0
        self._fill = target.buffer.initial_bits if target.buffer else 0.0

    @property
    def unreachable(self) -> str:
        """What to tell people where no q leads to the rate; "" while one does."""
        return self._plan.unreachable

    def keep_offsets(self) -> dict[int, float]:
        """How far the q of each frame that goes lies from the base, by coding index, for the log of a first pass."""
        self._offsets = {}
        return self._offsets

    @property
    def sizes_seen(self) -> int:
        """Frames whose sizes were given."""
        return self._sizes_seen

    def take(self, planned: PlannedFrame) -> None:
        """The next frame in the order of coding; raises UsageError where the first pass had another there."""
        if self._held:
            last = self._held[-1]
            last.duration_s = max(0.0, (planned.dts - last.planned.dts) * self._tick_s)
        rate_class = class_of(planned.kind, planned.temporal_layer)
        cost, costs = 1.0, None
        offset = float(usual_q(planned.kind, planned.temporal_layer, self._codec))
        if self._log is not None:
            self._log.frame(planned.coding_index, planned.kind)  # refuses another video's
            found = self._logged[planned.coding_index]
            cost, offset = found.weight, found.offset
            self._plan.arrive()
        elif self._looks:
            costs = self._lookahead.look(planned)
            cost = costs.intra_mean if planned.kind is FrameKind.I else costs.inter_mean
        self._held.append(
            _Held(
                planned=planned,
                rate_class=rate_class,
                cost=cost,
                offset=offset,
                duration_s=self._frame_s,
                costs=costs,
            )
        )

    def carry(self, size_bytes: int) -> None:
        """Something else is stored between the frames, which a target size has to hold too."""
        self._plan.carry(8 * size_bytes)

    def sizes_due(self, *, at_end: bool) -> int | None:
        """How many frames' sizes have to be known before the next group can go; None where no group can."""
        group = self._group_length(at_end=at_end)
        if not group or (not at_end and len(self._held) < group + self._ahead):
            return None
        if not self.needs_sizes:
            return 0
        return max(self._sizes_seen, self._held[0].planned.coding_index - self._lag)

    def go(self, sizes: Sequence[CodedSize], *, at_end: bool) -> list[PlannedFrame]:
        """The next group, with its q.

        sizes  of the frames from `sizes_seen` up to `sizes_due`
        """
        for size in sizes:
            self._learn(size)
        if at_end:
            self._plan.end_after(len(self._held))
        group = [self._held.popleft() for _ in range(self._group_length(at_end=at_end))]
        if self._prefers:
            self._prefer([*group, *self._held])
        ordered = self._ordered(group)
        base = self._base_for(group)
        for each, q in zip(group, ordered, strict=True):
            each.q = min(top_q(each.rate_class), max(0.0, base + each.offset if q is None else q))
        self._frames_out += len(group)
        if self._offsets is not None:
            self._offsets |= {each.planned.coding_index: each.offset for each in group}
        planned = self._limited(group, [self._with_q(each) for each in group])
        if self.needs_sizes:
            self._under_way.extend(group)
        self._plan.pass_by(len(group), sum(each.duration_s for each in group))
        return planned

    @property
    def _lag(self) -> int:
        if self._target.buffer is not None:
            return 0  # what is in the buffer has to be known
        return INTRA_LAG if self._codec.keyint == 1 else min(INTER_LAG, group_frames(self._codec))

    def _group_length(self, *, at_end: bool) -> int:
        """Frames of the first group; 0 while it may not be whole."""
        for number, each in enumerate(self._held):
            if number and each.planned.kind in (FrameKind.I, FrameKind.P):
                return number
        is_alone = bool(self._held) and self._held[0].planned.kind is FrameKind.I
        # Frames are planned in whole groups; only who looks at what follows one has to wait for the next.
        waits = self.needs_sizes or self._prefers
        return len(self._held) if at_end or is_alone or not waits else 0

    def _learn(self, size: CodedSize) -> None:
        """What a frame really took."""
        each = self._under_way.popleft()
        each.q = size.q_256 / Q_UNIT
        bits = size.payload_bytes * 8 + self._header_bits
        self._sizes_seen += 1
        self._model.learn(each.rate_class, each.cost, each.q, bits)
        if self._target.buffer is not None:
            self._fill = self._target.buffer.after(self._fill, bits, each.duration_s)
        weight = bits / curve(each.rate_class, each.q)
        coded = Expected(rate_class=each.rate_class, weight=weight, offset=each.offset)
        self._plan.learn(coded, bits, each.duration_s, is_first=not each.planned.coding_index)

    def _ordered(self, group: list[_Held]) -> list[float | None]:
        """Move the frames that lie in a zone; the q of those that are ordered one."""
        if not self._orders:
            return [None] * len(group)
        watched = sorted(group, key=lambda each: each.planned.frame.pts)
        numbers = {id(each): self._frames_out + place for place, each in enumerate(watched)}
        for each in group:
            each.offset += self._orders.offset_of(numbers[id(each)])
        return [self._orders.q_of(numbers[id(each)], each.offset) for each in group]

    def _prefer(self, window: list[_Held]) -> None:
        """Give more to the frames that more of the others is made of than is usual."""
        costs = [each.costs for each in window if each.costs is not None]
        indexes = [each.planned.coding_index for each in window]
        classes = [each.rate_class for each in window]
        for each, more in zip(window, preferences(indexes, classes, costs), strict=True):
            usual = usual_q(each.planned.kind, each.planned.temporal_layer, self._codec)
            each.offset = usual + more

    def _base_for(self, group: list[_Held]) -> float:
        """The base q of a group."""
        if not self.needs_sizes:
            return self._plan.base
        window = [(self._expected(each), each.duration_s) for each in (*group, *self._held)]
        under_way = sum(
            self._expected(each).weight * curve(each.rate_class, each.q) for each in self._under_way
        )
        is_cut = group[0].planned.kind is FrameKind.I
        level = None
        if self._target.is_constant and self._target.buffer is not None:
            level = self._fill
        base = self._plan.base_for(
            window, under_way, self._model.shared, group_frames=len(group), level=level, is_cut=is_cut
        )
        if self._target.buffer is not None:
            constant = self._target.is_constant
            base = base_that_lasts(self._target.buffer, self._fill, window, base, is_constant=constant)
        self._plan.settle(base)
        return base

    def _expected(self, each: _Held) -> Expected:
        return self._model.expect(each.rate_class, each.cost, each.offset)

    def _with_q(self, each: _Held) -> PlannedFrame:
        q_256 = min(highest_q_256(each.planned.kind), max(0, round(each.q * Q_UNIT)))
        return replace(each.planned, q_offset=q_256 - self._base_q_256)

    def _limited(self, group: list[_Held], planned: list[PlannedFrame]) -> list[PlannedFrame]:
        """The frames with sizes that they must not exceed, where there is a buffer."""
        if self._target.buffer is None:
            return planned
        frames = [
            (self._expected(each).weight * curve(each.rate_class, each.q), each.duration_s) for each in group
        ]
        most = ceilings(self._target.buffer, self._fill, frames)
        return [
            replace(one, most_bytes=max(1, int((bits - self._header_bits) / 8)))
            for one, bits in zip(planned, most, strict=True)
        ]


def _all_expected(log: PassLog, qcomp: float) -> list[Expected]:
    """What the first pass says of every frame, moved so that easy and hard parts share the bits."""
    frames = [
        Expected(rate_class=class_of(each.kind, each.temporal_layer), weight=_weight(each), offset=each.offset)
        for each in log.frames
    ]
    if not frames:
        return []
    base = sum(each.q_256 / Q_UNIT - each.offset for each in log.frames) / len(frames)
    moves = evened(frames, base, qcomp)
    return [replace(each, offset=each.offset + move) for each, move in zip(frames, moves, strict=True)]


def _weight(frame: PassFrame) -> float:
    """Bits of a frame of the first pass over what the curve of its kind says at its q."""
    bits = max(_LEAST_BITS, 8 * frame.size_bytes)
    return bits / curve(class_of(frame.kind, frame.temporal_layer), frame.q_256 / Q_UNIT)
