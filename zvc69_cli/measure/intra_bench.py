"""zvc69 beside x264, x265 and SVT-AV1, all-intra: `python -m zvc69_cli.measure.intra_bench --data FOLDER`.

Every figure is of a real stream, container included, that was decoded again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tqdm import tqdm

from zvc69_cli.codec.settings import Q_LEVELS
from zvc69_cli.errors import OutputError, RuntimeUnavailable, UsageError, Zvc69Error
from zvc69_cli.measure.bench_report import About, json_text, markdown
from zvc69_cli.measure.clips import Clip, find_clips, read_clip
from zvc69_cli.measure.comparison import compare, curve, group_curve
from zvc69_cli.measure.curves import Line, Panel, draw_curves
from zvc69_cli.measure.intra_codec import IntraCodec
from zvc69_cli.measure.metrics import mean_psnr
from zvc69_cli.measure.peers import PEERS, Coded, Peer, encode_intra, is_available
from zvc69_cli.measure.store import Measurement, Store
from zvc69_cli.runtime.bundle import DEFAULT_BUNDLE
from zvc69_cli.runtime.settings import RunSettings

TESTED: Final = "zvc69"
DEFAULT_QS: Final = (2, 14, 26, 38, 50, 61)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What to measure.

    frame_limit  first frames of each clip; None takes all
    qs           quality indexes, 63 is best
    """

    data: Path
    pattern: str = "*"
    frame_limit: int | None = 1
    qs: tuple[int, ...] = DEFAULT_QS
    peers: tuple[Peer, ...] = PEERS
    cache: Path | None = None


def run_bench(settings: BenchSettings, codec: IntraCodec) -> tuple[list[Measurement], list[str]]:
    """Every measurement, and a sentence for each codec that had to be left out of a clip."""
    peers = [peer for peer in settings.peers if is_available(peer)]
    notes = [
        f"{peer.name} is left out: this PyAV has no {peer.encoder}"
        for peer in settings.peers
        if peer not in peers
    ]
    store = Store(settings.cache)
    paths = find_clips(settings.data, settings.pattern)
    measurements: list[Measurement] = []
    with tqdm(total=len(paths) * (1 + len(peers)), unit="curve", file=sys.stderr) as progress:
        for path in paths:
            clip = read_clip(path, settings.data, settings.frame_limit)
            progress.set_postfix_str(clip.name)
            for q in settings.qs:
                coded = codec.encode_intra(clip.frames, clip.video, q)
                measurements.append(_measured(clip, TESTED, q, coded))
            progress.update()
            for peer in peers:
                try:
                    measurements += _peer_curve(peer, clip, store)
                except RuntimeUnavailable as refusal:
                    notes.append(f"{peer.name} is left out of {clip.name}: {refusal.what}")
                progress.update()
    return measurements, notes


def _peer_curve(peer: Peer, clip: Clip, store: Store) -> list[Measurement]:
    """One peer on one clip; nothing is encoded that the store has."""
    content = clip.content_hash
    measurements: list[Measurement] = []
    for rate_factor in peer.rate_factors:
        settings = f"{peer.settings} crf={rate_factor:g} {clip.video.frame_rate}"
        kept = store.find(content, settings)
        if kept is None:
            coded = encode_intra(peer, clip.frames, clip.video, rate_factor)
            kept = _measured(clip, peer.name, rate_factor, coded)
            store.keep(content, settings, kept)
        measurements.append(replace(kept, clip=clip.name, group=clip.group))
    return measurements


def _measured(clip: Clip, codec: str, setting: float, coded: Coded) -> Measurement:
    psnr = mean_psnr(zip(clip.frames, coded.frames, strict=True))
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
    )


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        _run(given)
    except Zvc69Error as refusal:
        print(f"intra_bench: {refusal.where}: {refusal.what}\n       {refusal.next_step}", file=sys.stderr)
        return refusal.exit_code
    return 0


def _run(given: argparse.Namespace) -> None:
    settings = BenchSettings(
        data=given.data,
        pattern=given.only,
        frame_limit=_frame_limit(given.frames),
        qs=_qs(given.q_list),
        peers=_peers(given.peers),
        cache=given.cache,
    )
    codec = IntraCodec(given.bundle, RunSettings(device=given.device, threads=given.threads))
    measurements, notes = run_bench(settings, codec)
    comparison = compare(measurements, TESTED)
    about = _about(settings, codec, notes)
    text = markdown(about, measurements, comparison)
    print(text, end="")
    if given.markdown is not None:
        _write(given.markdown, text)
    if given.json is not None:
        _write(given.json, json_text(about, measurements, comparison))
    if given.picture is not None:
        draw_curves(panels_of(measurements), given.picture, f"{about.title}; {TESTED} is {about.bundle}")


def _about(settings: BenchSettings, codec: IntraCodec, notes: Sequence[str]) -> About:
    limit = settings.frame_limit
    extent = "all frames" if limit is None else "the first frame" if limit == 1 else f"the first {limit} frames"
    sha256 = codec.bundle.sha256.hex()
    described = [(TESTED, f"bundle {codec.bundle.name} {sha256[:16]}, q {_listed(settings.qs)}")]
    described += [(peer.name, f"{peer.settings}, crf {_listed(peer.rate_factors)}") for peer in settings.peers]
    return About(
        title=f"All-intra, {extent} of each clip",
        bundle=codec.bundle.name,
        bundle_sha256=sha256,
        codecs=tuple(described),
        notes=tuple(notes),
    )


def _listed(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.intra_bench", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of png, mkv, mp4 and y4m files, and folders of them"
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names to take, as a shell matches them")
    parser.add_argument(
        "--frames",
        "--limit-frames",
        default="1",
        metavar="N|all",
        help="first frames of each clip (%(default)s)",
    )
    parser.add_argument(
        "--q-list",
        default=",".join(map(str, DEFAULT_QS)),
        metavar="Q,Q,...",
        help="quality indexes 0..63 (%(default)s)",
    )
    parser.add_argument(
        "--peers",
        default=",".join(peer.name for peer in PEERS),
        metavar="NAME,...",
        help="(%(default)s; none for none)",
    )
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="NAME", help="(%(default)s)")
    parser.add_argument("--device", default=RunSettings().device, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=RunSettings().threads, help="(%(default)s)")
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="keeps the peers' results, by content and settings"
    )
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--markdown", type=Path, metavar="OUT")
    parser.add_argument("--picture", type=Path, metavar="OUT", help="curves as .png, .svg or .pdf")
    return parser


def _frame_limit(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            "--frames", f"{text!r} is neither a count from 1 nor all", "Give a number of frames, or all."
        )
    return int(text)


def _qs(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) < Q_LEVELS for part in parts):
        raise UsageError(
            "--q-list", f"{text!r} is not a list of 0..{Q_LEVELS - 1}", "Give it as 2,14,26,38,50,61."
        )
    return tuple(sorted({int(part) for part in parts}))


def _peers(text: str) -> tuple[Peer, ...]:
    if text == "none":
        return ()
    known = {peer.name.lower(): peer for peer in PEERS}
    asked = [part.strip().lower() for part in text.split(",")]
    for name in asked:
        if name not in known:
            raise UsageError(
                "--peers", f"{name!r} is not one of {', '.join(known)}", "Choose among these, or none."
            )
    return tuple(known[name] for name in dict.fromkeys(asked))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as cause:
        raise OutputError(str(path), f"cannot be written: {cause}", "Name another file.") from cause


if __name__ == "__main__":
    sys.exit(main())
