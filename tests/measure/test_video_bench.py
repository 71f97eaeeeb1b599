"""Whole clips through the pipeline with the toy codec, and the tables about them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.pipeline.engines import ToyEngines, write_y4m
from zvc69_cli.codec.entropy.payload import InterSection, Sections, pack_sections
from zvc69_cli.codec.rate.settings import RateSettings
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import FrameKind, Packet
from zvc69_cli.measure import video_bench
from zvc69_cli.measure.bench import BenchSettings, measured
from zvc69_cli.measure.clips import Clip, read_clip
from zvc69_cli.measure.one_engine import OneEngine
from zvc69_cli.measure.peers import X264, Coded, CodedFrame, is_available
from zvc69_cli.measure.store import KindTotals, Measurement
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.measure.video_report import kinds_sections, middle_rates, speed_sections
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.inspect import motion_bytes
from zvc69_cli.pipeline.note import settings_note
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.runtime.settings import RunSettings

pytest.importorskip("bjontegaard", reason="the extra [measure] is missing")
pytest.importorskip("matplotlib", reason="the extra [measure] is missing")

FRAMES = 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_y4m(tmp_path / "data" / "moving.y4m", FRAMES, 64, 48)
    return tmp_path / "data"


@pytest.fixture
def clip(folder: Path) -> Clip:
    return read_clip(folder / "moving.y4m", folder, None)


@pytest.fixture
def codec() -> VideoCodec:
    return VideoCodec(OneEngine(ToyEngines().for_encoding(RunSettings())), EncodeOptions.of())


def test_every_byte_of_the_file_is_counted_and_its_note_apart(
    codec: VideoCodec, clip: Clip, tmp_path: Path
) -> None:
    settings = CodecSettings(crf=30)
    coded = codec.code(settings, clip)
    plain = tmp_path / "plain.zvc69"
    encode(str(clip.path), str(plain), EncodeOptions(codec=settings, with_note=False), engines=ToyEngines())
    assert len(coded.frames) == len(coded.stored) == FRAMES
    note = settings_note(settings, RateSettings(), "medium", "moving.y4m")
    assert coded.text_bytes == len(note.encode())
    assert (
        0 <= coded.stream_bytes - coded.text_bytes - plain.stat().st_size < 24
    )  # the head of the note's record
    assert sum(frame.size_bytes for frame in coded.stored) < plain.stat().st_size


def test_frames_are_compared_and_told_apart_as_watched(codec: VideoCodec, clip: Clip) -> None:
    coded = codec.code(CodecSettings(qp=48, bframes=3), clip)
    for number, frame in enumerate(coded.frames):
        errors = [np.abs(frame.y.astype(int) - other.y).mean() for other in clip.frames]
        assert int(np.argmin(errors)) == number
    assert [frame.kind for frame in coded.stored] == ["I", "B", "B", "B", "P", "B", "B", "B", "P"]
    assert all(frame.motion_bytes < frame.size_bytes for frame in coded.stored)
    assert any(frame.motion_bytes for frame in coded.stored)


def test_only_as_many_frames_are_coded_as_the_clip_has(codec: VideoCodec, folder: Path) -> None:
    first = read_clip(folder / "moving.y4m", folder, 4)
    assert len(codec.code(CodecSettings(), first).frames) == 4


def test_the_motion_of_a_frame_is_its_first_string() -> None:
    def packet(kind: FrameKind, payload: bytes) -> Packet:
        return Packet(kind=kind, coding_index=1, pts=0, dts=0, payload=payload, symbol_crc=0)

    inter = InterSection(0, bytes(200), 128)
    payload = pack_sections(Sections(picture=b"classes and levels", inter=inter))
    assert motion_bytes(packet(FrameKind.P, payload)) == 202
    assert motion_bytes(packet(FrameKind.B, b"")) == 0
    assert motion_bytes(packet(FrameKind.I, payload)) == 0


def test_frames_are_added_up_by_their_kind(clip: Clip) -> None:
    stored = (CodedFrame(kind="I", size_bytes=900, motion_bytes=0),)
    stored += (CodedFrame(kind="B", size_bytes=50, motion_bytes=20),) * (FRAMES - 1)
    coded = Coded(
        stream_bytes=1400, text_bytes=0, frames=clip.frames, encode_s=1.0, decode_s=1.0, stored=stored
    )
    key, between = measured(clip, "zvc69", 30, coded).kinds
    assert (key.kind, key.frame_count, key.size_bytes) == ("I", 1, 900)
    assert (between.frame_count, between.size_bytes, between.motion_bytes) == (FRAMES - 1, 400, 160)
    assert between.psnr_db == pytest.approx(100)


def made_up(clip: str, codec: str, setting: float, encode_s: float) -> Measurement:
    """40 frames in 10 000 bytes: 4 000 in an I frame, 5 000 in 39 P frames of which 500 are motion, 1 000 around."""
    kinds = (
        KindTotals(kind="I", frame_count=1, size_bytes=4000, motion_bytes=0, psnr_db=40.0),
        KindTotals(kind="P", frame_count=39, size_bytes=5000, motion_bytes=500, psnr_db=38.0),
    )
    return Measurement(
        clip=clip,
        group="",
        codec=codec,
        setting=setting,
        frame_count=40,
        pixels=40 * 6000,
        stream_bytes=10_300,
        text_bytes=300,
        y=38.0,
        u=38.0,
        v=38.0,
        psnr_db=38.0,
        encode_s=encode_s,
        decode_s=1.0,
        kinds=kinds if codec == "zvc69" else (),
    )


def cells_of(section: str, title: str) -> list[str]:
    """The cells of the first line of a table that begins with this title."""
    line = next(line for line in section.splitlines() if line.startswith(f"| {title} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_kinds_says_where_the_bits_are() -> None:
    measurements = [made_up(clip, "zvc69", setting, 1.0) for clip in "ab" for setting in (40, 30, 20)]
    _, text = kinds_sections(measurements, "zvc69")
    shares = ["40", "0.3333", "1, 4.00, 40 %, 40.00", "39, 0.13, 50 %, 38.00", "10.0", "10.0"]
    assert cells_of(text, "a") == ["a", "30", *shares]
    assert cells_of(text, "all")[:3] == ["all", "40", "80"]
    assert text.count("| all") == 3


def test_a_codec_whose_frames_nobody_looked_at_has_no_table_of_kinds() -> None:
    assert kinds_sections([made_up("a", "x264", 30, 1.0)], "x264") == []


def test_the_table_of_speeds_has_a_column_for_each_codec() -> None:
    timings = [made_up("a", "zvc69", 30, 8.0), made_up("a", "x264", 28, 0.5), made_up("b", "zvc69", 30, 4.0)]
    _, text = speed_sections(timings, "on a machine")
    assert cells_of(text, "a") == ["a", "5.0 / 40.0", "80.0 / 40.0"]
    assert cells_of(text, "b") == ["b", "10.0 / 40.0", ""]


def test_the_middle_rate_of_each_curve_is_found() -> None:
    measurements = [made_up("a", codec, setting, 1.0) for codec in ("zvc69", "x264") for setting in (3, 2, 1)]
    assert [(each.codec, each.setting) for each in middle_rates(measurements)] == [("zvc69", 2), ("x264", 2)]


@pytest.mark.skipif(not is_available(X264), reason="this PyAV has no libx264")
def test_the_peers_are_timed_at_their_middle_rate(folder: Path) -> None:
    (timing,) = video_bench.time_peers(BenchSettings(data=folder, peers=(X264,)), threads=2)
    assert (timing.codec, timing.setting, timing.frame_count) == ("x264", 28, FRAMES)
    assert timing.encode_s > 0


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with the toy in the place of the installed bundle."""
    engine = ToyEngines().for_encoding(RunSettings())
    monkeypatch.setattr(video_bench, "bundle_of", lambda name: SimpleNamespace(name="toy", sha256=bytes(32)))
    monkeypatch.setattr(video_bench, "load_engine", lambda bundle, run: engine)


