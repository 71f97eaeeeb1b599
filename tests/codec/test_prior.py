"""The integer prior: its arithmetic on paper, and every backend against it."""

from __future__ import annotations

import numpy as np
import pytest

from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT, IntegerConv
from zvc69_cli.codec.entropy.tables import LEVEL_TABLES, CodecTables
from zvc69_cli.codec.intra.prior import INTRA_STEM, IntegerPrior
from zvc69_cli.codec.motion.fields import FIRST_CHANNELS, LEVELS, SECOND_CHANNELS
from zvc69_cli.codec.motion.prior import IntegerMotionPrior
from zvc69_cli.codec.residual.context import INPUTS
from zvc69_cli.codec.residual.layout import BANDS, GROUP_SIZES, GROUPS, PASSES, group_of_pass, pass_places
from zvc69_cli.codec.residual.prior import RESIDUAL_STEM, IntegerResidualPrior
from zvc69_cli.codec.settings import MAX_INTRA_Q
from zvc69_cli.runtime.bundle import find_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import load_networks

I = np.int64  # noqa: E741


def _conv(weight, bias, shift, slope_shift=0, limit=ACTIVATION_LIMIT):
    return IntegerConv(np.array(weight, I), np.array(bias, I), np.array(shift, I), slope_shift, limit)


@pytest.mark.parametrize(
    ("value", "due"), [(0, 0), (1, 0), (2, 1), (5, 1), (6, 2), (-2, 0), (-3, -1), (-6, -1), (-7, -2)]
)
def test_a_shift_rounds_half_up(value, due):
    assert _conv([[1]], [0], [2])(np.array([[[value]]], I)) == due


@pytest.mark.parametrize(("value", "due"), [(4, 4), (-8, -1), (-12, -1), (-13, -2), (-4, 0), (-3, 0)])
def test_a_slope_divides_before_the_one_rounding(value, due):
    # Without a shift there is no half: the slope's fraction is floored.
    plain = _conv([[1]], [0], [0], 3)(np.array([[[value]]], I)).item()
    assert plain == (value if value >= 0 else value // 8)
    rounded = _conv([[2]], [0], [1], 3)(np.array([[[value]]], I)).item()
    assert rounded == due


def test_outputs_are_clipped():
    assert _conv([[100]], [0], [0])(np.array([[[100]]], I)) == ACTIVATION_LIMIT
    assert _conv([[100]], [0], [0])(np.array([[[-100]]], I)) == -ACTIVATION_LIMIT


def test_a_depthwise_sum_sees_zeros_around_the_picture():
    out = _conv([[[1, 1, 1], [1, 1, 1], [1, 1, 1]]], [0], [0])(np.ones((1, 3, 4), I))
    assert out[0].tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]]


@pytest.fixture(scope="module")
def bundle():
    return find_bundle()


@pytest.fixture(scope="module")
def inputs(bundle):
    """Integers as wild as the format allows, on an odd grid."""
    rng = np.random.default_rng(5)
    hyper = rng.integers(-255, 256, (bundle.hyper_channels, 2, 3))
    hyper[:, 0] //= 40
    known = rng.integers(-3000, 3000, (bundle.latent_channels, 5, 9)) * (rng.random((5, 9)) < 0.5)
    return hyper.astype(I), known.astype(I)


@pytest.mark.parametrize("optimised", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_onnx_runtime_equals_the_oracle_in_every_element(bundle, inputs, optimised, threads):
    hyper, known = inputs
    oracle, tables = IntegerPrior(bundle.arrays), CodecTables.from_arrays(bundle.arrays)
    networks = load_networks(bundle, choose_device("cpu"), threads, optimised=optimised)
    for q_256 in (0, 4321, MAX_INTRA_Q):
        offsets = tables.latent_offsets(q_256)
        due = oracle.first(hyper, 5, 9, offsets)
        got = networks.predict_first(hyper.astype(np.float32), 5, 9, offsets.astype(np.float32))
        for name in due._fields:
            assert np.array_equal(getattr(got, name), getattr(due, name)), name
        due = oracle.second(known, due.state, offsets)
        got = networks.predict_second(known.astype(np.float32), got.state, offsets.astype(np.float32))
        assert np.array_equal(got.means, due.means)
        assert np.array_equal(got.indexes, due.indexes)


@pytest.fixture(scope="module")
def inter_bundle(bundle):
    if CodecTables.from_arrays(bundle.arrays).inter is None:
        pytest.skip("this bundle codes I frames only")
    return bundle


@pytest.mark.parametrize("optimised", [False, True])
def test_the_entropy_model_of_residuals_equals_its_oracle_in_every_element(inter_bundle, optimised):
    rng, height, width = np.random.default_rng(8), 6, 10
    networks = load_networks(inter_bundle, choose_device("cpu"), 2, optimised=optimised)
    oracle = IntegerResidualPrior(inter_bundle.arrays)
    for reach in (3, 300, 5000):
        inputs = rng.integers(-reach, reach + 1, (INPUTS, height, width))
        state, due = (
            networks.residual_state(inputs.astype(np.float32)),
            oracle.state(np.clip(inputs, -2047, 2047)),
        )
        assert np.array_equal(state, due)
        levels, known, last = np.zeros((BANDS, height, width), I), None, None
        for number in range(PASSES):
            known, rows = networks.residual_pass(number, known, last, state)
            assert np.array_equal(rows, oracle.rows(number, levels, due)), number
            assert rows.max() < LEVEL_TABLES
            group = group_of_pass(number)
            places = pass_places(number, height, width, 0, height // 2)
            last = np.zeros((GROUP_SIZES[group], height, width), np.int32)
            last.ravel()[places] = rng.integers(-reach, reach + 1, len(places))
            levels[GROUPS[group]] += last


@pytest.mark.parametrize("optimised", [False, True])
def test_the_motion_prior_equals_its_oracle_in_every_element(inter_bundle, optimised):
    arrays, rng = inter_bundle.arrays, np.random.default_rng(6)
    networks = load_networks(inter_bundle, choose_device("cpu"), 2, optimised=optimised)
    motion = IntegerMotionPrior(arrays)
    for level in range(LEVELS):
        for second, channels in enumerate((FIRST_CHANNELS, SECOND_CHANNELS)):
            seen = rng.integers(-2047, 2048, (channels, 5, 7))
            got = networks.predict_motion(level, bool(second), seen.astype(np.float32))
            assert np.array_equal(got, motion(level, bool(second), seen)), (level, second)


def test_no_sum_of_the_prior_leaves_float32(bundle):
    """sum |W| max|a| + |B| + half < 2^24, with the integers as they are in the bundle."""
    arrays = bundle.arrays
    stems = (INTRA_STEM, RESIDUAL_STEM, "inter.motion.")
    layers = [key[: -len(".weight")] for key in arrays if key.startswith(stems) and key.endswith(".weight")]
    assert len(layers) > 30
    for layer in layers:
        weight, bias, shift = (arrays[f"{layer}.{part}"].astype(I) for part in ("weight", "bias", "shift"))
        limit = 255 if layer.endswith("prior.up1") else ACTIVATION_LIMIT
        half = (1 << shift) >> 1
        total = np.abs(weight).reshape(len(weight), -1).sum(1) * limit + np.abs(bias) + half
        assert total.max() < 2**24, layer
        assert np.abs(weight).max() <= 2047, layer
        slope = 64 if layer.endswith("branch_in") else 8 if layer.endswith("feed_in") else 1
        assert (half * slope).max() < 2**24, layer
