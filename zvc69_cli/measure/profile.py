"""`zvc69 profile`: an encode and a decode of a clip, and where their time went."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from zvc69_cli.measure.one_engine import OneEngine
from zvc69_cli.measure.sampler import Place, Sampler, Samples
from zvc69_cli.measure.speed_bench import processor_name
from zvc69_cli.pipeline.crew import available_cores
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import Engine
from zvc69_cli.pipeline.queues import StageTime
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.pipeline.stats import DecodeStats, EncodeStats, busy_s, times_since

SCHEMA: Final = "zvc69-profile/1"
WARM_UP_FRAMES: Final = 5
BUSY_SHARE: Final = 0.8  # of the cores, or of one stage's thread: then that is what bounds the speed
S = TypeVar("S")

CROWD: Final = 2.0  # programs that want a core, for each there is: more, and this one waits often
PARTS: Final = (
    "read",
    "convert",
    "search",
    "analyse",
    "rdoq",
    "prior",
    "entropy",
    "reconstruct",
    "filter",
    "arithmetic",
    "write",
)

# The part that a place belongs to, innermost place first; what is not named belongs to its stage.
_BY_FUNCTION: Final = {
    ("pipeline.timed", "analyse"): "analyse",
    ("pipeline.timed", "residual_costs"): "analyse",
    ("pipeline.timed", "residual_coefficients"): "analyse",
    ("pipeline.timed", "predict_first"): "prior",
    ("pipeline.timed", "predict_second"): "prior",
    ("pipeline.timed", "predict_motion"): "prior",
    ("pipeline.timed", "residual_state"): "prior",
    ("pipeline.timed", "residual_pass"): "prior",
    ("pipeline.timed", "synthesise"): "reconstruct",
    ("pipeline.timed", "warp"): "reconstruct",
    ("pipeline.timed", "blend"): "reconstruct",
    ("pipeline.timed", "rebuild"): "reconstruct",
    ("pipeline.timed", "finish"): "reconstruct",
    ("pipeline.timed", "loop_filter"): "filter",
    ("pipeline.timed", "filter_sums"): "filter",
    ("pipeline.timed", "search"): "search",
    ("pipeline.timed", "motion_error"): "search",
}
_BY_MODULE: Final = {
    "media.pictures": "convert",
    "codec.picture.planes": "convert",
    "codec.entropy.coder": "entropy",
    "codec.entropy.payload": "entropy",
    "codec.entropy.varint": "entropy",
    "codec.motion.search": "search",
    "codec.residual.context": "prior",
    "codec.residual.quantise": "rdoq",
    "codec.picture.loop_filter": "filter",
    "codec.plan.scenecut": "search",
    "codec.plan.lookahead": "search",
    "codec.picture.reconstruct": "reconstruct",
}
_BY_STAGE: Final = {"read": "read", "write": "write", "pack": "entropy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One sort of work, summed over threads.

    seconds  that threads spent in it; stages overlap, so that all parts together exceed the wall's time
    """

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One of the two halves.

    parts         by PARTS, those that took time, from samples
    stages        of the pipeline, from its clocks
    networks      part of the stages' time, from their clocks
    processor_s   of all cores together, everything in this process counted
    peak_bytes    most resident memory while it ran
    bound         what bounds its speed, as a sentence
    """

    name: str
    frames: int
    wall_s: float
    processor_s: float
    cores: int
    pixels: int
    peak_bytes: int
    parts: tuple[Part, ...]
    stages: tuple[StageTime, ...]
    networks: tuple[StageTime, ...]
    samples: Samples
    bound: str

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Both halves."""

    clip: str
    machine: str
    device: str
    width: int
    height: int
    crf: float
    phases: tuple[Phase, ...]


def profile_clip(clip: str, options: EncodeOptions, engine: Engine) -> Profile:
    """Encode a clip to a file, decode that to y4m, both after a short warm-up.

    raises  what encoding raises
    """
    engines = OneEngine(engine)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stream, raw = str(folder / "clip.zvc69"), str(folder / "clip.y4m")
        decoding = DecodeOptions(run=options.run)
        _warm_up(clip, options, engines, folder)
        cores = options.run.threads or available_cores()
        encoded = _watched(engine, lambda: encode(clip, stream, options, engines=engines))
        video = _video_of(stream)
        decoded = _watched(engine, lambda: decode(stream, raw, decoding, engines=engines))
    pixels = video[0] * video[1]
    return Profile(
        clip=clip,
        machine=f"{processor_name()}, {os.cpu_count()} cores, {platform.system()}",
        device=engine.device,
        width=video[0],
        height=video[1],
        crf=options.codec.crf,
        phases=(
            _phase("encode", *encoded, cores, pixels),
            _phase("decode", *decoded, cores, pixels),
        ),
    )


def part_of(stage: str, stack: Iterable[Place]) -> str:
    """The one of PARTS that a thread worked on."""
    places = list(stack)
    for place in reversed(places):
        found = _BY_FUNCTION.get(place) or _BY_MODULE.get(place[0])
        if found:
            return found
    return _BY_STAGE.get(stage, "arithmetic")


