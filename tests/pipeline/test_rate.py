"""Rates through the whole pipeline, with the toy codec: the same bytes whatever the threads, files between passes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.codec.rate_videos import VIDEO
from tests.pipeline.engines import ToyEngines, picture, write_y4m, y4m_bytes
from tests.pipeline.test_encode import read_stream
from zvc69_cli.errors import InputError, OutputError, UsageError
from zvc69_cli.frames import FrameKind
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.sessions import Encoder
from zvc69_cli.pipeline.two_pass import quick_options

FRAMES = 40


@pytest.fixture
def clip(tmp_path):
    return str(write_y4m(tmp_path / "in.y4m", FRAMES))


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out.zvc69")


def coded(clip, out, **flags):
    options = replace(EncodeOptions.of(**flags), with_note=False)
    return encode(clip, out, options, engines=ToyEngines(), may_overwrite=lambda name: True)


@pytest.mark.parametrize(
    "flags",
    [
        {"bitrate": "10"},
        {"bitrate": "10", "bframes": 0},
        {"bitrate": "20", "keyint": 1},
        {"bitrate": "10", "rc": "cbr"},
        {"crf": 23.0, "vbv_maxrate": 8, "vbv_bufsize": 4},
        {"bitrate": "10", "passes": 2},
        {"cutree": True},
    ],
    ids=str,
)
def test_a_rate_gives_the_same_bytes_whatever_the_threads(flags, clip, out):
    made = []
    for threads in (1, 2, 5):
        coded(clip, out, threads=threads, **flags)
        made.append(Path(out).read_bytes())
    assert made[0] == made[1] == made[2]
    reader, items = read_stream(out)
    assert reader.trailer.complete and len(items) == FRAMES


def test_more_is_asked_for_and_more_comes(clip, out):
    sizes = [coded(clip, out, bitrate=kbps).rate.got_kbps for kbps in ("5", "8", "12")]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_the_report_says_what_was_asked_for_and_what_came(clip, out):
    rate = coded(clip, out, bitrate="10", rc="cbr", vbv_bufsize=20).rate
    assert rate.asked_kbps == 10 and rate.buffer_kbit == 20
    assert 0 < rate.got_kbps <= rate.peak_kbps * 2
    assert 0 <= rate.least_kbit <= 18 and rate.underflows == 0


def test_the_reported_rate_is_what_the_frames_take_in_the_file(tmp_path, out):
    grown = []
    for frames in (20, 60):
        stats = coded(str(write_y4m(tmp_path / "in.y4m", frames)), out, crf=30.0)
        grown.append((stats.stream_bytes, stats.rate.got_kbps * frames / 25 * 1000 / 8))
    (size, counted), (larger, more_counted) = grown
    assert more_counted - counted == pytest.approx(larger - size, abs=60)


def test_a_rate_that_cannot_be_had_is_said_at_once(clip, out, caplog):
    stats = coded(clip, out, bitrate="9000")
    assert "9000 kbps cannot be had" in stats.rate.unreachable
    assert "9000 kbps cannot be had" in caplog.text


def test_a_buffer_makes_frames_smaller(clip, out):
    free = coded(clip, out, crf=20.0)
    tight = coded(clip, out, crf=20.0, vbv_maxrate=7, vbv_bufsize=4)
    assert tight.payload_bytes < free.payload_bytes


def test_two_runs_pass_a_file_on(clip, out, tmp_path):
    coded(clip, out, bitrate="10", pass_=1)
    lines = (tmp_path / "out.zvc69.stats").read_text().splitlines()
    assert json.loads(lines[0])["width"] == 48 and len(lines) == FRAMES + 2
    coded(clip, out, bitrate="10", pass_=2)
    two_runs = Path(out).read_bytes()
    coded(clip, out, bitrate="10", passes=2)
    assert Path(out).read_bytes() == two_runs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.y4m", "out.zvc69", "out.zvc69.stats"]


@pytest.mark.parametrize(
    ("asked", "first"), [("sparse", "sparse"), ("fast", "fast"), ("full", "fast"), ("thorough", "fast")]
)
def test_a_first_pass_searches_quickly_and_leaves_out_what_the_second_will(asked, first):
    options = EncodeOptions.of(bitrate="10", pass_=1, motion_search=asked)
    assert quick_options(options).codec.motion_search == first


@pytest.mark.parametrize(
    ("flags", "field"),
    [({"bframes": 1}, "bframes"), ({"keyint": 20}, "keyint"), ({"preset": "ultrafast"}, "preset|rounding")],
)
def test_statistics_of_other_settings_are_refused_by_field(flags, field, clip, out):
    coded(clip, out, bitrate="10", pass_=1)
    with pytest.raises(UsageError, match=field):
        coded(clip, out, bitrate="10", pass_=2, **flags)


def test_statistics_of_another_source_are_refused(clip, out, tmp_path):
    coded(clip, out, bitrate="10", pass_=1, stats=str(tmp_path / "my.stats"))
    other = write_y4m(tmp_path / "other.y4m", FRAMES, width=64)
    with pytest.raises(UsageError, match="width is 48 there, 64 here"):
        coded(str(other), out, bitrate="10", pass_=2, stats=str(tmp_path / "my.stats"))
    options = replace(
        EncodeOptions.of(bitrate="10", pass_=2, stats=str(tmp_path / "my.stats")), input=InputSettings(seek=1)
    )
    with pytest.raises(UsageError, match=r"source_frames|first_frame"):
        encode(clip, out, options, engines=ToyEngines(), may_overwrite=lambda name: True)


def test_a_second_pass_without_a_first_is_told_so(clip, out):
    with pytest.raises(InputError, match="cannot be read") as refused:
        coded(clip, out, bitrate="10", pass_=2)
    assert "--pass 1" in refused.value.next_step
    assert not Path(out).exists()


def test_two_passes_need_an_input_that_can_be_read_twice(out):
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(5)))
    with pytest.raises(UsageError, match="pipe"):
        encode("-", out, EncodeOptions.of(bitrate="10", passes=2), engines=ToyEngines(), pipes=pipes)


def test_the_file_between_passes_needs_a_name_where_the_output_has_none():
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(5)), stdout=io.BytesIO())
    with pytest.raises(UsageError, match="statistics"):
        encode("-", "-", EncodeOptions.of(bitrate="10", pass_=1), engines=ToyEngines(), pipes=pipes)


def test_statistics_never_go_over_the_input_the_output_or_into_a_missing_folder(clip, out, tmp_path):
    for stats, kind in ((clip, UsageError), (out, UsageError), (str(tmp_path / "no" / "a.stats"), OutputError)):
        with pytest.raises(kind):
            coded(clip, out, bitrate="10", pass_=1, stats=stats)
    assert not Path(out).exists() and Path(clip).stat().st_size > 1000


def test_cutree_moves_nothing_where_nothing_refers_to_anything(clip, out):
    plain = coded(clip, out, keyint=1).payload_bytes
    settings = replace(EncodeOptions.of(keyint=1).codec, cutree=True)
    options = replace(EncodeOptions(codec=settings), with_note=False)
    stats = encode(clip, out, options, engines=ToyEngines(), may_overwrite=lambda name: True)
    assert stats.payload_bytes == plain


def test_a_qpfile_forces_keyframes_and_quantisers(clip, out, tmp_path):
    (tmp_path / "my.qp").write_text("0 I 84\n10 K 69\n")
    rows = []
    options = EncodeOptions.of(qpfile=str(tmp_path / "my.qp"))
    encode(clip, out, options, engines=ToyEngines(), record=rows.append)
    found = {row.display_index: row for row in rows}
    assert (found[0].q, found[10].q) == (43, 58) and found[10].kind is FrameKind.I


def test_a_zone_is_kept_to(clip, out):
    rows = []
    options = EncodeOptions.of(crf=30.0, zones="20,29,q=124")
    encode(clip, out, options, engines=ToyEngines(), record=rows.append)
    inside = [row.q for row in rows if 20 <= row.display_index <= 29]
    assert max(inside) <= 3 < min(row.q for row in rows if row.display_index < 20)


def test_a_session_keeps_a_rate_as_a_pipe_does(out):
    options = replace(EncodeOptions.of(bitrate="10"), with_note=False)
    pipes = Pipes(stdin=io.BytesIO(y4m_bytes(FRAMES)))
    encode("-", out, options, engines=ToyEngines(), pipes=pipes)
    reader, items = read_stream(out)
    session = Encoder(reader.header.video, options, engines=ToyEngines())
    for number in range(FRAMES):
        session.send_frame(picture(number))
    session.flush()
    packets = [session.receive_packet() for _ in range(FRAMES)]
    assert [packet.payload for packet in packets] == [item.payload for item in items]


@pytest.mark.parametrize(
    "flags", [{"bitrate": "10", "passes": 2}, {"target_psnr": 30.0}, {"target_size": "10k"}]
)
def test_a_session_refuses_what_takes_a_second_look(flags):
    with pytest.raises(UsageError):
        Encoder(VIDEO, EncodeOptions.of(**flags), engines=ToyEngines())
