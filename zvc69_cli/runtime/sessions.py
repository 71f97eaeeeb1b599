"""The networks of a bundle, run by ONNX Runtime; satisfies codec.networks.Networks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.runtime.backends import Graph
from zvc69_cli.runtime.bundle import INTRA_GRAPHS, Bundle, inter_graphs
from zvc69_cli.runtime.cache import open_cache
from zvc69_cli.runtime.engines import GraphOpener
from zvc69_cli.runtime.providers import Device
from zvc69_cli.runtime.settings import RunSettings

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

# One of them has its hands full with the search, which takes as long as all other graphs together.
CPU_LOADERS: Final = 2

_Q_UNIT: Final = np.float32(1 / 256)


class PriorOutput(NamedTuple):
    """Means [C, H, W] and state [2C, H, W], integers in float32; table indexes uint8 [C, H, W]."""

    means: F32
    indexes: U8
    state: F32


class OrtNetworks:
    """The graphs of one bundle on one device; calls from several threads are allowed.

    Graphs of P and B frames are loaded when they are asked for or first needed: intra-only work does without.

    open_graph  may be called from several threads
    loaders     graphs that are loaded at the same time
    """

    def __init__(self, bundle: Bundle, open_graph: Callable[[str], Graph], *, loaders: int = 1) -> None:
        self._bundle = bundle
        self._open = open_graph
        self._loaders = loaders
        self._locks = {name: threading.Lock() for name in bundle.graphs}
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

    def analyse(self, y: F32, u: F32, v: F32, q_256: int) -> tuple[F32, F32]:
        latent, hyper = self._run("analyse", **_planes(y, u, v), q=_q(q_256))
        return latent[0], hyper[0]

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        size = np.array([height, width], np.int64)
        return _prediction(self._run("first", hyper=hyper[None], size=size, offsets=offsets))

    def predict_second(self, known: F32, state: F32, offsets: F32) -> PriorOutput:
        means, indexes = self._run("second", known=known[None], state=state[None], offsets=offsets)
        return PriorOutput(means[0], indexes[0], state)

    def synthesise(self, latent: F32, q_256: int, peak: int) -> tuple[F32, F32, F32]:
        y, u, v = self._run("synthesise", latent=latent[None], q=_q(q_256), peak=_scalar(peak))
        return y[0, 0], u[0, 0], v[0, 0]

    def search(self, y: F32, samples: U8, effort: str) -> tuple[F32, F32, F32]:
        coarse, middle, fine = self._run(f"search_{effort}", y=y[None, None], samples=samples)
        return coarse[0], middle[0], fine[0]

    def motion_error(self, level: int, y: F32, samples: U8, field: F32) -> F32:
        (error,) = self._run(f"motion_{level}_error", y=y[None, None], samples=samples, field=field[None])
        return np.asarray(error, np.float32)

    def predict_motion(self, level: int, second: bool, inputs: F32) -> F32:
        (heads,) = self._run(f"motion_{level}_{'second' if second else 'first'}", inputs=inputs[None])
        return np.asarray(heads[0], np.float32)

    def warp(self, y: F32, u: F32, v: F32, field: F32, peak: int) -> F32:
        (features,) = self._run("warp", **_planes(y, u, v), field=field[None], peak=_scalar(peak))
        return np.asarray(features[0], np.float32)

    def context(self, warped: tuple[F32, ...]) -> F32:
        inputs = dict(zip(("first", "second"), (each[None] for each in warped), strict=False))
        (context,) = self._run("context_one" if len(warped) == 1 else "context_two", **inputs)
        return np.asarray(context[0], np.float32)

    def analyse_inter(self, y: F32, u: F32, v: F32, context: F32, q_256: int) -> tuple[F32, F32]:
        latent, hyper = self._run("analyse_inter", **_planes(y, u, v), context=context[None], q=_q(q_256))
        return latent[0], hyper[0]

    def predict_inter_first(self, hyper: F32, height: int, width: int, extra: F32, offsets: F32) -> PriorOutput:
        size = np.array([height, width], np.int64)
        found = self._run("first_inter", hyper=hyper[None], size=size, extra=extra[None], offsets=offsets)
        return _prediction(found)

    def predict_inter_second(self, known: F32, state: F32, offsets: F32) -> PriorOutput:
        means, indexes = self._run("second_inter", known=known[None], state=state[None], offsets=offsets)
        return PriorOutput(means[0], indexes[0], state)

    def synthesise_inter(self, latent: F32, context: F32, q_256: int, peak: int) -> tuple[F32, F32, F32]:
        y, u, v = self._run(
            "synthesise_inter", latent=latent[None], context=context[None], q=_q(q_256), peak=_scalar(peak)
        )
        return y[0, 0], u[0, 0], v[0, 0]

    def gradient(self, planes: tuple[F32, F32, F32], latent: F32, q_256: int) -> F32:
        (gradient,) = self._run("gradient", **_planes(*planes), latent=latent[None], q=_q(q_256))
        return np.asarray(gradient[0], np.float32)

    def gradient_inter(self, planes: tuple[F32, F32, F32], latent: F32, context: F32, q_256: int) -> F32:
        (gradient,) = self._run(
            "gradient_inter", **_planes(*planes), latent=latent[None], context=context[None], q=_q(q_256)
        )
        return np.asarray(gradient[0], np.float32)

    def _run(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._session(graph).run(None, inputs)
        return outputs

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
    return OrtNetworks(bundle, opener.open, loaders=CPU_LOADERS if device.kind == "cpu" else 1)


def _planes(y: F32, u: F32, v: F32) -> dict[str, F32]:
    return {"y": y[None, None], "u": u[None, None], "v": v[None, None]}


def _prediction(found: list[NDArray[Any]]) -> PriorOutput:
    means, indexes, state = found
    return PriorOutput(means[0], indexes[0], state[0])


def _scalar(value: float) -> F32:
    return np.array([value], np.float32)


def _q(q_256: int) -> F32:
    return np.array([q_256], np.float32) * _Q_UNIT
