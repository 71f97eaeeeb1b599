"""Decoding, whole streams and what is left of damaged ones, with the toy codec."""

import io
import threading
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.pipeline.engines import INTRA, ToyEngines, coded_packets, picture, write_y4m, y4m_luma
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.errors import (
    DamagedPacket,
    InputError,
    Interrupted,
    NotZvc69,
    OutputError,
    TruncatedStream,
    UnknownBundle,
    UsageError,
)
from zvc69_cli.frames import CopiedPacket, CopiedStream, VideoFormat
from zvc69_cli.media.settings import OutputSettings
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import plain_header
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.pipeline.settings import DecodeSettings
from zvc69_cli.pipeline.stop import StopRequest
from zvc69_cli.runtime.settings import RunSettings

FRAMES = 12
INTRA_OPTIONS = EncodeOptions(codec=INTRA)
CONCEAL = DecodeOptions(part=DecodeSettings(on_error="conceal"))


@pytest.fixture
def stream(tmp_path):
    """A stream of FRAMES frames, all of them keyframes."""
    name = str(tmp_path / "clip.zvc69")
    encode(str(write_y4m(tmp_path / "in.y4m", FRAMES)), name, INTRA_OPTIONS, engines=ToyEngines())
    (tmp_path / "in.y4m").unlink()
    return tmp_path / "clip.zvc69"


@pytest.fixture
def whole(stream, tmp_path):
    """The luma of every frame of `stream`, decoded."""
    name = tmp_path / "whole.y4m"
    decode(str(stream), str(name), DecodeOptions(), engines=ToyEngines())
    luma = y4m_luma(name.read_bytes())
    name.unlink()
    return luma


def decoded(stream, tmp_path, options=None):
    out = tmp_path / "out.y4m"
    stats = decode(str(stream), str(out), options or DecodeOptions(), engines=ToyEngines())
    return stats, y4m_luma(out.read_bytes())


def offsets(stream):
    """Where each frame begins, and where the index does."""
    with stream.open("rb") as source:
        reader = StreamReader(source, str(stream))
        return [entry.offset_bytes for entry in reader.index()], reader.trailer.index_offset


def damage(stream, offset):
    data = bytearray(stream.read_bytes())
    data[offset] ^= 0x5A
    stream.write_bytes(data)


def test_a_stream_decodes_to_what_the_encoder_reconstructs(tmp_path, stream):
    shown = {}
    write_y4m(tmp_path / "in.y4m", FRAMES)
    encode(str(tmp_path / "in.y4m"), str(tmp_path / "again.zvc69"), INTRA_OPTIONS, engines=ToyEngines(),
           compare=lambda frame, reconstructed: shown.update({frame.pts: reconstructed.y.tobytes()}))  # fmt: skip
    stats, luma = decoded(stream, tmp_path)
    assert luma == [shown[pts] for pts in sorted(shown)]
    assert (stats.frames, stats.concealed, stats.is_cut, stats.problems) == (FRAMES, 0, False, ())


def test_a_pipe_decodes_to_the_same_as_a_file(stream, whole):
    out = io.BytesIO()

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    pipes = Pipes(stdin=Pipe(stream.read_bytes()), stdout=out)
    decode("-", "-", DecodeOptions(), engines=ToyEngines(), pipes=pipes)
    assert y4m_luma(out.getvalue()) == whole


@pytest.mark.parametrize(("seek", "frames"), [(0, 3), (5, None), (5, 2), (11, 1), (11, 40), (1, 11)])
@pytest.mark.parametrize("is_pipe", [False, True])
def test_seek_and_frames_choose_a_part(stream, whole, seek, frames, is_pipe):
    class Source(io.BytesIO):
        def seekable(self):
            return not is_pipe

    out = io.BytesIO()
    options = DecodeOptions(part=DecodeSettings(seek=seek, frames=frames))
    pipes = Pipes(stdin=Source(stream.read_bytes()), stdout=out)
    decode("-", "-", options, engines=ToyEngines(), pipes=pipes)
    assert y4m_luma(out.getvalue()) == whole[seek:][:frames]


