"""What is said when a run has ended: a few lines for people, one JSON object for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.cli.report import say

if TYPE_CHECKING:
    from zvc69_cli.frames import Frame
    from zvc69_cli.measure.metrics import PlanePsnr
    from zvc69_cli.pipeline.queues import StageTime
    from zvc69_cli.pipeline.resolve import EncodeOptions
    from zvc69_cli.pipeline.stats import DecodeStats, EncodeStats

ENCODE_SCHEMA: Final = "zvc69-encode/1"
DECODE_SCHEMA: Final = "zvc69-decode/1"


class Quality:
    """Mean PSNR of the frames that pass by, without keeping them."""

    def __init__(self) -> None:
        self._frames = 0
        self._sums = [0.0, 0.0, 0.0]

    def add(self, original: Frame, shown: Frame) -> None:
        from zvc69_cli.measure.metrics import frame_psnr

        psnr = frame_psnr(original, shown)
        self._frames += 1
        self._sums = [total + each for total, each in zip(self._sums, (psnr.y, psnr.u, psnr.v), strict=True)]

    @property
    def mean(self) -> PlanePsnr | None:
        """None where no frame came by."""
        from zvc69_cli.measure.metrics import PlanePsnr

        if not self._frames:
            return None
        y, u, v = (total / self._frames for total in self._sums)
        return PlanePsnr(y=y, u=u, v=v)


def shown_name(out_name: str) -> str:
    """What people call an output."""
    return "standard output" if out_name == "-" else out_name


def frames_text(count: int) -> str:
    """ "1 frame", "2 frames"."""
    return f"{count} frame" if count == 1 else f"{count} frames"


def say_encode_summary(out_name: str, stats: EncodeStats, quality: Quality | None) -> None:
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
    psnr = quality.mean if quality else None
    if psnr is not None:
        say(
            f"zvc69: PSNR (6 Y + U + V) / 8: {psnr.weighted:.3f} dB, "
            f"Y {psnr.y:.3f}, U {psnr.u:.3f}, V {psnr.v:.3f}"
        )


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
    psnr = quality.mean if quality else None
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
        "psnr": None
        if psnr is None
        else {"weighted_db": psnr.weighted, "y_db": psnr.y, "u_db": psnr.u, "v_db": psnr.v},
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
