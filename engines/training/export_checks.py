"""What a new bundle must pass: graphs against PyTorch, priors against the oracles, a decode against its encode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engines.training.data import Planes
from engines.training.export_frames import code_alone, cropped_frame, planned_frames
from engines.training.inter import InterNetwork
from engines.training.model import IntraNetwork, planes_to_features, weighted_error
from engines.training.motion import FIRST_INPUTS, SECOND_INPUTS
from engines.training.moving import STRIDES, Samples, half_samples, moved_blocks, warp_planes
from engines.training.residual import FILTER_EDGES, coefficient_steps, forward_transform, inverse_transform
from engines.training.search import EFFORTS
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT
from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.intra.prior import MEAN_FRACTION, IntegerPrior
from zvc69_cli.codec.motion.prior import IntegerMotionPrior
from zvc69_cli.codec.picture.planes import padded_planes, quarter_samples
from zvc69_cli.codec.residual.context import INPUTS
from zvc69_cli.codec.residual.layout import (
    BANDS,
    CLASSES,
    GROUP_SIZES,
    GROUPS,
    PASSES,
    group_of_pass,
    pass_places,
)
from zvc69_cli.codec.residual.prior import IntegerResidualPrior
from zvc69_cli.codec.settings import INTRA_Q_LEVELS, Q_LEVELS, Q_UNIT, CodecSettings
from zvc69_cli.frames import VideoFormat
from zvc69_cli.runtime.bundle import load_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import OrtNetworks, load_networks

GROUP_FRAMES = 5
GRAPH_TOLERANCE = 0.02
SEARCH_AGREEMENT = 0.98  # of the vectors: a tie may go the other way


class ExportFailed(Exception):
    """A check of the export did not hold; no bundle should be made of this checkpoint."""


def check_bundle(folder: Path, network: IntraNetwork, picture: Planes) -> None:
    """Graphs against PyTorch, priors against the oracle, a decode against its encode; raises ExportFailed."""
    bundle = load_bundle(folder)
    networks = load_networks(bundle, choose_device("cpu"), 0)
    tables = CodecTables.from_arrays(bundle.arrays)
    oracle = IntegerPrior(bundle.arrays)
    video, frame = VideoFormat(width=256, height=192), cropped_frame(picture, 192, 256)
    for qp in (Q_LEVELS - INTRA_Q_LEVELS, Q_LEVELS - INTRA_Q_LEVELS // 2, Q_LEVELS - 1):
        encoder = Encoder(video, CodecSettings(qp=qp, keyint=1), networks, tables)
        coded = code_alone(encoder, frame)
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
        planes = padded_planes(frame, video)
        _check_gradient(
            networks.gradient(planes, coded.latent, coded.q_256),
            network,
            planes,
            coded.latent,
            Q_LEVELS - 1 - qp,
        )


def check_inter(folder: Path, network: InterNetwork, clip: Planes) -> None:
    """The same for P and B frames, on the beginning of a clip; raises ExportFailed."""
    bundle = load_bundle(folder)
    networks = load_networks(bundle, choose_device("cpu"), 0)
    tables = CodecTables.from_arrays(bundle.arrays)
    _check_inter_graphs(networks, network, clip)
    _check_inter_priors(networks, bundle.arrays)
    video = VideoFormat(width=256, height=192)
    for qp in (20, 56, 88):
        settings = CodecSettings(qp=qp, bframes=3)
        encoder = Encoder(video, settings, networks, tables)
        decoder = Decoder(video, encoder.base_q_256, networks, tables)
        for planned in planned_frames(video, settings, clip, 192, 256, GROUP_FRAMES):
            coded = encoder.quantise(planned)
            decoded = decoder.reconstruct(decoder.parse(encoder.pack(coded)))
            if not np.array_equal(decoded.y, encoder.reconstruct(coded).y):
                raise ExportFailed(f"qp {qp}: {planned.kind.name} frame: the decoder's picture differs")


def _check_inter_graphs(networks: OrtNetworks, network: InterNetwork, clip: Planes) -> None:
    """Search, prediction and synthesis against PyTorch."""
    frames = [cropped_frame(tuple(plane[at] for plane in clip), 192, 256) for at in (0, 2)]
    first, second = (
        [torch.from_numpy(each.copy())[None, None].float() for each in (f.y, f.u, f.v)] for f in frames
    )
    with torch.no_grad():
        reference = (first[0] / 255, first[1] / 255, first[2] / 255)
        samples = quarter_samples(first[0][0, 0].numpy(), 255)
        known = Samples(torch.from_numpy(samples).view(1, -1) / 255, *samples.shape[1:])
        on_device = networks.quarter_samples(first[0][0, 0].numpy(), 255)
        if not np.array_equal(np.asarray(on_device), samples):
            raise ExportFailed("the graph of quarter samples differs from codec.picture.planes")
        current = second[0][0, 0].numpy() / 255
        for name, effort in EFFORTS.items():
            fields = network.search(second[0] / 255, reference[0], known, effort)
            found = networks.search(current, samples, name)
            same = [(want[0].numpy() == got).ravel() for want, got in zip(fields, found, strict=True)]
            if np.concatenate(same).mean() < SEARCH_AGREEMENT:
                raise ExportFailed("the search graph differs from PyTorch")
        for level, want in enumerate(fields):
            blocks = F.pixel_unshuffle(second[0] / 255, STRIDES[level])
            error = ((blocks - moved_blocks(known, want, STRIDES[level])) ** 2).mean(1)[0]
            measured = networks.motion_error(level, current, samples, want[0].numpy())
            if np.abs(error.numpy() - measured).max() > GRAPH_TOLERANCE:
                raise ExportFailed("the graph of motion errors differs from PyTorch")
        field = fields[-1]
        moved = planes_to_features(*warp_planes(tuple(half_samples(each) for each in reference), field))
        warped = networks.warp(*(plane[0, 0].numpy() for plane in first), field[0].numpy(), 255)
        if np.abs(moved[0].numpy() - warped).max() > GRAPH_TOLERANCE:
            raise ExportFailed("the warping graph differs from PyTorch")
        still = planes_to_features(*reference)
        source = planes_to_features(*(each / 255 for each in second))
        _check_residual_graphs(networks, network, source, moved, still)


def _check_residual_graphs(
    networks: OrtNetworks, network: InterNetwork, source: torch.Tensor, moved: torch.Tensor, still: torch.Tensor
) -> None:
    """Blending, transform and filter against PyTorch, all of them on features [1, 96, h, w]."""
    blend = network.blend(moved, still)
    got = networks.blend(moved[0].numpy(), still[0].numpy())
    _agree(blend, got, "the blend graph")
    q = torch.tensor([INTRA_Q_LEVELS // 3])
    steps = coefficient_steps(q)
    classes = torch.arange(12 * 16).reshape(12, 16) % CLASSES
    weights = network.band_weights[classes].repeat_interleave(2, 0).repeat_interleave(2, 1).permute(2, 0, 1)
    planes = tuple(
        F.pixel_shuffle(part, side)[0, 0].numpy()
        for part, side in zip(source.split([64, 16, 16], 1), (8, 4, 4), strict=True)
    )
    flat_steps, whole_classes = steps.flatten().numpy(), classes.numpy().astype(np.uint8)
    parts = networks.residual_costs(planes, got, flat_steps)
    coefficients = networks.residual_coefficients(parts[0], parts[1], whole_classes)
    due = (forward_transform(source) - weights * forward_transform(blend)) / steps
    _agree(due, coefficients, "the graph of the residual's coefficients", scale=float(due.abs().max()))
    levels = torch.round(due)
    picture, shrunk = networks.rebuild(levels[0].numpy().astype(np.int32), whole_classes, got, flat_steps)
    due_shrunk = inverse_transform(weights * forward_transform(blend))
    due_picture = inverse_transform(weights * forward_transform(blend) + levels * steps)
    _agree(due_shrunk, shrunk, "the graph of the shrunk prediction")
    _agree(due_picture, picture, "the graph of the reconstruction")
    edges = torch.zeros(1, FILTER_EDGES, *source.shape[2:])
    due_filtered = network.loop_filter((due_picture, due_shrunk, moved, still), edges, q)
    filtered = networks.loop_filter(
        (picture, shrunk, moved[0].numpy(), still[0].numpy()), edges[0].numpy(), flat_steps, int(q) * Q_UNIT
    )
    _agree(due_filtered - due_picture, filtered, "the graph of the loop filter", scale=float(steps.max()))


def _agree(due: torch.Tensor, found: Any, what: str, scale: float = 1.0) -> None:
    if np.abs(due[0].numpy() - np.asarray(found)).max() > GRAPH_TOLERANCE * scale:
        raise ExportFailed(f"{what} differs from PyTorch")


def _check_gradient(
    gradient: np.ndarray,
    coder: IntraNetwork,
    planes: tuple[np.ndarray, ...],
    sixteenths: np.ndarray,
    q: int,
) -> None:
    """A gradient graph's output against PyTorch's own way back."""
    wanted = planes_to_features(*(torch.from_numpy(each)[None, None] for each in planes))
    latent = (torch.from_numpy(sixteenths)[None] / MEAN_FRACTION).requires_grad_(True)
    with torch.enable_grad():
        made = coder.synthesise(latent, torch.tensor([q]))
        made = made + (made.clamp(0, 1) - made).detach()
        error = weighted_error(made, wanted, torch.tensor([q])).sum() * planes[0].size
        (due,) = torch.autograd.grad(error, latent)
    if np.linalg.norm(gradient - due[0].numpy()) > GRAPH_TOLERANCE * np.linalg.norm(due.numpy()):
        raise ExportFailed("a gradient graph differs from PyTorch")


def _check_inter_priors(networks: OrtNetworks, arrays: Mapping[str, np.ndarray]) -> None:
    """Every integer graph against the oracles, on numbers as wild as they can come."""
    rng = np.random.default_rng(69)
    motion = IntegerMotionPrior(arrays)
    for level in range(3):
        for is_second, inputs in ((False, FIRST_INPUTS), (True, SECOND_INPUTS)):
            for reach in (3, 60, ACTIVATION_LIMIT):
                x = rng.integers(-reach, reach + 1, (inputs, 13, 10))
                got = networks.predict_motion(level, is_second, x.astype(np.float32))
                if not np.array_equal(got, motion(level, is_second, x)):
                    raise ExportFailed("a graph of the motion prior differs from the integer oracle")
    residual = IntegerResidualPrior(arrays)
    for reach in (3, 60, ACTIVATION_LIMIT):
        inputs = rng.integers(-reach, reach + 1, (INPUTS, 18, 26))
        state, due = networks.residual_state(inputs.astype(np.float32)), residual.state(inputs)
        levels, known, last = np.zeros((BANDS, 18, 26), np.int64), None, None
        for number in range(PASSES):
            known, rows = networks.residual_pass(number, known, last, state)
            if not np.array_equal(rows, residual.rows(number, levels, due)):
                raise ExportFailed("a graph of the residual's entropy model differs from the integer oracle")
            group = GROUPS[group_of_pass(number)]
            places = pass_places(number, 18, 26, 0, 9)
            last = np.zeros((GROUP_SIZES[group_of_pass(number)], 18, 26), np.int32)
            last.ravel()[places] = rng.integers(-reach, reach + 1, len(places))
            levels[group] += last
