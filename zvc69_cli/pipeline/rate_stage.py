"""What keeps one encode to its rate, put together: control, tally, the way of its frames, and what passes leave."""

from __future__ import annotations

from dataclasses import dataclass

from zvc69_cli.codec.rate.control import RateControl
from zvc69_cli.codec.rate.pass_log import PassLog
from zvc69_cli.codec.rate.target import RateTarget
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import CopiedPacket, Frame, VideoFormat
from zvc69_cli.pipeline.rate_tally import RateTally
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.steering import Sizes, Steering, WaitUntil, frame_orders, steering_for
from zvc69_cli.pipeline.two_pass import PassCollector, pass_facts, read_pass_log


@dataclass(frozen=True, slots=True, kw_only=True)
class RateInputs:
    """What there is to know before the first frame is coded.

    first          frame of the video
    frames         of the video; None where nobody knows
    stats_file     between two passes; None where they are one run, or one pass
    log            of a first pass in the same run
    is_first_pass  whether this is that first pass
    """

    video: VideoFormat
    first: Frame | CopiedPacket
    frames: int | None
    settings: CodecSettings
    options: EncodeOptions
    bundle: str
    base_q_256: int
    stats_file: str | None
    log: PassLog | None
    is_first_pass: bool

    @property
    def duration_s(self) -> float | None:
        """How long the video lasts; None where nobody knows."""
        rate = self.video.frame_rate
        return None if self.frames is None or not rate else float(self.frames / rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStage:
    """The parts; `collector` is there in a first pass."""

    control: RateControl
    tally: RateTally
    steering: Steering
    sizes: Sizes
    collector: PassCollector | None


def rate_stage(given: RateInputs, wait_until: WaitUntil) -> RateStage:
    """The parts for one encode.

    raises  UsageError where a size is asked of a video of unknown length, or the statistics are of another encode;
            InputError where a file that is named cannot be read
    """
    rate, video, settings = given.options.rate, given.video, given.settings
    if rate.quality_target is not None:
        raise UsageError(
            f"--target-{rate.quality_target[0]}",
            "is reached by probing, which the command line does before it encodes",
            "Find the crf with zvc69_cli.measure.quality_target first.",
        )
    is_first = given.is_first_pass or rate.pass_ == 1
    facts = pass_facts(video, given.first, given.frames, settings, given.bundle, given.options.preset)
    log = given.log
    if given.stats_file is not None and not is_first:
        log = read_pass_log(given.stats_file, facts)
    target, orders = RateTarget.of(rate, given.duration_s), frame_orders(rate)
    control = RateControl(video, settings, target, given.base_q_256, given.frames, log, orders)
    steering, sizes = steering_for(video, settings, given.base_q_256, control, orders, wait_until)
    collector = PassCollector(given.base_q_256, control.keep_offsets(), facts) if is_first else None
    tally = RateTally(video, settings, target, given.base_q_256)
    return RateStage(control=control, tally=tally, steering=steering, sizes=sizes, collector=collector)
