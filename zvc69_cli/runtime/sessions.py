"""The networks of a bundle, run by ONNX Runtime; satisfies codec.networks.Networks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.runtime.backends import Graph
from zvc69_cli.runtime.bundle import INTRA_GRAPHS, PROGRAM_GRAPHS, SAMPLES_GRAPH, Bundle, inter_graphs
from zvc69_cli.runtime.cache import open_cache
from zvc69_cli.runtime.engines import GraphOpener
from zvc69_cli.runtime.providers import GPU_KINDS, Device
from zvc69_cli.runtime.residence import KeepingGraph, Place, PlacedArray
from zvc69_cli.runtime.settings import RunSettings

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
Samples = NDArray[np.uint8] | NDArray[np.uint16]

# One of them has its hands full with the search, which takes as long as all other graphs together.
CPU_LOADERS: Final = 2

_Q_UNIT: Final = np.float32(1 / 256)
_PICTURE: Final = {"y": 2, "u": 2, "v": 2}
_PRIOR: Final = {"means": 1, "indexes": 1, "state": 1}


class Tensor(Protocol):
    """codec.networks.Tensor: an array, or one that np.asarray brings here."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __array__(self) -> NDArray[Any]: ...


Picture = tuple[Tensor, Tensor, Tensor]


class Predicted(Protocol):
    """codec.networks.PriorOutput, as far as rounding needs it."""

    @property
    def means(self) -> Tensor: ...

    @property
    def indexes(self) -> Tensor: ...


class RoundingRule(Protocol):
    """codec.networks.RoundingRule."""

    @property
    def thresholds(self) -> F32: ...

    @property
    def skip_below(self) -> int: ...


class PriorOutput(NamedTuple):
    """Means [C, H, W] and state [2C, H, W], integers in float32; table indexes uint8 [C, H, W]."""

    means: Tensor
    indexes: Tensor
    state: Tensor


