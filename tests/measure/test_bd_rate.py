"""BD-rate where the answer is known."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.measure.bd_rate import RatePoint, bd_rate, mean_curve, rising

needs_bjontegaard = pytest.mark.skipif(
    importlib.util.find_spec("bjontegaard") is None, reason="the extra [measure] is missing"
)


def curve(scale: float = 1.0, shift_db: float = 0.0) -> list[RatePoint]:
    known = [(0.1, 30.0), (0.2, 33.1), (0.4, 36.0), (0.8, 38.8), (1.6, 41.2)]
    return [RatePoint(bits_per_pixel=rate * scale, quality=psnr + shift_db) for rate, psnr in known]


@needs_bjontegaard
@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.2, 2.0])
def test_a_curve_that_costs_a_constant_factor_has_that_bd_rate(scale: float) -> None:
    result = bd_rate(curve(), curve(scale))
    assert result.percent == pytest.approx((scale - 1) * 100, abs=1e-6)
    assert result.overlap == 1
    assert not result.is_narrow


@needs_bjontegaard
def test_the_order_of_points_does_not_matter() -> None:
    assert bd_rate(curve()[::-1], curve(1.3)).percent == pytest.approx(30, abs=1e-6)


@needs_bjontegaard
def test_curves_that_share_no_quality_have_no_bd_rate() -> None:
    result = bd_rate(curve(), curve(shift_db=20))
    assert result.percent is None
    assert result.overlap == 0


@needs_bjontegaard
def test_curves_that_share_little_are_marked() -> None:
    result = bd_rate(curve(), curve(shift_db=8))
    assert result.percent is not None
    assert result.is_narrow


@needs_bjontegaard
def test_two_points_are_no_curve() -> None:
    assert bd_rate(curve(), curve()[:2]).percent is None


def test_a_point_that_costs_more_and_is_no_better_is_left_out() -> None:
    worse = RatePoint(bits_per_pixel=0.9, quality=38.0)
    assert rising([*curve(), worse]) == curve()


def test_the_mean_curve_is_the_mean_at_each_setting() -> None:
    assert mean_curve([curve(), curve(3.0, shift_db=2.0)])[0] == RatePoint(bits_per_pixel=0.2, quality=31.0)
    with pytest.raises(ValueError):
        mean_curve([curve(), curve()[:3]])


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(RuntimeUnavailable) as refusal:
        bd_rate(curve(), curve())
    assert "bjontegaard" in refusal.value.what
    assert "zvc69[measure]" in refusal.value.next_step
