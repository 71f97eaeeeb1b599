"""`--precision int8`: which ranges the networks' values have in real encodes, and what 8 bits cost."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.frames import Frame
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import Engine, InstalledEngine
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.timed import TimedNetworks
from zvc69_cli.pipeline.video_file import VideoFile
from zvc69_cli.runtime.backends import Arrays, Graph
from zvc69_cli.runtime.bundle import INT8_GRAPHS, Bundle
from zvc69_cli.runtime.cache import EngineCache
from zvc69_cli.runtime.engines import CALIBRATION, FOR_TENSORRT, GraphOpener, calibration_key
from zvc69_cli.runtime.precision import require_onnx, write_int8, write_whole
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import networks_of
from zvc69_cli.runtime.settings import RunSettings

CRFS: Final = (20.0, 36.0)  # that values are watched at
COST_CRFS: Final = (28.0, 31.0)  # of float32; the second tells what bytes are worth
RUNS_KEPT: Final = 8  # of each graph; more change no range by much
KEPT_CELLS: Final = (
    16  # rows and columns of the latent that are kept of a run: histograms of it all take gigabytes
)
CELL_SIDES: Final = {"y": 16, "u": 8, "v": 8, "first": 2, "second": 2, "latent": 1}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What 8 bits cost on the first clip, beside float32. Figures in dB are of luma, and negative where int8 is worse.

    at_equal_bytes_db  encoded and decoded in int8
    decoded_db         a float32 stream decoded in int8: what another machine sees that decodes so
    last_frame_db      the same in the last frame, with all that has added up
    bytes_share        bytes of int8 over those of float32, at the same crf
    """

    at_equal_bytes_db: float
    decoded_db: float
    last_frame_db: float
    bytes_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Where the calibrated graphs lie, how often each was watched, and what they cost."""

    folder: Path
    watched: dict[str, int]
    cost: Cost


def calibrate(
    clips: Sequence[str], bundle: Bundle, run: RunSettings, cache: EngineCache, frames: int, tell: Tell
) -> Calibration:
    """Calibrate a bundle with the first frames of these clips and keep its graphs in the cache.

    raises  InputError, RuntimeUnavailable, OutputError where the cache cannot be written
    """
    require_onnx("engines calibrate")
    watched: dict[str, _Watched] = {}
    engines = _Watching(bundle, run, cache, watched)
    for clip in clips:
        for crf in CRFS:
            tell(f"encoding {frames} frames of {clip} at crf {crf:g}")
            _encoded(clip, crf, frames, run, engines)

    def build(folder: Path) -> None:
        for graph, seen in watched.items():
            if not seen.kept:
                continue
            tell(f"8 bits for {graph}, by {len(seen.kept)} runs of it")
            for name, is_for_it in ((f"{graph}.onnx", False), (f"{graph}{FOR_TENSORRT}.onnx", True)):
                write_int8(bundle.graph(graph), folder / name, seen.kept, for_tensorrt=is_for_it)
        for graph in INT8_GRAPHS:  # of P and B frames, where no clip had any
            if not (folder / f"{graph}.onnx").exists():
                for name in (f"{graph}.onnx", f"{graph}{FOR_TENSORRT}.onnx"):
                    write_whole(bundle.graph(graph), folder / name)

    folder = cache.put(CALIBRATION, calibration_key(bundle), build)
    tell("measuring what they cost")
    cost = measure_cost(clips[0], frames, run)
    return Calibration(folder=folder, watched={name: each.runs for name, each in watched.items()}, cost=cost)


def measure_cost(clip: str, frames: int, run: RunSettings) -> Cost:
    """What int8 costs beside float32 on the first frames of a clip; raises as `encode` does."""
    from dataclasses import replace

    whole, narrow = replace(run, precision="fp32"), replace(run, precision="int8")
    (first, first_db), (second, second_db) = (_encoded(clip, crf, frames, whole) for crf in COST_CRFS)
    stream, stream_db = _encoded(clip, COST_CRFS[0], frames, narrow)
    slope = (second_db - first_db) / np.log(len(second) / len(first)) if len(second) != len(first) else 0.0
    due_db = first_db + slope * np.log(len(stream) / len(first))
    shown, seen = _decoded(first, whole), _decoded(first, narrow)
    source = _source_luma(clip, frames, run)
    losses = [
        _psnr(other, original) - _psnr(one, original)
        for one, other, original in zip(shown, seen, source, strict=True)
    ]
    return Cost(
        at_equal_bytes_db=float(stream_db - due_db),
        decoded_db=float(np.mean(losses)),
        last_frame_db=float(losses[-1]),
        bytes_share=len(stream) / len(first),
    )


class _Watched:
    """A graph that remembers some of what it is given: the first runs, then ever rarer ones. Satisfies Graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._lock = threading.Lock()
        self.kept: list[dict[str, NDArray[Any]]] = []
        self.runs = 0

    def run(self, names: None, inputs: Arrays, /) -> list[NDArray[Any]]:
        with self._lock:
            self.runs += 1
            if len(self.kept) < RUNS_KEPT:
                self.kept.append(_window(inputs, self.runs))
            elif self.runs & (self.runs - 1) == 0:  # powers of two: what is kept stays spread over all runs
                self.kept[self.runs.bit_length() % RUNS_KEPT] = _window(inputs, self.runs)
        return self._graph.run(names, inputs)


