"""The README of a bundle, made by measuring it: `python -m engines.training.card CHECKPOINT --test FOLDER`.

Writes README.md, loss.png, curves.png and curves_video.png into the bundle's folder; the bundle's hash covers none.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.training.checkpoint import Checkpoint, load_checkpoint
from engines.training.export_checks import ExportFailed
from engines.training.export_frames import code_alone
from engines.training.search import SEARCH_CELL, SEARCHED
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.intra.prior import MEAN_FRACTION, IntegerPrior
from zvc69_cli.codec.quantised import checkerboard
from zvc69_cli.codec.residual.layout import BANDS, CELL
from zvc69_cli.codec.settings import Q_LEVELS, CodecSettings
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure import intra_bench, video_bench
from zvc69_cli.measure.bench_report import table
from zvc69_cli.measure.clips import find_clips, read_clip
from zvc69_cli.measure.speed_bench import processor_name
from zvc69_cli.runtime.bundle import Bundle, load_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import load_networks

EXACTNESS_Q = 38

# Luma pixels for one position of each layer's grid, by the beginning of its name.
GRID_PIXELS = {
    "analyse": {
        "entry": 64,
        "analysis": 64,
        "down": 256,
        "hyper_block": 256,
        "hyper_down1": 1024,
        "hyper_down2": 4096,
    },
    "prior": {
        "prior.up1": 4096,
        "prior.block1": 1024,
        "prior.up2": 1024,
        "prior.block2": 256,
        "prior.first": 256,
        "prior.second": 256,
    },
    "synthesise": {"up": 256, "synthesis": 64, "exit": 64},
}

# Those of the networks of P and B frames. Each reference is searched, and its motion predicted.
SEARCH_GRID_PIXELS = {
    f"search.levels.{level}": (SEARCH_CELL * scale) ** 2 for level, scale in enumerate(SEARCHED)
}
MOTION_GRID_PIXELS = {
    f"motion_prior.{name}.{level}": 1024 // 4**level for name in ("first", "second") for level in range(3)
}
RESIDUAL_GRID_PIXELS = {"residual.state": 64, "residual.passes": 64}
FILTER_GRID_PIXELS = {"loop_filter": 64}
BLENDING_GRID_PIXELS = {"blend": 64}
# The DCT of the prediction, and back that of the shrunk prediction and of the residual.
TRANSFORM_KILO_MACS = 3 * BANDS**2 / CELL**2 / 1000


def kilo_macs_a_pixel(arrays: Mapping[str, Any]) -> dict[str, float]:
    """Thousands of multiplications for a luma pixel, by network."""
    return {network: _kilo_macs(arrays, grids) for network, grids in GRID_PIXELS.items()}


def inter_kilo_macs(weights: Mapping[str, Any], references: int) -> dict[str, float]:
    """The same of a P or a B frame, which has one reference or two; comparing samples in the search is not counted."""
    return {
        "motion search": references * _kilo_macs(weights, SEARCH_GRID_PIXELS),
        "motion prior": references * _kilo_macs(weights, MOTION_GRID_PIXELS),
        "blending": _kilo_macs(weights, BLENDING_GRID_PIXELS) if references > 1 else 0.0,
        "transform": TRANSFORM_KILO_MACS,
        "entropy model": _kilo_macs(weights, RESIDUAL_GRID_PIXELS),
        "loop filter": _kilo_macs(weights, FILTER_GRID_PIXELS),
    }


def _kilo_macs(arrays: Mapping[str, Any], grids: Mapping[str, int]) -> float:
    total = 0.0
    for name, array in arrays.items():
        for beginning, pixels in grids.items():
            is_of = name.startswith((f"{beginning}.", f"{beginning}_", f"{beginning}0", f"{beginning}1"))
            if is_of and name.endswith(".weight"):
                total += math.prod(array.shape) / pixels / 1000
    return total


def macs_table(checkpoint: Checkpoint) -> str:
    """What each kind of frame costs; to encode includes the reconstruction that others are predicted from."""
    kinds = {"I": kilo_macs_a_pixel(checkpoint.weights)}
    if checkpoint.inter is not None:
        kinds |= {kind: inter_kilo_macs(checkpoint.inter, number) for kind, number in (("P", 1), ("B", 2))}
    parts = list(dict.fromkeys(part for macs in kinds.values() for part in macs))
    rows = []
    for kind, macs in kinds.items():
        encode = sum(macs.values())
        decode = encode - macs.get("analyse", 0) - macs.get("motion search", 0)
        rows.append([kind, *(f"{macs.get(part, 0):.2f}" for part in parts), f"{encode:.1f}", f"{decode:.1f}"])
    return table(["kMAC a pixel", *parts, "to encode", "to decode"], rows)


def video_section(checkpoint: Checkpoint, bench: str, ablations: str) -> list[str]:
    """The lines about whole clips."""
    lines = ["## Video", ""]
    lines += ["![curves of video](curves_video.png)", "", bench.strip(), "", macs_table(checkpoint), ""]
    if ablations:
        lines += ["What each part gives:", "", ablations.strip(), ""]
    return lines


def card(
    bundle: Bundle,
    checkpoint: Checkpoint,
    bench: str,
    data_note: str,
    equal_elements: int,
    video: Sequence[str] = (),
) -> str:
    """The text of the README.

    bench  the comparison of frames that are coded by themselves
    video  lines of `video_section`
    """
    macs = kilo_macs_a_pixel(bundle.arrays)
    parameters = sum(array.size for name, array in bundle.arrays.items() if "tables." not in name)
    size = sum((bundle.folder / name).stat().st_size for name in bundle.files)
    trained = ", ".join(f"{stage} {pixels / 1e9:.2f} gigapixels" for stage, pixels in checkpoint.pixels.items())
    encode, decode = macs["analyse"] + macs["prior"], macs["prior"] + macs["synthesise"]
    lines = [
        f"# {bundle.name}",
        "",
        "Made by `python -m engines.training.card`, not by hand.",
        "",
        "| | |",
        "|---|---|",
        f"| SHA-256 | `{bundle.sha256.hex()}` |",
        f"| trained on | {trained} (luma samples); {data_note} |",
        f"| parameters | {parameters / 1e6:.2f} million |",
        f"| bytes | {size / 1e6:.2f} million |",
        "| kMAC a pixel | "
        + ", ".join(f"{name} {value:.1f}" for name, value in macs.items())
        + f"; to encode {encode:.1f} ({encode + macs['synthesise']:.1f} with its reconstruction), "
        + f"to decode {decode:.1f} |",
        f"| exactness | ONNX Runtime on this CPU equal to the integer oracle in all {equal_elements:,} means and "
        f"table indexes of the first frames of the test material at q {EXACTNESS_Q} |",
        f"| measured | {datetime.date.today().isoformat()}, {processor_name()} |",
        "",
        "![loss](loss.png)",
        "",
        *video,
        *(["## Pictures, and every frame a keyframe", ""] if video else []),
        "Rate and quality, all-intra, real files with every byte of the container:",
        "",
        "![curves](curves.png)",
        "",
        bench.strip(),
        "",
    ]
    return "\n".join(lines)


def count_equal_elements(bundle: Bundle, frames: Sequence[tuple[VideoFormat, Frame]], q: int) -> int:
    """Elements of both passes in which ONNX Runtime was found equal to the integer oracle.

    raises  ExportFailed where one differs
    """
    networks = load_networks(bundle, choose_device("cpu"), 0)
    tables, oracle = CodecTables.from_arrays(bundle.arrays), IntegerPrior(bundle.arrays)
    count = 0
    for video, frame in frames:
        settings = CodecSettings(qp=Q_LEVELS - 1 - q, keyint=1)
        encoder = Encoder(video, settings, networks, tables)
        coded = code_alone(encoder, frame)
        hyper = coded.hyper + tables.hyper_means[:, None, None]
        height, width = coded.symbols.shape[1:]
        board = checkerboard(len(coded.symbols), height, width, 0, height).first
        offsets = tables.latent_offsets(coded.q_256)
        first = oracle.first(hyper.astype(np.int64), height, width, offsets)
        known = np.where(board, coded.latent, 0).astype(np.int64)
        second = oracle.second(known, first.state, offsets)
        means = np.where(board, first.means, second.means)
        indexes = np.where(board, first.indexes, second.indexes)
        got_means = coded.latent - coded.symbols * MEAN_FRACTION
        if not (np.array_equal(indexes, coded.indexes) and np.array_equal(means, got_means)):
            raise ExportFailed(
                f"the prior differs from the integer oracle on a {video.width}x{video.height} picture"
            )
        count += means.size + indexes.size
    return count


def draw_loss(checkpoint: Checkpoint, path: Path) -> None:
    """The history as a picture, a panel for each network: each report in grey, their running mean in front."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    told = {row[0] for row in checkpoint.history}
    stages = [stage for stage in ("intra",) if stage in told]
    figure, panels = plt.subplots(1, len(stages), figsize=(7 * len(stages), 3), dpi=90, squeeze=False)
    for axes, stage in zip(panels[0], stages, strict=True):
        rows = [row for row in checkpoint.history if row[0] == stage]
        pixels, loss = np.array([row[1] for row in rows]) / 1e9, np.array([row[2] for row in rows])
        width = max(1, min(25, len(loss) // 8))
        smooth = np.convolve(loss, np.ones(width) / width, "valid")
        axes.plot(pixels, loss, color="0.8", linewidth=0.6)
        axes.plot(pixels[width - 1 :], smooth, color="tab:blue", linewidth=1.4)
        axes.set_title(stage, fontsize=9)
        axes.set_xlabel("gigapixels trained")
        axes.set_ylabel("loss (raw weights)")
        axes.set_ylim(float(np.percentile(loss, 0.5)) * 0.95, float(np.percentile(loss, 97)) * 1.02)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engines.training.card", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--test", type=Path, required=True, help="folder of test clips and pictures")
    parser.add_argument("--bundle", type=Path, default=Path("engines/zvc69-s"))
    parser.add_argument("--frames", default="10", help="first frames of each clip in the all-intra comparison")
    parser.add_argument(
        "--video-frames", default="all", help="those in the comparison as video; 0 leaves that out"
    )
    parser.add_argument("--clips", default="*_*", help="names of the clips, as a shell matches them")
    parser.add_argument("--ablations", type=Path, help="JSON of `python -m engines.training.ablations`")
    parser.add_argument("--cache", type=Path, help="keeps the peers' results")
    parser.add_argument("--data-note", default="see the manifest", help="what it was trained on, in words")
    parser.add_argument("--json", type=Path, help="every measurement of pictures")
    parser.add_argument("--video-json", type=Path, help="every measurement of video")
    asked = parser.parse_args(arguments)
    bundle = load_bundle(asked.bundle)
    checkpoint = load_checkpoint(asked.checkpoint)
    beside = asked.bundle / "bench.md"
    common: list[Any] = ["--data", asked.test, "--bundle", asked.bundle, "--markdown", beside]
    common += ["--cache", asked.cache] if asked.cache else []
    # Pictures beside everybody; all-intra clips beside those that take seconds and not minutes a rate.
    all_intra = [
        "--bundle",
        bundle.name,
        "--frames",
        asked.frames,
        "--only",
        asked.clips,
        "--peers",
        "x264,x265",
    ]
    of_pictures = ["--frames", "1", "--picture", asked.bundle / "curves.png"]
    of_pictures += ["--json", asked.json] if asked.json else []
    of_video = ["--frames", asked.video_frames, "--clips", asked.clips]
    of_video += ["--picture", asked.bundle / "curves_video.png"]
    of_video += ["--json", asked.video_json] if asked.video_json else []
    calls = [(intra_bench.main, of_pictures), (intra_bench.main, all_intra)]
    calls += [(video_bench.main, of_video)] if asked.video_frames != "0" else []
    tables = []
    for bench, arguments_of in calls:
        code = bench([str(each) for each in common + arguments_of])
        if code:
            return code
        tables.append(beside.read_text(encoding="utf-8"))
    ablations = json.loads(asked.ablations.read_text(encoding="utf-8"))["text"] if asked.ablations else ""
    video = video_section(checkpoint, tables[2], ablations) if len(tables) > 2 else []
    draw_loss(checkpoint, asked.bundle / "loss.png")
    clips = [read_clip(path, asked.test, 1) for path in find_clips(asked.test, "*")]
    first_frames = [(clip.video, clip.frames[0]) for clip in clips]
    equal = count_equal_elements(bundle, first_frames, EXACTNESS_Q)
    text = card(bundle, checkpoint, "\n".join(tables[:2]), asked.data_note, equal, video)
    (asked.bundle / "README.md").write_text(text, encoding="utf-8")
    beside.unlink()
    print(asked.bundle / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
