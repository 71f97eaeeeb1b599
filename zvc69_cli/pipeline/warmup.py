"""Engines built, tested and run once before the first frame is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zvc69_cli.codec.networks import Networks
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.engine import load_engine
from zvc69_cli.runtime.bundle import CONVOLUTION_GRAPHS, ENGINE_GRAPHS, Bundle, find_bundle
from zvc69_cli.runtime.cache import open_cache
from zvc69_cli.runtime.engines import GraphOpener, needs_engines
from zvc69_cli.runtime.providers import Device
from zvc69_cli.runtime.settings import RunSettings
from zvc69_cli.runtime.shapes import CELL, FEATURES, PICTURE_GRID, padded


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth:
    """What `warmup` did: the device it took, and seconds for loading (with building and testing) and for running."""

    device: str
    load_s: float
    run_s: float


def warmup(run: RunSettings | None = None, width: int = 1920, height: int = 1080) -> Warmth:
    """Have everything ready to code pictures of a size: engines built and kept, priors proved, networks run once.

    raises  RuntimeUnavailable, UsageError as encoding would
    """
    began = time.perf_counter()
    engine = load_engine(find_bundle(), run or RunSettings())
    engine.check_size(VideoFormat(width=width, height=height))
    if engine.has_inter:
        engine.load_inter("full")
    loaded = time.perf_counter()
    run_once(engine.networks, width, height)
    return Warmth(device=engine.device, load_s=loaded - began, run_s=time.perf_counter() - loaded)


def run_once(networks: Networks, width: int, height: int) -> None:
    """Run the networks of pictures once on a grey picture of a size."""
    high, wide = padded(height), padded(width)
    y = np.full((high, wide), 0.5, np.float32)
    chroma = np.full((high // 2, wide // 2), 0.5, np.float32)
    latent = np.zeros((networks.latent_channels, high // PICTURE_GRID, wide // PICTURE_GRID), np.float32)
    q_256, peak = 30 * 256, 255
    networks.analyse(y, chroma, chroma, q_256)
    networks.synthesise(latent, q_256, peak)
    if not networks.has_inter:
        return
    field = np.zeros((2, high // CELL, wide // CELL), np.float32)
    features = networks.warp(y * peak, chroma * peak, chroma * peak, field, peak)
    assert features.shape[0] == FEATURES
    blend = networks.blend(features, features)
    rows, columns = high // CELL, wide // CELL
    steps = np.full(FEATURES, 0.1, np.float32)
    classes = np.zeros((rows // 2, columns // 2), np.uint8)
    networks.residual_costs((y, chroma, chroma), blend, steps)
    picture, shrunk = networks.rebuild(np.zeros((FEATURES, rows, columns), np.int32), classes, blend, steps)
    edges = np.zeros((4, rows, columns), np.float32)
    correction = networks.loop_filter((picture, shrunk, features, features), edges, steps, q_256)
    networks.finish(picture, correction, 1.0, peak)


def build_engines(
    bundle: Bundle, device: Device, run: RunSettings, tell: Callable[[int, int, str], None]
) -> dict[str, float]:
    """Build and keep what the device needs of a bundle; seconds for each graph.

    tell    called before each: its number, how many there are, its name
    raises  RuntimeUnavailable
    """
    opener = GraphOpener(bundle, device, run, open_cache(run.cache))
    graphs = engine_graphs(bundle, device, run)
    times = {}
    for number, graph in enumerate(graphs, 1):
        tell(number, len(graphs), graph)
        began = time.perf_counter()
        if needs_engines(device):
            opener.engine(graph)
        else:
            opener.source(graph)
        times[graph] = time.perf_counter() - began
    return times


def engine_graphs(bundle: Bundle, device: Device, run: RunSettings) -> list[str]:
    """The graphs that something is built for on a device; none where it takes them as they are shipped."""
    if device.kind in ("tensorrt", "tensorrt-rtx"):
        wanted: tuple[str, ...] = ENGINE_GRAPHS
    elif device.kind == "openvino" or run.precision != "fp32":
        wanted = CONVOLUTION_GRAPHS
    else:
        wanted = ()
    return [graph for graph in wanted if graph in bundle.graphs]
