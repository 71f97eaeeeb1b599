"""What is said when a run has ended: a few lines for people, one JSON object for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.cli.report import say
from zvc69_cli.errors import ConstraintMissed

if TYPE_CHECKING:
    from zvc69_cli.frames import Frame
    from zvc69_cli.measure.meters import Meters
    from zvc69_cli.measure.metrics import PlanePsnr
    from zvc69_cli.pipeline.queues import StageTime
    from zvc69_cli.pipeline.resolve import EncodeOptions
    from zvc69_cli.pipeline.stats import DecodeStats, EncodeStats, RateReport

ENCODE_SCHEMA: Final = "zvc69-encode/1"
DECODE_SCHEMA: Final = "zvc69-decode/1"
MOST_MISSED: Final = 0.05  # of a rate, under --strict


class Quality:
    """Mean PSNR, and SSIM where it is asked for, of the frames that pass by, without keeping them."""

    def __init__(self, *, with_ssim: bool = False) -> None:
        self._frames = 0
        self._sums = [0.0, 0.0, 0.0]
        self._with_ssim = with_ssim
        self._meters: Meters | None = None

    def add(self, original: Frame, shown: Frame) -> PlanePsnr:
        """Count a frame; returns how good it is. Raises RuntimeUnavailable where SSIM cannot be measured here."""
        from zvc69_cli.measure.metrics import frame_psnr

        psnr = frame_psnr(original, shown)
        self._frames += 1
        self._sums = [total + each for total, each in zip(self._sums, (psnr.y, psnr.u, psnr.v), strict=True)]
        if self._with_ssim:
            self._meters = self._meters or _ssim_meters(original)
            self._meters.add(original, shown)
        return psnr

    @property
    def mean(self) -> PlanePsnr | None:
        """None where no frame came by."""
        from zvc69_cli.measure.metrics import PlanePsnr

        if not self._frames:
            return None
        y, u, v = (total / self._frames for total in self._sums)
        return PlanePsnr(y=y, u=u, v=v)

    @cached_property
    def ssim(self) -> MeanSsim | None:
        """None where it was not asked for, or no frame came by; asked for when all have."""
        if self._meters is None:
            return None
        series = {each.name: each.values for each in self._meters.finish().series}
        whole, luma = (sum(values) / len(values) for values in (series["ssim"], series["ssim_y"]))
        return MeanSsim(whole=whole, y=luma)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSsim:
    """SSIM over frames: of the three planes by their sizes, and of luma."""

    whole: float
    y: float


def _ssim_meters(first: Frame) -> Meters:
    from zvc69_cli.errors import RuntimeUnavailable
    from zvc69_cli.frames import VideoFormat
    from zvc69_cli.measure.meters import Meters

    height, width = first.y.shape
    meters = Meters(
        VideoFormat(width=width, height=height, bit_depth=10 if first.y.itemsize > 1 else 8), ("ssim",)
    )
    if meters.missing:
        raise RuntimeUnavailable("--ssim", meters.missing[0], "Leave --ssim out.")
    return meters


def shown_name(out_name: str) -> str:
    """What people call an output."""
    return "standard output" if out_name == "-" else out_name


def frames_text(count: int) -> str:
    """ "1 frame", "2 frames"."""
    return f"{count} frame" if count == 1 else f"{count} frames"


def say_encode_summary(
    out_name: str, options: EncodeOptions, stats: EncodeStats, quality: Quality | None
) -> None:
    """x265's closing lines, on standard error."""
    copied = f", {stats.copied_packets} packets copied along" if stats.copied_packets else ""
    say(
        f"zvc69: {shown_name(out_name)}: {frames_text(stats.frames)} in {stats.wall_s:.2f} s "
        f"({stats.frames_per_s:.2f} fps), {stats.bitrate_kbps:.2f} kb/s, {stats.stream_bytes} bytes{copied}"
    )
    if len(stats.kinds) > 1:
        for kind, tally in stats.kinds:
            say(
                f"zvc69: {kind.name}: {frames_text(tally.frames)}, mean q {tally.mean_q:.2f}, "
                f"mean size {tally.mean_bytes:.1f} bytes"
            )
    if stats.rate is not None:
        for line in rate_lines(stats.rate):
            say(f"zvc69: {line}")
    psnr = quality.mean if quality and options.report.psnr else None
    if psnr is not None:
        say(
            f"zvc69: PSNR (6 Y + U + V) / 8: {psnr.weighted:.3f} dB, "
            f"Y {psnr.y:.3f}, U {psnr.u:.3f}, V {psnr.v:.3f}"
        )
    ssim = quality.ssim if quality else None
    if ssim is not None:
        say(f"zvc69: SSIM of Y, U and V by their sizes: {ssim.whole:.5f}, Y {ssim.y:.5f}")


