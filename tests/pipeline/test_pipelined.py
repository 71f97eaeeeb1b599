"""The encoder for live frames, with the toy codec."""

import threading
import time
from dataclasses import replace
from fractions import Fraction

import pytest

import zvc69_cli
from tests.pipeline.engines import HEIGHT, WIDTH, ToyEngines, picture
from tests.toy import ToyNetworks
from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.pipeline.pace import Pace, frames_held
from zvc69_cli.pipeline.pipelined import PipelinedEncoder
from zvc69_cli.pipeline.queues import THREAD_PREFIX
from zvc69_cli.pipeline.sessions import Decoder, Encoder

VIDEO = zvc69_cli.VideoFormat(width=WIDTH, height=HEIGHT, time_base=Fraction(1, 25), frame_rate=Fraction(25))
FRAMES = 24


class Gated(ToyNetworks):
    """Analyses nothing until it may; fails at a frame where it is told to."""

    def __init__(self, fails_at=None, is_open=True):
        self.gate = threading.Event()
        if is_open:
            self.gate.set()
        self._fails_at = fails_at
        self._calls = 0

    def each_frame(self):
        assert self.gate.wait(20)
        self._calls += 1
        if self._calls == self._fails_at:
            raise MemoryError("of one frame")


def threads_of_lines():
    return [each for each in threading.enumerate() if each.name.startswith(THREAD_PREFIX)]


@pytest.fixture(autouse=True)
def no_threads_left():
    yield
    until = time.monotonic() + 10
    while threads_of_lines() and time.monotonic() < until:
        time.sleep(0.01)
    assert not threads_of_lines()


def pipelined(pace, options, frames=FRAMES, **kept):
    """The packets of frames that are handed in as fast as they are taken."""
    packets = []
    with PipelinedEncoder(VIDEO, pace, options, engines=ToyEngines(**kept)) as encoder:
        for number in range(frames):
            while not encoder.submit(picture(number)):
                time.sleep(0.001)
            while (timed := encoder.try_recv()) is not None:
                packets.append(timed)
        encoder.flush()
        while (timed := encoder.try_recv()) is not None:
            packets.append(timed)
        return packets, encoder


def plain(options, frames=FRAMES):
    encoder = Encoder(VIDEO, options, engines=ToyEngines())
    for number in range(frames):
        encoder.send_frame(picture(number))
    encoder.flush()
    packets = []
    while (packet := encoder.receive_packet()) is not None:
        packets.append(packet)
    return packets


@pytest.mark.parametrize(
    ("pace", "flags"),
    [
        (Pace.LOW_LATENCY, {}),
        (Pace.LOW_LATENCY, {"bitrate": "20"}),
        (Pace.REALTIME, {"crf": 30}),
        (Pace.REALTIME, {"keyint": 1}),
        (Pace.HIGH_THROUGHPUT, {"bframes": 7}),
        (Pace.HIGH_THROUGHPUT, {"jobs": 3, "keyint": 5, "min_keyint": 5}),
        (Pace.HIGH_THROUGHPUT, {"bitrate": "20"}),
        (Pace.HIGH_THROUGHPUT, {"vbv_maxrate": 20, "vbv_bufsize": 10}),
    ],
)
def test_the_packets_are_those_of_an_encoder_with_the_same_options(pace, flags):
    options = pace.options(**flags)
    packets, encoder = pipelined(pace, options)
    alone = replace(options, flight=replace(options.flight, jobs=1))
    assert [timed.packet for timed in packets] == plain(alone)
    assert encoder.stats.frames == FRAMES
    assert encoder.stats.in_flight == 0
    assert all(timed.latency_ms > 0 for timed in packets)
    assert encoder.stats.latency_ms(0.5) <= encoder.stats.latency_ms(1.0)


def test_its_packets_decode():
    packets, encoder = pipelined(Pace.REALTIME, None)
    decoder = Decoder(encoder.header, engines=ToyEngines())
    for timed in packets:
        decoder.send_packet(timed.packet)
    decoder.flush()
    shown = []
    while (frame := decoder.receive_frame()) is not None:
        shown.append(frame.pts)
    assert shown == list(range(FRAMES))
    assert encoder.stats.bitrate_kbps > 0 and encoder.stats.frames_per_s > 0
    assert [each.name for each in encoder.stats.stages] == ["submit", "plan", "quantise", "pack", "deliver"]


@pytest.mark.parametrize(("pace", "most"), [(Pace.LOW_LATENCY, 2), (Pace.REALTIME, 8)])
def test_a_frame_that_comes_too_fast_is_refused_and_left_out(pace, most):
    networks = Gated(is_open=False)
    with PipelinedEncoder(VIDEO, pace, engines=ToyEngines(networks=networks)) as encoder:
        allowed = most + frames_held(encoder.options)
        taken = [encoder.submit(picture(number)) for number in range(20)]
        assert taken == [True] * allowed + [False] * (20 - allowed)
        assert (encoder.stats.refused, encoder.stats.in_flight) == (20 - allowed, allowed)
        networks.gate.set()
        while encoder.stats.in_flight > frames_held(encoder.options):
            time.sleep(0.005)
        assert encoder.submit(picture(30))
        encoder.flush()
        shown = []
        while (timed := encoder.try_recv()) is not None:
            shown.append(timed.packet.pts)
    assert sorted(shown) == [*range(allowed), 30]