class _Watching:
    """Satisfies pipeline.engine.Engines with one engine on the CPU whose graphs are watched."""

    def __init__(
        self, bundle: Bundle, run: RunSettings, cache: EngineCache, watched: dict[str, _Watched]
    ) -> None:
        from zvc69_cli.codec.entropy.tables import CodecTables

        device = choose_device("cpu")
        opener = _WatchingOpener(bundle, device, RunSettings(threads=run.threads), cache)
        opener.watched = watched
        networks = networks_of(bundle, device, opener)
        self._engine = InstalledEngine(
            bundle_name=bundle.name,
            bundle_sha256=bundle.sha256,
            latent_channels=bundle.latent_channels,
            hyper_channels=bundle.hyper_channels,
            device="cpu",
            networks=TimedNetworks(networks),
            tables=CodecTables.from_arrays(bundle.arrays),
            load_inter=networks.load_inter,
        )

    def for_encoding(self, run: RunSettings) -> Engine:
        return self._engine

    def for_decoding(self, header: Any, run: RunSettings) -> Engine:
        return self._engine


class _WatchingOpener(GraphOpener):
    watched: dict[str, _Watched]

    def open(self, graph: str) -> Graph:
        opened = super().open(graph)
        if graph not in INT8_GRAPHS:
            return opened
        return self.watched.setdefault(graph, _Watched(opened))


def _options(crf: float, frames: int, run: RunSettings) -> EncodeOptions:
    return EncodeOptions.of(
        crf=crf,
        frames=frames,
        audio=False,
        subtitles=False,
        device="cpu",
        threads=run.threads,
        precision=run.precision,
        cache=run.cache,
    )


def _encoded(
    clip: str, crf: float, frames: int, run: RunSettings, engines: _Watching | None = None
) -> tuple[bytes, float]:
    """A stream, and the mean PSNR of its luma."""
    stream, found = io.BytesIO(), []

    def compare(frame: Frame, reference: Frame) -> None:
        found.append(_psnr(reference.y, frame.y))

    encode(clip, "-", _options(crf, frames, run), pipes=Pipes(stdout=stream), engines=engines, compare=compare)
    return stream.getvalue(), float(np.mean(found))


def _decoded(stream: bytes, run: RunSettings) -> list[NDArray[Any]]:
    return [frame.y for frame in VideoFile(io.BytesIO(stream), run)]


def _source_luma(clip: str, frames: int, run: RunSettings) -> list[NDArray[Any]]:
    """Luma of the frames as they are shown."""
    found: dict[int, NDArray[Any]] = {}

    def compare(frame: Frame, reference: Frame) -> None:
        found[frame.pts] = frame.y

    encode(clip, "-", _options(51.0, frames, run), pipes=Pipes(stdout=io.BytesIO()), compare=compare)
    return [found[pts] for pts in sorted(found)]


def _psnr(one: NDArray[Any], other: NDArray[Any]) -> float:
    """In dB, of samples of 8 or of 10 bits; 100 where nothing differs."""
    peak = 255 if one.dtype == np.uint8 else 1023
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 100.0 if error == 0 else 10 * float(np.log10(peak**2 / error))


def _window(inputs: Arrays, number: int) -> dict[str, NDArray[Any]]:
    """A copy of the same part of all inputs, another one in each run.

    inputs  [1, channels, rows, columns] of so many samples a cell of the latent as CELL_SIDES says, or of no place
    """
    place = next(name for name in inputs if name in CELL_SIDES)
    cells = [size // CELL_SIDES[place] for size in inputs[place].shape[2:]]
    rng = np.random.default_rng(number)
    starts = [int(rng.integers(0, max(1, count - KEPT_CELLS + 1))) for count in cells]
    kept = {}
    for name, array in inputs.items():
        if name in CELL_SIDES:
            side = CELL_SIDES[name]
            rows, columns = (slice(start * side, (start + KEPT_CELLS) * side) for start in starts)
            array = array[:, :, rows, columns]
        kept[name] = np.array(array)
    return kept
