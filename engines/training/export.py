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

from engines.training.chain import SPACINGS, split_frames
from engines.training.checkpoint import Checkpoint, load_checkpoint
from engines.training.data import Planes, load_clips, load_pictures
from engines.training.exact import (
    find_inter_scales,
    find_scales,
    hyper_offsets,
    integer_arrays,
    inter_integer_arrays,
    scale_offsets,
)
from engines.training.export_checks import GROUP_FRAMES, check_bundle, check_inter
from engines.training.export_frames import code_alone, cropped_frame, planned_frames
from engines.training.from_bundle import start_line
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
from engines.training.group import begun_group, code_group
from engines.training.inter import InterNetwork
from engines.training.inter_graphs import inter_graphs
from engines.training.model import (
    IntraNetwork,
    LatentCoder,
    Modulation,
    planes_to_features,
)
from engines.training.stages import CALIBRATION_QS
from engines.training.tables import SymbolCounts, fit_motion_tables, fit_tables, gaussian_tables
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import CodecTables, InterTables
from zvc69_cli.codec.intra.prior import MEAN_FRACTION
from zvc69_cli.codec.motion.fields import MOTION_TABLES
from zvc69_cli.codec.rate.quality import LAMBDA_HIGH, LAMBDA_LOW
from zvc69_cli.codec.settings import INTRA_Q_LEVELS, Q_LEVELS, CodecSettings
from zvc69_cli.frames import FrameKind, VideoFormat
from zvc69_cli.runtime.bundle import MANIFEST_FILE, MANIFEST_VERSION, load_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import OrtNetworks, load_networks

ALIGNMENT_BYTES = 64
CALIBRATION_SIDE = 512
FIT_FRAMES = 9
CLIP_FRAMES = max(GROUP_FRAMES, FIT_FRAMES)
FIT_CLIP_SIDE = 512
SMALLEST_CLIP_SIDE = 256
_LEAST_INTRA_QP = Q_LEVELS - INTRA_Q_LEVELS
INTER_FIT_QPS = tuple(range(_LEAST_INTRA_QP + 4, Q_LEVELS, 8))
FIT_QPS = (*range(_LEAST_INTRA_QP, Q_LEVELS - 1, 4), Q_LEVELS - 1)

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


def export_bundle(checkpoint: Checkpoint, folder: Path, material: Material) -> None:
    """Write a whole bundle; raises ExportFailed."""
    network = checkpoint.network()
    arrays = _transforms(network)
    scales = checkpoint.scales or find_scales(network.prior, lambda: run_on(network, material.calibration))
    arrays |= integer_arrays(network.prior, scales)
    inter = None if checkpoint.inter is None else checkpoint.inter_network()
    if inter is not None:
        arrays |= _inter_transforms(inter)
        found = checkpoint.inter_scales or find_inter_scales(
            inter, lambda: run_on_groups(network, inter, material.clips)
        )
        arrays |= inter_integer_arrays(inter, found)
    tables = CodecTables(
        **_starting_tables(network),
        inter=None if inter is None else InterTables(
            **_starting_tables(inter.coder), motion=fit_motion_tables(SymbolCounts(rows=MOTION_TABLES))
        ),
    )  # fmt: skip
    _write(checkpoint, folder, arrays | tables.to_arrays())
    # Vectors, refinement and dead zones go by the tables that price them: the second round fits what the first chose.
    for refine in (0, CodecSettings().refine):
        networks = load_networks(load_bundle(folder), choose_device("cpu"), 0)
        tables = _fitted(networks, tables, material, refine)
        _write(checkpoint, folder, arrays | tables.to_arrays())
    check_bundle(folder, network, material.pictures[0])
    if inter is not None:
        check_inter(folder, inter, material.clips[0])


