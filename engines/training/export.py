"""A checkpoint becomes a bundle: `python -m engines.training.export CHECKPOINT --data FOLDER`.

Chooses the integers of the prior on pictures of the data, fits the tables on others, writes graphs, weights and
manifest, and checks itself: graphs against PyTorch, priors against the integer oracle, an encode and a decode.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from engines.training.checkpoint import Checkpoint, load_checkpoint
from engines.training.data import Planes, load_pictures
from engines.training.exact import find_scales, hyper_offsets, integer_arrays, scale_offsets
from engines.training.from_bundle import start_line
from engines.training.graphs import (
    WEIGHTS_FILE,
    GraphBuilder,
    StoredArray,
    analyse_graph,
    first_graph,
    second_graph,
    synthesise_graph,
)
from engines.training.model import (
    LAMBDA_HIGH,
    LAMBDA_LOW,
    Q_LEVELS,
    IntraNetwork,
    planes_to_features,
)
from engines.training.tables import SymbolCounts, fit_tables, gaussian_tables
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.prior import MEAN_FRACTION, IntegerPrior
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.codec.tables import CodecTables
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.runtime.bundle import MANIFEST_FILE, MANIFEST_VERSION, load_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import OrtNetworks, load_networks

ALIGNMENT_BYTES = 64
CALIBRATION_SIDE = 512
CALIBRATION_QS = (0, 21, 42, 63)
FIT_QPS = (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 63)

Arrays = dict[str, np.ndarray]


class ExportFailed(Exception):
    """A check of the export did not hold; no bundle should be made of this checkpoint."""


def export_bundle(
    checkpoint: Checkpoint, folder: Path, calibration: Sequence[Planes], fit: Sequence[Planes]
) -> None:
    """Write a whole bundle.

    calibration  pictures that show how far the prior's activations reach
    fit          other pictures, whose symbols the tables are fitted to
    raises       ExportFailed
    """
    network = checkpoint.network()
    arrays = _transforms(network)
    scales = checkpoint.scales or find_scales(network.prior, lambda: run_on(network, calibration))
    arrays |= integer_arrays(network.prior, scales)
    tables = CodecTables(
        latent=gaussian_tables(),
        hyper=gaussian_tables(),
        scale_offsets=scale_offsets(network).astype(np.int64),
        hyper_offsets=hyper_offsets(network).astype(np.int64),
        hyper_means=np.rint(network.hyper_mean.detach().numpy()).astype(np.int64),
    )
    _write(checkpoint, folder, arrays | tables.to_arrays())
    tables = _fitted(load_networks(load_bundle(folder), choose_device("cpu"), 0), tables, fit)
    _write(checkpoint, folder, arrays | tables.to_arrays())
    check_bundle(folder, network, fit[0])


def check_bundle(folder: Path, network: IntraNetwork, picture: Planes) -> None:
    """Graphs against PyTorch, priors against the oracle, a decode against its encode; raises ExportFailed."""
    bundle = load_bundle(folder)
    networks = load_networks(bundle, choose_device("cpu"), 0)
    tables = CodecTables.from_arrays(bundle.arrays)
    oracle = IntegerPrior(bundle.arrays)
    crop = tuple(
        plane[: 192 // factor, : 256 // factor] for plane, factor in zip(picture, (1, 2, 2), strict=True)
    )
    frame = Frame(y=crop[0], u=crop[1], v=crop[2], pts=0)
    video = VideoFormat(width=256, height=192)
    for qp in (0, 31, 63):
        encoder = Encoder(video, CodecSettings(qp=qp), networks, tables)
        coded = encoder.quantise(frame)
        hyper = coded.hyper + tables.hyper_means[:, None, None]
        offsets = tables.latent_offsets(coded.q_256)
        first = networks.predict_first(hyper.astype(np.float32), 12, 16, offsets.astype(np.float32))
        due = oracle.first(hyper, 12, 16, offsets)
        known = np.where(np.arange(16) % 2, coded.latent, 0).astype(np.float32)
        second = networks.predict_second(known, first.state, offsets.astype(np.float32))
        due_second = oracle.second(known.astype(np.int64), due.state, offsets)
        for got, want in ((first, due), (second, due_second)):
            if not (np.array_equal(got.means, want.means) and np.array_equal(got.indexes, want.indexes)):
                raise ExportFailed(f"qp {qp}: the prior's graph differs from the integer oracle")
        decoder = Decoder(video, encoder.base_q_256, networks, tables)
        decoded = decoder.reconstruct(decoder.parse(encoder.pack(coded)))
        if not np.array_equal(decoded.y, encoder.reconstruct(coded).y):
            raise ExportFailed(f"qp {qp}: the decoder's picture differs from the encoder's")
        with torch.no_grad():
            q = torch.tensor([(Q_LEVELS - 1) - qp])
            features = network.synthesise(torch.from_numpy(coded.latent)[None] / MEAN_FRACTION, q)
            luma = torch.nn.functional.pixel_shuffle(features[:, :64], 8)[0, 0].mul(255).round().clamp(0, 255)
        apart = np.abs(luma.numpy() - decoded.y).max()
        if apart > 2:
            raise ExportFailed(f"qp {qp}: the synthesis graph is {apart} from PyTorch's")


def run_on(network: IntraNetwork, pictures: Sequence[Planes]) -> None:
    """One pass over pictures at a few q, for what watches the network meanwhile."""
    with torch.no_grad():
        for planes in pictures:
            tensors = [torch.from_numpy(plane.copy())[None, None].float() / 255 for plane in planes]
            features = planes_to_features(*tensors)
            for q in CALIBRATION_QS:
                network(features, torch.tensor([q]), noise=False)


def _transforms(network: IntraNetwork) -> Arrays:
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
    return arrays | {"q_analysis": analysis.numpy(), "q_synthesis": synthesis.numpy()} | kept


def _fitted(networks: OrtNetworks, tables: CodecTables, pictures: Sequence[Planes]) -> CodecTables:
    """Tables of the symbols that an encoder with default settings makes of these pictures."""
    latent, hyper = SymbolCounts(), SymbolCounts()
    for number, (y, u, v) in enumerate(pictures):
        video = VideoFormat(width=y.shape[1], height=y.shape[0])
        # Every picture at a few of the q, every q on a few of the pictures.
        for qp in FIT_QPS[number % 4 :: 4]:
            coded = Encoder(video, CodecSettings(qp=qp), networks, tables).quantise(Frame(y=y, u=u, v=v, pts=0))
            latent.add(coded.symbols, coded.indexes)
            rows = np.broadcast_to(tables.hyper_indexes(coded.q_256)[:, None, None], coded.hyper.shape)
            hyper.add(coded.hyper, rows)
    return CodecTables(
        latent=fit_tables(latent),
        hyper=fit_tables(hyper),
        scale_offsets=tables.scale_offsets,
        hyper_offsets=tables.hyper_offsets,
        hyper_means=tables.hyper_means,
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

    graphs = {
        "analyse": analyse_graph(builder("analyse"), size.analysis_blocks),
        "first": first_graph(builder("first"), size.latent, size.hyper),
        "second": second_graph(builder("second"), size.latent),
        "synthesise": synthesise_graph(builder("synthesise"), size.latent, size.synthesis_blocks),
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
    text = json.dumps(manifest, indent=1).replace("\n    ", " ").replace("\n   }", " }")
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.export", description=__doc__.split("\n")[0]
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards or pictures")
    parser.add_argument("--out", type=Path, default=Path("engines/zvc69-s"))
    parser.add_argument("--pictures", type=int, default=48, help="for calibration and tables together")
    asked = parser.parse_args(arguments)
    pictures = load_pictures(asked.data, CALIBRATION_SIDE, limit=16 * asked.pictures)
    chosen = [
        _middle(pictures[at]) for at in np.linspace(0, len(pictures) - 1, asked.pictures).astype(int).tolist()
    ]
    third = max(1, len(chosen) // 3)
    export_bundle(
        load_checkpoint(asked.checkpoint),
        asked.out,
        chosen[::3][:third],
        [each for number, each in enumerate(chosen) if number % 3],
    )
    bundle = load_bundle(asked.out)
    size = sum(each.stat().st_size for each in asked.out.iterdir() if each.suffix in (".onnx", ".bin", ".json"))
    print(f"{asked.out}: {bundle.sha256.hex()}, {size / 1e6:.1f} MB, all checks passed")
    return 0


def _middle(planes: Planes) -> Planes:
    """The middle of a picture, at most CALIBRATION_SIDE a side, whole blocks of 16."""
    height, width = (min(CALIBRATION_SIDE, side // 16 * 16) for side in planes[0].shape)
    top, left = (planes[0].shape[0] - height) // 4 * 2, (planes[0].shape[1] - width) // 4 * 2
    y, u, v = planes
    chroma = (slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2))
    return y[top : top + height, left : left + width], u[chroma], v[chroma]


if __name__ == "__main__":
    sys.exit(main())
