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
from zvc69_cli.runtime.tensors import (
    F32,
    I32,
    U8,
    Picture,
    Tensor,
    as_plane,
    as_symbols,
    bare,
    batch,
    board,
    channels,
    named_planes,
    q,
    scalar,
    whole,
)

Samples = NDArray[np.uint8] | NDArray[np.uint16]

# One of them has its hands full with the search, which takes as long as all other graphs together.
CPU_LOADERS: Final = 2

_PICTURE: Final = {"y": 2, "u": 2, "v": 2}
_PRIOR: Final = {"means": 1, "indexes": 1, "state": 1}


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
        y, u, v = self._keep(graph, kept, **named_planes(*samples), unit=scalar(1 / peak), size=size)
        return bare(y, 2), bare(u, 2), bare(v, 2)

    def give(
        self, picture: Picture, size: tuple[int, int], chroma: tuple[int, int], bit_depth: int
    ) -> tuple[Samples, Samples, Samples]:
        sizes = {"size": np.array(size, np.int64), "chroma_size": np.array(chroma, np.int64)}
        y, u, v = self._run("give_8" if bit_depth == 8 else "give_16", **named_planes(*picture), **sizes)
        return y[0, 0], u[0, 0], v[0, 0]

    def picture_error(self, source: Picture, decoded: Picture, peak: int) -> float:
        shown = {f"{name}_shown": plane for name, plane in named_planes(*decoded).items()}
        (error,) = self._run("picture_error", **named_planes(*source), **shown, unit=scalar(1 / peak))
        return float(error[0])

    def continued(self, plane: Tensor, height: int, width: int) -> Tensor:
        size = np.array([height, width], np.int64)
        (longer,) = self._keep("continued", {"continued": 2}, plane=as_plane(plane), size=size)
        return bare(longer, 2)

    def known_half(self, symbols: I32, means: Tensor) -> Tensor:
        given = {"symbols": as_symbols(symbols), "means": batch(means), "board": board(symbols.shape)}
        (known,) = self._keep("known_half", {"known": 1}, **given)
        return bare(known, 1)

    def decoded_latent(self, symbols: I32, first: Tensor, second: Tensor) -> Tensor:
        means = {"first": batch(first), "second": batch(second)}
        given = {"symbols": as_symbols(symbols), **means, "board": board(symbols.shape)}
        (latent,) = self._keep("decoded_latent", {"latent": 1}, **given)
        return bare(latent, 1)

    def rounded_half(self, latent: Tensor, first: Predicted, rule: RoundingRule) -> tuple[Tensor, Tensor]:
        given = {"latent": batch(latent), "means": batch(first.means), "indexes": batch(first.indexes)}
        given |= _rounding(latent, rule)
        symbols, known = self._keep("rounded_half", {"symbols": 1, "known": 1}, **given)
        return bare(symbols, 1), bare(known, 1)

    def rounded(
        self, latent: Tensor, half: Tensor, first: Predicted, second: Predicted, rule: RoundingRule
    ) -> tuple[I32, U8, Tensor]:
        given = {"latent": batch(latent), "half": batch(half)}
        for name, output in (("first", first), ("second", second)):
            given |= {f"{name}_means": batch(output.means), f"{name}_indexes": batch(output.indexes)}
        given |= _rounding(latent, rule)
        symbols, indexes, decoded = self._keep("rounded", {"decoded": 1}, **given)
        return symbols[0].astype(np.int32), indexes[0], bare(decoded, 1)

    def analyse(self, y: Tensor, u: Tensor, v: Tensor, q_256: int) -> tuple[Tensor, F32]:
        latent, hyper = self._keep("analyse", {"latent": 1}, **named_planes(y, u, v), q=q(q_256))
        return bare(latent, 1), hyper[0]

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        size = np.array([height, width], np.int64)
        return _prediction(self._keep("first", _PRIOR, hyper=hyper[None], size=size, offsets=offsets))

    def predict_second(self, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        return self._second("second", known, state, offsets)

    def synthesise(self, latent: Tensor, q_256: int, peak: int) -> Picture:
        y, u, v = self._keep("synthesise", _PICTURE, latent=batch(latent), q=q(q_256), peak=scalar(peak))
        return bare(y, 2), bare(u, 2), bare(v, 2)

    def search(self, y: Tensor, samples: Tensor, effort: str) -> tuple[F32, F32, F32]:
        coarse, middle, fine = self._run(f"search_{effort}", y=as_plane(y), samples=samples)
        return coarse[0], middle[0], fine[0]

    @property
    def makes_samples(self) -> bool:
        return self._place is not None and SAMPLES_GRAPH in self._bundle.graphs

    def quarter_samples(self, y: Tensor, peak: int) -> Tensor:
        (samples,) = self._keep(SAMPLES_GRAPH, {"samples": 0}, y=as_plane(y), peak=scalar(peak))
        return bare(samples, 0)

    def motion_error(self, level: int, y: Tensor, samples: Tensor, field: F32) -> F32:
        (error,) = self._run(f"motion_{level}_error", y=as_plane(y), samples=samples, field=field[None])
        return np.asarray(error, np.float32)

    def predict_motion(self, level: int, second: bool, inputs: F32) -> F32:
        (heads,) = self._run(f"motion_{level}_{'second' if second else 'first'}", inputs=inputs[None])
        return np.asarray(heads[0], np.float32)

    def warp(self, y: Tensor, u: Tensor, v: Tensor, field: F32, peak: int) -> Tensor:
        (features,) = self._keep(
            "warp", {"features": 1}, **named_planes(y, u, v), field=field[None], peak=scalar(peak)
        )
        return bare(features, 1)

    def blend(self, first: Tensor, second: Tensor) -> Tensor:
        (blend,) = self._keep("blend", {"blend": 1}, first=batch(first), second=batch(second))
        return bare(blend, 1)

    def residual_costs(self, planes: Picture, prediction: Tensor, steps: F32) -> tuple[Tensor, Tensor, F32]:
        given = {"prediction": batch(prediction), "steps": channels(steps)}
        kept = {"picture": 1, "predicted": 1}
        picture, predicted, costs = self._keep("residual_costs", kept, **named_planes(*planes), **given)
        return bare(picture, 1), bare(predicted, 1), np.asarray(costs[0], np.float32)

    def residual_coefficients(self, picture: Tensor, prediction: Tensor, classes: U8) -> F32:
        given = {"picture": batch(picture), "predicted": batch(prediction), "classes": classes[None, None]}
        (coefficients,) = self._run("residual_coefficients", **given)
        return np.asarray(coefficients[0], np.float32)

    def residual_state(self, inputs: F32) -> Tensor:
        (state,) = self._keep("residual_state", {"state": 1}, inputs=inputs[None])
        return bare(state, 1)

    def residual_pass(
        self, number: int, known: Tensor | None, levels: I32 | None, state: Tensor
    ) -> tuple[Tensor, U8]:
        given = {"state": batch(state)}
        if known is not None and levels is not None:
            given |= {"known": batch(known), "levels": as_symbols(levels)}
        rows, known = self._keep(f"residual_pass_{number}", {"known_now": 1}, **given)
        return bare(known, 1), np.asarray(rows[0], np.uint8)

    def rebuild(self, levels: I32, classes: U8, prediction: Tensor, steps: F32) -> tuple[Tensor, Tensor]:
        given = {"levels": as_symbols(levels), "classes": classes[None, None], "steps": channels(steps)}
        kept = {"picture": 1, "shrunk": 1}
        picture, shrunk = self._keep("rebuild", kept, **given, prediction=batch(prediction))
        return bare(picture, 1), bare(shrunk, 1)

    def loop_filter(
        self, pictures: tuple[Tensor, Tensor, Tensor, Tensor], edges: F32, steps: F32, q_256: int
    ) -> Tensor:
        names = ("picture", "shrunk", "first", "last")
        given = {name: batch(each) for name, each in zip(names, pictures, strict=True)}
        given |= {"edges": edges[None], "steps": channels(steps), "q": q(q_256)}
        (correction,) = self._keep("loop_filter", {"correction": 1}, **given)
        return bare(correction, 1)

    def filter_sums(self, planes: Picture, picture: Tensor, correction: Tensor) -> F32:
        given = {"picture": batch(picture), "correction": batch(correction)}
        (sums,) = self._run("filter_sums", **named_planes(*planes), **given)
        return np.asarray(sums, np.float32)

    def finish(self, picture: Tensor, correction: Tensor, strength: float, peak: int) -> Picture:
        given = {"picture": batch(picture), "correction": batch(correction)}
        y, u, v = self._keep("finish", _PICTURE, **given, strength=scalar(strength), peak=scalar(peak))
        return bare(y, 2), bare(u, 2), bare(v, 2)

    def gradient(self, planes: Picture, latent: Tensor, q_256: int) -> F32:
        (gradient,) = self._run("gradient", **named_planes(*planes), latent=batch(latent), q=q(q_256))
        return np.asarray(gradient[0], np.float32)

    def _second(self, graph: str, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        given = {"known": batch(known), "state": batch(state), "offsets": offsets}
        means, indexes = self._keep(graph, {"means": 1, "indexes": 1}, **given)
        return PriorOutput(bare(means, 1), bare(indexes, 1), state)

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
        return session.run(None, {name: whole(each) for name, each in inputs.items()})

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


def _prediction(found: list[Any]) -> PriorOutput:
    means, indexes, state = found
    return PriorOutput(bare(means, 1), bare(indexes, 1), bare(state, 1))


def _rounding(latent: Tensor, rule: RoundingRule) -> dict[str, Any]:
    skip_below = np.array([rule.skip_below], np.int64)
    return {"board": board(latent.shape), "thresholds": rule.thresholds, "skip_below": skip_below}
