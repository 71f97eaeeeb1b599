"""The self-test of the priors: whether a device computes the integers that the codec's definition says.

Run once for each device, driver, runtime and bundle, and remembered in the cache of engines: the whole of the priors on
a small grid against the oracle in NumPy. On a GPU, whose libraries choose kernels by the size of the arrays, once more
for each size of picture, against ONNX Runtime on the CPU. A device that fails gets its priors from the CPU.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from zvc69_cli.errors import UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.runtime.backends import OrtBackend
from zvc69_cli.runtime.bundle import PRIOR_GRAPHS, Bundle
from zvc69_cli.runtime.cache import open_cache
from zvc69_cli.runtime.engines import GraphOpener, prior_device
from zvc69_cli.runtime.providers import GPU_KINDS, Device, choose_device
from zvc69_cli.runtime.sessions import OrtNetworks, load_networks, networks_of
from zvc69_cli.runtime.settings import NO_CACHE, RunSettings
from zvc69_cli.runtime.shapes import ENGINE_RANGE

if TYPE_CHECKING:
    from zvc69_cli.codec.networks import Networks

GRID: Final = (3, 5)  # rows and columns of the latent; the oracle is slow on purpose
HYPER_CELLS: Final = 4  # of the latent a side of one of the hyper latent
GRID_SAMPLES: Final = 16  # luma samples a side of a cell of the latent
PASSED: Final = ""

_log = logging.getLogger(__name__)


class CheckedNetworks:
    """A bundle's networks on a device, their priors proved there or run on the CPU.

    is_forgiving  whether a device that fails has its priors moved; with False it is only found out
    results       what each check found
    raises        RuntimeUnavailable
    """

    def __init__(self, bundle: Bundle, device: Device, run: RunSettings, *, is_forgiving: bool = True) -> None:
        self._is_forgiving = is_forgiving
        self.results: dict[str, str] = {}
        self._bundle, self._device, self._run = bundle, device, run
        self._cache = open_cache(run.cache)
        self._opener = GraphOpener(bundle, device, run, self._cache)
        self.networks: OrtNetworks = networks_of(bundle, device, self._opener)
        self._priors = prior_device(device)
        self._check("intra", lambda: intra_difference(bundle, self.networks))

    def load_inter(self, search: str | None) -> None:
        """As OrtNetworks.load_inter, and have the priors of P and B frames proved."""
        self.networks.load_inter(search)
        if self.networks.has_inter:
            self._check("inter", lambda: inter_difference(self._bundle, self.networks))

    def check_size(self, video: VideoFormat) -> None:
        """Prove the priors at the size of a video, on a GPU; raises UsageError where no engine takes the size."""
        if self._device.kind in ("tensorrt", "tensorrt-rtx") and not ENGINE_RANGE.holds(
            video.width, video.height
        ):
            raise UsageError(
                f"--device {self._device.name}",
                f"its engines are for pictures of {ENGINE_RANGE.text}, not for {video.width}x{video.height}",
                f"Take --device cuda:{self._device.number}.",
            )
        if self._priors.kind in GPU_KINDS:
            grid = (-(-video.height // GRID_SAMPLES), -(-video.width // GRID_SAMPLES))
            self._check(f"{grid[0]}x{grid[1]}", lambda: self._size_difference(grid))

    def _check(self, what: str, differ: Callable[[], str]) -> None:
        key = {**self._identity(), "what": f"priors {what}"}
        told = self._cache.remembered(key)
        if not isinstance(told, str):
            told = differ()
            self._cache.remember(key, told)
        self.results[what] = told
        if not self._is_forgiving:
            return
        if told != PASSED and self._priors.kind in GPU_KINDS:
            _log.warning(
                "%s fails the self-test of the priors (%s): they run on the CPU instead",
                self._priors.name,
                told,
            )
            self._priors = choose_device("cpu")
            self._opener.move_priors(self._priors)
            self.networks.reopen(PRIOR_GRAPHS)
        elif told != PASSED:
            _log.warning(
                "this CPU fails the self-test of the priors (%s): what it writes may not decode elsewhere", told
            )

    def _identity(self) -> dict[str, str]:
        """What a result holds for."""
        gpu = self._priors.gpu
        return {
            "bundle": self._bundle.sha256.hex(),
            "device": self._priors.name if gpu is None else f"{gpu.name} {gpu.capability}",
            "driver": platform.processor() or platform.machine() if gpu is None else str(gpu.cuda),
            "runtime": OrtBackend(self._priors).runtime,
        }

    def _size_difference(self, grid: tuple[int, int]) -> str:
        from zvc69_cli.codec.residual.context import INPUTS

        cpu = load_networks(self._bundle, choose_device("cpu"), self._run.threads)
        rng = np.random.default_rng(grid[0] * grid[1])
        hyper = _integers(rng, (self._bundle.hyper_channels, *_hyper_grid(grid)), 255)
        known = _integers(rng, (self._bundle.latent_channels, *grid), 2000)
        offsets = _integers(rng, (self._bundle.latent_channels,), 100)
        inputs = _integers(rng, (INPUTS, 2 * grid[0], 2 * grid[1]), 300)

        def ask(networks: Networks) -> dict[str, Any]:
            first = networks.predict_first(hyper, *grid, offsets)
            second = networks.predict_second(known, first.state, offsets)
            found = {"first": first, "second": second}
            return found | (_residual_rows(networks, inputs) if networks.has_inter else {})

        here, due = ask(self.networks), ask(cpu)
        return next((told for name in due if (told := _differ(name, here[name], due[name])) != PASSED), PASSED)


def self_test(bundle: Bundle, device: Device, run: RunSettings, size: tuple[int, int]) -> dict[str, str]:
    """What each part of the self-test finds on a device: PASSED, or what differs; nothing is remembered.

    size    width and height of the picture that a GPU is proved at
    raises  RuntimeUnavailable
    """
    checked = CheckedNetworks(bundle, device, replace(run, cache=NO_CACHE), is_forgiving=False)
    video = VideoFormat(width=size[0], height=size[1])
    if checked.networks.has_inter:
        checked.load_inter(None)
    checked.check_size(video)
    return checked.results


def intra_difference(bundle: Bundle, networks: Networks) -> str:
    """What the networks' priors of I frames have other than the oracle; PASSED where nothing."""
    from zvc69_cli.codec.intra.prior import IntegerPrior

    oracle = IntegerPrior(bundle.arrays)
    rng = np.random.default_rng(1)
    channels = bundle.latent_channels
    hyper = _integers(rng, (bundle.hyper_channels, *_hyper_grid(GRID)), 255)
    known = _integers(rng, (channels, *GRID), 2000)
    offsets = _integers(rng, (channels,), 100)
    whole_offsets = offsets.astype(np.int64)
    first = networks.predict_first(hyper, *GRID, offsets)
    due = oracle.first(hyper.astype(np.int64), *GRID, whole_offsets)
    second = networks.predict_second(known, first.state, offsets)
    return _differ("first", first, due) or _differ(
        "second", second, oracle.second(known.astype(np.int64), due.state, whole_offsets)
    )


