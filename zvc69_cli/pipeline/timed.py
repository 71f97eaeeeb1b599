"""Networks with a clock on each, so that what they take can be told from what is around them."""

from __future__ import annotations

import time
from typing import TypeVar

from zvc69_cli.codec.networks import F32, Networks, PriorOutput
from zvc69_cli.pipeline.queues import StageTime

R = TypeVar("R")


class TimedNetworks:
    """Satisfies codec.networks.Networks by another that does; no network may run on two threads at once."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._busy_s = {"analyse": 0.0, "prior": 0.0, "synthesise": 0.0}

    @property
    def latent_channels(self) -> int:
        return self._networks.latent_channels

    @property
    def hyper_channels(self) -> int:
        return self._networks.hyper_channels

    @property
    def times(self) -> tuple[StageTime, ...]:
        """Time in each network so far; the two passes of the prior together."""
        return tuple(StageTime(name=name, busy_s=busy_s) for name, busy_s in self._busy_s.items())

    def analyse(self, y: F32, u: F32, v: F32, q_256: int) -> tuple[F32, F32]:
        began = time.perf_counter()
        return self._timed("analyse", began, self._networks.analyse(y, u, v, q_256))

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.predict_first(hyper, height, width, offsets))

    def predict_second(self, known: F32, state: F32, offsets: F32) -> PriorOutput:
        began = time.perf_counter()
        return self._timed("prior", began, self._networks.predict_second(known, state, offsets))

    def synthesise(self, latent: F32, q_256: int, peak: int) -> tuple[F32, F32, F32]:
        began = time.perf_counter()
        return self._timed("synthesise", began, self._networks.synthesise(latent, q_256, peak))

    def _timed(self, name: str, began: float, result: R) -> R:
        self._busy_s[name] += time.perf_counter() - began
        return result
