"""A checkpoint becomes a bundle: `python -m engines.training.export CHECKPOINT --data FOLDER`.

Chooses the integers of the priors on part of the data, fits the tables on other parts, writes graphs, weights and
manifest, and checks itself: graphs against PyTorch, priors against the integer oracle, an encode and a decode.
A checkpoint without a trained network of P and B frames becomes a bundle of I frames only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from engines.training.checkpoint import Checkpoint, load_checkpoint
from engines.training.data import HELD_OUT_FROM, Planes, load_clips, load_pictures
from engines.training.exact import (
    find_scales,
    hyper_offsets,
    integer_arrays,
    inter_integer_arrays,
    scale_offsets,
)
from engines.training.export_checks import GROUP_FRAMES, ExportFailed, check_bundle, check_inter
from engines.training.export_frames import code_alone, cropped_frame, planned_frames
from engines.training.from_bundle import STORED_STEMS, TRAINED_ROWS, start_line
from engines.training.gradient_graphs import gradient_graph
from engines.training.graphs import (
    WEIGHTS_FILE,
    GraphBuilder,
    StoredArray,
    analyse_graph,
    first_graph,
    second_graph,
    synthesise_graph,
)
from engines.training.inter import BASIS, WEIGHT_UNIT, InterNetwork
from engines.training.inter_graphs import inter_graphs
from engines.training.model import (
    IntraNetwork,
    LatentCoder,
    Modulation,
    planes_to_features,
)
from engines.training.tables import (
    LEVEL_REACH,
    SymbolCounts,
    fit_class_tables,
    fit_level_tables,
    fit_motion_tables,
    fit_tables,
    gaussian_tables,
)
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import LEVEL_TABLES, CodecTables, InterTables
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.motion.fields import MOTION_TABLES
from zvc69_cli.codec.quantised import hyper_rows
from zvc69_cli.codec.rate.quality import LAMBDA_HIGH, LAMBDA_LOW
from zvc69_cli.codec.residual.coding import class_passes
from zvc69_cli.codec.residual.layout import CLASS_CONTEXTS, CLASSES, basis
from zvc69_cli.codec.residual.steps import quantiser_steps
from zvc69_cli.codec.settings import INTRA_Q_LEVELS, Q_LEVELS, CodecSettings
from zvc69_cli.frames import VideoFormat
from zvc69_cli.runtime.bundle import MANIFEST_FILE, MANIFEST_VERSION, Bundle, load_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import OrtNetworks, load_networks

ALIGNMENT_BYTES = 64
CALIBRATION_SIDE = 512
CALIBRATION_QS = (0, INTRA_Q_LEVELS // 3, 2 * INTRA_Q_LEVELS // 3, INTRA_Q_LEVELS - 1)
FIT_FRAMES = 9
CLIP_FRAMES = max(GROUP_FRAMES, FIT_FRAMES)
FIT_CLIP_SIDE = 512
SMALLEST_CLIP_SIDE = 256
INTER_FIT_QPS = tuple(range(8, Q_LEVELS, 8))
_LEAST_INTRA_QP = Q_LEVELS - INTRA_Q_LEVELS
FIT_QPS = (*range(_LEAST_INTRA_QP, Q_LEVELS - 1, 4), Q_LEVELS - 1)

_INTER = "inter."  # how the names of the arrays of P and B frames begin

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What an export looks at, none of it in the test set.

    calibration  pictures that show how far the intra prior's activations reach
    pictures     others, whose symbols the tables of I frames are fitted to
    clips        whose groups show how far the inter priors reach, and whose symbols their tables are fitted to
    """

    calibration: Sequence[Planes]
    pictures: Sequence[Planes]
    clips: Sequence[Planes] = ()


