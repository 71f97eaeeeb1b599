"""Several GOPs at once: the same bytes, a short way to a stop, and refusals where it could do nothing."""

import io
import threading
import time

import pytest

from tests.pipeline.engines import ToyEngines, y4m_bytes
from tests.toy import ToyNetworks
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.errors import DamagedStream, Interrupted, UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.crew import FRAMES_WAITING, MAX_AHEAD_BYTES, crew_for, frames_ahead
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.queues import is_stage_left_behind
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.pipeline.sessions import Encoder
from zvc69_cli.pipeline.settings import DecodeSettings, FlightSettings
from zvc69_cli.pipeline.stop import StopRequest
from zvc69_cli.runtime.settings import RunSettings

FRAMES = 40
GOPS = CodecSettings(keyint=8, min_keyint=8, bframes=3)


class Counting(ToyNetworks):
    """Slow, and counts how many frames it analyses at the same time."""

    def __init__(self, delay_s=0.02):
        self.running = self.most = 0
        self._delay_s = delay_s
        self._lock = threading.Lock()

    def each_frame(self):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self._delay_s)
        with self._lock:
            self.running -= 1


def encoded(jobs, settings=GOPS, networks=None, threads=2, frames=FRAMES, **more):
    out = io.BytesIO()
    options = EncodeOptions(
        codec=settings, run=RunSettings(threads=threads), flight=FlightSettings(jobs=jobs), with_note=False
    )
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(frames)), stdout=out)
    encode("-", "-", options, engines=ToyEngines(networks=networks or Counting(0.0)), pipes=pipes, **more)
    return out.getvalue()


@pytest.mark.parametrize("settings", [GOPS, CodecSettings(keyint=5, min_keyint=5, bframes=0)])
def test_the_bytes_do_not_depend_on_how_many_gops_go_at_once(settings):
    due = encoded(1, settings)
    for jobs in (2, 3):
        assert encoded(jobs, settings) == due


def test_more_gops_are_more_frames_at_the_same_time():
    one, four = Counting(), Counting()
    settings = CodecSettings(keyint=5, min_keyint=5, bframes=0)  # of one GOP only one frame can go at a time
    encoded(1, settings, one, threads=4)
    encoded(4, settings, four, threads=4)
    assert one.most == 1
    assert four.most >= 3


def test_what_is_compared_comes_in_the_order_of_coding():
    seen = []
    encoded(3, compare=lambda frame, shown: seen.append(frame.pts))
    once = []
    encoded(1, compare=lambda frame, shown: once.append(frame.pts))
    assert seen == once and len(seen) == FRAMES


def test_a_stop_does_not_wait_for_every_gop_that_was_begun():
    out, stop = io.BytesIO(), StopRequest()

    def watch(progress):
        stop.signal_number = 2 if progress.frames >= 3 else 0

    options = EncodeOptions(
        codec=CodecSettings(keyint=100, min_keyint=100, bframes=3),
        run=RunSettings(threads=2),
        flight=FlightSettings(jobs=3),
    )
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(400)), stdout=out)
    with pytest.raises(Interrupted, match="interrupted after"):
        encode("-", "-", options, engines=ToyEngines(networks=Counting()), pipes=pipes, stop=stop, watch=watch)
    reader = StreamReader(io.BytesIO(out.getvalue()), "out")
    packets = []
    while (packet := reader.read()) is not None:
        packets.append(packet)
    assert reader.trailer is not None and not reader.trailer.complete
    assert 3 <= len(packets) < 100
    assert [each.coding_index for each in packets] == list(range(len(packets)))
    # Nothing that is watched before the last anchor is missing.
    assert sorted(each.pts - min(p.pts for p in packets) for each in packets) == list(range(len(packets)))
    assert not is_stage_left_behind()


