"""What the benches share: peers measured once, reports written, words on the command line understood."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tqdm import tqdm

from zvc69_cli.errors import InputError, OutputError, RuntimeUnavailable, UsageError, Zvc69Error
from zvc69_cli.measure.bench_report import About, json_text, markdown
from zvc69_cli.measure.clips import PICTURES, VIDEOS, Clip, find_clips, read_clip
from zvc69_cli.measure.comparison import Comparison, curve, group_curve
from zvc69_cli.measure.curves import Line, Panel, draw_curves
from zvc69_cli.measure.metrics import PlanePsnr, frame_psnr, mean_of
from zvc69_cli.measure.peers import Coded, CodedFrame, Peer, code_with, is_available
from zvc69_cli.measure.store import KindTotals, Measurement, Store, measurement_of
from zvc69_cli.runtime.settings import RunSettings

TESTED: Final = "zvc69"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What to measure, beside the tested codec itself.

    patterns     of the clips' names
    suffixes     of the files that are clips
    frame_limit  first frames of each clip; None takes all
    """

    data: Path
    peers: tuple[Peer, ...]
    patterns: str = "*"
    suffixes: tuple[str, ...] = PICTURES + VIDEOS
    frame_limit: int | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedRate:
    """One point of the tested codec's curve: what it is called, and what codes a clip there."""

    __test__ = False  # its name begins as those of test classes do

    setting: float
    code: Callable[[Clip], Coded]


def run_bench(settings: BenchSettings, rates: Sequence[TestedRate]) -> tuple[list[Measurement], list[str]]:
    """Every measurement, and a sentence for each codec that had to be left out of a clip."""
    peers, notes = available_peers(settings.peers)
    store = Store(settings.cache)
    paths = find_clips(settings.data, settings.patterns, settings.suffixes)
    measurements: list[Measurement] = []
    with tqdm(total=len(paths) * (len(rates) + len(peers)), unit="step", file=sys.stderr) as progress:
        for path in paths:
            clip = read_clip(path, settings.data, settings.frame_limit)
            for rate in rates:
                progress.set_postfix_str(f"{clip.name}: {TESTED} {rate.setting:g}")
                measurements.append(measured(clip, TESTED, rate.setting, rate.code(clip)))
                progress.update()
            for peer in peers:
                progress.set_postfix_str(f"{clip.name}: {peer.name}")
                try:
                    measurements += peer_curve(peer, clip, store)
                except RuntimeUnavailable as refusal:
                    notes.append(f"{peer.name} is left out of {clip.name}: {refusal.what}")
                progress.update()
    return measurements, notes


def available_peers(asked: Iterable[Peer]) -> tuple[list[Peer], list[str]]:
    """Those that this machine has, and a sentence for each that it lacks."""
    present: list[Peer] = []
    notes: list[str] = []
    for peer in asked:
        if is_available(peer):
            present.append(peer)
        else:
            notes.append(f"{peer.name} is left out: this PyAV has no {peer.encoder}")
    return present, notes


def peer_curve(peer: Peer, clip: Clip, store: Store) -> list[Measurement]:
    """One peer on one clip, on one thread; nothing is encoded that the store has.

    raises  RuntimeUnavailable where the peer refuses the clip
    """
    content = clip.content_hash
    measurements: list[Measurement] = []
    for rate_factor in peer.rate_factors:
        settings = f"{peer.settings} crf={rate_factor:g} {clip.video.frame_rate}"
        kept = store.find(content, settings)
        if kept is None:
            coded = code_with(peer, clip.frames, clip.video, rate_factor)
            kept = measured(clip, peer.name, rate_factor, coded)
            store.keep(content, settings, kept)
        measurements.append(replace(kept, clip=clip.name, group=clip.group))
    return measurements


def measured(clip: Clip, codec: str, setting: float, coded: Coded) -> Measurement:
    """One encode, held against the clip; raises ValueError where their frames do not pair."""
    each = [frame_psnr(*pair) for pair in zip(clip.frames, coded.frames, strict=True)]
    psnr = mean_of(each)
    return Measurement(
        clip=clip.name,
        group=clip.group,
        codec=codec,
        setting=setting,
        frame_count=len(clip.frames),
        pixels=clip.pixels,
        stream_bytes=coded.stream_bytes,
        text_bytes=coded.text_bytes,
        y=psnr.y,
        u=psnr.u,
        v=psnr.v,
        psnr_db=psnr.weighted,
        encode_s=coded.encode_s,
        decode_s=coded.decode_s,
        kinds=_totals(coded.stored, each),
    )


