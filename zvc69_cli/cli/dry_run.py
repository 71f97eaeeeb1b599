"""What `encode --dry-run` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.cli.report import clock_text
from zvc69_cli.cli.summary import frames_text, shown_name

if TYPE_CHECKING:
    from zvc69_cli.pipeline.dry_run import DryRun
    from zvc69_cli.pipeline.resolve import EncodeOptions

DRY_RUN_SCHEMA: Final = "zvc69-dry-run/1"


def dry_run_lines(found: DryRun, options: EncodeOptions) -> list[str]:
    """For people, on standard output."""
    video, guess = found.video, found.estimate
    rate = f"{float(video.frame_rate):.6g} fps" if video.frame_rate else "no frame rate said"
    length = "length unknown" if found.frames is None else f"about {frames_text(found.frames)}"
    if found.duration_s is not None:
        length += f", {clock_text(found.duration_s)}"
    source = "standard input" if found.in_name == "-" else found.in_name
    lines = [
        f"input     {source}: {video.width}x{video.height}, {video.bit_depth} bits, {rate}, {length}",
        f"output    {shown_name(found.out_name)}" + (", which exists and would be replaced" * found.replaces),
        f"networks  {found.bundle_name} on {found.device}",
        f"settings  preset {options.preset}, {_mode_text(options)}",
        f"expected  {_rate_text(found)}",
    ]
    if found.wall_s is not None:
        lines.append(f"time      about {clock_text(found.wall_s)} where it was measured ({guess.machine})")
    if found.copied_streams:
        lines.append(f"copied    {found.copied_streams} other streams")
    lines += [f"note      {note}" for note in found.notes]
    return [*lines, "Nothing was written."]


def dry_run_facts(found: DryRun, options: EncodeOptions) -> dict[str, Any]:
    """For programs."""
    return {
        "schema": DRY_RUN_SCHEMA,
        "input": found.in_name,
        "output": found.out_name,
        "replaces_output": found.replaces,
        "width": found.video.width,
        "height": found.video.height,
        "bit_depth": found.video.bit_depth,
        "frame_rate": str(found.video.frame_rate) if found.video.frame_rate else None,
        "frames": found.frames,
        "duration_s": found.duration_s,
        "copied_streams": found.copied_streams,
        "notes": list(found.notes),
        "device": found.device,
        "bundle": found.bundle_name,
        "preset": options.preset,
        "settings": asdict(options.codec),
        "rate": asdict(options.rate),
        "estimate": {**asdict(found.estimate), "wall_s": found.wall_s},
    }


def _mode_text(options: EncodeOptions) -> str:
    rate = options.rate
    if rate.bitrate_kbps is not None:
        return f"bitrate {rate.bitrate_kbps:g} kbps"
    if rate.target_bytes is not None:
        return f"size {rate.target_bytes} bytes"
    if rate.quality_target is not None:
        name, value = rate.quality_target
        return f"{name} {value:g}"
    if options.codec.qp is not None:
        return f"qp {options.codec.qp}"
    return f"crf {options.codec.crf:g}"


def _rate_text(found: DryRun) -> str:
    guess = found.estimate
    text = f"{guess.likely_kbps:.0f} kb/s"
    if guess.low_kbps < guess.high_kbps:
        text += f", {guess.low_kbps:.0f} to {guess.high_kbps:.0f} by what is to be seen"
    if found.duration_s is not None:
        text += f"; {guess.likely_kbps * found.duration_s / 8000:.2f} MB"
    return text