def test_a_crew_holds_as_many_frames_as_the_gops_reach_and_memory_allows():
    run = RunSettings(threads=4)
    one, three = crew_for(run, 4, gop_frames=50), crew_for(run, 4, jobs=3, gop_frames=50)
    assert one.ahead == one.at_once + FRAMES_WAITING
    assert three.ahead == three.at_once + FRAMES_WAITING + 100
    assert crew_for(run, 4, jobs=2, gop_frames=-1).ahead > 250
    assert frames_ahead(three, 1000) == three.ahead
    assert frames_ahead(three, MAX_AHEAD_BYTES // 20) == 20
    assert frames_ahead(three, MAX_AHEAD_BYTES * 2) == three.at_once + FRAMES_WAITING


@pytest.mark.parametrize(("flags", "word"), [({"keyint": 1}, "keyint"), ({"bitrate": "100"}, "rate")])
def test_jobs_that_could_change_nothing_are_refused(flags, word):
    with pytest.raises(UsageError, match="--jobs") as refused:
        EncodeOptions.of(jobs=2, **flags)
    assert word in refused.value.what


def test_a_session_in_one_thread_refuses_jobs():
    with pytest.raises(UsageError, match="--jobs"):
        Encoder(VideoFormat(width=48, height=32), EncodeOptions.of(jobs=2), engines=ToyEngines())


def decoded(data, jobs, networks=None, **more):
    out = io.BytesIO()
    options = DecodeOptions(run=RunSettings(threads=2), flight=FlightSettings(jobs=jobs), **more)
    pipes = Pipes(stdin=io.BytesIO(data), stdout=out)
    stats = decode("-", "-", options, engines=ToyEngines(networks=networks or ToyNetworks()), pipes=pipes)
    return out.getvalue(), stats


@pytest.mark.parametrize("settings", [GOPS, CodecSettings(keyint=1), CodecSettings(keyint=-1, bframes=1)])
def test_the_pictures_do_not_depend_on_how_many_gops_are_decoded_at_once(settings):
    data = encoded(1, settings)
    due, _ = decoded(data, 1)
    for jobs in (2, 5):
        assert decoded(data, jobs)[0] == due
    assert due.count(b"FRAME") == FRAMES


def test_symbols_of_several_gops_are_decoded_at_the_same_time():
    class Watching(ToyNetworks):
        def __init__(self):
            self.running = self.most = 0
            self._lock = threading.Lock()

        def predict_second(self, *given):
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            time.sleep(0.02)
            with self._lock:
                self.running -= 1
            return super().predict_second(*given)

    data = encoded(1, CodecSettings(keyint=1), frames=12)
    one, three = Watching(), Watching()
    decoded(data, 1, one)
    decoded(data, 3, three)
    assert (one.most, three.most) == (1, 3)


@pytest.mark.parametrize("at", [0.2, 0.45, 0.6, 0.8])
def test_what_is_concealed_does_not_depend_on_it_either(at):
    data = bytearray(encoded(1))
    data[int(len(data) * at)] ^= 0xFF
    conceals = DecodeSettings(on_error="conceal")
    due, told = decoded(bytes(data), 1, part=conceals)
    shown, said = decoded(bytes(data), 3, part=conceals)
    assert shown == due
    assert (said.concealed, said.frames) == (told.concealed, told.frames)
    with pytest.raises(DamagedStream):
        decoded(bytes(data), 3)
    assert not is_stage_left_behind()


@pytest.mark.parametrize("part", [DecodeSettings(seek=11), DecodeSettings(seek=3, frames=9)])
def test_a_part_of_a_stream_does_not_either(part):
    data = encoded(1)
    assert decoded(data, 3, part=part)[0] == decoded(data, 1, part=part)[0]


def test_a_stop_of_a_decode_leaves_whole_frames_from_the_start(tmp_path):
    stop = StopRequest()

    def watch(progress):
        stop.signal_number = 2 if progress.frames >= 3 else 0

    class Slow(ToyNetworks):
        def predict_second(self, *given):
            time.sleep(0.01)
            return super().predict_second(*given)

    data, out = encoded(1, CodecSettings(keyint=50, min_keyint=50, bframes=3), frames=200), io.BytesIO()
    options = DecodeOptions(run=RunSettings(threads=2), flight=FlightSettings(jobs=3))
    pipes = Pipes(stdin=io.BytesIO(data), stdout=out)
    with pytest.raises(Interrupted, match="interrupted after"):
        decode("-", "-", options, engines=ToyEngines(networks=Slow()), pipes=pipes, stop=stop, watch=watch)
    whole, _ = decoded(data, 1)
    assert 3 <= out.getvalue().count(b"FRAME") < 200
    assert whole.startswith(out.getvalue())
