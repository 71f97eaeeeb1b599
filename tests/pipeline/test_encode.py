"""Encoding, from file to file and from pipe to pipe, with the toy codec."""

import io
import json
import os
import threading
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.engines import HEIGHT, WIDTH, ToyEngines, picture, write_y4m, y4m_bytes
from tests.toy import ToyNetworks
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.errors import InputError, Interrupted, OutputError, RuntimeUnavailable, UsageError
from zvc69_cli.frames import CopiedPacket, CopiedStream, Packet, VideoFormat
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.endings import stopped_at_once
from zvc69_cli.pipeline.places import Destination, Pipes
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.stop import StopRequest


@pytest.fixture
def clip(tmp_path):
    return str(write_y4m(tmp_path / "in.y4m", 12))


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out.zvc69")


class FakeSource:
    """Frames and copied packets from a list."""

    def __init__(self, items, copied_streams=()):
        self.video = VideoFormat(width=WIDTH, height=HEIGHT, time_base=Fraction(1, 25), frame_rate=Fraction(25))
        self.frame_count = None
        self.copied_streams = copied_streams
        self.chapters = ()
        self.tags = ()
        self.notes = []
        self.is_closed = False
        self._items = items

    def __iter__(self):
        return iter(self._items)

    def close(self):
        self.is_closed = True


@pytest.fixture
def sources(monkeypatch):
    """A function that makes the next encode read from the given source."""

    def use(source):
        monkeypatch.setattr("zvc69_cli.media.source.open_source", lambda *arguments: source)
        return source

    return use


def read_stream(path):
    with open(path, "rb") as source:  # noqa: PTH123
        reader = StreamReader(source, path)
        items = []
        while (item := reader.read()) is not None:
            items.append(item)
        return reader, items


def test_a_file_becomes_a_whole_stream_under_its_name(clip, out, tmp_path):
    stats = encode(clip, out, EncodeOptions(), engines=ToyEngines())
    reader, items = read_stream(out)
    assert [item.pts for item in items] == [0, 4, 2, 1, 3, 8, 6, 5, 7, 11, 9, 10]
    assert reader.trailer.complete and not reader.problems
    assert stats.frames == 12
    assert stats.stream_bytes == os.stat(out).st_size  # noqa: PTH116
    assert stats.payload_bytes == sum(len(item.payload) for item in items)
    assert stats.duration_s == pytest.approx(12 / 25)
    assert [each.name for each in stats.stages] == ["read", "plan", "quantise", "pack", "write"]
    assert [each.name for each in stats.networks] == [
        "analyse",
        "prior",
        "synthesise",
        "search",
        "predict",
        "filter",
        "refine",
    ]
    assert 0 < stats.entropy_s < stats.wall_s * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.y4m", "out.zvc69"]


def test_a_pipe_gives_the_same_bytes_as_a_file_but_for_the_frame_count(clip, out):
    options = EncodeOptions(with_note=False)
    encode(clip, out, options, engines=ToyEngines())
    piped = io.BytesIO()
    encode("-", "-", options, engines=ToyEngines(), pipes=Pipes(stdin=io.BytesIO(y4m_bytes(12)), stdout=piped))
    _, from_file = read_stream(out)
    reader = StreamReader(io.BytesIO(piped.getvalue()), "pipe")
    assert [reader.read() for _ in from_file] == from_file


def test_equal_settings_make_equal_bytes_whatever_the_threads(clip, tmp_path):
    made = []
    for number in range(2):
        name = str(tmp_path / f"{number}.zvc69")
        encode(clip, name, EncodeOptions(with_note=False), engines=ToyEngines())
        made.append((tmp_path / f"{number}.zvc69").read_bytes())
    assert made[0] == made[1]


def test_the_note_says_how_the_stream_was_made(clip, out):
    encode(clip, out, EncodeOptions.of(preset="ultrafast", crf=30), engines=ToyEngines())
    note = json.loads(read_stream(out)[0].header.settings_note)
    assert note["settings"]["crf"] == 30
    assert (note["preset"], note["source"]) == ("ultrafast", "in.y4m")


def test_without_a_note_the_stream_says_nothing_of_it(clip, out):
    encode(clip, out, EncodeOptions(with_note=False), engines=ToyEngines())
    assert read_stream(out)[0].header.settings_note == ""


def test_compare_sees_every_frame_beside_what_decoders_show(clip, out):
    seen = []
    encode(
        clip,
        out,
        EncodeOptions(),
        engines=ToyEngines(),
        compare=lambda frame, shown: seen.append((frame, shown)),
    )
    assert [frame.pts for frame, _ in seen] == [shown.pts for _, shown in seen]
    seen.sort(key=lambda pair: pair[0].pts)
    assert [frame.pts for frame, _ in seen] == list(range(12))
    assert np.array_equal(seen[3][0].y, picture(3).y)