def export_bundle(checkpoint: Checkpoint, folder: Path, material: Material, kept: Bundle | None = None) -> None:
    """Write a whole bundle; raises ExportFailed.

    kept  a bundle whose networks and tables of I frames are taken as they are
    """
    network = checkpoint.network()
    if kept is None:
        arrays = _transforms(network)
        scales = checkpoint.scales or find_scales(network.prior, lambda: run_on(network, material.calibration))
        arrays |= integer_arrays(network.prior, scales)
    else:
        arrays = {name: array for name, array in kept.arrays.items() if not name.startswith(_INTER)}
    inter = None if checkpoint.inter is None else checkpoint.inter_network()
    if inter is not None:
        if checkpoint.inter_scales is None:
            raise ExportFailed("the networks of P and B frames have no scales: train them as integers first")
        arrays |= _inter_transforms(inter) | inter_integer_arrays(inter, checkpoint.inter_scales)
    inter_tables = None if inter is None else _starting_inter_tables(inter)
    if kept is None:
        tables = CodecTables(**_starting_tables(network), inter=inter_tables)
    else:
        arrays_of_pictures = {name: array for name, array in kept.arrays.items() if not name.startswith(_INTER)}
        tables = replace(CodecTables.from_arrays(arrays_of_pictures), inter=inter_tables)
    _write(checkpoint, folder, arrays | tables.to_arrays())
    # Vectors, refinement and dead zones go by the tables that price them: the second round fits what the first chose.
    for refine in (0, CodecSettings().refine):
        networks = load_networks(load_bundle(folder), choose_device("cpu"), 0)
        tables = _fitted(networks, tables, material, refine, inter, keeps_intra=kept is not None)
        _write(checkpoint, folder, arrays | tables.to_arrays())
    check_bundle(folder, network, material.pictures[0])
    if inter is not None:
        check_inter(folder, inter, material.clips[0])


def run_on(network: IntraNetwork, pictures: Sequence[Planes]) -> None:
    """One pass over pictures at a few q, for what watches the network meanwhile."""
    with torch.no_grad():
        for planes in pictures:
            tensors = [torch.from_numpy(plane.copy())[None, None].float() / 255 for plane in planes]
            features = planes_to_features(*tensors)
            for q in CALIBRATION_QS:
                network(features, torch.tensor([q]), noise=False)


def _transforms(network: LatentCoder) -> Arrays:
    """Everything that pixels go through, float16, and the scales of q, float32."""
    arrays: Arrays = {}
    for name, weight in network.state_dict().items():
        if not name.startswith(("prior.", "q_", "hyper_mean")):
            arrays[name] = weight.half().numpy() if weight.ndim == 4 else weight.float().numpy()
    line = start_line()
    analysis = network.q_analysis.detach() + line
    synthesis = network.q_synthesis.detach() - line
    synthesis[0] -= np.log(MEAN_FRACTION)  # the synthesis is given sixteenths
    kept = {"q_hyper": network.q_hyper.detach().numpy(), "hyper_mean": network.hyper_mean.detach().numpy()}
    for stem, module in network.named_modules():
        if isinstance(module, Modulation) and any(weight.any() for weight in module.parameters()):
            kept |= {f"{stem}.{name}": weight.numpy() for name, weight in module.state_dict().items()}
    return arrays | {"q_analysis": analysis.numpy(), "q_synthesis": synthesis.numpy()} | kept


def _inter_transforms(network: InterNetwork) -> Arrays:
    """What pixels go through in P and B frames, as `_transforms`, under names of their own."""
    arrays: Arrays = {BASIS: basis().astype(np.float32)}
    for name, weight in network.state_dict().items():
        for stem, stored in STORED_STEMS.items():
            if name.startswith(stem):
                array = weight.half() if weight.ndim == 4 else weight.float()
                arrays[f"{stored}{name.removeprefix(stem)}"] = array.numpy()
    # Not needed to decode: the trainer prices levels by these while it trains.
    arrays[TRAINED_ROWS] = network.residual.tables.detach().numpy()
    return arrays


def _starting_inter_tables(network: InterNetwork) -> InterTables:
    """Those of P and B frames before any symbol was counted."""
    weights = torch.round(network.band_weights * WEIGHT_UNIT).long().numpy()
    return InterTables(
        motion=fit_motion_tables(SymbolCounts(rows=MOTION_TABLES)),
        levels=fit_level_tables(
            SymbolCounts(LEVEL_REACH, LEVEL_TABLES), network.residual.tables.detach().numpy()
        ),
        classes=fit_class_tables(SymbolCounts(CLASSES, CLASS_CONTEXTS)),
        steps=quantiser_steps(),
        weights=weights,
    )


