"""How the bits of a rate are shared out over a video: the base q at which what is left takes what is left for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zvc69_cli.codec.rate.model import HIGHEST_BASE, LOWEST_BASE, Demand, Expected, base_for
from zvc69_cli.codec.rate.target import RateTarget

_STEP: Final = (
    3.0  # indexes that the base moves from one group to the next, where that has no more frames than:
)
_STEP_FRAMES: Final = 4
_LAST_STEP: Final = 5.0  # where little is left to make good in
_LAST_S: Final = 2.0
_FREE_STEP: Final = 12.0  # at the beginning and at cuts
_FREE_GROUPS: Final = 3
_LEAST_SHARE: Final = 0.4  # of the rate, that is left to the frames to come whatever the ones before took
_MOST_SHARE: Final = 2.0
_OWED_S: Final = (
    5.0  # over which debts are paid back where the end is known, and the share of what was that is added
)
_OWED_SHARE: Final = 0.1
_LEVEL: Final = 0.7  # of the buffer of a constant rate, where it is held
_REACH: Final = 1.03  # times the highest rate, that may be asked for without a word
_GROUPS_BEYOND: Final = 2  # in a row, before that word is said
_LEAST_BPS: Final = 100.0


class RatePlan:
    """Knows what was spent, what the frames so far were like, and of a second pass what all the others are like.

    frame_s       seconds that a frame lasts usually
    base          q to begin with, and the one to stay at where no rate is asked for
    total_frames  of the video; None where nobody knows
    rest          every frame of the video, as the first pass saw it; None in a first pass
    unreachable   what to tell people where no q leads to the rate; "" while one does
    """

    def __init__(
        self,
        target: RateTarget,
        *,
        frame_s: float,
        base: float,
        total_frames: int | None,
        rest: Sequence[Expected] | None = None,
    ) -> None:
        self.base = base
        self.unreachable = ""
        self._target = target
        self._frame_s = frame_s
        self._total_frames = total_frames
        self._rest_frames = None if rest is None else list(rest)
        self._rest = Demand(rest or ())
        self._rest_begin = 0  # first frame that is still in the rest
        self._past = Demand()
        self._past_s = 0.0
        self._spent_bits = 0.0
        self._carried_bits = 0.0
        self._elapsed_s = 0.0  # of all frames that have their q
        self._frames_gone = 0
        self._groups = 0
        self._groups_beyond = 0

    def carry(self, bits: float) -> None:
        """Something else was stored beside the frames."""
        self._carried_bits += bits

    def learn(self, coded: Expected, bits: float, duration_s: float, *, is_first: bool) -> None:
        """What a frame was like and really took."""
        self._spent_bits += bits
        if not is_first:  # the first frame is not what will come again
            self._past.add(coded)
            self._past_s += duration_s

    def arrive(self) -> None:
        """The next frame is planned, so that it is none of the rest any more."""
        if self._rest_frames is not None:
            self._rest.remove(self._rest_frames[self._rest_begin])
            self._rest_begin += 1

    def end_after(self, frames: int) -> None:
        """No more than these frames are to get their q: what a pipe says only where it ends."""
        self._total_frames = self._frames_gone + frames

    def pass_by(self, frames: int, duration_s: float) -> None:
        """A group has its q."""
        self._frames_gone += frames
        self._elapsed_s += duration_s
        self._groups += 1

    def settle(self, base: float) -> None:
        """The q that a group really got; where there is no rate, the next one is free of it."""
        if self._target.bits_per_s is not None:
            self.base = base

    def base_for(
        self,
        window: Sequence[tuple[Expected, float]],
        under_way_bits: float,
        ratio: float,
        *,
        group_frames: int,
        level: float | None,
        is_cut: bool,
    ) -> float:
        """The base q of the next group.

        window          its frames and those planned behind it, with the seconds until the next
        under_way_bits  that frames are expected to take which have their q already
        ratio           by which frames turn out larger than was expected
        group_frames    of the window, that are the group
        level           bits in the buffer that is to be held where it is; None where none is
        """
        window_s = sum(seconds for _, seconds in window)
        rate = self._rate(window_s)
        if rate is None:
            return self.base
        frames = Demand(frame for frame, _ in window)
        debt = self._spent_bits + under_way_bits - rate * self._elapsed_s
        horizon_s = self._horizon_s(window_s, len(window))
        buffer = self._target.buffer
        if level is not None and buffer is not None:
            debt = min(buffer.initial_bits, _LEVEL * buffer.size_bits) - level
            horizon_s = max(window_s, min(horizon_s, buffer.size_bits / buffer.rate_bps))
        owed_s = min(horizon_s, _OWED_S + _OWED_SHARE * self._elapsed_s)
        share = min(_MOST_SHARE, max(_LEAST_SHARE, 1 - debt / max(rate * owed_s, 1e-9)))
        demands = [(frames, 1.0), *self._behind(window, window_s, horizon_s, ratio)]
        base = base_for(rate * horizon_s * share, *demands)
        self._watch_reach(rate, frames, window_s)
        step = self._step(horizon_s, is_cut=is_cut) * max(1.0, group_frames / _STEP_FRAMES)
        return min(self.base + step, max(self.base - step, base))

    def _step(self, horizon_s: float, *, is_cut: bool) -> float:
        """By how much the base may differ from the last group's."""
        if not self._groups:  # it begins where the settings' usual quality is, which says nothing of a rate
            return HIGHEST_BASE - LOWEST_BASE
        if is_cut or self._groups < _FREE_GROUPS:
            return _FREE_STEP
        return _LAST_STEP if self._total_frames is not None and horizon_s < _LAST_S else _STEP

    def _rate(self, window_s: float) -> float | None:
        """Bits a second for the frames; of a size, what copied streams go on taking is left out."""
        if self._target.total_bits is None or self._total_frames is None:
            return self._target.bits_per_s
        duration_s = self._total_frames * self._frame_s
        carried_bps = self._carried_bits / max(self._elapsed_s + window_s, self._frame_s)
        return max(self._target.total_bits / duration_s - carried_bps, _LEAST_BPS)

    def _horizon_s(self, window_s: float, window_frames: int) -> float:
        """Over how long what is owed is paid back."""
        if self._total_frames is None:
            return max(window_s, min(20.0, max(2.0, 0.1 * self._elapsed_s)))
        left = max(0, self._total_frames - self._frames_gone - window_frames)
        all_s = window_s + left * self._frame_s
        return (
            all_s
            if self._rest_frames is not None
            else max(window_s, min(all_s, _OWED_S + _OWED_SHARE * self._elapsed_s))
        )

    def _behind(
        self, window: Sequence[tuple[Expected, float]], window_s: float, horizon_s: float, ratio: float
    ) -> list[tuple[Demand, float]]:
        """What comes behind the window up to the horizon: known from a first pass, else like what is known."""
        behind_s = horizon_s - window_s
        if self._rest_frames is not None:
            left_s = (len(self._rest_frames) - self._rest_begin) * self._frame_s
            return [(self._rest, ratio * min(1.0, behind_s / left_s))] if left_s else []
        usual = window if self._frames_gone else window[1:]
        average_s = max(self._past_s + sum(seconds for _, seconds in usual), 1e-9)
        return [(self._past, behind_s / average_s), (Demand(frame for frame, _ in usual), behind_s / average_s)]

    def _watch_reach(self, rate: float, frames: Demand, window_s: float) -> None:
        """Take note where no q leads to the rate, twice in a row."""
        seen_s = self._past_s + window_s
        lowest = (self._past.bits_at(LOWEST_BASE) + frames.bits_at(LOWEST_BASE)) / seen_s
        highest = (self._past.bits_at(HIGHEST_BASE) + frames.bits_at(HIGHEST_BASE)) / seen_s
        is_beyond = self._spent_bits > 0 and not lowest / _REACH <= rate <= highest * _REACH
        self._groups_beyond = self._groups_beyond + 1 if is_beyond else 0
        if self._groups_beyond == _GROUPS_BEYOND and not self.unreachable:
            self.unreachable = (
                f"{rate / 1000:.0f} kbps cannot be had of these pictures, "
                f"{lowest / 1000:.0f}..{highest / 1000:.0f} kbps can"
            )