def test_copied_packets_keep_their_place_among_the_frames(out, sources):
    stream = CopiedStream(number=0, media="audio", codec="aac", time_base=Fraction(1, 48000))
    packets = [
        CopiedPacket(stream_number=0, data=b"%d" % n, pts=n * 960, dts=n * 960, duration=960) for n in range(8)
    ]
    items = [packets[0], picture(0), packets[1], packets[2], picture(1), *packets[3:]]
    sources(FakeSource(items, (stream,)))
    stats = encode("-", out, EncodeOptions(), engines=ToyEngines(), pipes=Pipes(stdin=io.BytesIO()))
    _, stored = read_stream(out)
    assert [type(item) for item in stored] == [CopiedPacket, Packet, CopiedPacket, CopiedPacket, Packet] + [
        CopiedPacket
    ] * 5
    assert [item for item in stored if isinstance(item, CopiedPacket)] == packets
    assert stats.copied_packets == 8


def test_zero_frames_leave_nothing_behind(out, tmp_path, sources):
    source = sources(FakeSource([]))
    with pytest.raises(InputError, match="0 frames"):
        encode("-", out, EncodeOptions(), engines=ToyEngines(), pipes=Pipes(stdin=io.BytesIO()))
    assert source.is_closed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["source", "networks", "engine"])
def test_a_failure_anywhere_leaves_nothing_behind_and_closes_the_source(place, out, tmp_path, sources):
    def items():
        for number in range(100):
            if place == "source" and number == 20:
                raise InputError("in", "is broken", "")
            yield picture(number)

    class FailingNetworks(ToyNetworks):
        frames = 0

        def each_frame(self):
            self.frames += 1
            if place == "networks" and self.frames == 20:
                raise MemoryError

    class NoEngines:
        def for_encoding(self, run):
            raise InputError("engine", "is not there", "")

    source = sources(FakeSource(items()))
    engines = NoEngines() if place == "engine" else ToyEngines(networks=FailingNetworks())
    with pytest.raises(MemoryError if place == "networks" else InputError):
        encode("-", out, EncodeOptions(), engines=engines, pipes=Pipes(stdin=io.BytesIO()))
    assert source.is_closed
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_kept_unless_it_may_be_overwritten(clip, out, tmp_path):
    (tmp_path / "out.zvc69").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        encode(clip, out, EncodeOptions(), engines=ToyEngines())
    assert (tmp_path / "out.zvc69").read_text() == "precious"
    encode(clip, out, EncodeOptions(), engines=ToyEngines(), may_overwrite=lambda name: True)
    assert read_stream(out)[0].trailer.complete


def test_an_existing_output_survives_a_failing_encode(out, tmp_path, sources):
    (tmp_path / "out.zvc69").write_text("precious")

    def items():
        yield picture(0)
        raise InputError("in", "is broken", "")

    sources(FakeSource(items()))
    with pytest.raises(InputError):
        encode("-", out, EncodeOptions(), engines=ToyEngines(), may_overwrite=lambda name: True,
               pipes=Pipes(stdin=io.BytesIO()))  # fmt: skip
    assert (tmp_path / "out.zvc69").read_text() == "precious"


def test_a_link_as_output_stays_a_link(clip, tmp_path):
    target, link = tmp_path / "real.zvc69", tmp_path / "link.zvc69"
    target.write_bytes(b"old")
    link.symlink_to(target)
    encode(clip, str(link), EncodeOptions.of(), engines=ToyEngines(), may_overwrite=lambda name: True)
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"ZVC69\0")


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_input_itself_is_never_the_output(clip, tmp_path, link):
    other = tmp_path / "other.y4m"
    link(clip, other)
    for name in (clip, str(other)):
        with pytest.raises(UsageError, match="over the input"):
            encode(clip, name, EncodeOptions(), engines=ToyEngines(), may_overwrite=lambda name: True)


def test_an_input_that_is_the_part_of_the_output_is_refused(tmp_path):
    write_y4m(tmp_path / "a.part", 3)
    with pytest.raises(UsageError, match="over the input"):
        encode(str(tmp_path / "a.part"), str(tmp_path / "a"), EncodeOptions(), engines=ToyEngines())
    assert (tmp_path / "a.part").exists()


def test_an_output_in_a_missing_folder_or_that_is_one_is_refused(clip, tmp_path):
    for name in (tmp_path / "no" / "out.zvc69", tmp_path):
        with pytest.raises(OutputError):
            encode(clip, str(name), EncodeOptions(), engines=ToyEngines())


