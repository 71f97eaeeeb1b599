"""What a stream is to be kept to: an average rate, a size, a decoder's buffer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from zvc69_cli.codec.rate.settings import RateSettings
from zvc69_cli.codec.rate.vbv import Buffer
from zvc69_cli.errors import UsageError

FILE_OVERHEAD_BYTES: Final = 600  # of a file, beside its frames and what is copied along
_LEAST_BPS: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTarget:
    """What is to be kept.

    bits_per_s   on average; None where no rate is asked for
    buffer       None where there is none
    is_constant  whether the buffer is to be neither empty nor full
    total_bits   of the frames and of what is copied along; None where no size is asked for
    qcomp        of a second pass: bits of a part go with its complexity to this power
    """

    bits_per_s: float | None = None
    buffer: Buffer | None = None
    is_constant: bool = False
    total_bits: float | None = None
    qcomp: float = 1.0

    @classmethod
    def of(cls, rate: RateSettings, duration_s: float | None = None) -> RateTarget:
        """What the settings ask for.

        duration_s  of the video; None where nobody knows
        raises      UsageError where a size is asked for and the duration is not known
        """
        buffer = None
        if rate.buffer_kbit:
            buffer = Buffer(
                size_bits=rate.buffer_kbit * 1000,
                rate_bps=rate.maxrate_kbps * 1000,
                initial_bits=rate.initial_kbit * 1000,
            )
        kbps, size = rate.bitrate_kbps, rate.target_bytes
        target = cls(
            bits_per_s=None if kbps is None else kbps * 1000,
            buffer=buffer,
            is_constant=rate.is_constant,
            qcomp=rate.qcomp,
        )
        if size is None:
            return target
        if not duration_s:
            raise UsageError(
                "--target-size",
                "the length of the input is not known",
                "Give a file that says how long it is, or a rate with --bitrate.",
            )
        total = 8.0 * (size - FILE_OVERHEAD_BYTES)
        return replace(target, bits_per_s=max(_LEAST_BPS, total / duration_s), total_bits=total)

    @property
    def needs_sizes(self) -> bool:
        """Whether what becomes of frames decides about later ones."""
        return self.bits_per_s is not None or self.buffer is not None
