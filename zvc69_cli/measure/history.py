"""Speeds of earlier runs on this machine, a line each in a file, so that a slowdown shows."""

from __future__ import annotations

import datetime
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from zvc69_cli.errors import OutputError

SLOWER: Final = 0.10  # than the median of the runs before, of a speed: this much shows
RUNS_COMPARED: Final = 5  # the last ones


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRun:
    """One run: equal `what` on an equal machine can be compared.

    what    clip, frames, crf, device and threads, as text
    speeds  frames a second by name, ("encode", 5.2)
    """

    when: str
    machine: str
    what: str
    speeds: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One speed against the median of the runs before.

    share  of that median: 0.9 is 10 % slower
    """

    name: str
    frames_per_s: float
    median: float
    runs: int

    @property
    def share(self) -> float:
        return self.frames_per_s / self.median

    @property
    def is_slowdown(self) -> bool:
        return self.share < 1 - SLOWER

    @property
    def text(self) -> str:
        """A sentence's worth: "encode: 4.10 frames a second, 18 % SLOWER than 5.00, the median of 5 runs before"."""
        way = "SLOWER" if self.is_slowdown else "slower" if self.share < 1 else "faster"
        return (
            f"{self.name}: {self.frames_per_s:.2f} frames a second, {100 * abs(1 - self.share):.0f} % {way} than "
            f"{self.median:.2f}, the median of {self.runs} {'run' if self.runs == 1 else 'runs'} before"
        )


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_history(path: Path) -> list[SpeedRun]:
    """The runs in a file, oldest first; lines that are none are passed over, and so is a file that is not there."""
    runs: list[SpeedRun] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return runs
    for line in lines:
        try:
            document = json.loads(line)
            speeds = tuple((str(name), float(speed)) for name, speed in document["speeds"])
            runs.append(
                SpeedRun(
                    when=document["when"], machine=document["machine"], what=document["what"], speeds=speeds
                )
            )
        except (ValueError, TypeError, KeyError):
            continue  # cut short, or of another version
    return runs


def changes(history: list[SpeedRun], run: SpeedRun) -> list[Change]:
    """Each speed of a run against the last ones of the same; empty where there were none."""
    same = [each for each in history if (each.machine, each.what) == (run.machine, run.what)][-RUNS_COMPARED:]
    found: list[Change] = []
    for name, speed in run.speeds:
        before = [dict(each.speeds)[name] for each in same if dict(each.speeds).get(name, 0) > 0]
        if before:
            median = statistics.median(before)
            found.append(Change(name=name, frames_per_s=speed, median=median, runs=len(before)))
    return found


def append_run(path: Path, run: SpeedRun) -> None:
    """Add a line to the file; raises OutputError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
    except OSError as cause:
        raise OutputError(
            str(path), f"cannot be written: {cause.strerror}", "Name another --history."
        ) from cause