@pytest.mark.parametrize(
    ("flags", "looks"),
    [
        ({}, False),
        ({"crf": 30}, False),
        ({"cutree": True}, True),
        ({"bitrate": "100"}, True),
        ({"target_size": "1M"}, True),
        ({"vbv_maxrate": 100, "vbv_bufsize": 100}, True),
    ],
)
def test_a_group_waits_for_what_follows_it_only_where_that_is_looked_at(flags, looks):
    options = zvc69_cli.EncodeOptions.of(bframes=3, **flags)
    assert options.codec.rc_lookahead
    assert frames_held(options) == 3 + (4 + options.codec.rc_lookahead if looks else 0)


def test_high_throughput_waits_instead():
    networks = Gated(is_open=False)
    with PipelinedEncoder(VIDEO, Pace.HIGH_THROUGHPUT, engines=ToyEngines(networks=networks)) as encoder:
        handed_in = []

        def hand_in():
            for number in range(80):
                assert encoder.submit(picture(number))
                handed_in.append(number)
            encoder.flush()

        thread = threading.Thread(target=hand_in)
        thread.start()
        time.sleep(0.5)
        assert 0 < len(handed_in) < 60
        networks.gate.set()
        thread.join(30)
        assert not thread.is_alive()
        assert encoder.stats.frames == 80 and encoder.stats.refused == 0


def test_a_frame_is_a_packet_before_the_next_comes_where_latency_counts():
    with PipelinedEncoder(VIDEO, Pace.LOW_LATENCY, engines=ToyEngines()) as encoder:
        for number in range(6):
            assert encoder.submit(picture(number))
            until = time.monotonic() + 10
            while (timed := encoder.try_recv()) is None and time.monotonic() < until:
                time.sleep(0.001)
            assert timed is not None and timed.packet.pts == number


@pytest.mark.parametrize("fails_at", [1, 5])
def test_an_error_of_a_worker_reaches_the_caller(fails_at):
    with PipelinedEncoder(VIDEO, Pace.HIGH_THROUGHPUT, engines=ToyEngines(networks=Gated(fails_at))) as encoder:
        with pytest.raises(MemoryError, match="of one frame"):
            for number in range(200):
                encoder.submit(picture(number))
        with pytest.raises(MemoryError, match="of one frame"):
            encoder.flush()
        with pytest.raises(MemoryError, match="of one frame"):
            while encoder.try_recv() is not None:
                pass


def test_closing_in_the_middle_leaves_no_threads_and_takes_nothing_more():
    encoder = PipelinedEncoder(VIDEO, Pace.HIGH_THROUGHPUT, engines=ToyEngines(delay_s=0.02))
    for number in range(10):
        encoder.submit(picture(number))
    encoder.close()
    encoder.close()
    assert encoder.try_recv() is None or encoder.stats.frames
    for call in (lambda: encoder.submit(picture(20)), encoder.flush):
        with pytest.raises(UsageError, match="close"):
            call()


def test_a_with_that_is_left_by_an_error_leaves_no_threads():
    with (
        pytest.raises(KeyError),
        PipelinedEncoder(VIDEO, Pace.REALTIME, engines=ToyEngines(delay_s=0.02)) as encoder,
    ):
        encoder.submit(picture(0))
        raise KeyError


def test_frames_are_checked_where_they_are_handed_in():
    with PipelinedEncoder(VIDEO, Pace.REALTIME, engines=ToyEngines()) as encoder:
        encoder.submit(picture(3))
        with pytest.raises(InputError, match="should be above 3"):
            encoder.submit(picture(3))
        with pytest.raises(InputError, match="should be"):
            encoder.submit(picture(4, 64, 64))
        assert encoder.submit(picture(5))
        encoder.flush()
        with pytest.raises(UsageError, match="flush"):
            encoder.submit(picture(6))


@pytest.mark.parametrize(
    ("pace", "flags"),
    [
        (Pace.LOW_LATENCY, {"bframes": 3}),
        (Pace.LOW_LATENCY, {"bitrate": "100", "rc_lookahead": 10}),
        (Pace.LOW_LATENCY, {"jobs": 2}),
        (Pace.REALTIME, {"bframes": 2}),
        (Pace.REALTIME, {"jobs": 2}),
    ],
)
def test_a_flag_that_contradicts_the_pace_is_refused_by_name_and_value(pace, flags):
    name = next(reversed(flags))
    with pytest.raises(UsageError) as refused:
        pace.options(**flags)
    assert refused.value.where == f"--{name.replace('_', '-')}"
    assert pace.value in refused.value.what and str(flags[name]) in refused.value.what


def test_options_that_were_made_without_the_pace_are_held_against_it():
    with pytest.raises(UsageError, match="contradicts low_latency"):
        PipelinedEncoder(VIDEO, Pace.LOW_LATENCY, zvc69_cli.EncodeOptions(), engines=ToyEngines())
    options = zvc69_cli.EncodeOptions.of(tune="zerolatency")
    with PipelinedEncoder(VIDEO, Pace.LOW_LATENCY, options, engines=ToyEngines()) as encoder:
        assert encoder.options is options


def test_what_needs_the_whole_video_is_refused():
    with pytest.raises(UsageError, match="sees its frames once"):
        PipelinedEncoder(
            VIDEO,
            Pace.HIGH_THROUGHPUT,
            zvc69_cli.EncodeOptions.of(bitrate="100", passes=2),
            engines=ToyEngines(),
        )


def test_a_pace_has_a_name():
    assert [pace.value for pace in Pace] == ["low_latency", "realtime", "high_throughput"]
