"""The line: order, bounds, and stopping."""

import random
import threading
import time

import pytest

from zvc69_cli.pipeline.queues import Line, is_stage_left_behind
from zvc69_cli.pipeline.window import Window


def numbers(count):
    yield from range(count)


def build(line, items, *works, threads=1, capacity=2):
    """A line of the stages `works`; returns the list that its last stage fills."""
    done = []
    channel = line.channel(capacity)
    line.feed("read", items, channel)
    for number, work in enumerate(works):
        behind = line.channel(capacity)
        line.map(f"stage {number}", work, channel, behind, threads=threads)
        channel = behind
    line.drain("write", channel, done.append, lambda: done.append("end"))
    return done


def test_items_arrive_in_order_through_stages_of_several_threads():
    line = Line()

    def work(item):
        time.sleep(random.random() / 500)
        return item * 2

    done = build(line, lambda: numbers(60), work, threads=4)
    line.run()
    assert done == [item * 2 for item in range(60)] + ["end"]


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_stage_may_make_any_number_of_items_of_each_and_more_at_the_end(count):
    line, done = Line(), []
    numbered, repeated = line.channel(2), line.channel(2)
    line.feed("read", lambda: numbers(count), numbered)
    line.expand("repeat", lambda item: [item] * (item % 4), lambda: ["rest", "of it"], numbered, repeated)
    line.drain("write", repeated, done.append, lambda: done.append("end"))
    line.run()
    due = [item for item in range(count) for _ in range(item % 4)]
    assert done == [*due, "rest", "of it", "end"]


def test_a_stage_that_makes_many_items_stops_when_another_fails():
    line = Line()
    numbered, repeated = line.channel(2), line.channel(2)

    def fail(item):
        raise OSError("full")

    line.feed("read", lambda: numbers(5), numbered)
    line.expand("repeat", lambda item: [item] * 1000, list, numbered, repeated)
    line.drain("write", repeated, fail, lambda: None)
    with pytest.raises(OSError, match="full"):
        line.run()


def test_items_wait_until_they_are_ready_and_no_more_are_worked_on_than_may_be():
    """Item n needs item n // 2."""
    line, finished, done = Line(), set(), []
    working = []
    worked = line.channel(2)

    def work(item):
        working.append(item)
        assert len(working) <= 2
        assert item == 0 or item // 2 in finished
        time.sleep(random.random() / 500)
        finished.add(item)
        working.remove(item)
        return item

    window = Window(line, 5, lambda item: 1, is_ready=lambda item: not item or item // 2 in finished)
    line.feed("read", lambda: numbers(60), window)
    window.serve("work", work, worked, 2)
    line.drain("write", worked, done.append, lambda: None)
    line.run()
    assert sorted(each.item for each in done) == list(range(60))


def test_an_item_that_will_never_be_ready_does_not_keep_a_failed_line_alive():
    line = Line()
    worked = line.channel(2)
    window = Window(line, 4, lambda item: 1, is_ready=lambda item: item == 0)

    def fail(item):
        raise OSError("full")

    line.feed("read", lambda: numbers(9), window)
    window.serve("work", fail, worked, 4)
    line.drain("write", worked, lambda item: None, lambda: None)
    with pytest.raises(OSError, match="full"):
        line.run()
    assert not is_stage_left_behind()


def test_a_line_without_items_still_finishes():
    line = Line()
    done = build(line, lambda: numbers(0), lambda item: item, threads=3)
    line.run()
    assert done == ["end"]


def test_a_slow_writer_holds_the_reader_back():
    line = Line()
    read = []

    def items():
        for item in range(50):
            read.append(item)
            yield item

    ahead = []
    channel = line.channel(3)
    line.feed("read", items, channel)

    def write(item):
        time.sleep(0.001)
        ahead.append(len(read) - item)

    line.drain("write", channel, write, lambda: None)
    line.run()
    assert max(ahead) <= 3 + 3


def test_a_channel_is_bounded_by_weight_and_always_takes_one_item():
    line = Line()
    channel = line.channel(10, weigh=lambda item: item)
    channel.put(25)
    took = threading.Event()
    threading.Thread(target=lambda: (channel.put(1), took.set()), daemon=True).start()
    assert not took.wait(0.05)
    assert channel.take() == 25
    assert took.wait(2)


@pytest.mark.parametrize("failing", ["read", "first", "second", "write", "finish", "watch"])
def test_a_failure_in_any_stage_stops_the_others_and_reaches_the_caller_once(failing):
    line = Line()

    def fail_at(place, item):
        if place == failing and item == 5:
            raise ValueError(place)
        return item

    def items():
        for item in range(1_000_000):
            yield fail_at("read", item)

    def finish():
        raise ValueError("finish")

    source = items if failing != "finish" else lambda: numbers(3)
    first, second, third = line.channel(2), line.channel(2), line.channel(2)
    line.feed("read", source, first)
    line.map("first", lambda item: fail_at("first", item), first, second, threads=3)
    line.map("second", lambda item: fail_at("second", item), second, third)
    line.drain("write", third, lambda item: fail_at("write", item), finish)

    def watch():
        if failing == "watch":
            raise ValueError("watch")

    began = time.monotonic()
    with pytest.raises(ValueError, match=failing):
        line.run(watch, every_s=0.01)
    assert time.monotonic() - began < 2
    assert not is_stage_left_behind()


def test_a_reader_is_closed_when_another_stage_fails():
    line = Line()
    closed = threading.Event()

    def items():
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    def work(item):
        raise KeyError(item)

    build(line, items, work)
    with pytest.raises(KeyError):
        line.run()
    assert closed.wait(2)


def test_stop_feeding_carries_what_is_under_way_to_the_end():
    line = Line()

    def endless():
        item = 0
        while True:
            yield item
            item += 1

    done = build(line, endless, lambda item: item)
    line.run(lambda: line.stop_feeding() if len(done) >= 10 else None, every_s=0.005)
    assert done[-1] == "end"
    assert done[:-1] == list(range(len(done) - 1))


def test_stop_feeding_does_not_wait_for_a_reader_that_hangs():
    line = Line()
    release = threading.Event()

    def hanging():
        yield 1
        release.wait(10)

    done = build(line, hanging, lambda item: item)
    began = time.monotonic()
    line.run(line.stop_feeding, every_s=0.05)
    assert time.monotonic() - began < 2
    assert done == [1, "end"] or done == ["end"]
    assert is_stage_left_behind()
    release.set()


def test_time_waited_for_neighbours_is_not_counted_as_work():
    line = Line()
    build(line, lambda: numbers(10), lambda item: time.sleep(0.02))
    line.run()
    times = {each.name: each.busy_s for each in line.times}
    assert times["stage 0"] >= 0.2
    assert times["read"] < 0.1
    assert times["write"] < 0.1


def test_the_times_of_stages_can_be_looked_at_while_they_work():
    line, seen = Line(), []
    build(line, lambda: numbers(30), lambda item: time.sleep(0.01))

    def look():
        seen.append({each.name: each.busy_s for each in line.times}["stage 0"])

    line.run(look, every_s=0.02)
    assert any(0.05 < busy_s < 0.2 for busy_s in seen)
    assert seen == sorted(seen) and seen[-1] >= 0.3