class OrtNetworks:
    """The graphs of one bundle on one device; calls from several threads are allowed.

    Graphs of P and B frames are loaded when they are asked for or first needed: intra-only work does without.

    open_graph  may be called from several threads
    loaders     graphs that are loaded at the same time
    place       the device's memory, in which arrays stay between graphs that are residence.KeepingGraphs
    """

    def __init__(
        self,
        bundle: Bundle,
        open_graph: Callable[[str], Graph],
        *,
        loaders: int = 1,
        place: Place | None = None,
    ) -> None:
        self._place = place
        self._bundle = bundle
        self._open = open_graph
        self._loaders = loaders
        self._locks = {name: threading.Lock() for name in (*bundle.graphs, *PROGRAM_GRAPHS)}
        self._sessions: dict[str, Graph] = {}
        self._load(INTRA_GRAPHS)

    def load_inter(self, search: str | None) -> None:
        """Have the graphs of P and B frames ready; raises RuntimeUnavailable.

        search  the effort of the motion search, as CodecSettings.motion_search; None where nothing is encoded
        """
        if self.has_inter:
            self._load(inter_graphs(search))

    def reopen(self, graphs: Iterable[str]) -> None:
        """Have these loaded anew when they are needed next."""
        for graph in graphs:
            with self._locks[graph]:
                self._sessions.pop(graph, None)

    def _load(self, graphs: Iterable[str]) -> None:
        with ThreadPoolExecutor(self._loaders) as threads:
            deque(threads.map(self._session, graphs), maxlen=0)

    @property
    def latent_channels(self) -> int:
        return self._bundle.latent_channels

    @property
    def hyper_channels(self) -> int:
        return self._bundle.hyper_channels

    @property
    def has_inter(self) -> bool:
        return self._bundle.has_inter

    @property
    def has_gradients(self) -> bool:
        return self._bundle.has_gradients

    def put(self, array: NDArray[Any]) -> Tensor:
        return array if self._place is None else PlacedArray.of(array, 0, self._place)

    @property
    def keeps_arrays(self) -> bool:
        return self._place is not None

    def take(self, samples: tuple[Samples, Samples, Samples], height: int, width: int, peak: int) -> Picture:
        graph = "take_8" if samples[0].dtype == np.uint8 else "take_16"
        kept = {f"{name}_padded": 2 for name in "yuv"}
        size = np.array([height, width], np.int64)
        y, u, v = self._keep(graph, kept, **_planes(*samples), unit=_scalar(1 / peak), size=size)
        return _bare(y, 2), _bare(u, 2), _bare(v, 2)

    def give(
        self, picture: Picture, size: tuple[int, int], chroma: tuple[int, int], bit_depth: int
    ) -> tuple[Samples, Samples, Samples]:
        sizes = {"size": np.array(size, np.int64), "chroma_size": np.array(chroma, np.int64)}
        y, u, v = self._run("give_8" if bit_depth == 8 else "give_16", **_planes(*picture), **sizes)
        return y[0, 0], u[0, 0], v[0, 0]

    def picture_error(self, source: Picture, decoded: Picture, peak: int) -> float:
        shown = {f"{name}_shown": plane for name, plane in _planes(*decoded).items()}
        (error,) = self._run("picture_error", **_planes(*source), **shown, unit=_scalar(1 / peak))
        return float(error[0])

    def continued(self, plane: Tensor, height: int, width: int) -> Tensor:
        size = np.array([height, width], np.int64)
        (longer,) = self._keep("continued", {"continued": 2}, plane=_plane(plane), size=size)
        return _bare(longer, 2)

    def known_half(self, symbols: I32, means: Tensor) -> Tensor:
        given = {"symbols": _symbols(symbols), "means": _batch(means), "board": _board(symbols.shape)}
        (known,) = self._keep("known_half", {"known": 1}, **given)
        return _bare(known, 1)

    def decoded_latent(self, symbols: I32, first: Tensor, second: Tensor) -> Tensor:
        means = {"first": _batch(first), "second": _batch(second)}
        given = {"symbols": _symbols(symbols), **means, "board": _board(symbols.shape)}
        (latent,) = self._keep("decoded_latent", {"latent": 1}, **given)
        return _bare(latent, 1)

    def prior_extra(self, first: Tensor, last: Tensor, motion: F32) -> Tensor:
        given = {"first": _batch(first), "last": _batch(last), "motion": motion[None]}
        (extra,) = self._keep("prior_extra", {"extra": 1}, **given)
        return _bare(extra, 1)

    def rounded_half(self, latent: Tensor, first: Predicted, rule: RoundingRule) -> tuple[Tensor, Tensor]:
        given = {"latent": _batch(latent), "means": _batch(first.means), "indexes": _batch(first.indexes)}
        given |= _rounding(latent, rule)
        symbols, known = self._keep("rounded_half", {"symbols": 1, "known": 1}, **given)
        return _bare(symbols, 1), _bare(known, 1)

    def rounded(
        self, latent: Tensor, half: Tensor, first: Predicted, second: Predicted, rule: RoundingRule
    ) -> tuple[I32, U8, Tensor]:
        given = {"latent": _batch(latent), "half": _batch(half)}
        for name, output in (("first", first), ("second", second)):
            given |= {f"{name}_means": _batch(output.means), f"{name}_indexes": _batch(output.indexes)}
        given |= _rounding(latent, rule)
        symbols, indexes, decoded = self._keep("rounded", {"decoded": 1}, **given)
        return symbols[0].astype(np.int32), indexes[0], _bare(decoded, 1)

    def analyse(self, y: Tensor, u: Tensor, v: Tensor, q_256: int) -> tuple[Tensor, F32]:
        latent, hyper = self._keep("analyse", {"latent": 1}, **_planes(y, u, v), q=_q(q_256))
        return _bare(latent, 1), hyper[0]

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        size = np.array([height, width], np.int64)
        return _prediction(self._keep("first", _PRIOR, hyper=hyper[None], size=size, offsets=offsets))

    def predict_second(self, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        return self._second("second", known, state, offsets)

    def synthesise(self, latent: Tensor, q_256: int, peak: int) -> Picture:
        y, u, v = self._keep("synthesise", _PICTURE, latent=_batch(latent), q=_q(q_256), peak=_scalar(peak))
        return _bare(y, 2), _bare(u, 2), _bare(v, 2)

    def search(self, y: Tensor, samples: Tensor, effort: str) -> tuple[F32, F32, F32]:
        coarse, middle, fine = self._run(f"search_{effort}", y=_plane(y), samples=samples)
        return coarse[0], middle[0], fine[0]

    @property
    def makes_samples(self) -> bool:
        return self._place is not None and SAMPLES_GRAPH in self._bundle.graphs

    def quarter_samples(self, y: Tensor, peak: int) -> Tensor:
        (samples,) = self._keep(SAMPLES_GRAPH, {"samples": 0}, y=_plane(y), peak=_scalar(peak))
        return _bare(samples, 0)

    def motion_error(self, level: int, y: Tensor, samples: Tensor, field: F32) -> F32:
        (error,) = self._run(f"motion_{level}_error", y=_plane(y), samples=samples, field=field[None])
        return np.asarray(error, np.float32)

    def predict_motion(self, level: int, second: bool, inputs: F32) -> F32:
        (heads,) = self._run(f"motion_{level}_{'second' if second else 'first'}", inputs=inputs[None])
        return np.asarray(heads[0], np.float32)

    def warp(self, y: Tensor, u: Tensor, v: Tensor, field: F32, peak: int) -> Tensor:
        (features,) = self._keep(
            "warp", {"features": 1}, **_planes(y, u, v), field=field[None], peak=_scalar(peak)
        )
        return _bare(features, 1)

    def context(self, warped: tuple[Tensor, ...]) -> Tensor:
        inputs = dict(zip(("first", "second"), map(_batch, warped), strict=False))
        graph = "context_one" if len(warped) == 1 else "context_two"
        (context,) = self._keep(graph, {"context": 1}, **inputs)
        return _bare(context, 1)

    def analyse_inter(self, y: Tensor, u: Tensor, v: Tensor, context: Tensor, q_256: int) -> tuple[Tensor, F32]:
        given = {**_planes(y, u, v), "context": _batch(context), "q": _q(q_256)}
        latent, hyper = self._keep("analyse_inter", {"latent": 1}, **given)
        return _bare(latent, 1), hyper[0]

    def predict_inter_first(
        self, hyper: F32, height: int, width: int, extra: Tensor, offsets: F32
    ) -> PriorOutput:
        size = np.array([height, width], np.int64)
        given = {"hyper": hyper[None], "size": size, "extra": _batch(extra), "offsets": offsets}
        return _prediction(self._keep("first_inter", _PRIOR, **given))

    def predict_inter_second(self, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        return self._second("second_inter", known, state, offsets)

    def synthesise_inter(self, latent: Tensor, context: Tensor, q_256: int, peak: int) -> Picture:
        given = {"latent": _batch(latent), "context": _batch(context), "q": _q(q_256), "peak": _scalar(peak)}
        y, u, v = self._keep("synthesise_inter", _PICTURE, **given)
        return _bare(y, 2), _bare(u, 2), _bare(v, 2)

    def gradient(self, planes: Picture, latent: Tensor, q_256: int) -> F32:
        (gradient,) = self._run("gradient", **_planes(*planes), latent=_batch(latent), q=_q(q_256))
        return np.asarray(gradient[0], np.float32)

    def gradient_inter(self, planes: Picture, latent: Tensor, context: Tensor, q_256: int) -> F32:
        given = {"latent": _batch(latent), "context": _batch(context), "q": _q(q_256)}
        (gradient,) = self._run("gradient_inter", **_planes(*planes), **given)
        return np.asarray(gradient[0], np.float32)

    def _second(self, graph: str, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        given = {"known": _batch(known), "state": _batch(state), "offsets": offsets}
        means, indexes = self._keep(graph, {"means": 1, "indexes": 1}, **given)
        return PriorOutput(_bare(means, 1), _bare(indexes, 1), state)

    def _run(self, graph: str, **inputs: Any) -> list[NDArray[Any]]:
        """A graph's outputs, here; inputs are arrays and placed arrays."""
        return self._keep(graph, {}, **inputs)

    def _keep(self, graph: str, kept: Mapping[str, int], **inputs: Any) -> list[Any]:
        """A graph's outputs, those in `kept` where they came to be, where that is a device's memory.

        kept  each with its leading dimensions, which a bare array has too
        """
        session = self._session(graph)
        if self._place is not None and isinstance(session, KeepingGraph):
            return session.run_kept(inputs, kept)
        return session.run(None, {name: _whole(each) for name, each in inputs.items()})

    def _session(self, graph: str) -> Graph:
        session = self._sessions.get(graph)
        if session is None:
            with self._locks[graph]:
                session = self._sessions.get(graph) or self._open(graph)
                self._sessions[graph] = session
        return session


def load_networks(
    bundle: Bundle,
    device: Device,
    threads: int,
    *,
    optimised: bool = True,
    run: RunSettings | None = None,
    priors: Device | None = None,
) -> OrtNetworks:
    """Sessions for the graphs of a bundle.

    threads    for one network on a CPU; 0 is one for each core
    optimised  ONNX Runtime's graph optimisations; the symbols are the same without
    run        precision, cache and what else a device can be told
    priors     the device of the priors, where it is not the usual one
    raises     RuntimeUnavailable where the device does not take them: there is no silent fall to the CPU
    """
    asked = replace(run or RunSettings(), threads=threads)
    opener = GraphOpener(bundle, device, asked, open_cache(asked.cache), priors=priors, optimised=optimised)
    return networks_of(bundle, device, opener)


def networks_of(bundle: Bundle, device: Device, opener: GraphOpener) -> OrtNetworks:
    """The networks of a bundle, opened by `opener`; raises RuntimeUnavailable."""
    # To load a graph for a GPU may take as much of its memory as there is.
    loaders = CPU_LOADERS if device.kind == "cpu" else 1
    place = Place("cuda", device.number) if device.kind in GPU_KINDS else None
    return OrtNetworks(bundle, opener.open, loaders=loaders, place=place)


def _plane(given: Tensor) -> Any:
    """A plane [H, W] as graphs take it, [1, 1, H, W]."""
    return given if isinstance(given, PlacedArray) else np.asarray(given)[None, None]


def _batch(given: Tensor) -> Any:
    """An array [C, h, w] as graphs take it, [1, C, h, w]."""
    return given if isinstance(given, PlacedArray) else np.asarray(given)[None]


def _symbols(symbols: I32) -> NDArray[np.int16]:
    """Symbols [C, h, w] as they travel: their limit is that of 16 bits."""
    return symbols[None].astype(np.int16)


def _rounding(latent: Tensor, rule: RoundingRule) -> dict[str, Any]:
    skip_below = np.array([rule.skip_below], np.int64)
    return {"board": _board(latent.shape), "thresholds": rule.thresholds, "skip_below": skip_below}


def _board(shape: tuple[int, ...]) -> F32:
    """codec.quantised.checkerboard of a latent [C, h, w], [2, 1, h, w]: 1 where the first pass codes either half."""
    _, height, width = shape
    even = (np.arange(height)[:, None] + np.arange(width)) % 2 == 0
    return np.stack([even, ~even]).astype(np.float32)[:, None]


def _planes(y: Tensor, u: Tensor, v: Tensor) -> dict[str, Any]:
    return {"y": _plane(y), "u": _plane(u), "v": _plane(v)}


def _whole(given: Any) -> NDArray[Any]:
    """What is given to a graph that runs here."""
    return given.whole() if isinstance(given, PlacedArray) else given


def _bare(output: Any, leading: int) -> Tensor:
    """An output without the graph's own dimensions."""
    return output if isinstance(output, PlacedArray) else output.reshape(output.shape[leading:])


def _prediction(found: list[Any]) -> PriorOutput:
    means, indexes, state = found
    return PriorOutput(_bare(means, 1), _bare(indexes, 1), _bare(state, 1))


def _scalar(value: float) -> F32:
    return np.array([value], np.float32)


def _q(q_256: int) -> F32:
    return np.array([q_256], np.float32) * _Q_UNIT
