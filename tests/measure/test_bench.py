"""The bench on made-up results, and with a stand-in for the codec: the figures in its report are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.measure.pictures import noisy
from zvc69_cli.errors import InputError, OutputError, UsageError
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure import bench, intra_bench
from zvc69_cli.measure.bench_report import About, json_text, markdown
from zvc69_cli.measure.comparison import compare, group_curve
from zvc69_cli.measure.curves import draw_curves
from zvc69_cli.measure.peers import X264_INTRA as X264
from zvc69_cli.measure.peers import Coded, is_available
from zvc69_cli.measure.store import KindTotals, Measurement, Store

pytest.importorskip("bjontegaard", reason="the extra [measure] is missing")
pytest.importorskip("matplotlib", reason="the extra [measure] is missing")

PIXELS = 8000
ABOUT = About(
    title="Made up", bundle="toy", bundle_sha256="00", codecs=(("x264", "medium"),), notes=("one note",)
)


def measured(
    clip: str, group: str, codec: str, stream_bytes: int, psnr_db: float, text_bytes: int = 0
) -> Measurement:
    return Measurement(
        clip=clip,
        group=group,
        codec=codec,
        setting=1.0,
        frame_count=1,
        pixels=PIXELS,
        stream_bytes=stream_bytes,
        text_bytes=text_bytes,
        y=psnr_db,
        u=psnr_db,
        v=psnr_db,
        psnr_db=psnr_db,
        encode_s=0.1,
        decode_s=0.1,
    )


def made_up() -> list[Measurement]:
    """zvc69 takes 20 % more than x264 on a and 10 % less on b and c; x264 writes a text of 1000 bytes each."""
    results: list[Measurement] = []
    for clip, group, factor in (("a", "photos", 1.2), ("b", "photos", 0.9), ("c", "", 0.9)):
        for size, psnr in ((1000, 30.0), (2000, 33.0), (4000, 36.0), (8000, 39.0)):
            results.append(measured(clip, group, "zvc69", round(size * factor), psnr))
            results.append(measured(clip, group, "x264", size + 1000, psnr, text_bytes=1000))
    return results


def test_bd_rates_and_their_means_are_those_of_the_curves() -> None:
    comparison = compare(made_up(), "zvc69")
    assert [anchor.title for anchor in comparison.anchors] == ["x264", "x264 with its text"]
    figures = {row.title: row.bd_rates[0].percent for row in (*comparison.clips, *comparison.summaries)}
    assert figures == pytest.approx(
        {
            "photos/a": 20,
            "photos/b": -10,
            "c": -10,
            "photos (2): mean of BD-rates": 5,
            "photos (2): BD-rate of the mean curve": 5,
            "all (3): mean of BD-rates": 0,
        },
        abs=1e-6,
    )
    with_text = comparison.clips[0].bd_rates[1].percent
    assert with_text is not None
    assert with_text < 0


def test_the_mean_curve_of_a_group_is_over_its_clips() -> None:
    points = group_curve(made_up(), "photos", "zvc69")
    assert points[0].bits_per_pixel == pytest.approx(1.05)
    assert [point.quality for point in points] == [30, 33, 36, 39]


def test_a_clip_that_a_peer_could_not_code_is_left_out_of_both_sides() -> None:
    some = [each for each in made_up() if (each.clip, each.codec) != ("a", "x264")]
    comparison = compare(some, "zvc69")
    figures = {row.title: row.bd_rates[0] for row in (*comparison.clips, *comparison.summaries)}
    assert figures["photos/a"] is None
    assert figures["photos (2): BD-rate of the mean curve"].percent == pytest.approx(-10)


def test_the_report_holds_the_figures_and_the_notes() -> None:
    text = markdown(ABOUT, made_up(), compare(made_up(), "zvc69"))
    assert "| photos/a " in text
    assert "+20.0" in text
    assert "1.0500 / 30.00" in text
    assert "- one note" in text
    document = json.loads(json_text(ABOUT, made_up(), compare(made_up(), "zvc69")))
    assert len(document["measurements"]) == len(made_up())
    assert document["bd_rates"]["clips"][0]["bd_rates"][0]["percent"] == pytest.approx(20)


def test_a_codec_by_itself_has_no_table_of_bd_rates() -> None:
    alone = [each for each in made_up() if each.codec == "zvc69"]
    text = markdown(ABOUT, alone, compare(alone, "zvc69"), ["a section"])
    assert text.startswith("zvc69 by itself. Made up.")
    assert "| photos/a" not in text
    assert "a section" in text


def test_an_earlier_run_is_read_back_for_the_clips_that_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text(json_text(ABOUT, made_up(), compare(made_up(), "zvc69")))
    now = [each for each in made_up() if each.clip == "a"] + [replace(made_up()[-1], clip="b", frame_count=9)]
    earlier = bench.earlier_curves(path, "zvc69", "zvc69 before", now)
    assert {(each.clip, each.codec) for each in earlier} == {("a", "zvc69 before")}
    assert replace(earlier[0], codec="zvc69") == made_up()[0]
    path.write_text("{}")
    with pytest.raises(InputError, match="not the JSON of a bench"):
        bench.earlier_curves(path, "zvc69", "zvc69 before", now)


def test_the_picture_has_a_panel_for_each_clip_and_each_mean(tmp_path: Path) -> None:
    panels = bench.panels_of(made_up())
    assert [panel.title for panel in panels] == ["mean of photos (2)", "photos/a", "photos/b", "c"]
    draw_curves(panels, tmp_path / "curves.png", "Made up")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError):
        draw_curves(panels, tmp_path / "missing" / "curves.png", "Made up")


def test_what_was_measured_is_found_again_by_content_and_settings(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    one = made_up()[0]
    store.keep("content", "settings", one)
    assert store.find("content", "settings") == one
    assert store.find("content", "others") is None
    assert store.find("other", "settings") is None
    assert Store(None).find("content", "settings") is None


def test_a_kept_result_keeps_the_kinds_of_its_frames(tmp_path: Path) -> None:
    kinds = (KindTotals(kind="P", frame_count=2, size_bytes=100, motion_bytes=10, psnr_db=33.0),)
    one = replace(made_up()[0], kinds=kinds)
    store = Store(tmp_path)
    store.keep("content", "settings", one)
    assert store.find("content", "settings") == one


def test_a_kept_result_that_is_damaged_is_measured_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("content", "settings", made_up()[0])
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(kept.read_text()[:30])
    assert store.find("content", "settings") is None


@dataclass(frozen=True)
class StandInBundle:
    name: str = "stand-in"
    sha256: bytes = bytes(32)


class StandInCodec:
    """Stands where the real codec does: noise that falls with q, at a size that grows with it."""

    bundle = StandInBundle()

    def encode_intra(self, frames: Sequence[Frame], video: VideoFormat, q: int) -> Coded:
        decoded = tuple(noisy(frame, seed=q, strength=18 / (1 + q / 8)) for frame in frames)
        return Coded(stream_bytes=60 + 12 * q, text_bytes=0, frames=decoded, encode_s=0.0, decode_s=0.0)


RATES = intra_bench.rates_of(StandInCodec(), intra_bench.DEFAULT_QS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A video of two flat grey frames behind a y4m header."""
    data = tmp_path / "data"
    data.mkdir()
    frames = b"".join(b"FRAME\n" + bytes(range(64)) * (64 * 3 // 2) for _ in range(2))
    (data / "ramp.y4m").write_bytes(b"YUV4MPEG2 W64 H64 F25:1 Ip A1:1 C420\n" + frames)
    return data


@pytest.mark.skipif(not is_available(X264), reason="this PyAV has no libx264")
def test_the_command_measures_and_writes_every_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(intra_bench, "IntraCodec", lambda bundle, settings, coding: StandInCodec())
    outputs = {name: tmp_path / f"bench.{name}" for name in ("json", "markdown", "png")}
    arguments = [
        "--data",
        str(folder),
        "--peers",
        "x264",
        "--frames",
        "all",
        "--cache",
        str(tmp_path / "cache"),
    ]
    arguments += ["--json", str(outputs["json"]), "--markdown", str(outputs["markdown"])]
    arguments += ["--picture", str(outputs["png"])]
    assert intra_bench.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed == outputs["markdown"].read_text()
    assert "| ramp " in printed
    document = json.loads(outputs["json"].read_text())
    assert {each["frame_count"] for each in document["measurements"]} == {2}
    assert outputs["png"].stat().st_size > 1000
    assert len(list((tmp_path / "cache").glob("*.json"))) == len(X264.rate_factors)


@pytest.mark.skipif(not is_available(X264), reason="this PyAV has no libx264")
def test_a_second_run_encodes_nothing_with_the_peers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bench.BenchSettings(data=folder, peers=(X264,), cache=tmp_path / "cache")
    before, _ = bench.run_bench(settings, RATES)
    monkeypatch.setattr(bench, "code_with", lambda *_: pytest.fail("encoded again"))
    after, _ = bench.run_bench(settings, RATES)
    assert [each for each in after if each.codec == "x264"] == [each for each in before if each.codec == "x264"]


def test_a_peer_that_this_machine_lacks_is_left_out_by_name(folder: Path) -> None:
    missing = replace(X264, name="x999", encoder="libx999")
    settings = bench.BenchSettings(data=folder, peers=(missing,))
    measurements, notes = bench.run_bench(settings, RATES)
    assert {each.codec for each in measurements} == {"zvc69"}
    assert notes == ["x999 is left out: this PyAV has no libx999"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--frames", "0"],
        ["--frames", "some"],
        ["--q-list", "3,80"],
        ["--q-list", ""],
        ["--peers", "h264"],
        ["--preset", "quick"],
    ],
)
def test_a_wrong_flag_is_refused_with_exit_code_2(
    wrong: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert intra_bench.main(["--data", str(folder), *wrong]) == UsageError.exit_code
    assert wrong[0] in capsys.readouterr().err
