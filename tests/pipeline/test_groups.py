"""Streams with B frames: stored in coding order, shown in the order of display, whatever happens to them."""

import io
import logging
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.pipeline.engines import (
    INTRA,
    ToyEngines,
    cached_tables,
    coded_packets,
    picture,
    write_y4m,
    y4m_luma,
)
from tests.toy import ToyNetworks
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.errors import DamagedStream, TruncatedStream, UsageError
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import plain_header
from zvc69_cli.pipeline.inspect import inspect
from zvc69_cli.pipeline.order import DisplayOrder, Place, numbered
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions
from zvc69_cli.pipeline.sessions import Decoder, Encoder
from zvc69_cli.pipeline.settings import DecodeSettings
from zvc69_cli.pipeline.video_file import VideoFile
from zvc69_cli.runtime.settings import RunSettings

FRAMES = 26
SETTINGS = CodecSettings(keyint=11, min_keyint=11, bframes=7, b_adapt=0)
CODING_ORDER = [0, 8, 4, 2, 1, 3, 6, 5, 7, 10, 9]
CONCEAL = DecodeOptions(part=DecodeSettings(on_error="conceal"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A stream of FRAMES frames in GOPs of eleven."""
    folder = tmp_path_factory.mktemp("groups")
    name = str(folder / "clip.zvc69")
    encode(str(write_y4m(folder / "in.y4m", FRAMES)), name, EncodeOptions(codec=SETTINGS), engines=ToyEngines())
    return (folder / "clip.zvc69").read_bytes()


@pytest.fixture(scope="module")
def whole(data):
    """The luma of every frame, decoded from start to end."""
    return decoded(data)[1]


def decoded(data, options=None, *, is_pipe=False):
    class Source(io.BytesIO):
        def seekable(self):
            return not is_pipe

    out = io.BytesIO()
    pipes = Pipes(stdin=Source(data), stdout=out)
    stats = decode("-", "-", options or DecodeOptions(), engines=ToyEngines(), pipes=pipes)
    return stats, y4m_luma(out.getvalue())


def part(seek=0, frames=None, on_error="stop"):
    return DecodeOptions(part=DecodeSettings(seek=seek, frames=frames, on_error=on_error))


def packets_of(data):
    reader = StreamReader(io.BytesIO(data), "clip")
    packets = []
    while (packet := reader.read()) is not None:
        packets.append(packet)
    return packets


def ends_of(data):
    """Where each packet ends."""
    source = io.BytesIO(data)
    reader = StreamReader(source, "clip")
    ends = []
    while reader.read() is not None:
        ends.append(source.tell())
    return ends


def test_frames_are_stored_in_coding_order_and_shown_as_watched(data, whole):
    packets = packets_of(data)
    assert [packet.pts for packet in packets[:11]] == CODING_ORDER
    assert [packet.coding_index for packet in packets] == list(range(FRAMES))
    assert len(whole) == FRAMES
    for number, luma in enumerate(whole):
        shown = np.frombuffer(luma, np.uint8).astype(int)
        errors = [np.abs(shown - picture(each).y.ravel()).mean() for each in range(FRAMES)]
        assert errors[number] < 1.3 * min(errors)


def test_what_is_shown_is_what_the_encoder_predicted_from(tmp_path, whole):
    shown = {}
    encode(str(write_y4m(tmp_path / "in.y4m", FRAMES)), str(tmp_path / "a.zvc69"), EncodeOptions(codec=SETTINGS),
           engines=ToyEngines(), compare=lambda frame, seen: shown.update({frame.pts: seen.y.tobytes()}))  # fmt: skip
    assert [shown[number] for number in range(FRAMES)] == whole


@pytest.mark.parametrize("is_pipe", [False, True])
@pytest.mark.parametrize("seek", range(FRAMES))
def test_every_frame_can_be_sought_and_is_the_same(data, whole, seek, is_pipe):
    _, luma = decoded(data, part(seek, 2), is_pipe=is_pipe)
    assert luma == whole[seek : seek + 2]


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9, 11, 12, 25, 26, 90])
def test_any_number_of_frames_can_be_asked_for(data, whole, frames):
    assert decoded(data, part(0, frames))[1] == whole[:frames]


def test_a_seek_decodes_from_the_nearest_keyframe_and_only_what_is_needed(data):
    parsed = []
    engine = ToyEngines().for_decoding

    class Watched(ToyEngines):
        def for_decoding(self, header, run):
            made = engine(header, run)
            return _Watched(made, parsed)

    pipes = Pipes(stdin=io.BytesIO(data), stdout=io.BytesIO())
    decode("-", "-", part(16, 1), engines=Watched(), pipes=pipes)
    assert sorted(parsed) == [11, 13, 15, 16, 17, 19]  # of 11 to 21, the rest being kept nowhere or later
    assert len(y4m_luma(pipes.stdout.getvalue())) == 1


class _Watched:
    """An engine whose decoder notes the pts of what it parses."""

    def __init__(self, engine, parsed):
        self._engine = engine
        self._parsed = parsed

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def decoder(self, video, base_q_256):
        decoder, note = self._engine.decoder(video, base_q_256), self._parsed.append
        parse = decoder.parse

        class Noting:
            reconstruct = staticmethod(decoder.reconstruct)
            claim = staticmethod(decoder.claim)
            show = staticmethod(decoder.show)
            lose = staticmethod(decoder.lose)

            @staticmethod
            def parse(packet):
                note(packet.pts)
                return parse(packet)

        return Noting()


def test_a_sought_part_lasts_as_long_as_its_frames(data):
    assert decoded(data, part(13, 4))[0].duration_s == pytest.approx(4 / 25)


def test_a_file_can_be_sought_frame_by_frame(data, whole):
    with VideoFile(io.BytesIO(data), engines=ToyEngines()) as video:
        assert len(video) == FRAMES
        assert [frame.y.tobytes() for frame in video] == whole
        for number in [*range(FRAMES), *range(FRAMES - 1, -1, -5)]:
            video.seek(number)
            frame = video.read()
            assert (frame.pts, frame.y.tobytes()) == (number, whole[number])
        video.seek(9)
        assert [frame.pts for frame in video] == list(range(9, FRAMES))
        assert video.read() is None


def test_a_file_can_be_sought_by_time(data):
    with VideoFile(io.BytesIO(data), engines=ToyEngines()) as video:
        for time_s, number in [(0, 0), (0.039, 0), (0.04001, 1), (Fraction(14, 25), 14), (0.9, 22), (99, 25)]:
            video.seek(time_s=time_s)
            assert video.read().pts == number
        for wrong in ({"time_s": -0.1}, {}, {"frame_number": 1, "time_s": 1}):
            with pytest.raises(UsageError):
                video.seek(**wrong)


def test_asking_for_the_length_in_the_middle_of_a_group_does_not_move_the_place(data, whole):
    video = VideoFile(io.BytesIO(data), engines=ToyEngines())
    assert [video.read().pts for _ in range(3)] == [0, 1, 2]
    assert len(video) == FRAMES
    assert video.read().y.tobytes() == whole[3]


def test_sessions_answer_with_delay_and_leave_nothing_out():
    video = VideoFormat(width=48, height=32, time_base=Fraction(1, 25), frame_rate=Fraction(25))
    encoder = Encoder(video, EncodeOptions(codec=SETTINGS), engines=ToyEngines())
    decoder = Decoder(encoder.header, engines=ToyEngines())
    assert encoder.header.start_pts == -3
    shown = []

    def pump():
        while (packet := encoder.receive_packet()) is not None:
            assert packet.dts >= encoder.header.start_pts
            decoder.send_packet(packet)
            while (frame := decoder.receive_frame()) is not None:
                shown.append(frame.pts)

    for number in range(20):
        encoder.send_frame(picture(number))
        pump()
        assert shown == list(range(len(shown)))
    assert len(shown) < 20
    encoder.flush()
    pump()
    decoder.flush()
    while (frame := decoder.receive_frame()) is not None:
        shown.append(frame.pts)
    assert shown == list(range(20))
    assert encoder.stats.frames == decoder.stats.frames == 20


@pytest.mark.parametrize("kept", range(1, FRAMES))
def test_a_cut_inside_a_pyramid_keeps_every_whole_frame_in_order(data, whole, kept, tmp_path):
    ends = ends_of(data)
    pts = sorted(packet.pts for packet in packets_of(data)[:kept])
    (tmp_path / "cut.zvc69").write_bytes(data[: ends[kept - 1] + 5])
    with pytest.raises(TruncatedStream) as refusal:
        decode(str(tmp_path / "cut.zvc69"), str(tmp_path / "a.y4m"), DecodeOptions(), engines=ToyEngines())
    assert f"{FRAMES - kept} of {FRAMES} frames are lost" in refusal.value.what
    assert y4m_luma((tmp_path / "a.y4m.part").read_bytes()) == [whole[number] for number in pts]
    stats, luma = decoded(data[: ends[kept - 1] + 5], CONCEAL)
    assert stats.is_cut and len(luma) == pts[-1] + 1  # held frames where there were gaps
    assert stats.concealed == len(luma) - kept
    assert all(luma[number] == whole[number] for number in pts)


@pytest.mark.parametrize("damaged", range(1, FRAMES))
def test_damage_is_concealed_by_the_nearest_frame_until_references_allow_more(data, whole, damaged):
    at = ends_of(data)[damaged] - 2  # in the payload
    hurt = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
    with pytest.raises(DamagedStream, match=f"packet {damaged}"):
        decoded(hurt)
    stats, luma = decoded(hurt, CONCEAL)
    assert len(luma) == FRAMES
    wrong = {number for number in range(FRAMES) if luma[number] != whole[number]}
    assert stats.concealed >= 1
    packets = packets_of(data)
    hit = packets[damaged]
    assert {each for each in wrong if each // 11 != hit.pts // 11} == set()
    assert len(wrong) <= stats.concealed
    if hit.stored_in is None:
        assert stats.concealed == 1
        assert wrong <= {hit.pts}


@pytest.mark.parametrize("full", [False, True])
def test_no_flipped_bit_of_a_header_puts_frames_out_of_order(data, full):
    reader, out = StreamReader(io.BytesIO(data), "clip"), io.BytesIO()
    writer = StreamWriter(out, replace(reader.header, full_frame_headers=full))
    spots = []
    for packet in packets_of(data)[:16]:
        spots.append(writer.bytes_written)
        writer.write_packet(packet)
    writer.close()
    whole = out.getvalue()
    for packet in (1, 10) if full else (1, 4, 10):
        for place in range(32 if full else 13):
            at = spots[packet] + place
            hurt = whole[:at] + bytes([whole[at] ^ (1 << (packet + place) % 8)]) + whole[at + 1 :]
            shown = shown_times(hurt)
            assert shown == sorted(set(shown))
            assert len(shown) >= 15


def shown_times(data):
    """When the frames are shown that a concealing decode writes."""
    times = []

    class FakeSink:
        notes = ()

        def write_frame(self, frame):
            times.append(frame.pts)

        def close(self):
            pass

        abort = close

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zvc69_cli.media.sink.open_sink", lambda *arguments, **names: FakeSink())
        pipes = Pipes(stdin=io.BytesIO(data), stdout=io.BytesIO())
        decode("-", "-", CONCEAL, engines=ToyEngines(), pipes=pipes)
    return times


def test_a_lost_stretch_is_filled_where_the_frames_were(data, whole):
    ends = ends_of(data)
    stats, luma = decoded(data[: ends[13]] + data[ends[17] :], CONCEAL)
    assert len(luma) == FRAMES
    assert luma[:11] == whole[:11]
    assert luma[22:] == whole[22:]
    assert stats.concealed >= 4


def test_an_engine_without_inter_networks_codes_keyframes_and_says_so(tmp_path, caplog):
    class IntraEngines(ToyEngines):
        def for_encoding(self, run):
            return replace(super().for_encoding(run), tables=replace(cached_tables(), inter=None))

    caplog.set_level(logging.INFO, "zvc69_cli")
    name = str(tmp_path / "a.zvc69")
    encode(str(write_y4m(tmp_path / "in.y4m", 5)), name, EncodeOptions(), engines=IntraEngines())
    report = inspect(name)
    assert [(kind.name, tally.frames) for kind, tally in report.kinds] == [("I", 5)]
    assert (report.header.gop_frames, report.header.has_b_frames, report.header.start_pts) == (1, False, 0)
    assert "every frame as a keyframe" in caplog.text
    session = Encoder(report.header.video, engines=IntraEngines())
    assert session.header.gop_frames == 1


def test_an_engine_without_gradients_refines_nothing_and_says_so(tmp_path, caplog):
    class Plain(ToyNetworks):
        has_gradients = False

    source = str(write_y4m(tmp_path / "in.y4m", 5))
    for name, steps in (("plain", 0), ("asked", 4)):
        options = EncodeOptions(codec=CodecSettings(refine=steps), with_note=False)
        encode(source, str(tmp_path / name), options, engines=ToyEngines(networks=Plain()))
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "asked").read_bytes()
    assert "latents are not refined" in caplog.text


def test_the_header_says_what_the_stream_holds(data):
    header = StreamReader(io.BytesIO(data), "clip").header
    assert (header.gop_frames, header.has_b_frames, header.start_pts) == (11, True, -3)
    video = header.video
    engine = ToyEngines().for_encoding(RunSettings())
    for settings, expected in [
        (CodecSettings(), (250, True, -3)),
        (CodecSettings(bframes=3), (250, True, -2)),
        (CodecSettings(keyint=-1, bframes=0), (-1, False, 0)),
        (INTRA, (1, False, 0)),
    ]:
        made = plain_header(engine, video, settings)
        assert (made.gop_frames, made.has_b_frames, made.start_pts) == expected


def test_info_tells_kinds_layers_and_delay(data):
    report = inspect("-", pipes=Pipes(stdin=io.BytesIO(data)), with_frames=True)
    assert [(kind.name, tally.frames) for kind, tally in report.kinds] == [("I", 3), ("P", 5), ("B", 18)]
    assert [tally.frames for _, tally in report.layers] == [8, 5, 5, 8]
    assert (report.b_frames, report.reorder_delay, report.longest_gop) == (7, 3, 11)
    assert [frame.temporal_layer for frame in report.frames[:6]] == [0, 0, 1, 2, 3, 3]
    assert report.duration_s == pytest.approx(FRAMES / 25)


def test_times_of_a_variable_rate_come_back(tmp_path):
    video = VideoFormat(width=48, height=32, time_base=Fraction(1, 1000))
    times = [7, 8, 40, 41, 300, 301, 302, 900, 1000, 1003]
    frames = [replace(picture(number), pts=pts) for number, pts in enumerate(times)]
    engine = ToyEngines().for_encoding(RunSettings())
    header = replace(plain_header(engine, video, SETTINGS), start_pts=7 - 3)
    out = io.BytesIO()
    writer = StreamWriter(out, header)
    for packet in coded_packets(engine, video, SETTINGS, frames):
        writer.write_packet(packet)
    writer.close()
    with VideoFile(io.BytesIO(out.getvalue()), engines=ToyEngines()) as file:
        assert [frame.pts for frame in file] == times
        file.seek(time_s=0.294)
        assert file.read().pts == 301
    assert inspect("-", pipes=Pipes(stdin=io.BytesIO(out.getvalue()))).problems == ()


def place(pts, dts, is_key=False):
    return Place(pts=pts, dts=dts, is_key=is_key)


def test_a_frame_is_shown_as_soon_as_nothing_can_come_before_it():
    order = DisplayOrder()
    pushed = [(0, -2, True), (4, -1, False), (2, 0, False), (1, 1, False), (3, 2, False), (5, 3, True)]
    assert [order.push(pts, place(pts, dts, key)) for pts, dts, key in pushed] == [
        [], [], [0], [1], [2], [3, 4]]  # fmt: skip
    assert order.flush() == [5]


def test_packets_are_numbered_as_watched_though_they_stay_in_coding_order(data):
    packets = packets_of(data)
    entries = list(numbered(packets))
    assert [entry.packet for entry in entries] == packets
    assert [entry.number for entry in entries] == [packet.pts for packet in packets]


def test_numbering_hands_on_what_it_read_before_a_failure(data):
    packets = packets_of(data)

    def failing():
        yield from packets[:4]
        raise DamagedStream("clip", "is damaged", "")

    seen = []
    with pytest.raises(DamagedStream):
        for entry in numbered(failing()):
            seen.append(entry.packet.pts)
    assert seen == [0, 8, 4, 2]
