"""What `make gpu-check` runs, one part a process: `python -m zvc69_cli.measure.gpu_check PART --device cuda ...`.

exactness  streams made on the CPU are decoded on the device and the reverse: equal symbols, pictures compared
precision  FP16 and INT8 against FP32 on the device: bytes, dB, and dB of the very same stream
speed      frames a second in and out for several sizes, with the pictures in memory; latency; where the time goes

Each finding is a line of JSON, written as soon as it is there, so that a part that is stopped keeps what it found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.errors import SymbolMismatch, Zvc69Error
from zvc69_cli.frames import Frame
from zvc69_cli.measure.metrics import EQUAL_DB, frame_psnr, psnr_611
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import open_source
from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, crew_for
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import Engine, Engines, InstalledEngines
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.several import WarmEngines
from zvc69_cli.pipeline.video_file import VideoFile
from zvc69_cli.runtime.settings import RunSettings

CRF: Final = 28.0
PRECISIONS: Final = ("fp32", "fp16", "int8")
PROOF_FRAMES: Final = {"cpu": 8, "": 24}
SIZES: Final = {"cpu": "320x180,640x360", "": "1280x720,1920x1080,3840x2160"}


class SharedEngines(WarmEngines):
    """One set of networks for each device and precision, whatever number of threads each run would choose."""

    def for_encoding(self, run: RunSettings) -> Engine:
        return super().for_encoding(_usual_threads(run))

    def for_decoding(self, header: StreamHeader, run: RunSettings) -> Engine:
        return super().for_decoding(header, _usual_threads(run))


def _usual_threads(run: RunSettings) -> RunSettings:
    return crew_for(replace(run, threads=0), USUAL_GROUP_FRAMES).networks


class Findings:
    """Where findings go, and the time that is left for more.

    out  a file that gains a line a finding
    """

    def __init__(self, out: Path, seconds: float) -> None:
        self._out = out
        self._until = time.monotonic() + seconds

    def add(self, part: str, **facts: Any) -> None:
        line = json.dumps({"part": part, **facts}, default=float)
        with self._out.open("a", encoding="utf-8") as out:
            out.write(line + "\n")
        print(line, flush=True)

    @property
    def left_s(self) -> float:
        return self._until - time.monotonic()


def exactness(findings: Findings, engines: Engines, device: str, clips: Sequence[Path], frames: int) -> None:
    """Every clip both ways."""
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            for maker, reader in (("cpu", device), (device, "cpu")):
                facts: dict[str, Any] = {"clip": clip.name, "encoded_on": maker, "decoded_on": reader}
                try:
                    stream = Path(folder) / f"{clip.stem}.zvc69"
                    stats = encode(
                        str(clip),
                        str(stream),
                        _options(maker, frames),
                        engines=engines,
                        may_overwrite=lambda name: True,
                    )
                    facts |= {"frames": stats.frames, "bytes": stats.payload_bytes}
                    facts |= _compared(stream, (maker, reader), engines)
                except Zvc69Error as error:
                    facts |= {"equal": False, "what": f"{error.where}: {error.what}"}
                findings.add("exactness", **facts)


def _compared(stream: Path, devices: tuple[str, str], engines: Engines) -> dict[str, Any]:
    """One stream decoded on two devices; a frame whose symbols' checksum is not the stream's is refused."""
    worst, quality, count = 0, [], 0
    one, other = (VideoFile(stream, RunSettings(device=each), engines=engines) for each in devices)
    with one, other:
        try:
            for first, second in zip(one, other, strict=True):
                planes = ((first.y, second.y), (first.u, second.u), (first.v, second.v))
                worst = max(worst, *(int(np.abs(a.astype(np.int32) - b).max()) for a, b in planes))
                quality.append(psnr_611(first, second))
                count += 1
        except SymbolMismatch as error:
            return {"equal": False, "frames_compared": count, "what": f"{error.where}: {error.what}"}
    return {
        "equal": True,
        "frames_compared": count,
        "largest_difference": worst,
        "least_psnr_db": min(quality, default=EQUAL_DB),
    }


def precision(findings: Findings, engines: Engines, device: str, clips: Sequence[Path], frames: int) -> None:
    """What each precision costs, against FP32 on the same device."""
    if "precision" not in {each.name for each in fields(RunSettings)}:
        findings.add("precision", skipped="this program has no --precision")
        return
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            base = Path(folder) / f"{clip.stem}.fp32.zvc69"
            for name in PRECISIONS:
                facts: dict[str, Any] = {"clip": clip.name, "precision": name}
                try:
                    run = _precise(device, name)
                    stream = Path(folder) / f"{clip.stem}.{name}.zvc69"
                    options = replace(_options(device, frames), run=run)
                    stats = encode(
                        str(clip), str(stream), options, engines=engines, may_overwrite=lambda name: True
                    )
                    facts |= {"frames": stats.frames, "bytes": stats.payload_bytes}
                    facts["psnr_db"] = _quality(clip, stream, run, engines)
                    facts["psnr_of_the_fp32_stream_db"] = _quality(clip, base, run, engines)
                except Zvc69Error as error:
                    facts["skipped"] = f"{error.where}: {error.what}"
                findings.add("precision", **facts)


def _precise(device: str, name: str) -> RunSettings:
    """Settings by a name that this program may not have."""
    values: dict[str, Any] = {"device": device, "precision": name}
    return RunSettings(**values)


def _quality(clip: Path, stream: Path, run: RunSettings, engines: Engines) -> float:
    """PSNR 6:1:1 of a decoded stream against its source, mean over frames."""
    source = open_source(str(clip), InputSettings(audio=False, subtitles=False))
    try:
        originals = (item for item in source if isinstance(item, Frame))
        with VideoFile(stream, run, engines=engines) as video:
            each = [
                frame_psnr(original, shown).weighted for shown, original in zip(video, originals, strict=False)
            ]
    finally:
        source.close()
    return sum(each) / len(each)


def _options(device: str, frames: int) -> EncodeOptions:
    return EncodeOptions.of(
        crf=CRF, device=device, frames=frames, audio=False, subtitles=False, info=False, progress=False
    )


def speed(findings: Findings, engines: Engines, device: str, clip: Path, sizes: str, most: int) -> None:
    """Every size in turn, each with its share of the time that is left."""
    from zvc69_cli.measure.gpu_speed import Speeds

    pairs = [tuple(int(side) for side in size.split("x")) for size in sizes.split(",")]
    speeds = Speeds(engines, RunSettings(device=device), clip, most)
    for facts in speeds.measured(pairs, lambda: findings.left_s):
        findings.add("speed", **facts)


def of_device(table: dict[str, Any], device: str) -> Any:
    """What is usual on a device."""
    return table.get(device.partition(":")[0], table[""])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.gpu_check", description=__doc__)
    parser.add_argument("part", choices=("exactness", "precision", "speed"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("--most", type=int, default=600)
    parser.add_argument("--sizes", default="")
    parser.add_argument("--clips", type=Path, nargs="*", default=[])
    asked = parser.parse_args(arguments)
    findings = Findings(asked.out, asked.seconds)
    engines = SharedEngines(InstalledEngines())
    device, frames = asked.device, asked.frames or of_device(PROOF_FRAMES, asked.device)
    try:
        if asked.part == "exactness":
            exactness(findings, engines, device, asked.clips, frames)
        elif asked.part == "precision":
            precision(findings, engines, device, asked.clips, frames)
        else:
            speed(
                findings, engines, device, asked.clips[0], asked.sizes or of_device(SIZES, device), asked.most
            )
    except Zvc69Error as error:
        print(f"zvc69: {error}", file=sys.stderr)
        findings.add(asked.part, failed=f"{error.where}: {error.what}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
