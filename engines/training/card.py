"""The README of a bundle, made by measuring it: `python -m engines.training.card CHECKPOINT --test FOLDER`.

Writes README.md, loss.png and curves.png into the bundle's folder; the bundle's hash does not cover them.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.training.checkpoint import Checkpoint, load_checkpoint
from engines.training.export import ExportFailed
from engines.training.model import Q_LEVELS
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.prior import MEAN_FRACTION, IntegerPrior
from zvc69_cli.codec.quantised import checkerboard
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.codec.tables import CodecTables
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure import intra_bench
from zvc69_cli.measure.clips import find_clips, read_clip
from zvc69_cli.measure.speed_bench import processor_name
from zvc69_cli.runtime.bundle import FILES, Bundle, load_bundle
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


def kilo_macs_a_pixel(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Thousands of multiplications for a luma pixel, by network."""
    totals = dict.fromkeys(GRID_PIXELS, 0.0)
    for name, array in arrays.items():
        if not name.endswith(".weight"):
            continue
        for network, grids in GRID_PIXELS.items():
            for beginning, pixels in grids.items():
                if name.startswith((f"{beginning}.", f"{beginning}_", f"{beginning}0", f"{beginning}1")):
                    totals[network] += array.size / pixels / 1000
    return totals


def card(bundle: Bundle, checkpoint: Checkpoint, bench: str, data_note: str, equal_elements: int) -> str:
    """The text of the README."""
    macs = kilo_macs_a_pixel(bundle.arrays)
    parameters = sum(array.size for name, array in bundle.arrays.items() if not name.startswith("tables."))
    size = sum((bundle.folder / name).stat().st_size for name in FILES)
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
        coded = Encoder(video, CodecSettings(qp=Q_LEVELS - 1 - q), networks, tables).quantise(frame)
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
    """The history as a picture: each report in grey, their running mean in front."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in checkpoint.history if row[0] == "intra"]
    pixels, loss = np.array([row[1] for row in rows]) / 1e9, np.array([row[2] for row in rows])
    width = max(1, min(25, len(loss) // 8))
    smooth = np.convolve(loss, np.ones(width) / width, "valid")
    figure, axes = plt.subplots(figsize=(7, 3), dpi=90)
    axes.plot(pixels, loss, color="0.8", linewidth=0.6)
    axes.plot(pixels[width - 1 :], smooth, color="tab:blue", linewidth=1.4)
    axes.set_xlabel("gigapixels trained")
    axes.set_ylabel("loss (raw weights)")
    axes.set_ylim(float(np.percentile(loss, 0.5)) * 0.95, float(np.percentile(loss, 97)))
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engines.training.card", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--test", type=Path, required=True, help="folder of test clips and pictures")
    parser.add_argument("--bundle", type=Path, default=Path("engines/zvc69-s"))
    parser.add_argument("--frames", default="10", help="first frames of each clip in the comparison as video")
    parser.add_argument("--clips", default="*_*", help="names of the clips that are compared as video")
    parser.add_argument("--cache", type=Path, help="keeps the peers' results")
    parser.add_argument("--data-note", default="see the manifest", help="what it was trained on, in words")
    parser.add_argument("--json", type=Path, help="every measurement")
    asked = parser.parse_args(arguments)
    bundle = load_bundle(asked.bundle)
    checkpoint = load_checkpoint(asked.checkpoint)
    beside = asked.bundle / "bench.md"
    common: list[Any] = ["--data", asked.test, "--bundle", bundle.name, "--markdown", beside]
    common += ["--cache", asked.cache] if asked.cache else []
    # Pictures beside everybody; clips as video beside those that take seconds and not minutes a rate.
    as_video = ["--frames", asked.frames, "--only", asked.clips, "--peers", "x264,x265"]
    of_pictures: list[Any] = ["--frames", "1", "--picture", asked.bundle / "curves.png"]
    of_pictures += ["--json", asked.json] if asked.json else []
    tables = []
    for call in (of_pictures, as_video):
        code = intra_bench.main([str(each) for each in common + call])
        if code:
            return code
        tables.append(beside.read_text(encoding="utf-8"))
    draw_loss(checkpoint, asked.bundle / "loss.png")
    clips = [read_clip(path, asked.test, 1) for path in find_clips(asked.test, "*")]
    first_frames = [(clip.video, clip.frames[0]) for clip in clips]
    equal = count_equal_elements(bundle, first_frames, EXACTNESS_Q)
    text = card(bundle, checkpoint, "\n".join(tables), asked.data_note, equal)
    (asked.bundle / "README.md").write_text(text, encoding="utf-8")
    beside.unlink()
    print(asked.bundle / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
