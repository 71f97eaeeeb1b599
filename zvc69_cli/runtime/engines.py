"""Which backend runs which graph of a bundle on a device, and from which file: as it is shipped, or built and kept.

The priors are the exception everywhere: as they are shipped, in float32, on ONNX Runtime's CUDA or CPU provider.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.runtime.backends import (
    Backend,
    Graph,
    OpenVinoBackend,
    OrtBackend,
    RtxBackend,
    cuda_options,
    tensorrt_options,
)
from zvc69_cli.runtime.bundle import CONVOLUTION_GRAPHS, ENGINE_GRAPHS, INT8_GRAPHS, PRIOR_GRAPHS, Bundle
from zvc69_cli.runtime.cache import EngineCache, Key
from zvc69_cli.runtime.precision import require_onnx, write_fp16
from zvc69_cli.runtime.providers import GPU_KINDS, Device
from zvc69_cli.runtime.rtx import build_engine, builder_version, can_build, require_builder, write_context
from zvc69_cli.runtime.settings import RunSettings
from zvc69_cli.runtime.shapes import ENGINE_RANGE, Shapes, dynamic_shapes

CALIBRATION: Final = "int8"  # the kind of the cache's entry
FOR_TENSORRT: Final = ".float_bias"  # what stands in the name of a calibrated graph that TensorRT takes
CONTEXT_FILE: Final = "engine.onnx"

_log = logging.getLogger(__name__)


def prior_device(device: Device) -> Device:
    """Where the priors run beside a device: CUDA on its GPU, or the CPU."""
    if device.kind in GPU_KINDS:
        return Device(
            name=f"cuda:{device.number}", description="", available=True, why="for the priors", gpu=device.gpu
        )
    return Device(name="cpu", description="", available=True, why="for the priors")


def needs_engines(device: Device) -> bool:
    """Whether something is built for the device that is worth keeping."""
    return device.kind in ("tensorrt", "tensorrt-rtx", "openvino")


class GraphOpener:
    """Opens the graphs of a bundle where they run best.

    priors     the device of the priors, where it is not the usual one
    optimised  ONNX Runtime's graph optimisations
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        run: RunSettings,
        cache: EngineCache,
        *,
        priors: Device | None = None,
        optimised: bool = True,
    ) -> None:
        self._bundle, self._device, self._run, self._cache = bundle, device, run, cache
        self._priors = OrtBackend(priors or prior_device(device), optimised=optimised)
        # The searches and the warp gather; a CUDA graph cannot hold what they reckon with on the CPU.
        self._plain: Backend = OrtBackend(prior_device(device), optimised=optimised)
        self._optimised = optimised
        if run.precision == "fp16":
            require_onnx("--precision fp16")

    def open(self, graph: str) -> Graph:
        """A graph, ready to run; raises RuntimeUnavailable."""
        # To wake a second thread takes longer than all of the motion prior.
        threads = 1 if graph.startswith("motion_") else self._run.threads
        if graph in PRIOR_GRAPHS:
            return self._priors.open(self._bundle.graph(graph), graph, threads=threads)
        path = self.source(graph)
        if self._device.kind == "cuda" and graph in CONVOLUTION_GRAPHS:
            backend = OrtBackend(self._device, options=cuda_options(self._run), optimised=self._optimised)
            return backend.open(path, graph, threads=threads)
        if self._device.kind == "tensorrt" and graph in ENGINE_GRAPHS:
            return self._tensorrt(graph, self.engine(graph)).open(path, graph)
        if self._device.kind == "tensorrt-rtx" and graph in ENGINE_GRAPHS:
            return self._open_rtx(graph, path)
        if self._device.kind == "openvino" and graph in CONVOLUTION_GRAPHS:
            return OpenVinoBackend(self._device, self._run, self.engine(graph)).open(path, graph)
        return self._plain.open(path, graph, threads=threads)

    def move_priors(self, device: Device) -> None:
        """Open the priors on another device from now on."""
        self._priors = OrtBackend(device, optimised=self._optimised)

    def source(self, graph: str) -> Path:
        """The graph in the precision asked for; raises RuntimeUnavailable where it was not calibrated."""
        narrowed = {"fp32": (), "fp16": CONVOLUTION_GRAPHS, "int8": INT8_GRAPHS}[self._run.precision]
        if graph not in narrowed:
            return self._bundle.graph(graph)
        if self._run.precision == "int8":
            form = FOR_TENSORRT if self._device.kind in ("tensorrt", "tensorrt-rtx") else ""
            return find_calibration(self._bundle, self._cache) / f"{graph}{form}.onnx"
        key = {"bundle": self._bundle.sha256.hex(), "graph": graph, **_tool()}

        def convert(folder: Path) -> None:
            write_fp16(self._bundle.graph(graph), folder / f"{graph}.onnx")

        return self._cache.get("fp16", key, convert) / f"{graph}.onnx"

    def engine(self, graph: str) -> Path:
        """The folder of what is built for a graph on this device, built where it is not there."""
        began = time.perf_counter()
        is_new = False

        def build(folder: Path) -> None:
            nonlocal is_new
            is_new = True
            _log.info("building an engine for %s: %s", self._device.name, graph)
            self._build(graph, folder)

        folder = self._cache.get(self._device.kind, self.key(graph), build)
        if is_new:
            _log.info("built %s for %s in %.1f s", graph, self._device.name, time.perf_counter() - began)
        return folder

    def key(self, graph: str) -> Key:
        """What an engine of the graph depends on."""
        gpu = self._device.gpu
        is_rtx = self._device.kind == "tensorrt-rtx"  # built for every GPU that it knows, driver or none
        return {
            **_tool(),
            "runtime": self._runtime(),
            "driver": "any" if gpu is None or is_rtx else ".".join(map(str, gpu.cuda)),
            "gpu": "any" if gpu is None or is_rtx else f"{gpu.name} {gpu.capability[0]}.{gpu.capability[1]}",
            "bundle": self._bundle.sha256.hex(),
            "graph": graph,
            "shape": ENGINE_RANGE.text,
            "precision": self._run.precision,
            "workspace": str(self._run.workspace),
            "streams": str(self._run.streams),
        }

    def _runtime(self) -> str:
        if self._device.kind == "tensorrt-rtx":
            require_builder(f"--device {self._device.name}")
            return f"tensorrt-rtx {builder_version()}"
        if self._device.kind == "openvino":
            return OpenVinoBackend(self._device, self._run).runtime
        return self._plain.runtime

    def _build(self, graph: str, folder: Path) -> None:
        path = self.source(graph)
        if self._device.kind == "tensorrt-rtx":
            shapes = engine_shapes(self._bundle, graph)
            engine = build_engine(path, shapes, workspace_mib=self._run.workspace)
            write_context(path, engine, folder / CONTEXT_FILE)
        elif self._device.kind == "tensorrt":
            self._tensorrt(graph, folder).open(path, graph)
        else:
            OpenVinoBackend(self._device, self._run, folder).open(path, graph)

    def _tensorrt(self, graph: str, engines: Path) -> OrtBackend:
        least, usual, most = engine_shapes(self._bundle, graph)
        profile = {
            name: tuple("x".join(map(str, shapes[name])) for shapes in (least, usual, most)) for name in least
        }
        options = tensorrt_options(self._run, engines, profile)  # type: ignore[arg-type]
        return OrtBackend(self._device, options=options)

    def _open_rtx(self, graph: str, path: Path) -> Graph:
        backend = RtxBackend(self._device, self._run)
        if can_build():
            try:
                return backend.open(self.engine(graph) / CONTEXT_FILE, graph)
            except RuntimeUnavailable as error:
                _log.warning("%s: its engine is of no use (%s); the graph itself is taken", graph, error.what)
        return backend.open(path, graph)


def engine_shapes(bundle: Bundle, graph: str) -> tuple[Shapes, Shapes, Shapes]:
    """Least, usual and greatest shapes of the inputs of one engine."""
    least, usual, most = (dynamic_shapes(bundle, graph, *size) for size in ENGINE_RANGE)
    return least, usual, most


def calibration_key(bundle: Bundle) -> Key:
    """What a calibration belongs to: whatever program makes it, the networks' ranges are the same."""
    return {"bundle": bundle.sha256.hex()}


def find_calibration(bundle: Bundle, cache: EngineCache) -> Path:
    """The folder of the calibrated graphs; raises RuntimeUnavailable where there is none."""
    folder = cache.find(CALIBRATION, calibration_key(bundle))
    if folder is None:
        raise RuntimeUnavailable(
            "--precision int8",
            f"bundle {bundle.name} {bundle.sha256.hex()[:16]} was not calibrated here",
            "`zvc69 engines calibrate CLIP...` does it, with clips such as you encode.",
        )
    return folder


def _tool() -> dict[str, str]:
    from zvc69_cli import __version__

    return {"tool": f"zvc69 {__version__}"}
