"""How the cores are shared out: frames that are worked on at once, and threads for each one's networks.

Small networks gain little from a second thread and some of their steps nothing at all, so frames come first: of a group
of B frames as many can be worked on at once as it has frames, since of each only the anchor waits for the one before.
What the frames leave goes to the networks. Measured as `make bench` does (640x360, 2 cores): one frame at once on two
threads, 3.3 frames a second encoded and 7.9 decoded; two frames on one thread each, 4.4 and 8.0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final

from zvc69_cli.runtime.settings import RunSettings

USUAL_GROUP_FRAMES: Final = 4  # where a stream does not say how long its groups are
MAX_FRAMES_AT_ONCE: Final = 8  # for the memory: the second one takes 80 MB at 640x360
FRAMES_WAITING: Final = 4  # beside them, for a reference or for their turn to go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who works on the frames of one video.

    at_once  frames that networks run on at the same time
    networks where these run, each on how many threads
    """

    at_once: int
    networks: RunSettings

    @property
    def hands(self) -> int:
        """Threads of the stage, most of which wait."""
        return self.at_once + FRAMES_WAITING if self.at_once > 1 else 1


def crew_for(run: RunSettings, group_frames: int | None) -> Crew:
    """The crew for a video.

    group_frames  frames from one anchor to the next; None where no frame refers to another
    """
    cores = run.threads or available_cores()
    at_once = min(cores, MAX_FRAMES_AT_ONCE if group_frames is None else group_frames, MAX_FRAMES_AT_ONCE)
    return Crew(at_once=at_once, networks=replace(run, threads=cores // at_once))


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
