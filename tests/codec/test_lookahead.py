"""What is known of a frame before it is coded."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.codec.test_gop import VIDEO, frame
from tests.codec.test_scenecut import texture
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.plan.lookahead import FrameCosts, Lookahead, Prediction, predict_blocks
from zvc69_cli.codec.plan.propagation import MOST_WORTH_Q, preferences, worths
from zvc69_cli.codec.plan.scenecut import intra_errors
from zvc69_cli.codec.rate.model import Demand, Expected, RateClass, SizeModel, base_for, curve, top_q
from zvc69_cli.codec.settings import CodecSettings


def looked(lumas, **settings):
    """Planned frames and what the lookahead sees of them."""
    scheduler = Scheduler(VIDEO, CodecSettings(scenecut=0, **settings), 30 * 256)
    frames = [frame(number, luma) for number, luma in enumerate(lumas)]
    planned = [each for one in frames for each in scheduler.push(one)] + scheduler.flush()
    look = Lookahead(255)
    return planned, [look.look(each) for each in planned]


def test_a_block_is_found_where_it_was():
    picture = np.random.default_rng(1).normal(100, 30, (32, 48)).astype(np.float32)
    found = predict_blocks(np.roll(picture, (1, -2), (0, 1)), picture, 7)
    inside = found.error[1:-1, 1:-1]
    assert found.reference == 7 and inside.max() < 1e-4
    assert (found.moves[:, 1:-1, 1:-1] == np.array([-1, 2])[:, None, None]).all()


def test_a_flat_picture_costs_nothing_and_a_busy_one_much():
    assert intra_errors(np.full((16, 16), 9, np.float32)).max() == 0
    busy = np.random.default_rng(2).normal(100, 30, (16, 16)).astype(np.float32)
    assert intra_errors(busy).min() > 5


def test_a_still_video_is_cheap_and_a_changing_one_dear():
    still = looked([texture(1)] * 9)[1]
    changing = looked([texture(number) for number in range(9)])[1]
    assert max(each.inter_mean for each in still[1:]) < 0.5
    assert min(each.inter_mean for each in changing[1:]) > 5
    assert still[0].intra_mean > 5


def test_frames_that_live_on_are_worth_more_than_those_that_nobody_needs():
    planned, costs = looked([texture(1)] * 17)
    found = worths([each.coding_index for each in planned], costs)
    by_layer = [
        np.mean([w for w, p in zip(found[:8], planned, strict=False) if p.temporal_layer == layer])
        for layer in range(3)
    ]
    assert all(above > below for above, below in pairwise(by_layer))
    assert found[-1] == 0


def test_a_frame_before_a_change_of_scene_is_worth_nothing():
    planned, costs = looked([texture(1)] * 4 + [texture(2)] * 12, bframes=0)
    found = worths([each.coding_index for each in planned], costs)
    assert found[3] < 0.3 < found[0] and found[4] > 1


def test_preferences_are_bounded():
    own = np.full((2, 2), 100, np.float32)
    tied = FrameCosts(intra=own, predictions=())
    others = [
        FrameCosts(
            intra=own,
            predictions=(Prediction(reference=0, error=own * 0, moves=np.zeros((2, 2, 2), np.int16)),),
        )
        for _ in range(5000)
    ]
    found = preferences(range(5001), [RateClass.I] + [RateClass.P] * 5000, [tied, *others])
    assert 5 < found[0] <= MOST_WORTH_Q and min(found) >= -MOST_WORTH_Q


@pytest.mark.parametrize("rate_class", list(RateClass))
def test_more_q_is_more_bits(rate_class):
    sizes = [curve(rate_class, q) for q in range(int(top_q(rate_class)) + 1)]
    assert all(below < above for below, above in pairwise(sizes))


@pytest.mark.parametrize("rate_class", [RateClass.P, RateClass.B, RateClass.B_DEEP])
def test_curves_go_on_as_steeply_beyond_what_was_measured(rate_class):
    slopes = [np.log2(curve(rate_class, q + 1) / curve(rate_class, q)) for q in (78, 79, 100, 126)]
    assert slopes == pytest.approx(4 * slopes[:1])


def test_i_frames_take_no_more_beyond_their_highest_q():
    expected = Expected(rate_class=RateClass.I, weight=1.0, offset=12.0)
    assert expected.q_at(100) == top_q(RateClass.I) == 79
    assert (
        curve(RateClass.I, 127)
        == curve(RateClass.I, 79)
        == expected.bits_at(100)
        == Demand([expected]).bits_at(100)
    )


def test_the_base_is_the_one_that_takes_what_there_is():
    demand = Demand(
        [
            Expected(rate_class=RateClass.P, weight=1e6, offset=0),
            Expected(rate_class=RateClass.B, weight=1e6, offset=-7),
        ]
    )
    base = base_for(100_000, (demand, 1.0))
    assert demand.bits_at(base) == pytest.approx(100_000, rel=0.02)


def test_a_demand_forgets_what_is_taken_out():
    one, two = (Expected(rate_class=RateClass.P, weight=weight, offset=0) for weight in (1e6, 3e6))
    demand = Demand([one, two])
    demand.remove(two)
    assert demand.bits_at(20) == pytest.approx(one.bits_at(20))


def test_a_model_learns_how_large_frames_of_a_kind_really_are():
    model = SizeModel(1000)
    for _ in range(20):
        model.learn(RateClass.P, 2.0, 30.0, 3 * 2000 * curve(RateClass.P, 30.0))
    expected = model.expect(RateClass.P, 1.0, 0.0).bits_at(30)
    assert expected == pytest.approx(3000 * curve(RateClass.P, 30.0), rel=0.02)
    assert model.expect(RateClass.B, 1.0, 0.0).weight == pytest.approx(3000, rel=0.02)
