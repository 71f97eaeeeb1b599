"""What each preset takes and gives: `python -m zvc69_cli.measure.preset_bench --data FOLDER`.

Every clip is encoded and decoded by every preset at the same quantisers. The table says how fast each is and how many
bits it takes beside medium for the same PSNR; --estimates writes what `zvc69 encode --dry-run` reckons with.
For a quick look: `--frames 17 --presets ultrafast,medium --qps 112,100,88,76`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from zvc69_cli.codec.settings import Q_LEVELS, CodecSettings
from zvc69_cli.flags import flags_of
from zvc69_cli.measure.bench import add_machine_flags, frame_limit, measured, run_command, write_report
from zvc69_cli.measure.clips import VIDEOS, find_clips, read_clip
from zvc69_cli.measure.comparison import Row, compare
from zvc69_cli.measure.one_engine import OneEngine, bundle_of
from zvc69_cli.measure.speed_bench import processor_name
from zvc69_cli.measure.store import Measurement
from zvc69_cli.measure.video_bench import rate_list
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, crew_for
from zvc69_cli.pipeline.engine import load_engine
from zvc69_cli.pipeline.estimate import INTRA, SCHEMA
from zvc69_cli.pipeline.presets import DEFAULT_PRESET, find_preset, shipped_presets
from zvc69_cli.pipeline.resolve import EncodeOptions, resolve_encode
from zvc69_cli.runtime.bundle import DEFAULT_BUNDLE

QPS: Final = "118,106,94,82,70,58"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command("preset_bench", _run, _parser().parse_args(arguments))


def _run(given: argparse.Namespace) -> None:
    points = {name: _points(given, name) for name in given.presets.split(",")}
    first = next(iter(points.values()))[0]
    bundle = bundle_of(given.bundle)
    engine = OneEngine(load_engine(bundle, crew_for(first.run, USUAL_GROUP_FRAMES).networks))
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    measurements = _measure(given, points, engine)
    machine = f"{processor_name()}, {os.cpu_count()} cores, load {busy:.1f} of other work at the beginning"
    text = table(measurements, {name: each[0] for name, each in points.items()}, machine)
    print(text, end="")
    if given.markdown is not None:
        write_report(given.markdown, text)
    if given.estimates is not None:
        facts = {
            "schema": SCHEMA,
            "bundle": bundle.name,
            "bundle_sha256": bundle.sha256.hex(),
            "machine": machine,
            "tables": estimates(measurements),
        }
        write_report(given.estimates, json.dumps(facts, indent=1) + "\n")


def _points(given: argparse.Namespace, name: str) -> list[EncodeOptions]:
    """A preset at every quantiser; `intra` is medium with keyframes only."""
    run = {"device": given.device, "threads": given.threads}
    preset = find_preset(DEFAULT_PRESET if name == INTRA else name, where="--presets")
    intra = {"keyint": 1} if name == INTRA else {}
    return [resolve_encode({**intra, **rate, **run}, preset, {}) for rate in rate_list(given)]


def _measure(
    given: argparse.Namespace, points: Mapping[str, Sequence[EncodeOptions]], engine: OneEngine
) -> list[Measurement]:
    paths = find_clips(given.data, given.clips, VIDEOS)
    measurements: list[Measurement] = []
    with tqdm(total=len(paths) * sum(map(len, points.values())), unit="encode", file=sys.stderr) as progress:
        for path in paths:
            clip = read_clip(path, given.data, frame_limit(given.frames))
            for name, options in points.items():
                for point in options:
                    progress.set_postfix_str(f"{clip.name}: {name} qp {point.codec.qp}")
                    coded = VideoCodec(engine, point).code(point.codec, clip)
                    measurements.append(measured(clip, name, point.codec.base_qp or 0, coded))
                    progress.update()
    return measurements


def table(measurements: Sequence[Measurement], options: Mapping[str, EncodeOptions], machine: str) -> str:
    """Markdown: what each preset sets, how fast it is, and its BD-rate against medium."""
    lines = [
        "| preset | sets | pixels a second | speed against medium | BD-rate against medium |",
        "|--------|------|-----------------|----------------------|------------------------|",
    ]
    medium = speed(measurements, DEFAULT_PRESET)
    for name in options:
        if name == INTRA:
            continue
        fast = speed(measurements, name)
        relation = f"{fast / medium:.2f}" if medium else "?"
        rate = _bd_rate_text(measurements, name)
        lines.append(f"| {name} | {_sets(options[name].codec)} | {fast:,.0f} | {relation} | {rate} |")
    clips = list(dict.fromkeys(each.title for each in measurements))
    frames = max((each.frame_count for each in measurements), default=0)
    lines += ["", f"{len(clips)} clips of at most {frames} frames ({', '.join(clips)}), on {machine}."]
    return "\n".join(lines) + "\n"


def speed(measurements: Sequence[Measurement], codec: str) -> float:
    """Luma samples that are encoded in a second, over all clips and rates; 0 where nothing was measured."""
    those = [each for each in measurements if each.codec == codec]
    seconds = sum(each.encode_s for each in those)
    return sum(each.pixels for each in those) / seconds if seconds else 0.0


def estimates(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Bits a luma sample by quality index and clip, and samples a second, of each preset."""
    tables = {}
    for name in dict.fromkeys(each.codec for each in measurements):
        those = [each for each in measurements if each.codec == name]
        settings = sorted({each.setting for each in those}, reverse=True)
        clips = {
            title: [
                round(each.bits_per_pixel, 5)
                for setting in settings
                for each in those
                if each.title == title and each.setting == setting
            ]
            for title in dict.fromkeys(each.title for each in those)
        }
        tables[name] = {
            "q": [Q_LEVELS - 1 - setting for setting in settings],
            "pixels_per_s": round(speed(those, name)),
            "bits_per_pixel": clips,
        }
    return tables


def _bd_rate_text(measurements: Sequence[Measurement], name: str) -> str:
    if name == DEFAULT_PRESET:
        return "0"
    pair = [each for each in measurements if each.codec in (name, DEFAULT_PRESET)]
    if len({each.codec for each in pair}) < 2:
        return "?"
    # The texts of a stream about itself differ by a word; they are no part of a preset's merit.
    pair = [replace(each, stream_bytes=each.stream_bytes - each.text_bytes, text_bytes=0) for each in pair]
    rows: Sequence[Row] = compare(pair, name).clips
    rates = [
        rate.percent for row in rows for rate in row.bd_rates if rate is not None and rate.percent is not None
    ]
    return f"{sum(rates) / len(rates):+.1f} %" if rates else "?"


def _sets(settings: CodecSettings) -> str:
    """What a preset may set, as it stands."""
    said = [(each, getattr(settings, each.field_name)) for each in flags_of(settings) if each.in_presets]
    return ", ".join(f"{each.name} {_shown(value)}" for each, value in said)


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.preset_bench", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of mkv, mp4 and y4m files")
    parser.add_argument("--clips", default="*", metavar="NAME,...", help="(%(default)s)")
    parser.add_argument(
        "--frames", default="all", metavar="N|all", help="first frames of each clip (%(default)s)"
    )
    every = ",".join([*shipped_presets(), INTRA])
    parser.add_argument("--presets", default=every, metavar="NAME,...", help="names or files (%(default)s)")
    parser.add_argument("--qps", default=QPS, metavar="QP,...", help=f"0..{Q_LEVELS - 1} (%(default)s)")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="NAME|FOLDER", help="(%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="the table")
    parser.add_argument("--estimates", type=Path, metavar="OUT", help="what --dry-run reckons with")
    add_machine_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
