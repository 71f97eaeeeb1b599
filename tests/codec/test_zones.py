"""Parts of a video, and single frames, that are to be coded otherwise."""

from __future__ import annotations

import pytest

from tests.codec.rate_videos import BASE_Q_256, VIDEO
from tests.codec.test_gop import frame
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.rate.control import RateControl
from zvc69_cli.codec.rate.target import RateTarget
from zvc69_cli.codec.rate.zones import ForcedFrame, FrameOrders, parse_qpfile, parse_zones
from zvc69_cli.codec.settings import INTRA_Q_LEVELS, CodecSettings
from zvc69_cli.errors import UsageError


def qs(orders, frames=20):
    """The q of every frame as watched."""
    settings = CodecSettings(scenecut=0)
    control = RateControl(VIDEO, settings, RateTarget(), BASE_Q_256, orders=orders)
    scheduler, found = Scheduler(VIDEO, settings, BASE_Q_256), {}
    planned = [each for number in range(frames) for each in scheduler.push(frame(number))] + scheduler.flush()
    for each in planned:
        control.take(each)
    while control.sizes_due(at_end=True) is not None:
        found |= {each.frame.pts: (BASE_Q_256 + each.q_offset) / 256 for each in control.go((), at_end=True)}
    return [found[number] for number in range(frames)]


def test_a_zone_with_a_quantiser_has_it_as_its_base():
    plain, moved = qs(FrameOrders()), qs(FrameOrders(zones=parse_zones("5,12,q=105")))
    assert [b - a for a, b in zip(plain, moved, strict=True)] == [0] * 5 + [-10] * 8 + [0] * 7


def test_a_zone_with_a_factor_moves_its_frames():
    plain, moved = qs(FrameOrders()), qs(FrameOrders(zones=parse_zones("5,12,b=0.5/13,14,b=2")))
    assert [b - a for a, b in zip(plain, moved, strict=True)] == [0] * 5 + [-12] * 8 + [12] * 2 + [0] * 5


def test_a_qpfile_says_the_quantiser_of_single_frames():
    orders = FrameOrders(frames=parse_qpfile(["0 I 84", "7 B 107 # late", "", "12 K -1"], "qp"))
    found = qs(orders)
    assert found[0] == 43 and found[7] == 20 and found[1:7] == qs(FrameOrders())[1:7]
    assert orders.keys == {0, 12}


def test_an_i_frame_is_ordered_at_its_highest_q_at_most():
    found = qs(FrameOrders(frames=parse_qpfile(["0 I 20", "4 P 20"], "qp")))
    assert found[0] == INTRA_Q_LEVELS - 1 and found[4] == 107
    assert qs(FrameOrders(zones=parse_zones("0,3,q=20")))[0] == INTRA_Q_LEVELS - 1


@pytest.mark.parametrize(
    "text", ["5,2,q=3", "1,2", "1,2,q=128", "1,2,b=0", "0,9,q=1/5,12,q=2", "a,b,q=1", "1,2,x=3", "-1,2,q=3"]
)
def test_zones_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="zone"):
        parse_zones(text)


@pytest.mark.parametrize("line", ["x I 3", "1", "1 Q 3", "1 I x", "1 I 128", "1 I 3 4", "1 I -2", "0 I 3"])
def test_lines_that_are_no_frame_are_refused_by_number(line):
    with pytest.raises(UsageError, match=r".") as refused:
        parse_qpfile(["0 K 68", line], "clip.qp")
    assert refused.value.where == "clip.qp, line 2"


def test_nothing_ordered_is_nothing():
    assert parse_zones("") == () and not FrameOrders()
    assert parse_qpfile(["3 P 7.5"], "")[0] == (3, ForcedFrame(is_key=False, qp=7.5))
