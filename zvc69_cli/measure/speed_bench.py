"""Speed on this machine: `python -m zvc69_cli.measure.speed_bench CLIP [--frames N] [--threads N] [--json FILE]`.

Encodes and decodes a clip as `zvc69` does, after a short warm-up, and prints frames a second and where the time went.
Stages overlap, so that their times add up to more than the wall's. --history FILE keeps the speeds and says what is
faster or slower than before on the same machine; with --strict a slowdown of more than 10 % ends with exit code 9.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zvc69_cli.errors import ConstraintMissed
from zvc69_cli.measure.history import SpeedRun, append_run, changes, now, read_history
from zvc69_cli.media.settings import OutputSettings
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.pipeline.stats import DecodeStats, EncodeStats
from zvc69_cli.runtime.settings import RunSettings

WARM_UP_FRAMES = 4


def speed(
    clip: Path, frames: int, crf: float, run: RunSettings, *, jobs: int = 1, keyint: int = 250
) -> tuple[EncodeStats, DecodeStats]:
    """Encode the first frames of a clip to a file and decode that to raw video."""
    with tempfile.TemporaryDirectory() as folder:
        stream, raw = str(Path(folder) / "clip.zvc69"), str(Path(folder) / "clip.yuv")
        asked = EncodeOptions.of(crf=crf, frames=frames, jobs=jobs, keyint=keyint, audio=False, subtitles=False)
        options = replace(asked, run=run)
        decoding = DecodeOptions(run=run, flight=options.flight, output=OutputSettings(raw=True))
        encoded = encode(str(clip), stream, options)
        decoded = decode(stream, raw, decoding)
    return encoded, decoded


def report(stats: EncodeStats | DecodeStats) -> dict[str, Any]:
    """Frames a second and milliseconds a frame, by stage and by network."""
    return {
        "frames": stats.frames,
        "frames_per_s": round(stats.frames_per_s, 2),
        "ms_a_frame": {
            **{each.name: round(1e3 * each.busy_s / stats.frames, 2) for each in stats.stages},
            **{f"network {each.name}": round(1e3 * each.busy_s / stats.frames, 2) for each in stats.networks},
            "entropy coding": round(1e3 * stats.entropy_s / stats.frames, 2),
        },
        "entropy_share": round(stats.entropy_s / sum(each.busy_s for each in stats.stages), 4),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.speed_bench", description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--crf", type=float, default=28.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="GOPs at the same time")
    parser.add_argument("--keyint", type=int, default=250)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--history", type=Path, help="file of earlier speeds, compared with and added to")
    parser.add_argument(
        "--strict", action="store_true", help="exit code 9 where it became slower by more than 10 %%"
    )
    asked = parser.parse_args(arguments)
    run = RunSettings(device=asked.device, threads=asked.threads)
    speed(asked.clip, WARM_UP_FRAMES, asked.crf, run)
    encoded, decoded = speed(asked.clip, asked.frames, asked.crf, run, jobs=asked.jobs, keyint=asked.keyint)
    result = {
        "machine": f"{processor_name()}, {os.cpu_count()} cores, {platform.system()}",
        "device": encoded.device,
        "clip": asked.clip.name,
        "crf": asked.crf,
        "encode": report(encoded),
        "decode": report(decoded),
    }
    print(f"{result['machine']}; {result['clip']} at crf {asked.crf:g} on {result['device']}")
    for name in ("encode", "decode"):
        part: Any = result[name]
        print(
            f"{name}: {part['frames_per_s']} frames a second, entropy coding {100 * part['entropy_share']:.1f} %"
        )
        for stage, milliseconds in part["ms_a_frame"].items():
            print(f"    {stage:<24} {milliseconds:8.2f} ms a frame")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if asked.history is None:
        return 0
    what = (
        f"{asked.clip.name} {encoded.frames} frames crf {asked.crf:g} {encoded.device} threads {asked.threads}"
    )
    if asked.jobs > 1 or asked.keyint != 250:
        what += f" jobs {asked.jobs} keyint {asked.keyint}"
    speeds = (("encode", encoded.frames_per_s), ("decode", decoded.frames_per_s))
    slowdowns = compare_with_history(
        asked.history, SpeedRun(when=now(), machine=str(result["machine"]), what=what, speeds=speeds)
    )
    return ConstraintMissed.exit_code if slowdowns and asked.strict else 0


def compare_with_history(path: Path, run: SpeedRun) -> int:
    """Print how a run compares with those before and add it to them; how many speeds fell by more than 10 %."""
    found = changes(read_history(path), run)
    append_run(path, run)
    for each in found:
        print(each.text)
    if any(each.is_slowdown for each in found) and hasattr(os, "getloadavg"):
        print(f"    the machine's load is {os.getloadavg()[0]:.1f} now: other work slows this down too")
    return sum(each.is_slowdown for each in found)


def processor_name() -> str:
    """The processor's own name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
