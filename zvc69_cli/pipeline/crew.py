"""How the cores are shared out: frames that are worked on at once, and threads for each one's networks.

Small networks gain little from a second thread and some of their steps nothing at all, so frames come first: of a group
of B frames as many can be worked on at once as it has frames, since of each only the anchor waits for the one before.
What the frames leave goes to the networks. Measured as `make bench` does (640x360, 2 cores): one frame at once on two
threads, 3.3 frames a second encoded and 7.9 decoded; two frames on one thread each, 4.4 and 8.0.

Closed GOPs do not wait for each other. Where several are to go at once (`--jobs`), frames are planned and held as far
ahead as the last of them reaches, and the threads take whichever frame is ready first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.pipeline.resolve import EncodeOptions

USUAL_GROUP_FRAMES: Final = 4  # where a stream does not say how long its groups are
MAX_FRAMES_AT_ONCE: Final = 8  # for the memory: the second one takes 80 MB at 640x360
FRAMES_WAITING: Final = 4  # behind them, so that one of them is ready when a thread is
OPEN_GOP_FRAMES: Final = 250  # where nothing but a cut ends a GOP
MAX_AHEAD_BYTES: Final = 1 << 30  # of frames that are held because several GOPs go at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who works on the frames of one video.

    at_once  frames that networks run on at the same time
    ahead    frames from the first that is not coded to the last that may be
    networks where these run, each on how many threads
    """

    at_once: int
    ahead: int
    networks: RunSettings


def crew_for(run: RunSettings, group_frames: int | None, *, jobs: int = 1, gop_frames: int = 1) -> Crew:
    """The crew for a video.

    group_frames  frames from one anchor to the next; None where no frame refers to another
    jobs          GOPs that go at the same time; without effect where no frame refers to another
    gop_frames    from one keyframe to the next at most; 0 and below where that is open
    """
    cores = run.threads or available_cores()
    if group_frames is None:
        at_once = min(cores, MAX_FRAMES_AT_ONCE)
        return Crew(
            at_once=at_once, ahead=at_once + FRAMES_WAITING, networks=replace(run, threads=cores // at_once)
        )
    at_once = max(jobs, min(cores, group_frames * jobs, MAX_FRAMES_AT_ONCE))
    ahead = at_once + FRAMES_WAITING
    if jobs > 1:
        ahead += (jobs - 1) * (gop_frames if gop_frames > 0 else OPEN_GOP_FRAMES)
    return Crew(at_once=at_once, ahead=ahead, networks=replace(run, threads=max(1, cores // at_once)))


def crew_of(options: EncodeOptions) -> Crew:
    """The crew for an encode."""
    from zvc69_cli.codec.plan.gop import group_frames

    codec = options.codec
    group = None if codec.keyint == 1 else group_frames(codec)
    return crew_for(options.run, group, jobs=options.flight.jobs, gop_frames=codec.keyint)


def frames_ahead(crew: Crew, frame_bytes: int) -> int:
    """Frames that may be held, as far as memory should allow it."""
    return min(crew.ahead, max(crew.at_once + FRAMES_WAITING, MAX_AHEAD_BYTES // frame_bytes))


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
