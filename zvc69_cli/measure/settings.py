"""What measuring is asked for; none of it changes a stream."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from zvc69_cli.errors import OutputError, UsageError
from zvc69_cli.flags import check_flags, flag, flags_of, suggest
from zvc69_cli.measure.quality import METRICS

ALL: Final = "all"
FAR: Final = 1 << 31

HIGHEST_CRF: Final = 51

S = TypeVar("S")
P = TypeVar("P", bound="Named")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSettings:
    """What is measured."""

    metrics: str = flag(
        ALL,
        f"Measures with commas between: {', '.join(METRICS)}. all leaves out, by name, what cannot be had here.",
    )

    def __post_init__(self) -> None:
        check_flags(self)
        _ = self.names

    @property
    def names(self) -> tuple[str, ...]:
        """Those asked for, in the order of METRICS; raises UsageError for one that is not known."""
        asked = [part.strip().lower().replace("_", "-") for part in self.metrics.split(",")]
        if asked == [ALL]:
            return METRICS
        for name in asked:
            if name not in METRICS:
                raise UsageError(
                    "--metrics", f"{name!r} is not one of {', '.join(METRICS)}", "Choose among these, or all."
                )
        return tuple(name for name in METRICS if name in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """How two videos are laid side by side where they do not fit as they are."""

    offset: int = flag(
        0, "Frames of DIST to skip before pairing; below 0, of REF.", unit="frames", low=-FAR, high=FAR
    )
    scale: bool = flag(False, "Scale DIST to the size of REF (bicubic) where they differ.")
    ignore_rate: bool = flag(False, "Pair frame by frame where the frame rates differ.")
    shortest: bool = flag(False, "Stop where the shorter one ends.")

    def __post_init__(self) -> None:
        check_flags(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """Where results go beside the screen."""

    json: bool = flag(False, "Print everything as JSON on standard output, instead of tables.")
    html: str = flag("", "File for a page to look at in a browser; it needs nothing beside itself.")
    progress: bool = flag(True, "Show progress.")

    def __post_init__(self) -> None:
        check_flags(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSettings:
    """A table for other programs."""

    csv: str = flag("", "File for a row of figures a frame.")

    def __post_init__(self) -> None:
        check_flags(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """How much a bench does."""

    quick: bool = flag(
        False,
        "Five rates, few frames, no libaom: one clip of 1280x720 (17 frames) or two of 640x360 (34 each) in about "
        "five minutes on two cores.",
    )
    frames: str = flag("64", "Frames to take of each clip, or all; they are held in memory.", unit="frames")
    crfs: str = flag("", "zvc69's rates: crf values with commas between, five or more for a fair figure.")
    peers: str = flag(
        ALL, "Peers with commas between: x264, x265, SVT-AV1, VP9, libaom AV1, VVenC; all or none of them."
    )
    results: str = flag("", "Folder that keeps what was measured; the cache of this user when left out.")
    keep: bool = flag(True, "Keep what was measured, and take what was kept; --no-keep measures all anew.")

    def __post_init__(self) -> None:
        check_flags(self)
        _ = self.rates, self.frame_limit
        if self.results and not self.keep:
            raise UsageError("--results", "cannot go with --no-keep", "Leave one of them out.")

    @property
    def rates(self) -> tuple[float, ...]:
        """The crfs asked for, 0..51; empty where none are. Raises UsageError."""
        try:
            found = tuple(dict.fromkeys(float(part) for part in self.crfs.split(",") if part.strip()))
        except ValueError as cause:
            raise UsageError(
                "--crfs", f"{self.crfs!r} is no list of numbers", "Give it as 43,38,33,28,23."
            ) from cause
        if not all(0 <= value <= HIGHEST_CRF for value in found):
            raise UsageError(
                "--crfs", f"{self.crfs!r} leaves the range 0..{HIGHEST_CRF}", "Give it as 43,38,33,28,23."
            )
        return found

    @property
    def frame_limit(self) -> int | None:
        """A count from 1, or None for all; raises UsageError."""
        if self.frames == ALL:
            return None
        if not self.frames.isdecimal() or int(self.frames) < 1:
            raise UsageError(
                "--frames", f"{self.frames!r} is neither a count from 1 nor all", "Give a number, or all."
            )
        return int(self.frames)

    def chosen(self, known: Sequence[P]) -> tuple[P, ...]:
        """Those asked for, in the order known; raises UsageError for a name that none has."""
        if self.peers in (ALL, "none"):
            return tuple(known) if self.peers == ALL else ()
        names = {peer.name.lower(): peer for peer in known}
        asked = [part.strip().lower() for part in self.peers.split(",")]
        for name in asked:
            if name not in names:
                raise UsageError(
                    "--peers",
                    f"{name!r} is not one of {', '.join(each.name for each in known)}",
                    suggest(name, list(names)) or "Choose among these, all or none.",
                )
        return tuple(peer for name, peer in names.items() if name in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSettings:
    """What is profiled, and how it is said."""

    seek: int = flag(0, "Frames to skip at the beginning.", unit="frames", low=0, high=FAR)
    frames: int = flag(60, "Frames to encode and decode at most.", unit="frames", low=1, high=FAR)
    crf: float = flag(28.0, "Quality to encode at, lower is better.", low=0, high=HIGHEST_CRF)
    json: bool = flag(False, "Print everything as JSON on standard output, instead of tables.")
    html: str = flag("", "File for a page with a flame picture; it needs nothing beside itself.")

    def __post_init__(self) -> None:
        check_flags(self)


class Named(Protocol):
    @property
    def name(self) -> str: ...


def results_folder(settings: BenchSettings) -> Path | None:
    """Where results are kept; None where they are not."""
    if not settings.keep:
        return None
    if settings.results:
        return Path(settings.results)
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(cache) if cache else Path.home() / ".cache") / "zvc69" / "bench"


def fill(settings: type[S], values: Mapping[str, Any]) -> S:
    """Settings of a class from those of the values that are its fields; raises UsageError."""
    names = {each.field_name for each in flags_of(settings)}
    return settings(**{name: value for name, value in values.items() if name in names})


def check_report(where: str, name: str, inputs: Sequence[str]) -> None:
    """Raises UsageError for a report that would lie on an input, OutputError where there is no place for it."""
    if not name:
        return
    path = Path(name)
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(
            name, "is no file that could be written", f"Name a file in a folder that exists for {where}."
        )
    for each in inputs:
        if path.exists() and Path(each).exists() and path.samefile(each):
            raise UsageError(
                where, f"{name} is an input, which the report would destroy", "Give it another name."
            )
