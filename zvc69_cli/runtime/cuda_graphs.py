"""CUDA graphs by ONNX Runtime: a session that replays what it recorded, one recording for each shape of its inputs.

A recording reads and writes fixed places of the GPU's memory. So every shape has arrays of its own that inputs are
copied into and outputs out of, and one run at a time goes through them.

Every run copies its inputs and outputs through the CPU's memory: with --cuda-graph nothing stays on the device between
networks. Whether that is worth the launches that it saves has to be measured.

Never run on a GPU; the arrays and their reuse are tested on the CPU, where there is nothing to record.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

MAX_SHAPES: Final = 4  # that are held at a time: each holds GPU memory

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class ReplayedSession:
    """Satisfies backends.Graph.

    kind  where the arrays lie: "cuda", or "cpu" in tests
    """

    def __init__(self, session: ort.InferenceSession, device_number: int, kind: str = "cuda") -> None:
        self._session = session
        self._place = (kind, device_number)
        self._lock = threading.Lock()
        self._held: OrderedDict[_Shapes, tuple[Any, dict[str, Any], Any]] = OrderedDict()
        self._recordings = 0

    def run(self, names: None, inputs: Mapping[str, NDArray[Any]], /) -> list[NDArray[Any]]:
        solid = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        shapes = tuple(sorted((name, array.shape) for name, array in solid.items()))
        with self._lock:
            if shapes not in self._held:
                self._held[shapes] = self._bind(solid)
                if len(self._held) > MAX_SHAPES:
                    self._held.popitem(last=False)
            self._held.move_to_end(shapes)
            binding, held, options = self._held[shapes]
            for name, array in solid.items():
                held[name].update_inplace(array)
            self._session.run_with_iobinding(binding, options)
            return [np.array(each.numpy()) for each in binding.get_outputs()]

    def _bind(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[Any, dict[str, Any], Any]:
        """A binding to arrays of its own: outputs get theirs from a first run, which is not recorded (id -1)."""
        held = {name: ort.OrtValue.ortvalue_from_numpy(array, *self._place) for name, array in inputs.items()}
        trial = self._session.io_binding()
        for name, value in held.items():
            trial.bind_ortvalue_input(name, value)
        for output in self._session.get_outputs():
            trial.bind_output(output.name, *self._place)
        self._session.run_with_iobinding(trial, _options(-1))
        binding = self._session.io_binding()
        for name, value in held.items():
            binding.bind_ortvalue_input(name, value)
        for output, value in zip(self._session.get_outputs(), trial.get_outputs(), strict=True):
            binding.bind_ortvalue_output(output.name, value)
        self._recordings += 1
        return binding, held, _options(self._recordings)


def _options(recording: int) -> ort.RunOptions:
    """Which recording a run replays, or makes when it is the first; -1 is none."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(recording))
    return options