def json_facts(profile: Profile) -> dict[str, Any]:
    """What `profile --json` prints."""
    return {
        "schema": SCHEMA,
        "clip": profile.clip,
        "machine": profile.machine,
        "device": profile.device,
        "width": profile.width,
        "height": profile.height,
        "crf": profile.crf,
        **{phase.name: _phase_facts(phase) for phase in profile.phases},
    }


def _phase_facts(phase: Phase) -> dict[str, Any]:
    return {
        "frames": phase.frames,
        "wall_s": phase.wall_s,
        "frames_per_s": phase.frames_per_s,
        "processor_s": phase.processor_s,
        "cores": phase.cores,
        "peak_memory_bytes": phase.peak_bytes,
        "bound": phase.bound,
        "parts": [
            {
                "name": part.name,
                "seconds": part.seconds,
                "ms_a_frame": 1e3 * part.seconds / phase.frames,
                "megapixels_per_s": phase.pixels * phase.frames / 1e6 / part.seconds,
            }
            for part in phase.parts
        ],
        "stages": [asdict(each) for each in phase.stages],
        "networks": [asdict(each) for each in phase.networks],
    }


def _warm_up(clip: str, options: EncodeOptions, engines: OneEngine, folder: Path) -> None:
    few = min(options.input.frames or WARM_UP_FRAMES, WARM_UP_FRAMES)
    short = replace(options, input=replace(options.input, frames=few))
    stream, raw = str(folder / "warm.zvc69"), str(folder / "warm.y4m")
    encode(clip, stream, short, engines=engines)
    decode(stream, raw, DecodeOptions(run=options.run), engines=engines)


def _watched(engine: Engine, run: Callable[[], S]) -> tuple[S, tuple[StageTime, ...], Samples, float]:
    """What a run returns, its time in each network, where its threads were, and its seconds of a core."""
    networks_before = engine.network_times
    before = time.process_time()
    with Sampler() as sampler:
        stats = run()
    processor_s = time.process_time() - before
    # The engine is used for all runs, and its clocks go on from one to the next.
    own = times_since(engine.network_times, networks_before)
    return stats, tuple(each for each in own if each.busy_s > 0), sampler.samples, processor_s


def _video_of(stream: str) -> tuple[int, int]:
    from zvc69_cli.container.reader import StreamReader

    with Path(stream).open("rb") as file:
        video = StreamReader(file, stream).header.video
    return video.width, video.height


def _phase(
    name: str,
    stats: EncodeStats | DecodeStats,
    networks: tuple[StageTime, ...],
    samples: Samples,
    processor_s: float,
    cores: int,
    pixels: int,
) -> Phase:
    seconds = dict.fromkeys(PARTS, 0.0)
    for stage, stack, spent in samples:
        seconds[part_of(stage, stack)] += spent
    for part in ("read", "write"):  # may be too short for any sample
        seconds[part] = seconds[part] or busy_s(stats.stages, part)
    parts = tuple(Part(name=part, seconds=spent) for part, spent in seconds.items() if spent > 0)
    return Phase(
        name=name,
        frames=stats.frames,
        wall_s=stats.wall_s,
        processor_s=processor_s,
        cores=cores,
        pixels=pixels,
        peak_bytes=samples.peak_bytes,
        parts=parts,
        stages=stats.stages,
        networks=networks,
        samples=samples,
        bound=bound_of(replace(stats, networks=networks), parts, processor_s, cores),
    )


def bound_of(stats: EncodeStats | DecodeStats, parts: tuple[Part, ...], processor_s: float, cores: int) -> str:
    """What would have to be faster for the whole to be."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    others = " Other programs have the cores now: measure again when they rest." if busy > CROWD * cores else ""
    return _bound(stats, parts, processor_s, cores) + others


def _bound(stats: EncodeStats | DecodeStats, parts: tuple[Part, ...], processor_s: float, cores: int) -> str:
    used = processor_s / (stats.wall_s * cores)
    total = sum(part.seconds for part in parts)
    largest = max(parts, key=lambda part: part.seconds, default=None)
    most = f"; most of it in {largest.name} ({100 * largest.seconds / total:.0f} %)" if largest else ""
    if stats.device in ("cpu", "toy") and used >= BUSY_SHARE:
        return f"The cores: {100 * used:.0f} % of the time of {cores} went into this{most}."
    for stage in stats.stages:
        share = stage.busy_s / (stats.wall_s * stage.threads)
        if stage.threads == 1 and share >= BUSY_SHARE:
            return f"The stage {stage.name}: its one thread was busy {100 * share:.0f} % of the time{most}."
    network = sum(each.busy_s for each in stats.networks)
    if stats.device not in ("cpu", "toy") and network >= BUSY_SHARE * stats.wall_s:
        return f"The networks on {stats.device}: {network / stats.wall_s:.1f} of them ran at a time{most}."
    return (
        f"Nothing alone: {100 * used:.0f} % of the time of {cores} cores was used, frames waited for those that they "
        f"refer to{most}."
    )
