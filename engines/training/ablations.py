"""What each part of the codec gives: `python -m engines.training.ablations --data FOLDER`.

The same weights with one thing switched off at a time, each against the whole codec, on real files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.training.tables import SymbolCounts, fit_motion_tables, gaussian_tables
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import CodecTables, SymbolTables
from zvc69_cli.codec.motion.fields import MOTION_TABLES
from zvc69_cli.codec.residual.context import ENERGY_PLANES
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.measure import video_bench
from zvc69_cli.measure.bench import BenchSettings, frame_limit, run_bench, run_command
from zvc69_cli.measure.bench_report import table
from zvc69_cli.measure.clips import VIDEOS
from zvc69_cli.measure.comparison import Row, compare
from zvc69_cli.measure.one_engine import OneEngine, bundle_of
from zvc69_cli.measure.store import Measurement
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.pipeline.engine import InstalledEngine, load_engine
from zvc69_cli.pipeline.resolve import EncodeOptions

WHOLE = "whole codec"
MOTION_GRIDS = (32, 16, 8)  # samples a cell
_FRAME_PLANES = 3  # of the input of the entropy model: q, its square and the kind of frame

Change = Callable[[InstalledEngine], InstalledEngine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """One thing switched off.

    what         what that does, for the table
    settings     values of encoder flags, by field name
    change       what becomes of networks and tables, in encoder and decoder alike
    needs_inter  whether a bundle without P and B frames has nothing to switch off
    """

    name: str
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    change: Change = lambda engine: engine
    needs_inter: bool = True


class ChangedNetworks:
    """Networks with some methods replaced; the rest are those of another."""

    def __init__(self, networks: Any) -> None:
        self.networks = networks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.networks, name)


class StillNetworks(ChangedNetworks):
    """Find no motion."""

    def search(self, y: np.ndarray, samples: np.ndarray, effort: str) -> tuple[np.ndarray, ...]:
        height, width = y.shape
        return tuple(np.zeros((2, height // side, width // side), np.float32) for side in MOTION_GRIDS)


class UnshrunkNetworks(ChangedNetworks):
    """Find no class of band weights better than the first, which keeps the whole prediction."""

    def residual_costs(self, planes: Any, prediction: Any, steps: Any) -> tuple[Any, Any, np.ndarray]:
        picture, predicted, costs = self.networks.residual_costs(planes, prediction, steps)
        return picture, predicted, np.zeros_like(costs)


class UnfilteredNetworks(ChangedNetworks):
    """Correct nothing in the loop filter."""

    def loop_filter(self, pictures: Any, edges: Any, steps: Any, q_256: int) -> np.ndarray:
        return np.zeros_like(np.asarray(pictures[0]))


class ForgetfulNetworks(ChangedNetworks):
    """Predict levels without those of the references."""

    def residual_state(self, inputs: np.ndarray) -> Any:
        without = inputs.copy()
        without[ENERGY_PLANES] = 0
        return self.networks.residual_state(without)


class UnawareNetworks(ChangedNetworks):
    """Predict levels by their band, q and the kind of frame alone."""

    def residual_state(self, inputs: np.ndarray) -> Any:
        without = np.zeros_like(inputs)
        without[:_FRAME_PLANES] = inputs[:_FRAME_PLANES]
        return self.networks.residual_state(without)

    def residual_pass(self, number: int, known: Any, levels: Any, state: Any) -> tuple[Any, Any]:
        nothing = None if levels is None else np.zeros_like(levels)
        return self.networks.residual_pass(number, known, nothing, state)


class CodingEncoder(Encoder):
    """Codes every frame, even one that shows its reference once more."""

    def _skips(self, *arguments: Any) -> bool:
        return False


class CodingEngine(InstalledEngine):
    """Encodes without skipped frames."""

    def encoder(self, video: VideoFormat, settings: CodecSettings) -> Encoder:
        return CodingEncoder(video, settings, self.networks, self.tables)


def with_networks(kind: type[ChangedNetworks]) -> Change:
    return lambda engine: replace(engine, networks=kind(engine.networks))


def with_symbols(change: Callable[[SymbolTables], SymbolTables]) -> Change:
    """The tables of latents and hyper latents changed; those of P and B frames stay."""

    def change_engine(engine: InstalledEngine) -> InstalledEngine:
        tables: CodecTables = engine.tables
        changed = replace(tables, latent=change(tables.latent), hyper=change(tables.hyper))
        return replace(engine, tables=changed)

    return change_engine


def unfitted(tables: SymbolTables) -> SymbolTables:
    """Gaussians in place of what was counted; the same rows are skipped."""
    return SymbolTables(gaussian_tables().rows, tables.skip_below)


def without_fitting(engine: InstalledEngine) -> InstalledEngine:
    """The tables that training began from, those of motion too."""
    changed = with_symbols(unfitted)(engine)
    if changed.tables.inter is None:
        return changed
    inter = replace(changed.tables.inter, motion=fit_motion_tables(SymbolCounts(rows=MOTION_TABLES)))
    return replace(changed, tables=replace(changed.tables, inter=inter))


def unskipped(tables: SymbolTables) -> SymbolTables:
    """Every row coded, those whose symbols are all but sure to be 0 too."""
    return SymbolTables(tables.rows, 0)


def without_skipping(engine: InstalledEngine) -> InstalledEngine:
    """No frame skipped, and no row of the tables."""
    coding = CodingEngine(**{each.name: getattr(engine, each.name) for each in fields(engine)})
    changed = with_symbols(unskipped)(coding)
    if changed.tables.inter is None:
        return changed
    inter = replace(changed.tables.inter, levels=unskipped(changed.tables.inter.levels))
    return replace(changed, tables=replace(changed.tables, inter=inter))


ABLATIONS = (
    Ablation(
        name="motion",
        what="every vector 0; that it is so is still coded",
        change=with_networks(StillNetworks),
    ),
    Ablation(name="B-frames", what="P frames only", settings={"bframes": 0}),
    Ablation(
        name="shrunk prediction",
        what="every unit keeps the whole prediction",
        change=with_networks(UnshrunkNetworks),
    ),
    Ablation(name="RDOQ", what="levels are rounded with a fixed dead zone", settings={"rdoq_level": 0}),
    Ablation(
        name="loop filter",
        what="references and pictures as they come from the residual",
        change=with_networks(UnfilteredNetworks),
    ),
    Ablation(
        name="reference context",
        what="the levels of the references hidden from the entropy model",
        change=with_networks(ForgetfulNetworks),
    ),
    Ablation(
        name="context",
        what="the entropy model sees the band, q and the kind of frame alone",
        change=with_networks(UnawareNetworks),
    ),
    Ablation(
        name="skip",
        what="frames like their reference, and symbols all but sure to be 0, are coded",
        change=without_skipping,
        needs_inter=False,
    ),
    Ablation(
        name="fitted tables",
        what="Gaussian tables for latents and hyper latents of I frames, Laplacian ones for vectors",
        change=without_fitting,
        needs_inter=False,
    ),
    Ablation(name="inter frames", what="keyframes only", settings={"keyint": 1}),
)


def run_ablation(
    ablation: Ablation | None, engine: InstalledEngine, points: Sequence[EncodeOptions], bench: BenchSettings
) -> list[Measurement]:
    """The curves of the codec with something switched off, or of the whole codec where that is None."""
    settings = [
        replace(point.codec, **dict(ablation.settings)) if ablation else point.codec for point in points
    ]
    engines = OneEngine(ablation.change(engine) if ablation else engine)
    measurements, _ = run_bench(bench, video_bench.rates_of(VideoCodec(engines, points[0]), settings))
    return [replace(each, codec=ablation.name if ablation else WHOLE) for each in measurements]


def rows_of(measurements: Sequence[Measurement], ablation: Ablation) -> tuple[Row, ...]:
    """BD-rates of what is left, against the whole codec: a clip a row, then the means."""
    both = [each for each in measurements if each.codec in (WHOLE, ablation.name)]
    comparison = compare(both, ablation.name)
    return (*comparison.clips, *comparison.summaries[:1])


def table_of(found: Mapping[str, Mapping[str, float | None]], whats: Mapping[str, str]) -> str:
    """A table in Markdown: one line a thing switched off, one column a clip.

    found  percent by name and title
    """
    titles = list(dict.fromkeys(title for rows in found.values() for title in rows))
    lines = [
        [name, whats[name], *(_percent(rows.get(title)) for title in titles)] for name, rows in found.items()
    ]
    return table(["without", "what that is", *titles], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.ablations", description=__doc__.split("\n")[0]
    )
    video_bench.add_clip_flags(parser)
    names = ",".join(each.name for each in ABLATIONS)
    parser.add_argument("--only", default=names, metavar="NAME,...", help="what to switch off (%(default)s)")
    parser.add_argument("--json", type=Path, help="every measurement, and the table for `card --ablations`")
    return run_command("ablations", _run, parser.parse_args(arguments))


def _run(given: argparse.Namespace) -> None:
    chosen = named(given.only)
    bench = BenchSettings(
        data=given.data,
        peers=(),
        patterns=given.clips,
        suffixes=VIDEOS,
        frame_limit=frame_limit(given.frames),
    )
    points = [video_bench.point_options(given, rate) for rate in video_bench.rate_list(given)]
    bundle = bundle_of(given.bundle)
    engine = load_engine(bundle, points[0].run)
    left_out = [each.name for each in chosen if each.needs_inter and engine.tables.inter is None]
    chosen = [each for each in chosen if each.name not in left_out]
    measurements = run_ablation(None, engine, points, bench)
    found: dict[str, dict[str, float | None]] = {}
    for ablation in chosen:
        print(f"without {ablation.name}", file=sys.stderr)
        measurements += run_ablation(ablation, engine, points, bench)
        rows = rows_of(measurements, ablation)
        found[ablation.name] = {row.title: row.bd_rates[0].percent if row.bd_rates[0] else None for row in rows}
    whats = {each.name: each.what for each in ABLATIONS}
    frames = "all frames" if bench.frame_limit is None else f"the first {bench.frame_limit} frames"
    about = (
        f"Bits in percent that the codec without a thing takes above the whole codec, at equal PSNR 6:1:1 (BD-rate; "
        f"{bundle.name} {bundle.sha256.hex()[:16]}, the same weights, {frames} of each clip)."
    )
    if left_out:
        about += f" Not switched off, since the bundle has no P and B frames: {', '.join(left_out)}."
    text = f"{about}\n\n{table_of(found, whats)}\n"
    print(text, end="")
    if given.json:
        document = {
            "text": text,
            "percent": found,
            "measurements": [asdict(each) for each in measurements],
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def named(text: str) -> list[Ablation]:
    """The ablations in a list of names; raises UsageError for a name that none has."""
    known = {each.name: each for each in ABLATIONS}
    asked = [part.strip() for part in text.split(",")]
    for name in asked:
        if name not in known:
            raise UsageError("--only", f"{name!r} is not one of {', '.join(known)}", "Choose among these.")
    return [known[name] for name in dict.fromkeys(asked)]


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:+.1f}"


if __name__ == "__main__":
    sys.exit(main())
