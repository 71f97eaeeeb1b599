"""What a live encoder is tuned for: how long it may hold frames, and what it does when they come too fast."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from zvc69_cli.errors import UsageError
from zvc69_cli.pipeline.resolve import EncodeOptions


class Pace(Enum):
    """What counts most.

    LOW_LATENCY      each packet as soon as can be: no B frames, no lookahead, two frames under way. A frame that comes
                     while both are is refused, so that none ever waits in a queue.
    REALTIME         as fast as the frames come: a B frame at most between two anchors, no lookahead, eight frames under
                     way. A frame that comes while all of them are is refused: a camera does not wait.
    HIGH_THROUGHPUT  frames a second: B frames, lookahead and GOPs at once (`jobs`) as the options have them. `submit`
                     waits where frames come faster than they are coded; none is refused.
    """

    LOW_LATENCY = "low_latency"
    REALTIME = "realtime"
    HIGH_THROUGHPUT = "high_throughput"

    @property
    def terms(self) -> Terms:
        """What it means in the program's terms."""
        return _TERMS[self]

    def options(self, **flags: Any) -> EncodeOptions:
        """Options for this pace from flags by name, preset and tune among them, as `EncodeOptions.of` takes them.

        raises  UsageError where a flag contradicts the pace, or cannot be had
        """
        for name, most in self.terms.most:
            given = flags.get(name)
            if given is not None and given > most:
                raise self._contradiction(name, given, most)
        taken = dict(self.terms.most)
        if flags.get("keyint") == 1:
            taken.pop("bframes", None)  # there are none, and to ask for some is refused
        return EncodeOptions.of(**{**taken, **flags})

    def check(self, options: EncodeOptions) -> None:
        """Raises UsageError where options that were made elsewhere contradict the pace."""
        codec = options.codec
        values = {
            "bframes": 0 if codec.keyint == 1 else codec.bframes,
            "rc_lookahead": codec.rc_lookahead if looks_ahead(options) else 0,
            "jobs": options.flight.jobs,
        }
        for name, most in self.terms.most:
            if values[name] > most:
                raise self._contradiction(name, values[name], most)

    def _contradiction(self, name: str, given: int, most: int) -> UsageError:
        return UsageError(
            f"--{name.replace('_', '-')}",
            f"{given} contradicts {self.value}, which takes {most or 'none'}{' at most' if most else ''}",
            f"Make the options with Pace.{self.name}.options(...) without it, or take Pace.HIGH_THROUGHPUT.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A pace.

    most           of flags by field name, that it allows and takes where nobody says less
    in_flight      frames that may be under way beside those that have to be held for others
    refuses        whether a frame that comes when as many are is refused; it waits otherwise
    """

    most: tuple[tuple[str, int], ...] = ()
    in_flight: int
    refuses: bool


_TERMS: Final = {
    Pace.LOW_LATENCY: Terms(most=(("bframes", 0), ("rc_lookahead", 0), ("jobs", 1)), in_flight=2, refuses=True),
    Pace.REALTIME: Terms(most=(("bframes", 1), ("rc_lookahead", 0), ("jobs", 1)), in_flight=8, refuses=True),
    Pace.HIGH_THROUGHPUT: Terms(in_flight=16, refuses=False),
}


def looks_ahead(options: EncodeOptions) -> bool:
    """Whether a group waits for what follows it."""
    return options.rate.is_steered or options.codec.cutree


def frames_held(options: EncodeOptions) -> int:
    """Frames that may have to be there before the first of them can be coded, that one left out."""
    from zvc69_cli.codec.plan.gop import group_frames

    group = group_frames(options.codec)
    return group - 1 + (group + options.codec.rc_lookahead if looks_ahead(options) else 0)