def _starting_tables(coder: LatentCoder) -> dict[str, Any]:
    """Fields of LatentTables before any symbol was counted."""
    return {
        "latent": gaussian_tables(),
        "hyper": gaussian_tables(),
        "scale_offsets": scale_offsets(coder).astype(np.int64),
        "hyper_offsets": hyper_offsets(coder).astype(np.int64),
        "hyper_means": np.rint(coder.hyper_mean.detach().numpy()).astype(np.int64),
    }


def _fitted(
    networks: OrtNetworks,
    tables: CodecTables,
    material: Material,
    refine: int,
    network: InterNetwork | None,
    *,
    keeps_intra: bool,
) -> CodecTables:
    """Tables of symbols that an encoder makes of this material, I frames refined so often.

    Refined symbols are others: by tables of unrefined ones they cost 1.8 % more (six clips and eight pictures).
    """
    fitted = tables if keeps_intra else _fitted_intra(networks, tables, material.pictures, refine)
    if tables.inter is None or network is None:
        return fitted
    return replace(fitted, inter=_fitted_inter(networks, tables, tables.inter, material.clips, network))


def _fitted_intra(
    networks: OrtNetworks, tables: CodecTables, pictures: Sequence[Planes], refine: int
) -> CodecTables:
    """`tables` with those of I frames fitted to pictures."""
    latent, hyper = SymbolCounts(), SymbolCounts()
    for number, planes in enumerate(pictures):
        height, width = planes[0].shape
        video = VideoFormat(width=width, height=height)
        frame = cropped_frame(planes, height, width)
        # Every picture at a few of the q, every q on a few of the pictures.
        for qp in FIT_QPS[number % 4 :: 4]:
            settings = CodecSettings(qp=qp, keyint=1, refine=refine)
            coded = code_alone(Encoder(video, settings, networks, tables), frame)
            latent.add(coded.symbols, coded.indexes)
            rows = hyper_rows(coded.hyper, coded.q_256, tables).reshape(coded.hyper.shape)
            hyper.add(coded.hyper, rows)
    return replace(tables, latent=fit_tables(latent), hyper=fit_tables(hyper))


