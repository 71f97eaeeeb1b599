"""`zvc69 bench`: clips through zvc69 and through its peers, each at several rates, decoded and measured."""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

from zvc69_cli.errors import RuntimeUnavailable, UsageError
from zvc69_cli.frames import Frame
from zvc69_cli.measure.clips import Clip, read_clip
from zvc69_cli.measure.meters import measure_quality
from zvc69_cli.measure.page import busiest_part, crop_of, png_of
from zvc69_cli.measure.pairs import deepened, shallowed
from zvc69_cli.measure.peers import ALL_PEERS, Coded, Peer, code_with, missing
from zvc69_cli.measure.program_encoder import RATE_OF_THE_RATELESS
from zvc69_cli.measure.results import Encode, Results, program_hash
from zvc69_cli.measure.speed_bench import processor_name
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.pipeline.crew import available_cores
from zvc69_cli.pipeline.resolve import EncodeOptions

TESTED: Final = "zvc69"
USUAL_CRFS: Final = (43.0, 38.0, 33.0, 28.0, 23.0, 18.0)
USUAL_FRAMES: Final = 64
# What `--quick` leaves of it, so that one clip of 1280x720, or two of 640x360, take less than five minutes on two
# cores. The clips share the pixels: 17 frames of 1280x720 are a keyframe and two groups of eight, and fewer would
# measure little but the keyframe.
QUICK_CRFS: Final = (43.0, 38.0, 33.0, 28.0, 23.0)
QUICK_PIXELS: Final = 17 * 1280 * 720
QUICK_MIN_FRAMES: Final = 9
QUICK_PEERS: Final = ("x264", "x265", "SVT-AV1", "VP9", "VVenC")
QUICK_METRICS: Final = ("psnr", "ssim", "vmaf", "xpsnr")
CROP_WIDTH: Final = 320
CROP_HEIGHT: Final = 180
NEAR_RATE: Final = 0.03  # an encode this near to a rate is at that rate


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What to do.

    crfs        zvc69's rates
    peer_rates  how many of its rates each peer is measured at, lowest first; None for all
    frames      first ones of each clip; None for all
    threads     of every codec; 0 is as many as there are cores
    notes       what was left out when this was planned
    """

    clips: tuple[Path, ...]
    crfs: tuple[float, ...] = USUAL_CRFS
    peers: tuple[Peer, ...] = ALL_PEERS
    peer_rates: int | None = None
    frames: int | None = USUAL_FRAMES
    is_quick: bool = False
    metrics: tuple[str, ...]
    threads: int = 0
    results: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def cores(self) -> int:
        return self.threads or available_cores()


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchedClip:
    """One clip and all its encodes.

    equal   of each codec the encode whose rate is nearest to zvc69's middle one, in the order of the codecs
    """

    name: str
    path: str
    width: int
    height: int
    bit_depth: int
    frame_count: int
    frame_rate: float
    encodes: tuple[Encode, ...]
    equal: tuple[Encode, ...]
    original_png: bytes
    crop: tuple[int, int, int, int]
    crop_frame: int

    @property
    def codecs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.codec for each in self.encodes))

    def curve(self, codec: str) -> tuple[Encode, ...]:
        return tuple(each for each in self.encodes if each.codec == codec)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """Everything measured.

    notes     what was left out, and why
    machine   what it ran on, with how many threads, and how busy it was
    settings  of each codec
    """

    clips: tuple[BenchedClip, ...]
    codecs: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    machine: str
    notes: tuple[str, ...]


class Watcher(Protocol):
    """Who is told where a bench stands."""

    def __call__(self, done: int, total: int, text: str) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Bench:
    """A bench under way."""

    plan: BenchPlan
    codec: VideoCodec
    bundle: str
    watch: Watcher
    results: Results
    notes: list[str] = field(default_factory=list)
    done: int = 0
    total: int = 0


def run_bench(plan: BenchPlan, codec: VideoCodec, bundle: str, watch: Watcher) -> BenchResult:
    """Measure every clip with every codec that this machine has.

    codec   zvc69 with its engine; its options' crf is set for each rate
    bundle  what the engine's results depend on: name and hash
    raises  UsageError, InputError; RuntimeUnavailable where zvc69 itself cannot run
    """
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    bench = _Bench(plan=plan, codec=codec, bundle=bundle, watch=watch, results=Results(plan.results))
    bench.notes += plan.notes
    peers = [peer for peer in plan.peers if not _is_missing(peer, bench.notes)]
    names = _titles(plan.clips)
    bench.total = len(names) * (len(plan.crfs) + sum(len(_rates(plan, peer)) + 1 for peer in peers))
    clips = tuple(_clip(bench, path, name, peers) for path, name in zip(plan.clips, names, strict=True))
    machine = (
        f"{processor_name()}, {platform.system()}, {plan.cores} threads for every codec, "
        f"load {busy:.1f} of other work at the beginning"
    )
    options = codec.options
    settings = [(TESTED, f"bundle {bundle}, preset {options.preset}, crf {_listed(plan.crfs)}")]
    settings += [
        (peer.name, f"{peer.settings_with(plan.cores)}, {peer.rate_option} {_listed(_rates(plan, peer))}")
        for peer in peers
    ]
    return BenchResult(
        clips=clips,
        codecs=(TESTED, *(peer.name for peer in peers)),
        settings=tuple(settings),
        machine=machine,
        notes=tuple(dict.fromkeys(bench.notes)),
    )


def quick_plan(plan: BenchPlan) -> BenchPlan:
    """The plan with less of everything, and notes on what it leaves out by this."""
    left_out = [peer.name for peer in plan.peers if peer.name not in QUICK_PEERS]
    left_out += [name.upper() for name in plan.metrics if name not in QUICK_METRICS]
    return replace(
        plan,
        notes=tuple(f"{name} is left out by --quick" for name in left_out),
        crfs=QUICK_CRFS if plan.crfs == USUAL_CRFS else plan.crfs,
        peers=tuple(peer for peer in plan.peers if peer.name in QUICK_PEERS),
        peer_rates=len(QUICK_CRFS),
        metrics=tuple(name for name in plan.metrics if name in QUICK_METRICS) or plan.metrics,
        is_quick=True,
    )


def _is_missing(peer: Peer, notes: list[str]) -> bool:
    lacking = missing(peer)
    if lacking:
        notes.append(f"{peer.name} is left out: {lacking}")
    return bool(lacking)


def _titles(paths: Sequence[Path]) -> list[str]:
    """Names of the clips, with their folders where two would be alike; raises UsageError for a clip named twice."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("CLIP", "the same clip is named twice", "Name each clip once.")
    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else f"{path.parent.name}/{path.name}"
        for stem, path in zip(stems, paths, strict=True)
    ]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _clip(bench: _Bench, path: Path, name: str, peers: Sequence[Peer]) -> BenchedClip:
    clip = read_clip(path, path.parent, _frame_limit(bench.plan, path))
    clip = replace(clip, frames=clip.frames, name=name)
    number = len(clip.frames) // 2
    original = clip.frames[number]
    size = min(CROP_WIDTH, clip.video.width // 2 * 2), min(CROP_HEIGHT, clip.video.height // 2 * 2)
    crop = (*busiest_part(original, *size), *size)
    measured = _Measuring(bench=bench, clip=clip, content=clip.content_hash, crop=crop, crop_frame=number)
    encodes = measured.own_curve()
    target = encodes[len(encodes) // 2]
    equal = [target]
    for peer in peers:
        try:
            curve = measured.peer_curve(peer, target.bits_per_pixel)
        except RuntimeUnavailable as refusal:
            bench.notes.append(f"{peer.name} is left out of {name}: {refusal.what}")
            continue
        encodes += curve
        equal.append(min(curve, key=lambda each: abs(math.log(each.bits_per_pixel / target.bits_per_pixel))))
    rate = clip.video.frame_rate or RATE_OF_THE_RATELESS
    return BenchedClip(
        name=name,
        path=str(path),
        width=clip.video.width,
        height=clip.video.height,
        bit_depth=clip.video.bit_depth,
        frame_count=len(clip.frames),
        frame_rate=float(rate),
        encodes=tuple(encodes),
        equal=tuple(equal),
        original_png=measured.crop_png(original),
        crop=crop,
        crop_frame=number,
    )


def _frame_limit(plan: BenchPlan, path: Path) -> int | None:
    """As many frames as asked for; in a hurry the clip's share of QUICK_PIXELS, and at least QUICK_MIN_FRAMES."""
    if not plan.is_quick:
        return plan.frames
    first = read_clip(path, path.parent, 1).video
    few = max(QUICK_MIN_FRAMES, QUICK_PIXELS // (len(plan.clips) * first.width * first.height))
    return few if plan.frames is None else min(few, plan.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measuring:
    """One clip being measured."""

    bench: _Bench
    clip: Clip
    content: str
    crop: tuple[int, int, int, int]
    crop_frame: int

    def own_curve(self) -> list[Encode]:
        bench = self.bench
        options = bench.codec.options
        encodes: list[Encode] = []
        for crf in sorted(bench.plan.crfs, reverse=True):
            settings = replace(options.codec, crf=crf, qp=None)
            described = (
                f"{TESTED} {program_hash()} {bench.bundle} {_described(replace(options, codec=settings))}"
            )

            def code(settings=settings) -> Coded:  # type: ignore[no-untyped-def]
                return bench.codec.code(settings, self.clip)

            encodes.append(self._encode(TESTED, crf, f"crf {crf:g}", described, code))
        return encodes

    def peer_curve(self, peer: Peer, bits_per_pixel: float) -> list[Encode]:
        """The peer at its own rates and, where none of these is near it, at this rate too."""
        rates = _rates(self.bench.plan, peer)
        try:
            curve = [self._peer(peer, rate) for rate in rates]
            extra = _rate_factor_at(curve, bits_per_pixel, peer.rate_step)
            if extra is None:
                self._step(f"{peer.name}: at equal rate already")
            else:
                curve.append(self._peer(peer, extra))
        except RuntimeUnavailable:
            self.bench.done += len(rates) + 1
            raise
        return sorted(curve, key=lambda each: each.bits_per_pixel)

    def crop_png(self, frame: Frame) -> bytes:
        video = self.clip.video
        depth = 8 if frame.y.dtype.itemsize == 1 else 10
        return png_of(crop_of(frame, *self.crop), video.colour, self.crop[2], self.crop[3], depth)

    def _peer(self, peer: Peer, rate_factor: float) -> Encode:
        cores = self.bench.plan.cores
        label = f"{peer.rate_option} {rate_factor:g}"

        def code() -> Coded:
            return code_with(peer, self.clip.frames, self.clip.video, rate_factor, threads=cores)

        return self._encode(peer.name, rate_factor, label, f"{peer.settings_with(cores)} {label}", code)

    def _encode(
        self, codec: str, setting: float, label: str, described: str, code: Callable[[], Coded]
    ) -> Encode:
        """What is kept under this description, or what `code` makes."""
        plan, video = self.bench.plan, self.clip.video
        rate = video.frame_rate or RATE_OF_THE_RATELESS
        key = f"{self.content} {rate} {described} {plan.cores} {','.join(plan.metrics)} {processor_name()}"
        text = f"{self.clip.name}: {codec} {label}"
        kept = self.bench.results.find(key)
        if kept is not None:
            self._step(f"{text}, kept from before")
            return kept
        self.bench.watch(self.bench.done, self.bench.total, text)
        coded = code()
        depth = video.bit_depth
        decoded = [deepened(shallowed(frame, depth), depth) for frame in coded.frames]
        quality = measure_quality(
            zip(self.clip.frames, decoded, strict=True), video, plan.metrics, threads=plan.cores
        )
        self.bench.notes += quality.missing
        encode = Encode(
            codec=codec,
            setting=setting,
            label=label,
            frame_count=len(decoded),
            pixels=self.clip.pixels,
            duration_s=len(decoded) / float(rate),
            stream_bytes=coded.stream_bytes - coded.text_bytes,
            encode_s=coded.encode_s,
            decode_s=coded.decode_s,
            quality=quality,
            stored=coded.stored,
            crop_png=self.crop_png(decoded[self.crop_frame]),
            made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        self.bench.results.keep(key, encode)
        self._step(text)
        return encode

    def _step(self, text: str) -> None:
        self.bench.done += 1
        self.bench.watch(self.bench.done, self.bench.total, text)


def _rates(plan: BenchPlan, peer: Peer) -> tuple[float, ...]:
    return peer.rate_factors[: plan.peer_rates]


def _rate_factor_at(curve: Sequence[Encode], bits_per_pixel: float, step: float) -> float | None:
    """The rate factor that gives this rate, as the encodes around it say; None where there is no need of it."""
    points = sorted((each.bits_per_pixel, each.setting) for each in curve)
    if any(abs(rate / bits_per_pixel - 1) < NEAR_RATE for rate, _ in points):
        return None
    for (low, coarse), (high, fine) in pairwise(points):
        if low <= bits_per_pixel <= high and high > low:
            part = math.log(bits_per_pixel / low) / math.log(high / low)
            found = round((coarse + (fine - coarse) * part) / step) * step
            return None if found in (coarse, fine) else found
    return None


def _described(options: EncodeOptions) -> str:
    """Every setting that a stream of zvc69, or the time that it takes, depends on."""
    return f"{asdict(options.codec)} {asdict(options.rate)} {options.preset} {options.run.device}"


def _listed(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
