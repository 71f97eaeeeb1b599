"""Several files in one run: one after the other, a report for each and one for all.

A file that cannot be read, written or decoded does not keep the others from being worked on; the exit code is that of
the first that failed. What concerns them all (a wrong flag, no device) ends the run, and so does a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zvc69_cli.cli.report import say, say_error
from zvc69_cli.cli.summary import frames_text
from zvc69_cli.cli.terminal import write_json
from zvc69_cli.errors import Interrupted, OutputError, RuntimeUnavailable, UnknownBundle, Zvc69Error
from zvc69_cli.pipeline.stop import signal_name

if TYPE_CHECKING:
    from zvc69_cli.pipeline.several import Job
    from zvc69_cli.pipeline.stop import StopRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One file that was worked on to its end.

    size_bytes  of what was written; 0 where nobody counts them
    facts       for programs
    complaint   what is wrong with it although it is there
    """

    frames: int
    wall_s: float
    size_bytes: int = 0
    facts: dict[str, Any]
    complaint: Zvc69Error | None = None


@dataclass(slots=True)
class _Total:
    files: int = 0
    frames: int = 0
    size_bytes: int = 0
    wall_s: float = 0.0
    failures: list[Zvc69Error] = field(default_factory=list)

    def add(self, ended: Ended) -> None:
        self.files += 1
        self.frames += ended.frames
        self.size_bytes += ended.size_bytes
        self.wall_s += ended.wall_s

    def text(self, asked: int) -> str:
        """`2 of 3 files: 180 frames in 12.00 s (15.00 fps), 81920 bytes; 1 failed`"""
        rate = f" ({self.frames / self.wall_s:.2f} fps)" if self.wall_s else ""
        size = f", {self.size_bytes} bytes" if self.size_bytes else ""
        failed = f"; {len(self.failures)} failed" if self.failures else ""
        return f"{self.files} of {asked} files: {frames_text(self.frames)} in {self.wall_s:.2f} s{rate}{size}{failed}"


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], Ended],
    stop: StopRequest,
    *,
    schema: str,
    as_json: bool,
    is_quiet: bool,
) -> int:
    """Work on one file after the other; returns the exit code.

    schema   of the JSON objects, of which each file gets one, on a line of its own
    raises   Interrupted, and what concerns every file
    """
    total = _Total()
    try:
        for job in jobs:
            _run(job, work, total, schema, as_json=as_json)
            if stop.signal_number and total.files + len(total.failures) < len(jobs):
                raise Interrupted(
                    signal_name(stop.signal_number),
                    f"came while {job.in_name} was worked on, which was finished",
                    "The files behind it were not begun.",
                    signal_number=stop.signal_number,
                )
    finally:
        if not is_quiet:
            say(f"zvc69: {total.text(len(jobs))}")
    return total.failures[0].exit_code if total.failures else 0


def allowed_to_replace(jobs: Sequence[Job], may_overwrite: Callable[[str], bool]) -> Callable[[str], bool]:
    """`may_overwrite`, asked now about every output that exists, so that nobody is asked between two files."""
    answers = {job.out_name: may_overwrite(job.out_name) for job in jobs if _exists(job.out_name)}
    return lambda name: answers.get(name, False)


def check_folder(folder: str) -> None:
    """Raises OutputError where there is no such folder."""
    if not Path(folder).is_dir():
        what = "is a file, should be a folder" if _exists(folder) else "there is no such folder"
        raise OutputError(f"--output-dir {folder}", what, "Make the folder first.")


def _run(job: Job, work: Callable[[Job], Ended], total: _Total, schema: str, *, as_json: bool) -> None:
    try:
        ended = work(job)
    except Zvc69Error as failure:
        if isinstance(failure, Interrupted) or _concerns_all(failure):
            raise
        say_error(failure)
        total.failures.append(failure)
        error = {"exit_code": failure.exit_code, "where": failure.where, "what": failure.what}
        if as_json:
            facts = {"schema": schema, "input": job.in_name, "output": job.out_name, "error": error}
            write_json(facts, in_a_line=True)
        return
    total.add(ended)
    if as_json:
        write_json({"input": job.in_name, **ended.facts}, in_a_line=True)
    if ended.complaint is not None:
        say_error(ended.complaint)
        total.failures.append(ended.complaint)


def _concerns_all(failure: Zvc69Error) -> bool:
    """Whether the next file would meet the same: no device, no memory."""
    return isinstance(failure, RuntimeUnavailable) and not isinstance(failure, UnknownBundle)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # a name that is too long; refused when its turn comes
        return False
