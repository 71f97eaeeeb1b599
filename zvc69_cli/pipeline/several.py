"""Several files in one run: what each output is called, and networks that are loaded once for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from zvc69_cli.errors import UsageError
from zvc69_cli.pipeline.places import PIPE

if TYPE_CHECKING:
    from zvc69_cli.container.layout import StreamHeader
    from zvc69_cli.pipeline.engine import Engine, Engines
    from zvc69_cli.runtime.settings import RunSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file of several."""

    in_name: str
    out_name: str


def jobs_for(in_names: Sequence[str], folder: str, suffix: str) -> tuple[Job, ...]:
    """An output in `folder` for each input, named like it but for what follows its last dot.

    suffix  of the outputs, with its dot
    raises  UsageError where an input has no name of its own, or two outputs would be one file
    """
    taken: dict[str, str] = {}
    jobs = []
    for in_name in in_names:
        if not in_name:
            raise UsageError("IN", "its name is empty", "Name files.")
        if in_name == PIPE:
            raise UsageError(
                "--output-dir", "has no name for what comes from standard input", "Name its output with -o."
            )
        stem = PurePath(in_name).stem
        if not stem or stem == "..":
            raise UsageError(in_name, "is no name of a file", "Name files.")
        out_name = str(Path(folder) / (stem + suffix))
        place = os.path.normcase(out_name)
        if place in taken:
            raise UsageError(
                out_name,
                f"would be the output of both {taken[place]} and {in_name}",
                "Rename one of the two, or give them folders of their own.",
            )
        taken[place] = in_name
        jobs.append(Job(in_name=in_name, out_name=out_name))
    _refuse_inputs_as_outputs(jobs)
    return tuple(jobs)


def _refuse_inputs_as_outputs(jobs: Sequence[Job]) -> None:
    """An output that is the input of another job would be lost, or read in its place."""
    inputs = {os.path.realpath(job.in_name): job.in_name for job in jobs}
    for job in jobs:
        other = inputs.get(os.path.realpath(job.out_name))
        if other is not None:
            raise UsageError(
                job.out_name,
                f"is written over the input {other}, which would destroy it",
                "Give the outputs another folder.",
            )


class WarmEngines:
    """Satisfies pipeline.engine.Engines: what was loaded for one file serves the ones behind it, in both directions."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._lock = threading.Lock()
        self._usual: dict[RunSettings, Engine] = {}
        self._loaded: dict[tuple[bytes, RunSettings], Engine] = {}

    def for_encoding(self, run: RunSettings) -> Engine:
        with self._lock:
            if run not in self._usual:
                engine = self._engines.for_encoding(run)
                self._usual[run] = self._loaded.setdefault((engine.bundle_sha256, run), engine)
            return self._usual[run]

    def for_decoding(self, header: StreamHeader, run: RunSettings) -> Engine:
        """A bundle's networks, whatever stream of it comes; what P and B frames need loads when one first does."""
        key = (header.bundle_sha256, run)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._engines.for_decoding(header, run)
            return self._loaded[key]
