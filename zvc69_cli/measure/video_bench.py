"""zvc69 beside x264, x265 and SVT-AV1 on whole clips: `python -m zvc69_cli.measure.video_bench --data FOLDER`.

Every figure is of real streams that were decoded again: a .zvc69 file with its container, the peers' elementary
streams without one. For a quick look: `--frames 33 --clips foreman_cif --rates 38,30,23 --cache FOLDER`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import RuntimeUnavailable, UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.measure.bench import (
    TESTED,
    BenchSettings,
    TestedRate,
    add_machine_flags,
    add_output_flags,
    available_peers,
    earlier_curves,
    frame_limit,
    listed,
    measured,
    named_peers,
    run_bench,
    run_command,
    write_reports,
)
from zvc69_cli.measure.bench_report import About
from zvc69_cli.measure.clips import VIDEOS, find_clips, read_clip
from zvc69_cli.measure.comparison import compare
from zvc69_cli.measure.one_engine import OneEngine, bundle_of
from zvc69_cli.measure.peer_bench import USUAL_CRFS
from zvc69_cli.measure.peers import VIDEO_PEERS, code_with
from zvc69_cli.measure.speed_bench import processor_name
from zvc69_cli.measure.store import Measurement
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.measure.video_report import kinds_sections, middle_rates, speed_sections
from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, crew_for
from zvc69_cli.pipeline.engine import load_engine
from zvc69_cli.pipeline.resolve import DEFAULT_PRESET, EncodeOptions, find_preset, parse_value, resolve_encode
from zvc69_cli.runtime.bundle import DEFAULT_BUNDLE

BEFORE: Final = f"{TESTED} before"


def rates_of(codec: VideoCodec, points: Sequence[CodecSettings]) -> list[TestedRate]:
    """The codec at each of the settings."""
    return [
        TestedRate(setting=each.crf if each.base_qp is None else each.base_qp, code=partial(codec.code, each))
        for each in points
    ]


def time_peers(settings: BenchSettings, threads: int) -> list[Measurement]:
    """Every peer anew at its middle rate, with as many threads as zvc69 is given.

    Its bytes may differ from those of one thread, so that it is good for its times alone.
    """
    peers, _ = available_peers(settings.peers)
    timings: list[Measurement] = []
    for path in find_clips(settings.data, settings.patterns, settings.suffixes):
        clip = read_clip(path, settings.data, settings.frame_limit)
        for peer in peers:
            rate_factor = peer.rate_factors[len(peer.rate_factors) // 2]
            try:
                coded = code_with(peer, clip.frames, clip.video, rate_factor, threads=threads)
            except RuntimeUnavailable:
                continue  # the bench has said so
            timings.append(measured(clip, peer.name, rate_factor, coded))
    return timings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command("video_bench", _run, _parser().parse_args(arguments))


def _run(given: argparse.Namespace) -> None:
    settings = BenchSettings(
        data=given.data,
        patterns=given.clips,
        suffixes=VIDEOS,
        frame_limit=frame_limit(given.frames),
        peers=named_peers(given.peers, VIDEO_PEERS),
        cache=given.cache,
    )
    points = [point_options(given, rate) for rate in rate_list(given)]
    run = crew_for(points[0].run, USUAL_GROUP_FRAMES).networks
    codec = VideoCodec(OneEngine(load_engine(bundle_of(given.bundle), run)), points[0])
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    measurements, notes = run_bench(settings, rates_of(codec, [each.codec for each in points]))
    if given.before is not None:
        measurements += earlier_curves(given.before, TESTED, BEFORE, measurements)
    timings = middle_rates(each for each in measurements if each.codec == TESTED)
    timings += time_peers(settings, given.threads) if given.speed else []
    machine = f"{given.threads or 'any number of'} threads on {processor_name()}, {os.cpu_count()} cores"
    machine += f", load {busy:.1f} of other work at the beginning; {TESTED} with reading and writing its files"
    sections = [
        *kinds_sections(measurements, TESTED),
        *(speed_sections(timings, machine) if given.speed else []),
    ]
    about = _about(given, settings, points, notes)
    write_reports(given, about, measurements, compare(measurements, TESTED), sections=sections, timings=timings)


def rate_list(given: argparse.Namespace) -> list[dict[str, Any]]:
    """What --rates or --qps asks for, as flags of an encode; raises UsageError."""
    described = {each.field_name: each for each in flags_of(CodecSettings)}
    name, where, text = ("crf", "--rates", given.rates) if given.qps is None else ("qp", "--qps", given.qps)
    values = [parse_value(described[name], part.strip(), where) for part in text.split(",")]
    return [{name: value} for value in sorted(set(values), reverse=True)]


def point_options(given: argparse.Namespace, rate: dict[str, Any]) -> EncodeOptions:
    """Everything that one encode is asked for; raises UsageError."""
    explicit = {**overrides(given.set), **rate, "device": given.device, "threads": given.threads}
    return resolve_encode(explicit, find_preset(given.preset), {})


def overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Encoder flags from NAME=VALUE; raises UsageError."""
    described = {each.name: each for each in flags_of(CodecSettings)}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in described:
            raise UsageError(
                "--set", f"{text!r} is no NAME=VALUE of an encoder", f"The names are {', '.join(described)}."
            )
        values[described[name].field_name] = parse_value(described[name], value, f"--set {name}")
    return values


