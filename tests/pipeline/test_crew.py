"""Frames on several threads: the same bytes, the same pictures, and an end to every failure."""

import io
import random
import threading
import time

import pytest

from tests.pipeline.engines import ToyEngines, y4m_bytes
from tests.toy import ToyNetworks
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import Interrupted, OutputError
from zvc69_cli.pipeline.crew import FRAMES_WAITING, MAX_FRAMES_AT_ONCE, available_cores, crew_for
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.queues import is_stage_left_behind
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.pipeline.stop import StopRequest
from zvc69_cli.runtime.settings import RunSettings

FRAMES = 26
A_MOMENT_S = 0.5
SETTINGS = [
    CodecSettings(keyint=11, min_keyint=11, bframes=7, b_adapt=0),
    CodecSettings(bframes=3),
    CodecSettings(bframes=0),
    CodecSettings(keyint=1),
]


@pytest.mark.parametrize(
    ("threads", "group_frames", "at_once", "each"),
    [(1, 4, 1, 1), (2, 4, 2, 1), (4, 4, 4, 1), (8, 4, 4, 2), (4, 1, 1, 4), (4, None, 4, 1), (64, None, 8, 8)],
)
def test_cores_go_to_frames_first_and_to_their_networks_then(threads, group_frames, at_once, each):
    crew = crew_for(RunSettings(device="cpu", threads=threads), group_frames)
    assert (crew.at_once, crew.networks) == (at_once, RunSettings(device="cpu", threads=each))
    assert crew.ahead == at_once + FRAMES_WAITING


def test_no_threads_asked_for_is_all_cores():
    crew = crew_for(RunSettings(), None)
    assert crew.at_once == min(available_cores(), MAX_FRAMES_AT_ONCE)
    assert crew.networks.threads >= 1


class UnevenNetworks(ToyNetworks):
    """The toy at a pace that changes, so that frames overtake each other; counts how many frames run at once.

    waits_for  frames that each waits to see at once, a moment at most, until as many have been seen
    """

    def __init__(self, fails_at=None, waits_for=1):
        self.running = self.most = self.calls = 0
        self._fails_at = fails_at
        self._waits_for = waits_for
        self._lock = threading.Condition()

    def each_frame(self):
        with self._lock:
            self.calls += 1
            call = self.calls
            self.running += 1
            self.most = max(self.most, self.running)
            self._lock.notify_all()
            self._lock.wait_for(lambda: self.most >= self._waits_for, A_MOMENT_S)
        time.sleep(random.random() / 100)
        with self._lock:
            self.running -= 1
        if call == self._fails_at:
            raise MemoryError("of one frame")

    def warp(self, *given):
        time.sleep(random.random() / 400)
        return super().warp(*given)


def encoded(settings, threads, networks=None, **more):
    out = io.BytesIO()
    options = EncodeOptions(codec=settings, run=RunSettings(threads=threads), with_note=False)
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(FRAMES)), stdout=out)
    encode("-", "-", options, engines=ToyEngines(networks=networks or UnevenNetworks()), pipes=pipes, **more)
    return out.getvalue()


def decoded(data, threads):
    out = io.BytesIO()
    pipes = Pipes(stdin=io.BytesIO(data), stdout=out)
    options = DecodeOptions(run=RunSettings(threads=threads))
    decode("-", "-", options, engines=ToyEngines(networks=UnevenNetworks()), pipes=pipes)
    return out.getvalue()


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_stream_and_the_pictures_are_the_same_for_every_number_of_threads(settings):
    stream = encoded(settings, 1)
    assert all(encoded(settings, threads) == stream for threads in (2, 4, 7))
    shown = decoded(stream, 1)
    assert all(decoded(stream, threads) == shown for threads in (2, 4, 7))


def test_several_frames_run_at_once_but_no_more_than_there_are_threads():
    for threads in (1, 2, 3):
        networks = UnevenNetworks(waits_for=min(threads, 2))  # on a busy machine they miss each other otherwise
        encoded(CodecSettings(bframes=7), threads, networks)
        assert min(threads, 2) <= networks.most <= threads


def test_pictures_are_compared_in_coding_order_on_one_thread():
    pts, threads = [], set()

    def compare(frame, shown):
        assert frame.pts == shown.pts
        pts.append(frame.pts)
        threads.add(threading.get_ident())
        time.sleep(random.random() / 200)

    encoded(SETTINGS[0], 4, compare=compare)
    assert pts[:11] == [0, 8, 4, 2, 1, 3, 6, 5, 7, 10, 9]
    assert len(threads) == 1


@pytest.mark.parametrize("fails_at", [1, 2, 3, 9, 20])
def test_a_frame_that_fails_ends_the_run_and_leaves_no_thread_waiting(fails_at):
    began = time.monotonic()
    with pytest.raises(MemoryError, match="of one frame"):
        encoded(SETTINGS[0], 4, UnevenNetworks(fails_at))
    assert time.monotonic() - began < 2
    assert not is_stage_left_behind()


def test_an_output_that_fails_ends_the_run_while_frames_wait_for_each_other():
    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() > 500:
                raise OSError(28, "No space left on device")
            return super().write(data)

    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(FRAMES)), stdout=Full())
    options = EncodeOptions(codec=SETTINGS[0], run=RunSettings(threads=4))
    with pytest.raises(OutputError):
        encode("-", "-", options, engines=ToyEngines(networks=UnevenNetworks()), pipes=pipes)
    assert not is_stage_left_behind()


def test_a_stop_codes_what_was_claimed_and_leaves_a_stream_that_decodes():
    out, stop = io.BytesIO(), StopRequest()

    def watch(progress):
        stop.signal_number = 2 if progress.frames >= 5 else 0

    options = EncodeOptions(codec=SETTINGS[0], run=RunSettings(threads=4))
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(400)), stdout=out)
    engines = ToyEngines(networks=UnevenNetworks())
    with pytest.raises(Interrupted, match="interrupted after"):
        encode("-", "-", options, engines=engines, pipes=pipes, stop=stop, watch=watch)
    shown = decoded(out.getvalue(), 4)
    assert shown.count(b"FRAME\n") >= 5