def inter_difference(bundle: Bundle, networks: Networks) -> str:
    """The same for the entropy models of P and B frames: of residuals and of motion."""
    from zvc69_cli.codec.motion.fields import FIRST_CHANNELS, LEVELS, SECOND_CHANNELS
    from zvc69_cli.codec.motion.prior import IntegerMotionPrior

    told = _residual_difference(bundle, networks)
    if told != PASSED:
        return told
    oracle, rng = IntegerMotionPrior(bundle.arrays), np.random.default_rng(2)
    for level in range(LEVELS):
        for is_second, channels in ((False, FIRST_CHANNELS), (True, SECOND_CHANNELS)):
            inputs = _integers(rng, (channels, *GRID), 300)
            due = oracle(level, is_second, inputs.astype(np.int64))
            if not np.array_equal(networks.predict_motion(level, is_second, inputs), due):
                return f"motion_{level}_{'second' if is_second else 'first'} differs"
    return PASSED


def _residual_difference(bundle: Bundle, networks: Networks) -> str:
    from zvc69_cli.codec.residual.context import INPUTS
    from zvc69_cli.codec.residual.layout import BANDS, GROUPS, group_of_pass
    from zvc69_cli.codec.residual.prior import IntegerResidualPrior

    oracle = IntegerResidualPrior(bundle.arrays)
    height, width = 2 * GRID[0], 2 * GRID[1]
    inputs = _integers(np.random.default_rng(3), (INPUTS, height, width), 300)
    state = oracle.state(inputs.astype(np.int64))
    if not np.array_equal(networks.residual_state(inputs), state):
        return "integers of residual_state differ"
    levels = np.zeros((BANDS, height, width), np.int64)
    for number, rows in enumerate(_residual_rows(networks, inputs).values()):
        due = oracle.rows(number, levels, state)
        if not np.array_equal(rows, due):
            return f"{np.sum(rows != due)} of {rows.size} rows of residual_pass_{number} differ"
        levels[GROUPS[group_of_pass(number)]] += _levels_of_pass(number, height, width)
    return PASSED


def _residual_rows(networks: Networks, inputs: Any) -> dict[str, Any]:
    """The rows of every pass by the name of its graph, for levels drawn at random."""
    _, height, width = inputs.shape
    state = networks.residual_state(inputs)
    known, levels, found = None, None, {}
    for number in range(6):
        known, found[f"residual_pass_{number}"] = networks.residual_pass(number, known, levels, state)
        levels = _levels_of_pass(number, height, width)
    return found


def _levels_of_pass(number: int, height: int, width: int) -> Any:
    """Levels at random where a pass codes, 0 elsewhere: int32 [group, height, width]."""
    from zvc69_cli.codec.residual.layout import GROUP_SIZES, group_of_pass, pass_places

    rng = np.random.default_rng(number)
    shape = (GROUP_SIZES[group_of_pass(number)], height, width)
    drawn = np.zeros(shape, np.int32)
    places = pass_places(number, height, width, 0, height // 2)
    sizes = np.exp2(rng.uniform(-3, 12, len(places))).astype(np.int32)
    drawn.ravel()[places] = np.where(rng.random(len(places)) < 0.5, -sizes, sizes)
    return drawn


def _differ(name: str, found: Any, due: Any) -> str:
    if name.startswith("residual"):
        return PASSED if np.array_equal(found, due) else f"rows of {name} differ"
    for part in ("means", "indexes", "state") if name.startswith("first") else ("means", "indexes"):
        here, there = np.asarray(getattr(found, part)), np.asarray(getattr(due, part))
        if not np.array_equal(here, there):
            wrong = int(np.sum(here != there)) if here.shape == there.shape else here.size
            return f"{wrong} of {here.size} {part} of {name} differ"
    return PASSED


def _integers(rng: np.random.Generator, shape: tuple[int, ...], reach: int) -> Any:
    """Whole numbers within +-reach, as the networks take them."""
    return rng.integers(-reach, reach + 1, shape).astype(np.float32)


def _hyper_grid(grid: tuple[int, int]) -> tuple[int, int]:
    return -(-grid[0] // HYPER_CELLS), -(-grid[1] // HYPER_CELLS)