def _about(
    given: argparse.Namespace,
    settings: BenchSettings,
    points: Sequence[EncodeOptions],
    notes: Sequence[str],
) -> About:
    bundle = bundle_of(given.bundle)
    extent = "all frames" if settings.frame_limit is None else f"the first {settings.frame_limit} frames"
    sha256 = bundle.sha256.hex()
    name = "crf" if given.qps is None else "qp"
    changed = "".join(f", {each}" for each in given.set)
    rates = listed(point.codec.crf if given.qps is None else point.codec.base_qp or 0 for point in points)
    described = [
        (TESTED, f"bundle {bundle.name} {sha256[:16]}, preset {given.preset}{changed}, {name} {rates}")
    ]
    described += [(peer.name, f"{peer.settings}, crf {listed(peer.rate_factors)}") for peer in settings.peers]
    counting = (
        f"{TESTED} counts its whole file, the container included; the peers count their elementary streams. Texts "
        "about settings (the note in a .zvc69, the SEI message of x264 and x265) are left out where a column does "
        "not say otherwise."
    )
    return About(
        title=f"Video: {extent} of each clip, keyframes as each codec sets them by default",
        bundle=bundle.name,
        bundle_sha256=sha256,
        codecs=tuple(described),
        notes=(counting, *notes),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.video_bench", description=__doc__)
    add_clip_flags(parser)
    parser.add_argument(
        "--peers",
        default=",".join(peer.name for peer in VIDEO_PEERS),
        metavar="NAME,...",
        help="(%(default)s; none for none)",
    )
    parser.add_argument(
        "--speed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="time the peers anew at their middle rate, with the threads of zvc69",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="JSON",
        help="what --json wrote of an earlier run, to compare with as well",
    )
    add_output_flags(parser)
    return parser


def add_clip_flags(parser: argparse.ArgumentParser) -> None:
    """Which clips, and how zvc69 codes them."""
    parser.add_argument("--data", type=Path, required=True, help="folder of mkv, mp4 and y4m files")
    parser.add_argument(
        "--clips", default="*", metavar="NAME,...", help="names to take, as a shell matches them (%(default)s)"
    )
    parser.add_argument(
        "--frames", default="all", metavar="N|all", help="first frames of each clip (%(default)s)"
    )
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument(
        "--rates", default=listed(USUAL_CRFS).replace(" ", ","), metavar="CRF,...", help="(%(default)s)"
    )
    rates.add_argument("--qps", metavar="QP,...", help="quantiser indexes instead of --rates")
    parser.add_argument("--preset", default=DEFAULT_PRESET, help="(%(default)s)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a flag of the encoder; may be repeated",
    )
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="NAME|FOLDER", help="(%(default)s)")
    add_machine_flags(parser)


if __name__ == "__main__":
    sys.exit(main())
