"""Arrays that stay in a device's memory from one graph to the next.

Written without a GPU at hand: tested on the CPU, whose memory ONNX Runtime binds in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class Place(NamedTuple):
    """A memory, as ONNX Runtime calls it: "cuda" or "cpu", and its device's number."""

    kind: str
    number: int


class PlacedArray:
    """An array in some memory; np.asarray brings it here, once.

    leading  how many of its first dimensions are 1 and only the graphs'
    """

    def __init__(self, value: ort.OrtValue, leading: int) -> None:
        self.value = value
        self._leading = leading
        self._here: NDArray[Any] | None = None

    @classmethod
    def of(cls, array: NDArray[Any], leading: int, place: Place) -> PlacedArray:
        """A copy of an array, with its leading dimensions, in a memory."""
        return cls(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *place), leading)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape()[self._leading :])

    def whole(self) -> NDArray[Any]:
        """The array here, with its leading dimensions."""
        here: NDArray[Any] = np.asarray(self).reshape(self.value.shape())
        return here

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self._here is None:
            self._here = np.asarray(self.value.numpy()).reshape(self.shape)
        return np.array(self._here, dtype=dtype, copy=copy)


Inputs = Mapping[str, NDArray[Any] | PlacedArray]


@runtime_checkable
class KeepingGraph(Protocol):
    """A graph that can leave what it yields where it ran."""

    def run_kept(self, inputs: Inputs, kept: Mapping[str, int]) -> list[NDArray[Any] | PlacedArray]:
        """Every output, in the graph's order.

        kept  those that stay, each with its leading dimensions
        """


class PlacedSession:
    """Satisfies backends.Graph and KeepingGraph, by a session that runs in some memory."""

    def __init__(self, session: ort.InferenceSession, place: Place) -> None:
        self._session = session
        self._place = place

    def run(self, names: None, inputs: Mapping[str, NDArray[Any]], /) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._session.run(names, inputs)
        return outputs

    def run_kept(self, inputs: Inputs, kept: Mapping[str, int]) -> list[NDArray[Any] | PlacedArray]:
        binding = self._session.io_binding()
        for name, given in inputs.items():
            if isinstance(given, PlacedArray):
                binding.bind_ortvalue_input(name, given.value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(given))
        outputs = [each.name for each in self._session.get_outputs()]
        for name in outputs:
            binding.bind_output(name, *(self._place if name in kept else ("cpu", 0)))
        self._session.run_with_iobinding(binding)
        return [
            PlacedArray(value, kept[name]) if name in kept else np.asarray(value.numpy())
            for name, value in zip(outputs, binding.get_outputs(), strict=True)
        ]
