"""The decoder's buffer: filled at a constant rate up to its size, emptied of a frame at each time of decoding.

source  the hypothetical reference decoder of ITU-T H.264 annex C, as `--vbv-*` of x264 and x265 use it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from zvc69_cli.codec.rate.model import HIGHEST_BASE, LOWEST_BASE, Expected

COMPACT_HEADER_BYTES: Final = 12  # of a frame in the file, beside its payload
FULL_HEADER_BYTES: Final = 32
MARGIN: Final = 0.1  # of the buffer, that is expected to be left at least

_MOST_RISE: Final = 3.0  # indexes, so that a buffer does not run over
_SLACK: Final = 0.9  # of what is left, that a group may take beyond what is expected
_LEAST_SHARE: Final = 0.2  # of what is expected of a frame, that it may take whatever is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """What a decoder is promised.

    size_bits, initial_bits  what it holds, and when the first frame is taken out
    rate_bps                 bits a second that come in
    """

    size_bits: float
    rate_bps: float
    initial_bits: float

    def after(self, fill: float, bits: float, seconds: float) -> float:
        """The fill some seconds after a frame was taken out; below 0 before that counts as 0."""
        return min(self.size_bits, max(0.0, fill - bits) + self.rate_bps * seconds)

    def least(self, fill: float, frames: Iterable[tuple[float, float]]) -> float:
        """The least that is left when each of the frames (bits, seconds until the next) is taken out, below 0 too."""
        least = self.size_bits
        for bits, seconds in frames:
            least = min(least, fill - bits)
            fill = min(self.size_bits, fill - bits + self.rate_bps * seconds)
        return least

    def most(self, fill: float, frames: Iterable[tuple[float, float]]) -> float:
        """The most that would lie in it, were it of any size."""
        most = 0.0
        for bits, seconds in frames:
            fill = max(0.0, fill - bits) + self.rate_bps * seconds
            most = max(most, fill)
        return most


class BufferWatch:
    """Follows a stream as it is written: its rate over any second, and the decoder's buffer.

    time_base    seconds a tick
    buffer       None where none was promised
    before_bits  what lay in it before the last frame was taken out
    least_bits   the least after one was, below 0 too
    peak_bits    the most of any second
    underflows   frames that were not whole when they were due
    """

    def __init__(self, time_base: Fraction, buffer: Buffer | None) -> None:
        self._time_base = time_base
        self._buffer = buffer
        self._fill = buffer.initial_bits if buffer else 0.0
        self._last_dts: int | None = None
        self._second: deque[tuple[int, float]] = deque()
        self._second_bits = 0.0
        self.least_bits = self.before_bits = self._fill
        self.peak_bits = 0.0
        self.underflows = 0

    def take(self, dts: int, bits: float) -> None:
        """The next frame in the order of coding."""
        if self._buffer is not None:
            if self._last_dts is not None:
                seconds = float((dts - self._last_dts) * self._time_base)
                self._fill = min(self._buffer.size_bits, self._fill + self._buffer.rate_bps * seconds)
            self.before_bits = self._fill
            self._fill -= bits
            self.least_bits = min(self.least_bits, self._fill)
            self.underflows += self._fill < -0.5  # bits: what sums of broken numbers leave is none
            self._fill = max(0.0, self._fill)
        self._last_dts = dts
        self._second.append((dts, bits))
        self._second_bits += bits
        while (dts - self._second[0][0]) * self._time_base >= 1:
            self._second_bits -= self._second.popleft()[1]
        self.peak_bits = max(self.peak_bits, self._second_bits)


def base_that_lasts(
    buffer: Buffer,
    fill: float,
    window: Sequence[tuple[Expected, float]],
    base: float,
    *,
    is_constant: bool,
) -> float:
    """The nearest base q at which the buffer lasts over the window.

    window       frames and the seconds until the next
    base         that is wanted
    is_constant  whether it shall not run over either, where that can be had
    """
    least = MARGIN * buffer.size_bits
    if is_constant and buffer.most(fill, _sizes(window, base)) > buffer.size_bits:
        low, high = base, HIGHEST_BASE
        for _ in range(10):
            middle = (low + high) / 2
            runs_over = buffer.most(fill, _sizes(window, middle)) > buffer.size_bits
            low, high = (middle, high) if runs_over else (low, middle)
        base = min(high, base + _MOST_RISE)
    if buffer.least(fill, _sizes(window, base)) >= least:
        return base
    low, high = LOWEST_BASE, base
    for _ in range(12):
        middle = (low + high) / 2
        lasts = buffer.least(fill, _sizes(window, middle)) >= least
        low, high = (middle, high) if lasts else (low, middle)
    return low


def ceilings(buffer: Buffer, fill: float, frames: Sequence[tuple[float, float]]) -> list[float]:
    """Bits that each frame of a group may take at most, so that the buffer lasts to its end.

    frames  bits that are expected, and seconds until the next
    """
    left = buffer.least(fill, frames)
    expected = max(1.0, sum(bits for bits, _ in frames))
    share = 1 + _SLACK * left / expected if left > 0 else max(_LEAST_SHARE, 1 + left / expected)
    return [max(1.0, bits * share) for bits, _ in frames]


def _sizes(window: Sequence[tuple[Expected, float]], base: float) -> Iterator[tuple[float, float]]:
    return ((frame.bits_at(base), seconds) for frame, seconds in window)


def header_bytes(frame_headers: str) -> int:
    """What a frame takes in the file beside its payload."""
    return FULL_HEADER_BYTES if frame_headers == "full" else COMPACT_HEADER_BYTES
