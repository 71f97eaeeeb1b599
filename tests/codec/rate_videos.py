"""Videos that are only numbers: what frames cost and how large they become, so that rates are tried in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from zvc69_cli.codec.plan.gop import Scheduler, usual_q
from zvc69_cli.codec.rate.control import CodedSize, RateControl
from zvc69_cli.codec.rate.model import RateClass, SizeModel, class_of, curve
from zvc69_cli.codec.rate.pass_log import PassFrame, PassLog
from zvc69_cli.codec.rate.quality import smaller_q_256
from zvc69_cli.codec.rate.settings import RateSettings
from zvc69_cli.codec.rate.target import RateTarget
from zvc69_cli.codec.rate.vbv import COMPACT_HEADER_BYTES, BufferWatch
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.frames import Frame, FrameKind, VideoFormat

VIDEO = VideoFormat(width=64, height=48, time_base=Fraction(1, 25), frame_rate=Fraction(25))
SAMPLES = 640 * 360  # that the sizes are of, whatever the planes hold
BASE_Q_256 = 32 * 256
NOTHING = np.zeros((48, 64), np.uint8)


class Costs(NamedTuple):
    intra_mean: float
    inter_mean: float


@dataclass
class Scenes:
    """A video of so many frames: each scene has its own cost, which drifts, and sizes scatter about what costs say."""

    frames: int
    seed: int = 0
    cuts: tuple[int, ...] = ()
    spread: float = 0.5
    scatter: float = 0.15
    costs: list[Costs] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        inter = 3 * np.exp(np.cumsum(rng.normal(0, 0.02, self.frames)))
        for cut in self.cuts:
            inter[cut:] *= np.exp(rng.normal(0, self.spread))
        intra = 3 * inter * np.exp(rng.normal(0, 0.1, self.frames))
        self.costs = [Costs(*pair) for pair in zip(intra, inter, strict=True)]
        self._ratios = {kind: np.exp(rng.normal(0, self.spread)) for kind in RateClass}
        self._scatters = np.exp(rng.normal(0, self.scatter, self.frames))

    def look(self, planned: Any) -> Costs:
        return self.costs[planned.frame.pts]

    def size_bytes(self, planned: Any, q_256: int) -> int:
        """What a frame takes at a q."""
        kind = class_of(planned.kind, planned.temporal_layer)
        costs = self.look(planned)
        cost = costs.intra_mean if planned.kind is FrameKind.I else costs.inter_mean
        share = self._ratios[kind] * self._scatters[planned.frame.pts]
        return int(SAMPLES * cost * curve(kind, q_256 / 256) * share / 8)


@dataclass
class Outcome:
    """What a run came to; bases are the frames' q without what their place gives them."""

    kbps: float
    bases: list[float]
    watch: BufferWatch
    control: RateControl
    log: PassLog
    lags: list[int]


def run(
    scenes: Scenes, *, is_length_known: bool = True, codec: Any = (), log: PassLog | None = None, **rate: Any
) -> Outcome:
    """A video under rate control, every frame at once when it comes."""
    settings = CodecSettings(scenecut=0, force_key_frames=",".join(map(str, scenes.cuts)), **dict(codec))
    target = RateTarget.of(RateSettings(**rate), scenes.frames / 25)
    frames = scenes.frames if is_length_known else None
    control = RateControl(VIDEO, settings, target, BASE_Q_256, frames, log)
    offsets = control.keep_offsets()
    if log is None:
        control._lookahead = scenes
        control._model = SizeModel(SAMPLES)
    scheduler = Scheduler(VIDEO, settings, BASE_Q_256)
    sizes: list[CodedSize] = []
    found = Outcome(
        0.0, [], BufferWatch(VIDEO.time_base, target.buffer), control, PassLog(where="", frames=()), []
    )
    coded: list[PassFrame] = []

    def drain(*, at_end: bool) -> None:
        while (due := control.sizes_due(at_end=at_end)) is not None:
            found.lags.append(len(sizes) - due)
            for planned in control.go(sizes[control.sizes_seen : due], at_end=at_end):
                q_256 = BASE_Q_256 + planned.q_offset
                while (size := scenes.size_bytes(planned, q_256)) > (planned.most_bytes or size) and q_256:
                    q_256 = smaller_q_256(q_256, size, planned.most_bytes)
                sizes.append(CodedSize(size, q_256))
                usual = usual_q(planned.kind, planned.temporal_layer, settings)
                found.bases.append(q_256 / 256 - usual)
                found.watch.take(planned.dts, 8 * (size + COMPACT_HEADER_BYTES))
                coded.append(
                    PassFrame(
                        kind=planned.kind,
                        temporal_layer=planned.temporal_layer,
                        q_256=q_256,
                        offset=offsets[planned.coding_index],
                        size_bytes=size,
                    )
                )

    for number in range(scenes.frames):
        for each in scheduler.push(Frame(y=NOTHING, u=NOTHING, v=NOTHING, pts=number)):
            control.take(each)
        drain(at_end=False)
    for each in scheduler.flush():
        control.take(each)
    drain(at_end=True)
    assert len(coded) == scenes.frames
    total = sum(size.payload_bytes + COMPACT_HEADER_BYTES for size in sizes)
    found.kbps = 8 * total / (scenes.frames / 25) / 1000
    found.log = PassLog(where="clip.stats", frames=tuple(coded))
    return found