def _totals(stored: Sequence[CodedFrame], psnr: Sequence[PlanePsnr]) -> tuple[KindTotals, ...]:
    totals: list[KindTotals] = []
    for kind in dict.fromkeys(frame.kind for frame in stored):
        pairs = [(frame, each) for frame, each in zip(stored, psnr, strict=True) if frame.kind == kind]
        totals.append(
            KindTotals(
                kind=kind,
                frame_count=len(pairs),
                size_bytes=sum(frame.size_bytes for frame, _ in pairs),
                motion_bytes=sum(frame.motion_bytes for frame, _ in pairs),
                psnr_db=mean_of([each for _, each in pairs]).weighted,
            )
        )
    return tuple(totals)


def earlier_curves(path: Path, codec: str, name: str, clips: Iterable[Measurement]) -> list[Measurement]:
    """A codec in the --json of an earlier run, under another name and without its texts, on the same clips.

    clips   what was measured now: a clip is the same when title, frames and size are
    raises  InputError where the file is not such a JSON
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        earlier = [measurement_of(each) for each in document["measurements"]]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as cause:
        raise InputError(
            str(path), f"is not the JSON of a bench: {cause}", "Name a file that --json wrote."
        ) from cause
    now = {(each.title, each.pixels, each.frame_count) for each in clips}
    return [
        replace(each, codec=name, stream_bytes=each.stream_bytes - each.text_bytes, text_bytes=0)
        for each in earlier
        if each.codec == codec and (each.title, each.pixels, each.frame_count) in now
    ]


def panels_of(measurements: Sequence[Measurement]) -> list[Panel]:
    """The mean curves of groups with several clips first, then every clip."""
    codecs = list(dict.fromkeys(each.codec for each in measurements))
    panels: list[Panel] = []
    for group in dict.fromkeys(each.group for each in measurements):
        count = len({each.title for each in measurements if each.group == group})
        if count > 1:
            means = tuple(
                Line(name=name, points=tuple(group_curve(measurements, group, name))) for name in codecs
            )
            panels.append(Panel(title=f"mean of {group or 'clips'} ({count})", lines=means))
    for title in dict.fromkeys(each.title for each in measurements):
        lines = tuple(
            Line(name=name, points=tuple(curve(measurements, title, name, as_written=False))) for name in codecs
        )
        panels.append(Panel(title=title, lines=lines))
    return panels


def write_reports(
    given: argparse.Namespace,
    about: About,
    measurements: Sequence[Measurement],
    comparison: Comparison,
    *,
    sections: Sequence[str] = (),
    timings: Sequence[Measurement] = (),
) -> None:
    """What the flags of `add_output_flags` ask for; the tables go to the screen as well."""
    text = markdown(about, measurements, comparison, sections)
    print(text, end="")
    if given.markdown is not None:
        write_report(given.markdown, text)
    if given.json is not None:
        write_report(given.json, json_text(about, measurements, comparison, timings))
    if given.picture is not None:
        draw_curves(panels_of(measurements), given.picture, f"{about.title}; {TESTED} is {about.bundle}")


def run_command(name: str, run: Callable[[argparse.Namespace], None], given: argparse.Namespace) -> int:
    """Run a command of this name and print its refusal, if it has one; the exit code."""
    try:
        run(given)
    except Zvc69Error as refusal:
        print(f"{name}: {refusal.where}: {refusal.what}\n       {refusal.next_step}", file=sys.stderr)
        return refusal.exit_code
    return 0


def add_machine_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default=RunSettings().device, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=RunSettings().threads, help="(%(default)s)")


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="keeps the peers' results, by content and settings"
    )
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--markdown", type=Path, metavar="OUT")
    parser.add_argument("--picture", type=Path, metavar="OUT", help="curves as .png, .svg or .pdf")


def frame_limit(text: str) -> int | None:
    """A count from 1, or None for "all"; raises UsageError."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            "--frames", f"{text!r} is neither a count from 1 nor all", "Give a number of frames, or all."
        )
    return int(text)


def named_peers(text: str, known_peers: Sequence[Peer]) -> tuple[Peer, ...]:
    """The peers in a list of names; raises UsageError for a name that none has."""
    if text == "none":
        return ()
    known = {peer.name.lower(): peer for peer in known_peers}
    asked = [part.strip().lower() for part in text.split(",")]
    for name in asked:
        if name not in known:
            raise UsageError(
                "--peers", f"{name!r} is not one of {', '.join(known)}", "Choose among these, or none."
            )
    return tuple(known[name] for name in dict.fromkeys(asked))


def listed(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def write_report(path: Path, text: str) -> None:
    """Write a text; raises OutputError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise OutputError(str(path), f"cannot be written: {cause}", "Name another file.") from cause