def _fitted_inter(
    networks: OrtNetworks,
    tables: CodecTables,
    inter: InterTables,
    clips: Sequence[Planes],
    network: InterNetwork,
) -> InterTables:
    """The tables of P and B frames, from symbols that an encoder chooses by `tables`."""
    levels, classes = SymbolCounts(LEVEL_REACH, LEVEL_TABLES), SymbolCounts(CLASSES, CLASS_CONTEXTS)
    motion = SymbolCounts(rows=MOTION_TABLES)
    for number, clip in enumerate(clips):
        height, width = (min(side, FIT_CLIP_SIDE) // 16 * 16 for side in clip[0].shape[1:])
        video = VideoFormat(width=width, height=height)
        for half in (0, len(INTER_FIT_QPS) // 2):
            qp = INTER_FIT_QPS[(number + half) % len(INTER_FIT_QPS)]
            settings = CodecSettings(qp=qp, refine=0)
            encoder = Encoder(video, settings, networks, tables)
            for planned in planned_frames(video, settings, clip, height, width, FIT_FRAMES):
                coded = encoder.quantise(planned)
                if coded.residual is None or coded.motion is None:
                    continue
                levels.add(coded.residual.levels, coded.residual.rows)
                for counts, passes in (
                    (classes, class_passes(coded.residual.classes)),
                    (motion, coded.motion.passes),
                ):
                    for each in passes:
                        counts.add(each.symbols, each.indexes)
    return replace(
        inter,
        levels=fit_level_tables(levels, network.residual.tables.detach().numpy()),
        classes=fit_class_tables(classes),
        motion=fit_motion_tables(motion),
    )


def _write(checkpoint: Checkpoint, folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, StoredArray] = {}
    with (folder / WEIGHTS_FILE).open("wb") as out:
        for name, array in arrays.items():
            out.write(b"\0" * (-out.tell() % ALIGNMENT_BYTES))
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            places[name] = StoredArray(
                dtype=array.dtype.name, shape=array.shape, offset_bytes=out.tell(), length_bytes=little.nbytes
            )
            out.write(little.tobytes())
    size = checkpoint.size

    def builder(name: str) -> GraphBuilder:
        return GraphBuilder(name, places, arrays)

    graphs = {} if checkpoint.inter is None else inter_graphs(builder)
    graphs |= {
        "analyse": analyse_graph(builder("analyse"), size.analysis_blocks),
        "first": first_graph(builder("first"), size.latent, size.hyper),
        "second": second_graph(builder("second"), size.latent),
        "synthesise": synthesise_graph(builder("synthesise"), size.latent, size.synthesis_blocks),
        "gradient": gradient_graph(builder("gradient"), size.latent, size.trunk, size.synthesis_blocks),
    }
    for name, model in graphs.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    manifest = {
        "version": MANIFEST_VERSION,
        "name": folder.name,
        "latent_channels": size.latent,
        "hyper_channels": size.hyper,
        "q_levels": Q_LEVELS,
        "lambda": [LAMBDA_LOW, LAMBDA_HIGH],
        "size": size.as_dict(),
        "pixels": checkpoint.pixels,
        "graphs": sorted(graphs),
        "onnx": onnx.__version__,
        "arrays": {
            name: {
                "dtype": place.dtype,
                "shape": list(place.shape),
                "offset_bytes": place.offset_bytes,
                "length_bytes": place.length_bytes,
            }
            for name, place in places.items()
        },
    }
    text = json.dumps(manifest, separators=(",", ":")).replace("},", "},\n")  # a line each array
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.export", description=__doc__.split("\n")[0]
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards or pictures")
    parser.add_argument("--out", type=Path, default=Path("engines/zvc69-s"))
    parser.add_argument("--pictures", type=int, default=48, help="for calibration and tables together")
    parser.add_argument("--clips", type=int, default=24, help="for the inter priors and their tables")
    parser.add_argument(
        "--keep-intra",
        type=Path,
        metavar="BUNDLE",
        help="take networks and tables of I frames from this bundle",
    )
    asked = parser.parse_args(arguments)
    checkpoint = load_checkpoint(asked.checkpoint)
    pictures = load_pictures(asked.data, CALIBRATION_SIDE, limit=16 * asked.pictures)
    chosen = [_middle(each) for each in _spread(pictures, asked.pictures)]
    clips = []
    if checkpoint.inter is not None:
        found = load_clips(asked.data, SMALLEST_CLIP_SIDE, limit=HELD_OUT_FROM, frame_limit=CLIP_FRAMES)
        clips = _spread(found, asked.clips)
    third = max(1, len(chosen) // 3)
    material = Material(
        calibration=chosen[::3][:third],
        pictures=[each for number, each in enumerate(chosen) if number % 3],
        clips=clips,
    )
    kept = None if asked.keep_intra is None else load_bundle(asked.keep_intra)
    export_bundle(checkpoint, asked.out, material, kept)
    bundle = load_bundle(asked.out)
    size = sum(each.stat().st_size for each in asked.out.iterdir() if each.suffix in (".onnx", ".bin", ".json"))
    print(f"{asked.out}: {bundle.sha256.hex()}, {size / 1e6:.1f} MB, all checks passed")
    return 0


def _spread(items: Sequence[Planes], count: int) -> list[Planes]:
    """As many as asked for, evenly spread."""
    return [items[at] for at in np.linspace(0, len(items) - 1, count).astype(int).tolist()]


def _middle(planes: Planes) -> Planes:
    """The middle of a picture, at most CALIBRATION_SIDE a side, whole blocks of 16."""
    height, width = (min(CALIBRATION_SIDE, side // 16 * 16) for side in planes[0].shape)
    top, left = (planes[0].shape[0] - height) // 4 * 2, (planes[0].shape[1] - width) // 4 * 2
    y, u, v = planes
    chroma = (slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2))
    return y[top : top + height, left : left + width], u[chroma], v[chroma]


if __name__ == "__main__":
    sys.exit(main())
