"""zvc69 beside x264, x265 and SVT-AV1, all-intra: `python -m zvc69_cli.measure.intra_bench --data FOLDER`.

Every figure is of a real stream, container included, that was decoded again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from zvc69_cli.codec.settings import INTRA_Q_LEVELS
from zvc69_cli.errors import UsageError
from zvc69_cli.measure.bench import (
    TESTED,
    BenchSettings,
    TestedRate,
    add_machine_flags,
    add_output_flags,
    frame_limit,
    listed,
    named_peers,
    run_bench,
    run_command,
    write_reports,
)
from zvc69_cli.measure.bench_report import About
from zvc69_cli.measure.clips import Clip
from zvc69_cli.measure.comparison import compare
from zvc69_cli.measure.intra_codec import IntraCodec
from zvc69_cli.measure.peers import INTRA_PEERS, Coded
from zvc69_cli.pipeline.resolve import DEFAULT_PRESET, find_preset, resolve_encode
from zvc69_cli.runtime.bundle import DEFAULT_BUNDLE
from zvc69_cli.runtime.settings import RunSettings

DEFAULT_QS: Final = (2, 16, 30, 44, 58, 72)
_DEFAULT_LIST: Final = ",".join(map(str, DEFAULT_QS))


def rates_of(codec: IntraCodec, qs: Sequence[int]) -> list[TestedRate]:
    """The codec at each quality index, 0..INTRA_Q_LEVELS - 1, higher is better."""
    return [TestedRate(setting=q, code=partial(_code, codec, q)) for q in qs]


def _code(codec: IntraCodec, q: int, clip: Clip) -> Coded:
    return codec.encode_intra(clip.frames, clip.video, q)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command("intra_bench", _run, _parser().parse_args(arguments))


def _run(given: argparse.Namespace) -> None:
    settings = BenchSettings(
        data=given.data,
        patterns=given.only,
        frame_limit=frame_limit(given.frames),
        peers=named_peers(given.peers, INTRA_PEERS),
        cache=given.cache,
    )
    qs = _qs(given.q_list)
    coding = resolve_encode({}, find_preset(given.preset), {}).codec
    codec = IntraCodec(given.bundle, RunSettings(device=given.device, threads=given.threads), coding)
    measurements, notes = run_bench(settings, rates_of(codec, qs))
    about = _about(settings, given.preset, qs, codec, notes)
    write_reports(given, about, measurements, compare(measurements, TESTED))


def _about(
    settings: BenchSettings, preset: str, qs: Sequence[int], codec: IntraCodec, notes: Sequence[str]
) -> About:
    limit = settings.frame_limit
    extent = "all frames" if limit is None else "the first frame" if limit == 1 else f"the first {limit} frames"
    sha256 = codec.bundle.sha256.hex()
    described = [(TESTED, f"bundle {codec.bundle.name} {sha256[:16]}, preset {preset}, q {listed(qs)}")]
    described += [(peer.name, f"{peer.settings}, crf {listed(peer.rate_factors)}") for peer in settings.peers]
    return About(
        title=f"All-intra, {extent} of each clip",
        bundle=codec.bundle.name,
        bundle_sha256=sha256,
        codecs=tuple(described),
        notes=tuple(notes),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.intra_bench", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of png, mkv, mp4 and y4m files, and folders of them"
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN,...", help="names to take, as a shell matches them"
    )
    parser.add_argument(
        "--frames",
        "--limit-frames",
        default="1",
        metavar="N|all",
        help="first frames of each clip (%(default)s)",
    )
    parser.add_argument(
        "--q-list",
        default=_DEFAULT_LIST,
        metavar="Q,Q,...",
        help=f"quality indexes 0..{INTRA_Q_LEVELS - 1} (%(default)s)",
    )
    parser.add_argument(
        "--peers",
        default=",".join(peer.name for peer in INTRA_PEERS),
        metavar="NAME,...",
        help="(%(default)s; none for none)",
    )
    parser.add_argument("--preset", default=DEFAULT_PRESET, help="(%(default)s)")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="NAME|FOLDER", help="(%(default)s)")
    add_machine_flags(parser)
    add_output_flags(parser)
    return parser


def _qs(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) < INTRA_Q_LEVELS for part in parts):
        raise UsageError(
            "--q-list", f"{text!r} is not a list of 0..{INTRA_Q_LEVELS - 1}", f"Give it as {_DEFAULT_LIST}."
        )
    return tuple(sorted({int(part) for part in parts}))


if __name__ == "__main__":
    sys.exit(main())