@pytest.mark.parametrize("seek", [12, 5000])
def test_a_seek_past_the_end_is_refused_and_leaves_nothing(stream, tmp_path, seek):
    with pytest.raises(InputError, match="0 frames selected"):
        decoded(stream, tmp_path, DecodeOptions(part=DecodeSettings(seek=seek)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.zvc69"]


def test_another_bundle_is_refused_by_name_before_anything_is_written(stream, tmp_path):
    class OtherEngines(ToyEngines):
        def for_decoding(self, header, run):
            raise UnknownBundle(header.bundle_name, "is not here", "")

    with pytest.raises(UnknownBundle, match="toy"):
        decode(str(stream), str(tmp_path / "out.y4m"), DecodeOptions(), engines=OtherEngines())
    assert [path.name for path in tmp_path.iterdir()] == ["clip.zvc69"]


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no video " * 100)
    with pytest.raises(NotZvc69):
        decode(str(tmp_path / "notes.txt"), str(tmp_path / "out.y4m"), DecodeOptions(), engines=ToyEngines())


def test_an_output_without_a_format_is_refused_before_the_input_is_looked_at(tmp_path):
    with pytest.raises(UsageError):
        decode(str(tmp_path / "missing"), str(tmp_path / "out"), DecodeOptions(), engines=ToyEngines())


def test_damage_stops_a_decode_and_names_the_packet(stream, tmp_path):
    starts, _ = offsets(stream)
    damage(stream, starts[5] + 30)
    with pytest.raises(DamagedPacket, match="packet 5"):
        decoded(stream, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.zvc69"]


@pytest.mark.parametrize("number", [1, 5, 11])
@pytest.mark.parametrize("place", [0, 4, 7, 30])
def test_conceal_holds_the_last_good_frame_and_keeps_the_count(stream, whole, tmp_path, number, place):
    starts, _ = offsets(stream)
    damage(stream, starts[number] + place)
    stats, luma = decoded(stream, tmp_path, CONCEAL)
    held = list(whole)
    held[number] = whole[number - 1]
    assert luma == (held if stats.concealed else whole)  # a damaged marker is redundant: it is only reported
    assert stats.concealed == (place > 0)
    assert stats.problems


def test_conceal_without_a_good_frame_before_leaves_the_lost_ones_out(stream, whole, tmp_path):
    starts, _ = offsets(stream)
    damage(stream, starts[0] + 30)
    stats, luma = decoded(stream, tmp_path, CONCEAL)
    assert luma == whole[1:]
    assert stats.concealed == 1


def test_a_cut_stream_leaves_its_whole_frames_in_a_part_and_says_so(stream, whole, tmp_path):
    starts, _ = offsets(stream)
    stream.write_bytes(stream.read_bytes()[: starts[7] + 20])
    with pytest.raises(TruncatedStream, match="7 whole frames"):
        decoded(stream, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.zvc69", "out.y4m.part"]
    assert y4m_luma((tmp_path / "out.y4m.part").read_bytes()) == whole[:7]


def test_a_cut_between_two_packets_is_noticed_too(stream, tmp_path):
    starts, _ = offsets(stream)
    stream.write_bytes(stream.read_bytes()[: starts[7]])
    with pytest.raises(TruncatedStream):
        decoded(stream, tmp_path)


def test_a_cut_stream_has_its_whole_frames_under_their_name_with_conceal(stream, whole, tmp_path):
    starts, _ = offsets(stream)
    stream.write_bytes(stream.read_bytes()[: starts[7] + 20])
    stats, luma = decoded(stream, tmp_path, CONCEAL)
    assert stats.is_cut
    assert luma == whole[:7]


def test_a_cut_before_the_first_frame_leaves_nothing(stream, tmp_path):
    starts, _ = offsets(stream)
    stream.write_bytes(stream.read_bytes()[: starts[0] + 20])
    with pytest.raises(TruncatedStream, match="no whole frame"):
        decoded(stream, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.zvc69"]


def test_a_part_that_does_not_reach_the_cut_is_whole(stream, whole, tmp_path):
    starts, _ = offsets(stream)
    stream.write_bytes(stream.read_bytes()[: starts[9] + 20])
    _, luma = decoded(stream, tmp_path, DecodeOptions(part=DecodeSettings(frames=4)))
    assert luma == whole[:4]


def test_an_interrupted_encode_decodes_to_its_end(tmp_path, caplog):
    engine = ToyEngines().for_encoding(RunSettings())
    video = VideoFormat(width=48, height=32, time_base=Fraction(1, 25), frame_rate=Fraction(25))
    with (tmp_path / "a.part").open("wb") as out:
        writer = StreamWriter(out, plain_header(engine, video, INTRA))
        for packet in coded_packets(engine, video, INTRA, map(picture, range(3))):
            writer.write_packet(packet)
        writer.close(complete=False)
    _, luma = decoded(tmp_path / "a.part", tmp_path)
    assert len(luma) == 3
    assert "interrupted" in caplog.text


@pytest.mark.parametrize("is_pipe", [False, True])
@pytest.mark.parametrize("ahead", [-6, 0, 6])
@pytest.mark.parametrize("keyint", [1, 25])
def test_a_part_has_the_sound_of_its_frames_however_it_is_interleaved(
    tmp_path, monkeypatch, ahead, is_pipe, keyint
):
    engine = ToyEngines().for_encoding(RunSettings())
    video = VideoFormat(width=48, height=32, time_base=Fraction(1, 25), frame_rate=Fraction(25))
    audio = CopiedStream(number=0, media="audio", codec="aac", time_base=Fraction(1, 1000))
    settings = CodecSettings(keyint=keyint)
    header = replace(plain_header(engine, video, settings), copied_streams=(audio,))
    stored = io.BytesIO()
    writer = StreamWriter(stored, header)

    def write_audio(number):
        if 0 <= number < 60:
            at = number * 40
            writer.write_copied(CopiedPacket(stream_number=0, data=b"x", pts=at, dts=at, duration=40))

    for number in range(ahead):
        write_audio(number)
    for number, packet in enumerate(coded_packets(engine, video, settings, map(picture, range(60)))):
        write_audio(number + ahead)
        writer.write_packet(packet)
    for number in range(60 + ahead, 60):
        write_audio(number)
    writer.close()

    written = []

    class FakeSink:
        notes = ()

        def write_frame(self, frame):
            written.append(("frame", frame.pts))

        def write_copied(self, packet):
            written.append(("audio", packet.pts))

        def close(self):
            (tmp_path / "out.mp4.part").touch()

        abort = close

    class Source(io.BytesIO):
        def seekable(self):
            return not is_pipe

    monkeypatch.setattr("zvc69_cli.media.sink.open_sink", lambda *arguments, **names: FakeSink())
    stats = decode(
        "-",
        str(tmp_path / "out.mp4"),
        DecodeOptions(part=DecodeSettings(seek=35, frames=3)),
        engines=ToyEngines(),
        pipes=Pipes(stdin=Source(stored.getvalue())),
    )
    assert [time for kind, time in written if kind == "frame"] == [0, 1, 2]
    assert sorted(written) == [
        ("audio", 0),
        ("audio", 40),
        ("audio", 80),
        ("frame", 0),
        ("frame", 1),
        ("frame", 2),
    ]
    assert stats.copied_packets == 3
    assert {each.name: each.busy_s for each in stats.networks}["synthesise"] > 0


def test_a_full_disk_is_an_output_error(stream):
    with pytest.raises(OutputError):
        decode(str(stream), "/dev/full", DecodeOptions(output=OutputSettings(y4m=True)), engines=ToyEngines())


def test_a_stop_keeps_the_whole_frames_in_a_part(stream, whole, tmp_path):
    stop, release = StopRequest(), threading.Event()
    data = stream.read_bytes()
    starts, _ = offsets(stream)

    class Hanging(io.RawIOBase):
        """A pipe that has six frames, and then nothing for a long time."""

        at = 0

        def readable(self):
            return True

        def readinto(self, into):
            if self.at >= starts[6]:
                stop.signal_number = 2
                release.wait(30)
                return 0
            piece = data[self.at : min(self.at + len(into), starts[6])]
            into[: len(piece)] = piece
            self.at += len(piece)
            return len(piece)

    with pytest.raises(Interrupted) as interruption:
        decode("-", str(tmp_path / "out.y4m"), DecodeOptions(), engines=ToyEngines(), stop=stop,
               pipes=Pipes(stdin=Hanging()))  # fmt: skip
    release.set()
    assert interruption.value.exit_code == 130
    luma = y4m_luma((tmp_path / "out.y4m.part").read_bytes())
    assert luma == whole[: len(luma)]
    assert len(luma) >= 4
