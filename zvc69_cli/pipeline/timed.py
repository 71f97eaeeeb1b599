"""Networks with a clock on each, so that what they take can be told from what is around them."""

from __future__ import annotations

import threading
import time
from typing import Any, TypeVar

from numpy.typing import NDArray

from zvc69_cli.codec.networks import F32, I32, U8, Networks, Picture, PriorOutput, RoundingRule, Tensor
from zvc69_cli.frames import Samples
from zvc69_cli.pipeline.queues import StageTime

R = TypeVar("R")


class TimedNetworks:
    """Satisfies codec.networks.Networks by another that does, on any number of threads."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._lock = threading.Lock()
        self._busy_s = {"analyse": 0.0, "prior": 0.0, "synthesise": 0.0}
        if networks.has_inter:
            self._busy_s |= {"search": 0.0, "predict": 0.0, "filter": 0.0}

    @property
    def latent_channels(self) -> int:
        return self._networks.latent_channels

    @property
    def hyper_channels(self) -> int:
        return self._networks.hyper_channels

    @property
    def has_inter(self) -> bool:
        return self._networks.has_inter

    @property
    def times(self) -> tuple[StageTime, ...]:
        """Time in each network so far: all of the priors together, and moving references with blending them.

        What is rarely asked for has no time until it is.
        """
        return tuple(StageTime(name=name, busy_s=busy_s) for name, busy_s in self._busy_s.items())

    def put(self, array: NDArray[Any]) -> Tensor:
        return self._networks.put(array)

    @property
    def keeps_arrays(self) -> bool:
        return self._networks.keeps_arrays

    def take(self, samples: tuple[Samples, Samples, Samples], height: int, width: int, peak: int) -> Picture:
        began = time.perf_counter()
        return self._timed("transfer", began, self._networks.take(samples, height, width, peak))

    def give(
        self, picture: Picture, size: tuple[int, int], chroma: tuple[int, int], bit_depth: int
    ) -> tuple[Samples, Samples, Samples]:
        began = time.perf_counter()
        return self._timed("transfer", began, self._networks.give(picture, size, chroma, bit_depth))

    def picture_error(self, source: Picture, decoded: Picture, peak: int) -> float:
        began = time.perf_counter()
        return self._timed("predict", began, self._networks.picture_error(source, decoded, peak))

    def continued(self, plane: Tensor, height: int, width: int) -> Tensor:
        began = time.perf_counter()
        return self._timed("search", began, self._networks.continued(plane, height, width))

    def known_half(self, symbols: I32, means: Tensor) -> Tensor:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.known_half(symbols, means))

    def decoded_latent(self, symbols: I32, first: Tensor, second: Tensor) -> Tensor:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.decoded_latent(symbols, first, second))

    def rounded_half(self, latent: Tensor, first: PriorOutput, rule: RoundingRule) -> tuple[Tensor, Tensor]:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.rounded_half(latent, first, rule))

    def rounded(
        self, latent: Tensor, half: Tensor, first: PriorOutput, second: PriorOutput, rule: RoundingRule
    ) -> tuple[I32, U8, Tensor]:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.rounded(latent, half, first, second, rule))

    def analyse(self, y: Tensor, u: Tensor, v: Tensor, q_256: int) -> tuple[Tensor, F32]:
        began = time.perf_counter()
        return self._timed("analyse", began, self._networks.analyse(y, u, v, q_256))

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.predict_first(hyper, height, width, offsets))

    def predict_second(self, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.predict_second(known, state, offsets))

    def synthesise(self, latent: Tensor, q_256: int, peak: int) -> Picture:
        began = time.perf_counter()
        return self._timed("synthesise", began, self._networks.synthesise(latent, q_256, peak))

    def search(self, y: Tensor, samples: Tensor, effort: str) -> tuple[F32, F32, F32]:
        began = time.perf_counter()
        return self._timed("search", began, self._networks.search(y, samples, effort))

    @property
    def makes_samples(self) -> bool:
        return self._networks.makes_samples

    def quarter_samples(self, y: Tensor, peak: int) -> Tensor:
        began = time.perf_counter()
        return self._timed("search", began, self._networks.quarter_samples(y, peak))

    def motion_error(self, level: int, y: Tensor, samples: Tensor, field: F32) -> F32:
        began = time.perf_counter()
        return self._timed("search", began, self._networks.motion_error(level, y, samples, field))

    def predict_motion(self, level: int, second: bool, inputs: F32) -> F32:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.predict_motion(level, second, inputs))

    def warp(self, y: Tensor, u: Tensor, v: Tensor, field: F32, peak: int) -> Tensor:
        began = time.perf_counter()
        return self._timed("predict", began, self._networks.warp(y, u, v, field, peak))

    def blend(self, first: Tensor, second: Tensor) -> Tensor:
        began = time.perf_counter()
        return self._timed("predict", began, self._networks.blend(first, second))

    def residual_costs(self, planes: Picture, prediction: Tensor, steps: F32) -> tuple[Tensor, Tensor, F32]:
        began = time.perf_counter()
        return self._timed("analyse", began, self._networks.residual_costs(planes, prediction, steps))

    def residual_coefficients(self, picture: Tensor, prediction: Tensor, classes: U8) -> F32:
        began = time.perf_counter()
        return self._timed("analyse", began, self._networks.residual_coefficients(picture, prediction, classes))

    def residual_state(self, inputs: F32) -> Tensor:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.residual_state(inputs))

    def residual_pass(
        self, number: int, known: Tensor | None, levels: I32 | None, state: Tensor
    ) -> tuple[Tensor, U8]:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.residual_pass(number, known, levels, state))

    def rebuild(self, levels: I32, classes: U8, prediction: Tensor, steps: F32) -> tuple[Tensor, Tensor]:
        began = time.perf_counter()
        return self._timed("synthesise", began, self._networks.rebuild(levels, classes, prediction, steps))

    def loop_filter(
        self, pictures: tuple[Tensor, Tensor, Tensor, Tensor], edges: F32, steps: F32, q_256: int
    ) -> Tensor:
        began = time.perf_counter()
        return self._timed("filter", began, self._networks.loop_filter(pictures, edges, steps, q_256))

    def filter_sums(self, planes: Picture, picture: Tensor, correction: Tensor) -> F32:
        began = time.perf_counter()
        return self._timed("filter", began, self._networks.filter_sums(planes, picture, correction))

    def finish(self, picture: Tensor, correction: Tensor, strength: float, peak: int) -> Picture:
        began = time.perf_counter()
        return self._timed("synthesise", began, self._networks.finish(picture, correction, strength, peak))

    @property
    def has_gradients(self) -> bool:
        return self._networks.has_gradients

    def gradient(self, planes: Picture, latent: Tensor, q_256: int) -> F32:
        began = time.perf_counter()
        return self._timed("refine", began, self._networks.gradient(planes, latent, q_256))

    def _timed(self, name: str, began: float, result: R) -> R:
        busy_s = time.perf_counter() - began
        with self._lock:
            self._busy_s[name] = self._busy_s.get(name, 0.0) + busy_s
        return result
