"""What `info` is made from."""

import io

import pytest

from tests.pipeline.engines import INTRA, ToyEngines, write_y4m
from zvc69_cli.errors import InputError, NotZvc69
from zvc69_cli.frames import FrameKind
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.inspect import inspect
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.resolve import EncodeOptions


@pytest.fixture
def stream(tmp_path):
    encode(
        str(write_y4m(tmp_path / "in.y4m", 10)),
        str(tmp_path / "a.zvc69"),
        EncodeOptions(codec=INTRA),
        engines=ToyEngines(),
    )
    return tmp_path / "a.zvc69"


def test_a_whole_stream_is_counted_to_the_byte(stream):
    report = inspect(str(stream), with_frames=True)
    assert report.frame_count == 10
    assert [kind for kind, _ in report.kinds] == [FrameKind.I]
    assert report.size_bytes == stream.stat().st_size
    assert report.overhead_bytes + report.payload_bytes == report.size_bytes
    assert [frame.pts for frame in report.frames] == list(range(10))
    assert sum(frame.payload_bytes for frame in report.frames) == report.payload_bytes
    assert (report.is_complete, report.is_damaged, report.problems) == (True, False, ())
    assert report.longest_gop == 1
    assert report.duration_s == pytest.approx(0.4)


def test_a_pipe_is_reported_without_its_size(stream):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    report = inspect("-", pipes=Pipes(stdin=Pipe(stream.read_bytes())))
    assert report.frame_count == 10
    assert report.size_bytes is None
    assert report.frames == ()


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_stream_is_reported_as_far_as_it_goes(stream, kept):
    data = stream.read_bytes()
    stream.write_bytes(data[: int(len(data) * kept)])
    report = inspect(str(stream))
    assert report.is_damaged
    assert report.is_complete is None
    assert report.problems


def test_damage_in_the_middle_is_named_and_the_rest_is_counted(stream):
    data = bytearray(stream.read_bytes())
    data[len(data) * 6 // 10] ^= 0xFF
    stream.write_bytes(data)
    report = inspect(str(stream))
    assert report.is_damaged
    assert report.frame_count == 9
    assert "packet" in report.problems[0]


def test_what_is_no_stream_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello" * 50)
    with pytest.raises(NotZvc69):
        inspect(str(tmp_path / "a.txt"))
    with pytest.raises(InputError):
        inspect(str(tmp_path / "missing"))
    with pytest.raises(InputError, match="directory"):
        inspect(str(tmp_path))