def test_a_full_disk_is_an_output_error(clip):
    with pytest.raises(OutputError, match="No space left"):
        encode(clip, "/dev/full", EncodeOptions(), engines=ToyEngines())


def test_a_closed_pipe_is_an_output_error(clip):
    class Closed(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(OutputError, match="closed the pipe"):
        encode(clip, "-", EncodeOptions(), engines=ToyEngines(), pipes=Pipes(stdout=Closed()))


def test_a_stop_keeps_a_marked_part_with_whole_frames(out, tmp_path, sources):
    stop = StopRequest()

    def endless():
        number = 0
        while True:
            if number == 30:
                stop.signal_number = 2
            yield picture(number)
            number += 1

    source = sources(FakeSource(endless()))
    with pytest.raises(Interrupted) as interruption:
        encode("-", out, EncodeOptions(), engines=ToyEngines(), stop=stop, pipes=Pipes(stdin=io.BytesIO()))
    assert interruption.value.exit_code == 130
    assert source.is_closed
    assert [path.name for path in tmp_path.iterdir()] == ["out.zvc69.part"]
    reader, items = read_stream(out + ".part")
    assert reader.trailer.complete is False
    assert sorted(item.pts for item in items) == list(range(len(items)))
    assert len(items) >= 20


def test_a_stop_does_not_wait_for_an_input_that_hangs(out, sources):
    stop, release = StopRequest(), threading.Event()

    def hanging():
        yield picture(0)
        yield picture(1)
        stop.signal_number = 15
        release.wait(30)

    sources(FakeSource(hanging()))
    with pytest.raises(Interrupted) as interruption:
        encode("-", out, EncodeOptions(), engines=ToyEngines(), stop=stop, pipes=Pipes(stdin=io.BytesIO()))
    release.set()
    assert interruption.value.exit_code == 143
    assert len(read_stream(out + ".part")[1]) == 2


def test_a_failed_encode_does_not_take_a_part_of_an_earlier_run_with_it(tmp_path, out):
    (tmp_path / "out.zvc69.part").write_text("whole frames of an interruption")
    with pytest.raises(InputError):
        encode(str(tmp_path / "missing.y4m"), out, EncodeOptions(), engines=ToyEngines())
    assert (tmp_path / "out.zvc69.part").exists()


class SlowOutput(io.RawIOBase):
    """Takes what is written, slower than anything makes it: every queue before it is full."""

    def writable(self):
        return True

    def write(self, data):
        time.sleep(0.03)
        return len(data)


def test_memory_does_not_grow_with_the_length_of_the_video(sources):
    def peak(frames):
        stream = CopiedStream(number=0, media="audio", codec="aac", time_base=Fraction(1, 48000))

        def items():
            for number in range(frames):
                yield picture(number)
                for _ in range(3):
                    yield CopiedPacket(stream_number=0, data=bytes(2000), pts=number * 960, dts=number * 960)

        sources(FakeSource(items(), (stream,)))
        pipes = Pipes(stdin=io.BytesIO(), stdout=SlowOutput())
        tracemalloc.start()
        encode("-", "-", EncodeOptions(), engines=ToyEngines(), pipes=pipes)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10)
    # Queues go on filling for a while, to 2.8 MB here by the 120th frame; what the longer video holds more is 1 MB.
    more = 120 * (picture(0).y.nbytes * 3 // 2 + 3 * 2000)
    assert peak(240) < peak(120) + more // 2


def test_seek_and_frames_select_a_part(clip, out):
    options = EncodeOptions(input=InputSettings(seek=3, frames=4))
    assert encode(clip, out, options, engines=ToyEngines()).frames == 4


class NoEngines:
    """No device to be had."""

    def for_encoding(self, run):
        raise RuntimeUnavailable("--device cuda", "no NVIDIA driver", "Take the CPU.")


def test_an_encode_that_never_began_keeps_the_part_of_an_earlier_one(clip, out):
    part = Path(out + ".part")
    part.write_bytes(b"hours of work")
    with pytest.raises(RuntimeUnavailable):
        encode(clip, out, EncodeOptions(), engines=NoEngines())
    assert part.read_bytes() == b"hours of work"


def test_a_pipe_stopped_at_once_is_not_named_as_a_file():
    failure = Interrupted("SIGINT", "was the second signal", "", signal_number=2)
    pipe = Destination(name="-", is_pipe=True, is_direct=True)
    stopped = stopped_at_once(failure, pipe)
    assert "zvc69 decode -" not in stopped.next_step and stopped.exit_code == 130