def run_on_groups(intra: IntraNetwork, inter: InterNetwork, clips: Sequence[Planes]) -> None:
    """Groups of each kind at a few q, for what watches the network meanwhile."""
    with torch.no_grad():
        for number, clip in enumerate(clips):
            height, width = (side // 64 * 64 for side in clip[0].shape[1:])
            planes = [
                torch.from_numpy(plane[:GROUP_FRAMES, : height // factor, : width // factor].copy())[
                    None
                ].float()
                / 255
                for plane, factor in zip(clip, (1, 2, 2), strict=True)
            ]
            frames = split_frames((planes[0], planes[1], planes[2]))
            q = torch.tensor([CALIBRATION_QS[number % len(CALIBRATION_QS)]])
            code_group(inter, begun_group(intra, frames, q, SPACINGS[number % len(SPACINGS)]), False)


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
    arrays = {
        f"inter.{name}": weight.half().numpy() if weight.ndim == 4 else weight.float().numpy()
        for name, weight in network.state_dict().items()
        if not name.startswith(("motion_prior.", "coder."))
    }
    return arrays | {f"inter.coder.{name}": array for name, array in _transforms(network.coder).items()}


def _starting_tables(coder: LatentCoder) -> dict[str, Any]:
    """Fields of LatentTables before any symbol was counted."""
    return {
        "latent": gaussian_tables(),
        "hyper": gaussian_tables(),
        "scale_offsets": scale_offsets(coder).astype(np.int64),
        "hyper_offsets": hyper_offsets(coder).astype(np.int64),
        "hyper_means": np.rint(coder.hyper_mean.detach().numpy()).astype(np.int64),
    }


def _fitted(networks: OrtNetworks, tables: CodecTables, material: Material, refine: int) -> CodecTables:
    """Tables of symbols that an encoder makes of this material, refined so often.

    Refined symbols are others: by tables of unrefined ones they cost 1.8 % more (six clips and eight pictures).
    """
    latent, hyper = SymbolCounts(), SymbolCounts()
    for number, planes in enumerate(material.pictures):
        height, width = planes[0].shape
        video = VideoFormat(width=width, height=height)
        frame = cropped_frame(planes, height, width)
        # Every picture at a few of the q, every q on a few of the pictures.
        for qp in FIT_QPS[number % 4 :: 4]:
            settings = CodecSettings(qp=qp, keyint=1, refine=refine)
            coded = code_alone(Encoder(video, settings, networks, tables), frame)
            priced = coded.priced_symbols(tables)
            latent.add(priced.latent.symbols, priced.latent.indexes)
            hyper.add(priced.hyper.symbols, priced.hyper.indexes)
    fitted = replace(tables, latent=fit_tables(latent), hyper=fit_tables(hyper))
    return (
        fitted if tables.inter is None else _with_fitted_inter(networks, tables, fitted, material.clips, refine)
    )


def _with_fitted_inter(
    networks: OrtNetworks, tables: CodecTables, fitted: CodecTables, clips: Sequence[Planes], refine: int
) -> CodecTables:
    """`fitted` with the tables of P and of B frames, from symbols that are chosen by `tables`.

    B frames leave out more of what does not pay, and what is left of a prediction between two pictures is another thing
    than of one: by tables of both the latents of P frames cost 1.7 % more and those of B frames 2.9 % (four clips at
    two crf, BITS_PER_SQUARED_STEP at 200 and 20).
    """
    assert tables.inter is not None
    counts = {kind: (SymbolCounts(), SymbolCounts()) for kind in (FrameKind.P, FrameKind.B)}
    motion = SymbolCounts(rows=MOTION_TABLES)
    for number, clip in enumerate(clips):
        height, width = (min(side, FIT_CLIP_SIDE) // 16 * 16 for side in clip[0].shape[1:])
        video = VideoFormat(width=width, height=height)
        for half in (0, len(INTER_FIT_QPS) // 2):
            qp = INTER_FIT_QPS[(number + half) % len(INTER_FIT_QPS)]
            settings = CodecSettings(qp=qp, refine=refine)
            encoder = Encoder(video, settings, networks, tables)
            for planned in planned_frames(video, settings, clip, height, width, FIT_FRAMES):
                coded = encoder.quantise(planned)
                if coded.kind in counts and not coded.is_skipped:
                    priced = coded.priced_symbols(tables)
                    of_kind = (*counts[coded.kind], motion)
                    for each, symbols in zip(
                        of_kind, (priced.latent, priced.hyper, priced.motion), strict=True
                    ):
                        each.add(symbols.symbols, symbols.indexes)
    (latent, hyper), (b_latent, b_hyper) = counts[FrameKind.P], counts[FrameKind.B]
    inter = replace(
        tables.inter, latent=fit_tables(latent), hyper=fit_tables(hyper), motion=fit_motion_tables(motion)
    )
    return replace(
        fitted, inter=inter, b=replace(inter, latent=fit_tables(b_latent), hyper=fit_tables(b_hyper))
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

    graphs = {} if checkpoint.inter is None else inter_graphs(builder, size)
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
    asked = parser.parse_args(arguments)
    checkpoint = load_checkpoint(asked.checkpoint)
    pictures = load_pictures(asked.data, CALIBRATION_SIDE, limit=16 * asked.pictures)
    chosen = [_middle(each) for each in _spread(pictures, asked.pictures)]
    clips = []
    if checkpoint.inter is not None:
        clips = _spread(load_clips(asked.data, SMALLEST_CLIP_SIDE, frame_limit=CLIP_FRAMES), asked.clips)
    third = max(1, len(chosen) // 3)
    material = Material(
        calibration=chosen[::3][:third],
        pictures=[each for number, each in enumerate(chosen) if number % 3],
        clips=clips,
    )
    export_bundle(checkpoint, asked.out, material)
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
