"""What runs a graph: ONNX Runtime on a CPU, CUDA, TensorRT or TensorRT-RTX, or OpenVINO, behind one small interface.

    backend = open_backend(device, run)
    graph = backend.open(path, "analyse")        # raises RuntimeUnavailable
    latent, hyper = graph.run(None, {"y": y, ...})

cpu           what everything is measured against; the priors' home where no GPU passes the self-test
cuda          the priors and the searches on every NVIDIA device, and all of it where there is no TensorRT
tensorrt      the convolutions, by ONNX Runtime's own provider (TensorRT 10); the rest as on cuda
tensorrt-rtx  the same for GeForce and RTX boards, with engines that are built without a GPU (runtime.rtx)
openvino      the convolutions on a CPU; the searches and the priors stay with ONNX Runtime. No faster where both were
              measured: 0.78 of cpu's speed in, 0.88 out (352x288, float32, two cores with AVX2, ONNX Runtime 1.31,
              OpenVINO 2026.4; measure.backend_bench). `auto` never takes it; whether another CPU is better
              off with it, that command says

Of these, cpu and openvino have been run; no GPU was at hand when the others were written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from zvc69_cli.errors import RuntimeUnavailable, Zvc69Error
from zvc69_cli.runtime.cuda_graphs import ReplayedSession
from zvc69_cli.runtime.driver import Gpu
from zvc69_cli.runtime.providers import GPU_KINDS, PROVIDERS, RTX_PLUGIN, Device, session_providers
from zvc69_cli.runtime.residence import Place, PlacedSession
from zvc69_cli.runtime.settings import RunSettings

_log = logging.getLogger(__name__)

_MIB: Final = 1 << 20
_OUT_OF_MEMORY: Final = ("out of memory", "failed to allocate memory", "bad_alloc", "cudaerrormemoryallocation")

Arrays = Mapping[str, NDArray[Any]]


class Graph(Protocol):
    """One graph, ready to run from any thread."""

    def run(self, names: None, inputs: Arrays, /) -> list[NDArray[Any]]:
        """Every output, in the graph's order."""


class Backend(Protocol):
    """What opens graphs on one device.

    runtime  names and versions of the libraries, as they decide what an engine can be used with
    """

    @property
    def runtime(self) -> str: ...

    def open(self, path: Path, graph: str, *, threads: int = 0) -> Graph:
        """Load a graph; raises RuntimeUnavailable, and never falls to another device."""


