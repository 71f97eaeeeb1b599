"""Backends of the CPU beside each other: `python -m zvc69_cli.measure.backend_bench CLIP [--frames N] [--threads N]`.

Encodes and decodes a clip with each of cpu and openvino, in float32 and, where it was calibrated, in int8; in turns, so
that a machine that slows down does so for all. Prints frames a second, bytes, and milliseconds a frame of each network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from zvc69_cli.errors import Zvc69Error
from zvc69_cli.measure.speed_bench import WARM_UP_FRAMES, speed
from zvc69_cli.pipeline.stats import DecodeStats, EncodeStats
from zvc69_cli.runtime.settings import RunSettings

BACKENDS: Final = ("cpu", "openvino")
PRECISIONS: Final = ("fp32", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One backend's best turn: frames a second, and milliseconds of each network a frame coded."""

    backend: str
    encoded_fps: float
    decoded_fps: float
    stream_bytes: int
    networks_ms: dict[str, float]


def compare_backends(clip: Path, frames: int, crf: float, run: RunSettings, turns: int) -> list[Row]:
    """A row for each backend that runs here; what does not is said."""
    best: dict[str, Row] = {}
    runs = [replace(run, device=device, precision=each) for device in BACKENDS for each in PRECISIONS]
    for turn in range(turns):
        for each in runs:
            name = f"{each.device} {each.precision}"
            if turn and name not in best:
                continue
            try:
                if not turn:
                    speed(clip, WARM_UP_FRAMES, crf, each)
                row = _row(name, *speed(clip, frames, crf, each))
            except Zvc69Error as error:
                print(f"{name}: {error.what}")
                continue
            if name not in best or row.encoded_fps > best[name].encoded_fps:
                best[name] = row
    return list(best.values())


def _row(name: str, encoded: EncodeStats, decoded: DecodeStats) -> Row:
    return Row(
        backend=name,
        encoded_fps=encoded.frames_per_s,
        decoded_fps=decoded.frames_per_s,
        stream_bytes=encoded.stream_bytes,
        networks_ms={each.name: 1e3 * each.busy_s / encoded.frames for each in encoded.networks},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.backend_bench", description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=25, help="(%(default)s)")
    parser.add_argument("--crf", type=float, default=28.0, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="of which the best counts (%(default)s)")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    rows = compare_backends(
        asked.clip, asked.frames, asked.crf, RunSettings(threads=asked.threads), asked.turns
    )
    for row in rows:
        networks = ", ".join(f"{name} {each:.1f}" for name, each in row.networks_ms.items())
        print(
            f"{row.backend:14} {row.encoded_fps:6.2f} fps in, {row.decoded_fps:6.2f} out, "
            f"{row.stream_bytes} bytes; ms a frame: {networks}"
        )
    if asked.json:
        facts = [{name: getattr(row, name) for name in type(row).__slots__} for row in rows]
        asked.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
