"""The window: order, room, readiness, and what a stop leaves out."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvc69_cli.pipeline.queues import Line, is_stage_left_behind
from zvc69_cli.pipeline.window import InOrder, Numbered, Window


def through(count, work, *, capacity=6, threads=3, is_ready=lambda item: True, **kept):
    """Numbers through a window; returns them in the order in which they came out."""
    line, done = Line(), []
    numbered = line.channel(2)
    window = Window(line, capacity, lambda item: 1, is_ready=is_ready, **kept)
    line.expand("hand in", lambda item: [item], list, numbered, window)
    line.feed("read", lambda: iter_of(count), numbered)
    out = line.channel(2)
    window.serve("work", work, out, threads)
    line.drain("write", out, done.append, lambda: None)
    return line, window, done


def iter_of(count):
    yield from range(count)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(0, 30), capacity=st.integers(1, 9), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_item_comes_out_once_whatever_waits_for_what(count, capacity, threads, seed):
    """Each item waits for one before it, or for none."""
    draw = random.Random(seed)
    needs = [draw.randrange(-1, number) if number else -1 for number in range(count)]
    finished = {-1}

    def work(item):
        assert needs[item] in finished
        finished.add(item)
        return item * 10

    line, _, done = through(
        count, work, capacity=capacity, threads=threads, is_ready=lambda item: needs[item] in finished
    )
    line.run()
    order = InOrder()
    shown = [each for numbered in done for each in order.push(numbered)]
    assert [(each.number, each.item) for each in shown] == [(n, n * 10) for n in range(count)]


def test_an_item_goes_past_those_that_wait():
    """Item 0 is slow and 1 needs it; 2 and 3 do not."""
    finished = set()

    def work(item):
        time.sleep(0.3 if item == 0 else 0)
        finished.add(item)
        return item

    line, _, done = through(4, work, threads=2, is_ready=lambda item: item != 1 or 0 in finished, capacity=4)
    line.run()
    assert [each.number for each in done][:2] == [2, 3]


def test_what_is_done_takes_room_until_the_first_is_done_too():
    seen = []

    def work(item):
        seen.append(item)
        if item == 0:
            time.sleep(0.3)
            assert max(seen) <= 3
        return item

    line, _, done = through(12, work, capacity=4, threads=2)
    line.run()
    assert len(done) == 12


def test_a_failure_in_a_window_reaches_the_caller_and_leaves_no_thread():
    def work(item):
        if item == 3:
            raise ValueError("three")
        return item

    line, _, _ = through(50, work)
    with pytest.raises(ValueError, match="three"):
        line.run()
    assert not is_stage_left_behind()


def test_a_stop_leaves_out_what_lies_behind_the_next_boundary():
    """Every fifth number is a boundary; the first number is slow, all others wait for it."""
    finished = set()

    def work(item):
        if item == 0:
            time.sleep(1.5)
        finished.add(item)
        return item

    line, window, done = through(
        1000,
        work,
        capacity=20,
        is_ready=lambda item: item == 0 or 0 in finished,
        is_boundary=lambda item: item % 5 == 0,
    )
    began = time.monotonic()
    line.run(lambda: line.stop_feeding() if time.monotonic() - began > 0.3 else None, every_s=0.05)
    assert sorted(each.number for each in done) == [0, 1, 2, 3, 4]
    assert window.has_left_out


def test_a_stop_without_boundaries_leaves_nothing_out():
    line, window, done = through(1000, lambda item: time.sleep(0.01), capacity=5)
    line.run(line.stop_feeding, every_s=0.1)
    assert sorted(each.number for each in done) == list(range(len(done)))
    assert not window.has_left_out


def test_items_are_put_into_order():
    order = InOrder()
    shown = [each.item for n in (2, 0, 1, 4, 3) for each in order.push(Numbered(number=n, item="abcde"[n]))]
    assert "".join(shown) == "abcde"