@pytest.mark.usefixtures("toy")
@pytest.mark.skipif(not is_available(X264), reason="this PyAV has no libx264")
def test_the_command_measures_and_writes_every_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {name: tmp_path / f"video.{name}" for name in ("json", "markdown", "png")}
    arguments = ["--data", str(folder), "--peers", "x264", "--qps", "88,68,48", "--set", "keyint=1"]
    arguments += ["--json", str(outputs["json"]), "--markdown", str(outputs["markdown"])]
    arguments += ["--picture", str(outputs["png"])]
    assert video_bench.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed == outputs["markdown"].read_text()
    for words in (
        "preset medium, keyint=1, qp 88 68 48",
        "container %",
        "encode / decode",
        "counts its whole file",
    ):
        assert words in printed
    document = json.loads(outputs["json"].read_text())
    tested = [each for each in document["measurements"] if each["codec"] == "zvc69"]
    assert [each["setting"] for each in tested] == [88, 68, 48]
    assert [each["kinds"][0]["frame_count"] for each in tested] == [FRAMES] * 3
    assert [each["codec"] for each in document["timings"]] == ["zvc69", "x264"]
    assert outputs["png"].stat().st_size > 1000
    again = ["--data", str(folder), "--peers", "none", "--qps", "88,68,48", "--before", str(outputs["json"])]
    assert video_bench.main(again) == 0
    assert cells_of(capsys.readouterr().out, "clip") == ["clip", "zvc69 before"]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    "wrong",
    [
        ["--frames", "0"],
        ["--rates", "30,60"],
        ["--qps", "some"],
        ["--peers", "h264"],
        ["--set", "keyint"],
        ["--set", "keyints=3"],
        ["--set", "keyint=x"],
        ["--preset", "mediun"],
    ],
)
def test_a_wrong_flag_is_refused_with_exit_code_2(
    wrong: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert video_bench.main(["--data", str(folder), *wrong]) == UsageError.exit_code
    assert wrong[0] in capsys.readouterr().err
