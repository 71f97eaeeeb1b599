"""The networks of a bundle, run by ONNX Runtime; satisfies codec.networks.Networks."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from zvc69_cli.errors import RuntimeUnavailable, Zvc69Error
from zvc69_cli.runtime.bundle import GRAPHS, Bundle
from zvc69_cli.runtime.providers import Device, session_providers

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_Q_UNIT: Final = np.float32(1 / 256)


class PriorOutput(NamedTuple):
    """Means [C, H, W] and state [2C, H, W], integers in float32; table indexes uint8 [C, H, W]."""

    means: F32
    indexes: U8
    state: F32


class OrtNetworks:
    """Four sessions of one bundle on one device; calls from several threads are allowed."""

    def __init__(self, bundle: Bundle, sessions: dict[str, ort.InferenceSession]) -> None:
        self._bundle = bundle
        self._sessions = sessions

    @property
    def latent_channels(self) -> int:
        return self._bundle.latent_channels

    @property
    def hyper_channels(self) -> int:
        return self._bundle.hyper_channels

    def analyse(self, y: F32, u: F32, v: F32, q_256: int) -> tuple[F32, F32]:
        latent, hyper = self._run("analyse", y=y[None, None], u=u[None, None], v=v[None, None], q=_q(q_256))
        return latent[0], hyper[0]

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        size = np.array([height, width], np.int64)
        means, indexes, state = self._run("first", hyper=hyper[None], size=size, offsets=offsets)
        return PriorOutput(means[0], indexes[0], state[0])

    def predict_second(self, known: F32, state: F32, offsets: F32) -> PriorOutput:
        means, indexes = self._run("second", known=known[None], state=state[None], offsets=offsets)
        return PriorOutput(means[0], indexes[0], state)

    def synthesise(self, latent: F32, q_256: int, peak: int) -> tuple[F32, F32, F32]:
        y, u, v = self._run("synthesise", latent=latent[None], q=_q(q_256), peak=np.array([peak], np.float32))
        return y[0, 0], u[0, 0], v[0, 0]

    def _run(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._sessions[graph].run(None, inputs)
        return outputs


def load_networks(bundle: Bundle, device: Device, threads: int, *, optimised: bool = True) -> OrtNetworks:
    """Sessions for every graph of the bundle.

    threads    for one network on a CPU; 0 is one for each core
    optimised  ONNX Runtime's graph optimisations; the symbols are the same without
    raises     RuntimeUnavailable where the device does not take them: there is no silent fall to the CPU
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Stages of the pipeline share the cores: threads that spin while they wait halve its speed
    # (640x360 on 2 cores: 7.9 frames a second with spinning, 14.7 without).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    providers = session_providers(device)
    sessions = {}
    for graph in GRAPHS:
        path = str(bundle.graph(graph))
        try:
            session = ort.InferenceSession(path, options, providers=providers)
        except Zvc69Error:  # a signal that came while the file was read
            raise
        except Exception as error:  # ONNX Runtime raises types of its own that share no base
            raise RuntimeUnavailable(
                f"{device.name}: {graph}", f"ONNX Runtime: {error}", "Try `--device cpu`, or reinstall zvc69."
            ) from error
        if session.get_providers()[0] != providers[0][0]:
            raise RuntimeUnavailable(
                f"--device {device.name}",
                f"ONNX Runtime fell back to {session.get_providers()[0]}",
                "Its log (ORT_LOG_SEVERITY_LEVEL=0) says which library is missing; or take `--device cpu`.",
            )
        sessions[graph] = session
    return OrtNetworks(bundle, sessions)


def _q(q_256: int) -> F32:
    return np.array([q_256], np.float32) * _Q_UNIT