def rate_lines(rate: RateReport) -> list[str]:
    """What was asked for and what came out, for people."""
    if rate.asked_kbps is None or rate.miss is None:
        lines = [f"rate: {rate.got_kbps:.2f} kb/s, at most {rate.peak_kbps:.2f} kb/s over a second"]
    else:
        lines = [
            f"rate: {rate.got_kbps:.2f} kb/s of {rate.asked_kbps:.2f} kb/s asked for ({rate.miss:+.2%}), "
            f"at most {rate.peak_kbps:.2f} kb/s over a second"
        ]
    if rate.buffer_kbit is not None and rate.least_kbit is not None:
        late = f"{rate.underflows or 'no'} underflow" + "s" * (rate.underflows != 1 and rate.underflows > 0)
        lines.append(
            f"buffer of {rate.buffer_kbit:g} kbit: {rate.least_kbit:.1f} kbit when it was emptiest, {late}"
        )
    return lines


def missed_promise(out_name: str, stats: EncodeStats) -> ConstraintMissed | None:
    """What to raise where a rate or a buffer that was asked for was not kept."""
    rate = stats.rate
    if rate is None:
        return None
    where = shown_name(out_name)
    if rate.underflows:
        return ConstraintMissed(
            where,
            f"the buffer ran empty {rate.underflows} times, should be never",
            "The file is whole. Take a larger --vbv-bufsize, a higher --vbv-maxrate or a lower quality.",
        )
    if rate.miss is not None and abs(rate.miss) > MOST_MISSED:
        return ConstraintMissed(
            where,
            f"{rate.got_kbps:.2f} kb/s is {rate.miss:+.1%} off {rate.asked_kbps:.2f} kb/s, "
            f"should be within {MOST_MISSED:.0%}",
            "The file is whole. Try --passes 2, or a rate nearer to what came out.",
        )
    return None


def check_promises(out_name: str, stats: EncodeStats) -> None:
    """Raises ConstraintMissed where a rate or a buffer that was asked for was not kept."""
    missed = missed_promise(out_name, stats)
    if missed is not None:
        raise missed


def say_decode_summary(out_name: str, stats: DecodeStats) -> None:
    """One closing line on standard error."""
    say(
        f"zvc69: {shown_name(out_name)}: {frames_text(stats.frames)} in {stats.wall_s:.2f} s "
        f"({stats.frames_per_s:.2f} fps)"
    )


def encode_facts(
    out_name: str, options: EncodeOptions, stats: EncodeStats, quality: Quality | None
) -> dict[str, Any]:
    """What `encode --json` prints."""
    psnr = quality.mean if quality and options.report.psnr else None
    ssim = quality.ssim if quality else None
    return {
        "schema": ENCODE_SCHEMA,
        "output": out_name,
        "frames": stats.frames,
        "copied_packets": stats.copied_packets,
        "stream_bytes": stats.stream_bytes,
        "payload_bytes": stats.payload_bytes,
        "overhead_bytes": stats.overhead_bytes,
        "kinds": {
            kind.name: {"frames": tally.frames, "size_bytes": tally.size_bytes, "mean_q": tally.mean_q}
            for kind, tally in stats.kinds
        },
        "duration_s": stats.duration_s,
        "bitrate_kbps": stats.bitrate_kbps,
        "wall_s": stats.wall_s,
        "frames_per_s": stats.frames_per_s,
        "device": stats.device,
        "bundle": stats.bundle_name,
        "preset": options.preset,
        "settings": asdict(options.codec),
        "rate": None
        if stats.rate is None
        else {**asdict(stats.rate), "miss": stats.rate.miss, "settings": asdict(options.rate)},
        "psnr": None
        if psnr is None
        else {"weighted_db": psnr.weighted, "y_db": psnr.y, "u_db": psnr.u, "v_db": psnr.v},
        "ssim": None if ssim is None else {"whole": ssim.whole, "y": ssim.y},
        "stages": _times(stats.stages),
        "networks": _times(stats.networks),
        "entropy_s": stats.entropy_s,
    }


def decode_facts(out_name: str, stats: DecodeStats) -> dict[str, Any]:
    """What `decode --json` prints."""
    return {
        "schema": DECODE_SCHEMA,
        "output": out_name,
        "frames": stats.frames,
        "copied_packets": stats.copied_packets,
        "payload_bytes": stats.payload_bytes,
        "duration_s": stats.duration_s,
        "wall_s": stats.wall_s,
        "frames_per_s": stats.frames_per_s,
        "device": stats.device,
        "bundle": stats.bundle_name,
        "concealed": stats.concealed,
        "is_cut": stats.is_cut,
        "problems": list(stats.problems),
        "stages": _times(stats.stages),
        "networks": _times(stats.networks),
        "entropy_s": stats.entropy_s,
    }


def _times(times: tuple[StageTime, ...]) -> list[dict[str, Any]]:
    return [asdict(each) for each in times]