class GuardedSession(ort.InferenceSession):  # type: ignore[misc]
    """A session whose failures are ours: what ran out, and what helps."""

    def __init__(self, device: Device, graph: str, *arguments: Any, **more: Any) -> None:
        self._about = (device, graph)
        super().__init__(*arguments, **more)

    def run(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().run(*arguments, **more)
        except Exception as error:  # ONNX Runtime raises types of its own that share no base
            raise run_failure(*self._about, error) from error

    def run_with_iobinding(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().run_with_iobinding(*arguments, **more)
        except Exception as error:
            raise run_failure(*self._about, error) from error


class OrtBackend:
    """ONNX Runtime with the providers of its own.

    options    of the first provider, beside those of the device
    optimised  ONNX Runtime's graph optimisations; the symbols are the same without
    """

    def __init__(
        self, device: Device, *, options: Mapping[str, Any] | None = None, optimised: bool = True
    ) -> None:
        self.device = device
        self._optimised = optimised
        (name, due), *rest = session_providers(device)
        self._providers = [(name, {**due, **(options or {})}), *rest]
        self._is_replayed = bool((options or {}).get("enable_cuda_graph"))

    @property
    def runtime(self) -> str:
        return f"onnxruntime {ort.__version__}"

    def open(self, path: Path, graph: str, *, threads: int = 0) -> Graph:
        options = session_options(threads, optimised=self._optimised)
        session = open_session(self.device, graph, path, options, providers=self._providers)
        first = self._providers[0][0]
        if session.get_providers()[0] != first:
            raise RuntimeUnavailable(
                f"--device {self.device.name}",
                f"ONNX Runtime fell back to {session.get_providers()[0]}",
                "Its log (ORT_LOG_SEVERITY_LEVEL=0) says which library is missing; or take `--device cpu`.",
            )
        if self._is_replayed:
            return ReplayedSession(session, self.device.number)
        return placed(session, self.device)


class RtxBackend:
    """TensorRT-RTX, a provider that is a library of its own; never run on a GPU yet."""

    def __init__(self, device: Device, run: RunSettings, runtime_cache: Path | None = None) -> None:
        self.device = device
        self._options = {"device_id": str(device.number)}
        if run.workspace:
            self._options["nv_max_workspace_size"] = str(run.workspace * _MIB)
        if runtime_cache is not None:
            self._options["nv_runtime_cache_path"] = str(runtime_cache)

    @property
    def runtime(self) -> str:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin

        return f"onnxruntime {ort.__version__}, tensorrt-rtx plug-in {plugin.__version__}"

    def open(self, path: Path, graph: str, *, threads: int = 0) -> Graph:
        options = session_options(threads)
        try:
            options.add_provider_for_devices([_rtx_device(self.device.number)], self._options)
        except RuntimeError as error:
            raise RuntimeUnavailable(
                f"--device {self.device.name}", f"{RTX_PLUGIN}: {error}", "Take --device cuda."
            ) from error
        return placed(open_session(self.device, graph, path, options), self.device)


class OpenVinoBackend:
    """OpenVINO on the cores of this machine, with what it compiled kept in a folder."""

    def __init__(self, device: Device, run: RunSettings, compiled: Path | None = None) -> None:
        import openvino

        self.device = device
        self._core = openvino.Core()
        self._config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if run.threads:
            self._config["INFERENCE_NUM_THREADS"] = run.threads
        if run.streams:
            self._config["NUM_STREAMS"] = run.streams
        if compiled is not None:
            self._config["CACHE_DIR"] = str(compiled)

    @property
    def runtime(self) -> str:
        import openvino

        return f"openvino {openvino.__version__}"

    def open(self, path: Path, graph: str, *, threads: int = 0) -> Graph:
        try:
            model = self._core.compile_model(str(path), "CPU", self._config)
        except Zvc69Error:
            raise
        except Exception as error:  # RuntimeError, and what its readers raise
            raise RuntimeUnavailable(
                f"{self.device.name}: {graph}", f"OpenVINO: {error}", "Try `--device cpu`."
            ) from error
        return _OpenVinoGraph(self.device, graph, model)


class _OpenVinoGraph:
    def __init__(self, device: Device, graph: str, model: Any) -> None:
        self._about = (device, graph)
        self._model = model

    def run(self, names: None, inputs: Arrays, /) -> list[NDArray[Any]]:
        # A request of its own for every run: several threads may be at it.
        request = self._model.create_infer_request()
        try:
            request.infer(dict(inputs))
        except RuntimeError as error:
            raise run_failure(*self._about, error) from error
        return [np.array(request.get_output_tensor(place).data) for place in range(len(self._model.outputs))]


def session_options(threads: int, *, optimised: bool = True) -> ort.SessionOptions:
    """What every session has in common."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Stages of the pipeline share the cores: threads that spin while they wait halve its speed
    # (640x360 on 2 cores: 7.9 frames a second with spinning, 14.7 without).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return options


@cache
def _share_arena() -> None:
    """Give all sessions of this process one arena of the CPU's memory.

    With an arena each, every graph keeps the most that it ever needed. 1280x720, nine frames, one thread: an encoder
    took 1980 MB and a decoder 1080 MB; with one arena they take 710 MB and 520 MB, and no more time.
    """
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    unlimited, as_requested, usual = 0, 1, -1
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(unlimited, as_requested, usual, usual))


def open_session(
    device: Device, graph: str, path: Path, options: ort.SessionOptions, **more: Any
) -> GuardedSession:
    """A session of ONNX Runtime; raises RuntimeUnavailable with what it said."""
    try:
        return GuardedSession(device, graph, str(path), options, **more)
    except Zvc69Error:  # a signal that came while the file was read
        raise
    except Exception as error:  # ONNX Runtime raises types of its own that share no base
        if _is_memory(error):
            raise run_failure(device, graph, error) from error
        raise RuntimeUnavailable(
            f"{device.name}: {graph}", f"ONNX Runtime: {error}", "Try `--device cpu`, or reinstall zvc69."
        ) from error


def placed(session: GuardedSession, device: Device) -> Graph:
    """A session that keeps arrays in the memory of the device that it runs on; on a CPU it is what it is."""
    return PlacedSession(session, Place("cuda", device.number)) if device.kind in GPU_KINDS else session


def run_failure(device: Device, graph: str, error: Exception) -> Exception:
    """What to raise where a graph failed while it ran: one of ours where the device is to blame."""
    if isinstance(error, Zvc69Error) or (device.kind not in GPU_KINDS and not _is_memory(error)):
        return error
    if not _is_memory(error):
        return RuntimeUnavailable(
            f"{device.name}: {graph}", f"failed while it ran: {_first_line(error)}", "Try `--device cpu`."
        )
    if device.kind not in GPU_KINDS:
        return RuntimeUnavailable(
            f"{device.name}: {graph}", f"out of memory: {_first_line(error)}", "Take a smaller picture."
        )
    return RuntimeUnavailable(
        f"{device.name}: {graph}",
        f"out of GPU memory{_of(device.gpu)}: {_first_line(error)}",
        "Close what else uses the GPU, take a smaller picture, --precision fp16, or `--device cpu`.",
    )


def cuda_options(run: RunSettings) -> dict[str, Any]:
    """Options of the CUDA provider for graphs of pictures."""
    return {"enable_cuda_graph": 1} if run.cuda_graph else {}


def tensorrt_options(
    run: RunSettings, engines: Path, profile: Mapping[str, tuple[str, str, str]]
) -> dict[str, Any]:
    """Options of the TensorRT provider for one graph.

    engines  the folder that its engines are kept in
    profile  least, usual and greatest shape of each dynamic input, as "1x1x64x64"
    """
    least, usual, most = (",".join(f"{name}:{of[place]}" for name, of in profile.items()) for place in range(3))
    options: dict[str, Any] = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": usual,
        "trt_profile_max_shapes": most,
        "trt_fp16_enable": run.precision == "fp16",
        "trt_int8_enable": run.precision == "int8",
    }
    if run.workspace:
        options["trt_max_workspace_size"] = run.workspace * _MIB
    if run.streams:
        options["trt_auxiliary_streams"] = run.streams
    return options


def _rtx_device(number: int) -> Any:
    """The plug-in's device of that number; raises RuntimeError where it has none."""
    import onnxruntime_ep_nv_tensorrt_rtx as plugin

    def found() -> list[Any]:
        return [each for each in ort.get_ep_devices() if each.ep_name == PROVIDERS["tensorrt-rtx"]]

    if not found():
        ort.register_execution_provider_library(PROVIDERS["tensorrt-rtx"], plugin.get_library_path())
    devices = found()
    if number >= len(devices):
        raise RuntimeError(f"it finds {len(devices)} devices, number {number} is not among them")
    return devices[number]


def _is_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in _OUT_OF_MEMORY)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _of(gpu: Gpu | None) -> str:
    return f" of {gpu.memory_bytes / _MIB:.0f} MiB" if gpu is not None and gpu.memory_bytes else ""
