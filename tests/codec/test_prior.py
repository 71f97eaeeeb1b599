"""The integer prior: its arithmetic on paper, and every backend against it."""

from __future__ import annotations

import numpy as np
import pytest

from zvc69_cli.codec.entropy.layers import ACTIVATION_LIMIT, IntegerConv
from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.intra.prior import INTER_STEM, INTRA_STEM, IntegerPrior
from zvc69_cli.codec.motion.fields import FIRST_CHANNELS, LEVELS, SECOND_CHANNELS
from zvc69_cli.codec.motion.prior import IntegerMotionPrior
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
def test_the_inter_priors_equal_their_oracles_in_every_element(inter_bundle, inputs, optimised):
    hyper, known = inputs
    arrays, rng = inter_bundle.arrays, np.random.default_rng(6)
    tables = CodecTables.from_arrays(arrays).inter
    networks = load_networks(inter_bundle, choose_device("cpu"), 2, optimised=optimised)
    oracle, motion = IntegerPrior(arrays, INTER_STEM), IntegerMotionPrior(arrays)
    extra = rng.integers(-3000, 3000, (2 * inter_bundle.latent_channels + 6, 5, 9))
    for q_256 in (0, 4321, MAX_INTRA_Q):
        offsets = tables.latent_offsets(q_256)
        due = oracle.first(hyper, 5, 9, offsets, extra)
        got = networks.predict_inter_first(
            hyper.astype(np.float32), 5, 9, extra.astype(np.float32), offsets.astype(np.float32)
        )
        for name in due._fields:
            assert np.array_equal(getattr(got, name), getattr(due, name)), name
        due = oracle.second(known, due.state, offsets)
        got = networks.predict_inter_second(known.astype(np.float32), got.state, offsets.astype(np.float32))
        assert np.array_equal(got.means, due.means)
        assert np.array_equal(got.indexes, due.indexes)
    for level in range(LEVELS):
        for second, channels in enumerate((FIRST_CHANNELS, SECOND_CHANNELS)):
            seen = rng.integers(-2047, 2048, (channels, 5, 7))
            got = networks.predict_motion(level, bool(second), seen.astype(np.float32))
            assert np.array_equal(got, motion(level, bool(second), seen)), (level, second)


def _random_layers(rng, stem, shapes):
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{stem}{name}.weight"] = rng.integers(-60, 61, shape).astype(np.int16)
        arrays[f"{stem}{name}.bias"] = rng.integers(-500, 501, shape[0]).astype(np.int32)
        arrays[f"{stem}{name}.shift"] = rng.integers(4, 8, shape[0]).astype(np.uint8)
    return arrays


def _prior_shapes(width):
    shapes = {"up1": (4 * width, width), "up2": (4 * width, width)}
    for block in ("block1", "block2", "first0", "first1", "second0", "second1"):
        shapes |= {f"{block}.{name}": (width, width) for name in ("branch_in", "branch_out")}
        shapes |= {f"{block}.depthwise": (width, 3, 3)}
        shapes |= {f"{block}.feed_in": (2 * width, width), f"{block}.feed_out": (width, 2 * width)}
    shapes |= {"second0.adapt": (width, 3 * width)}
    return shapes | {"first_head": (2 * width, width), "second_head": (2 * width, width)}


def test_the_inter_prior_is_the_intra_one_with_more_to_see():
    """Its layers have a stem of their own; what the references tell enters before the first block, clipped."""
    rng, width = np.random.default_rng(7), 4
    arrays = _random_layers(rng, INTRA_STEM, _prior_shapes(width))
    arrays |= {f"inter.{name}": array for name, array in arrays.items()}
    more = 2 * width + 6
    adapt = np.concatenate([np.eye(width), np.eye(width, more)], 1).astype(np.int16)
    arrays["inter.prior.first0.adapt.weight"] = adapt
    arrays["inter.prior.first0.adapt.bias"] = np.zeros(width, np.int32)
    arrays["inter.prior.first0.adapt.shift"] = np.zeros(width, np.uint8)
    hyper, offsets = rng.integers(-255, 256, (width, 1, 2)), np.zeros(width, I)
    intra, inter = IntegerPrior(arrays), IntegerPrior(arrays, INTER_STEM)
    due = intra.first(hyper, 3, 5, offsets)
    got = inter.first(hyper, 3, 5, offsets, np.zeros((more, 3, 5), I))
    assert np.array_equal(got.state, due.state)
    told = [inter.first(hyper, 3, 5, offsets, np.full((more, 3, 5), each, I)) for each in (2047, 9000)]
    assert np.array_equal(told[0].state, told[1].state)
    assert not np.array_equal(told[0].state, due.state)


def test_no_sum_of_the_prior_leaves_float32(bundle):
    """sum |W| max|a| + |B| + half < 2^24, with the integers as they are in the bundle."""
    arrays = bundle.arrays
    stems = (INTRA_STEM, INTER_STEM, "inter.motion.")
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
