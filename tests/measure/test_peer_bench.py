"""zvc69 beside its peers, with the toy codec and small clips: what is kept, left out, and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.measure.browser import data_of
from tests.pipeline.engines import ToyEngines, write_y4m
from zvc69_cli.errors import UsageError
from zvc69_cli.measure import peer_bench
from zvc69_cli.measure.one_engine import OneEngine
from zvc69_cli.measure.peer_bench import BenchPlan, BenchResult, quick_plan, run_bench
from zvc69_cli.measure.peer_figures import (
    against_anchor,
    against_peers,
    json_facts,
    mean_rate,
    mean_speed,
    scales_of,
    speeds,
)
from zvc69_cli.measure.peer_page import bench_html, short
from zvc69_cli.measure.peers import ALL_PEERS, AOM_AV1, VP9, VVENC, X264, Peer, code_with, is_available
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.runtime.settings import RunSettings

pytest.importorskip("bjontegaard", reason="the extra [measure] is missing")
pytestmark = pytest.mark.skipif(not is_available(X264), reason="this PyAV has no libx264")

FRAMES = 6


def toy() -> VideoCodec:
    return VideoCodec(OneEngine(ToyEngines().for_encoding(RunSettings())), EncodeOptions.of())


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, ...]:
    return tuple(write_y4m(tmp_path / f"{name}.y4m", FRAMES, 96, 64) for name in ("one", "two"))


def plan_of(clips: tuple[Path, ...], results: Path | None, peers: tuple[Peer, ...] = (X264,)) -> BenchPlan:
    return BenchPlan(
        clips=clips,
        crfs=(45.0, 35.0, 25.0, 15.0),
        peers=peers,
        metrics=("psnr", "ssim"),
        threads=1,
        results=results,
    )


def benched(plan: BenchPlan) -> tuple[BenchResult, list[str]]:
    said: list[str] = []

    def watch(done: int, total: int, text: str) -> None:
        assert 0 <= done <= total
        said.append(f"{done}/{total} {text}")

    return run_bench(plan, toy(), "toy", watch), said


@pytest.fixture
def result(clips: tuple[Path, ...]) -> BenchResult:
    return benched(plan_of(clips, None))[0]


def test_every_clip_has_a_curve_of_every_codec(result: BenchResult) -> None:
    assert result.codecs == ("zvc69", "x264")
    for clip in result.clips:
        assert [each.setting for each in clip.curve("zvc69")] == [45, 35, 25, 15]
        assert len(clip.curve("x264")) >= len(X264.rate_factors)
        for each in clip.encodes:
            assert each.frame_count == FRAMES == len(each.stored)
            assert 0 < sum(frame.size_bytes for frame in each.stored) <= each.stream_bytes + 1000
            assert each.encode_s > 0 and each.decode_s > 0 and each.crop_png.startswith(b"\x89PNG")
        assert [each.codec for each in clip.equal] == ["zvc69", "x264"]


def test_a_second_run_measures_nothing_anew(clips: tuple[Path, ...], tmp_path: Path, monkeypatch) -> None:
    plan = plan_of(clips[:1], tmp_path / "kept")
    first, _ = benched(plan)
    monkeypatch.setattr(peer_bench, "code_with", lambda *_, **__: pytest.fail("encoded again"))
    monkeypatch.setattr(VideoCodec, "code", lambda *_: pytest.fail("encoded again"))
    second, said = benched(plan)
    assert all(each.is_kept for clip in second.clips for each in clip.encodes)
    assert [replace(each, is_kept=False) for each in second.clips[0].encodes] == list(first.clips[0].encodes)
    assert any("kept from before" in line for line in said)


def test_an_interrupted_run_goes_on_where_it_ended(
    clips: tuple[Path, ...], tmp_path: Path, monkeypatch
) -> None:
    plan = plan_of(clips[:1], tmp_path / "kept")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(peer_bench, "code_with", interrupt)
        with pytest.raises(KeyboardInterrupt):
            benched(plan)
    monkeypatch.setattr(VideoCodec, "code", lambda *_: pytest.fail("encoded again"))
    result, _ = benched(plan)
    assert {each.is_kept for each in result.clips[0].curve("zvc69")} == {True}
    assert {each.is_kept for each in result.clips[0].curve("x264")} == {False}


def test_a_damaged_result_is_measured_again(clips: tuple[Path, ...], tmp_path: Path) -> None:
    plan = plan_of(clips[:1], tmp_path / "kept")
    first, _ = benched(plan)
    for path in (tmp_path / "kept").glob("*.json"):
        path.write_text(path.read_text()[:50])
    second, _ = benched(plan)
    assert not any(each.is_kept for each in second.clips[0].encodes)
    assert [each.stream_bytes for each in second.clips[0].encodes] == [
        each.stream_bytes for each in first.clips[0].encodes
    ]


def test_a_peer_that_is_missing_is_left_out_by_name(clips: tuple[Path, ...]) -> None:
    missing = replace(X264, name="x999", encoder="libx999")
    lacking = replace(VVENC, name="H999", encoder="libh999")
    result, _ = benched(plan_of(clips[:1], None, (missing, lacking, X264)))
    assert result.codecs == ("zvc69", "x264")
    assert "x999 is left out: this PyAV has no libx999" in result.notes
    assert any(note.startswith("H999 is left out: no ffmpeg with libh999 is found") for note in result.notes)


@pytest.mark.parametrize(
    ("width", "height", "clip_count", "asked", "frames"),
    [
        (1280, 720, 1, 64, 17),  # a keyframe and two groups of eight
        (640, 360, 2, 64, 34),
        (640, 360, 1, 64, 64),
        (640, 360, 1, 20, 20),
        (1920, 1080, 2, 64, peer_bench.QUICK_MIN_FRAMES),
    ],
)
def test_clips_share_the_pixels_of_a_quick_bench(
    tmp_path: Path, width: int, height: int, clip_count: int, asked: int, frames: int
) -> None:
    clip = write_y4m(tmp_path / "one.y4m", 1, width, height)
    plan = quick_plan(BenchPlan(clips=(clip,) * clip_count, frames=asked, metrics=("psnr",)))
    assert peer_bench._frame_limit(plan, clip) == frames


def test_a_quick_bench_says_what_it_leaves_out(clips: tuple[Path, ...]) -> None:
    plan = quick_plan(BenchPlan(clips=clips, metrics=("psnr", "ssim", "ms-ssim", "vmaf", "xpsnr")))
    assert AOM_AV1 not in plan.peers and VVENC in plan.peers
    assert set(plan.notes) == {"libaom AV1 is left out by --quick", "MS-SSIM is left out by --quick"}
    assert len(plan.crfs) == plan.peer_rates == 5
    assert {peer.name for peer in ALL_PEERS} >= set(peer_bench.QUICK_PEERS)


def test_a_clip_named_twice_is_refused(clips: tuple[Path, ...]) -> None:
    with pytest.raises(UsageError, match="named twice"):
        benched(plan_of((clips[0], clips[0]), None))


def test_clips_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(write_y4m(tmp_path / folder / "clip.y4m", 2, 64, 48))
    assert peer_bench._titles(paths) == ["a/clip.y4m", "b/clip.y4m"]


def test_a_codec_against_itself_is_level(result: BenchResult) -> None:
    twin = replace(
        result,
        codecs=("zvc69", "twin"),
        clips=tuple(
            replace(
                clip,
                encodes=clip.curve("zvc69")
                + tuple(replace(each, codec="twin") for each in clip.curve("zvc69")),
            )
            for clip in result.clips
        ),
    )
    for figure in against_peers(twin):
        assert figure.rate.percent == pytest.approx(0, abs=1e-9)
        assert figure.gain == pytest.approx(0, abs=1e-9)
    halved = replace(
        twin,
        clips=tuple(
            replace(
                clip,
                encodes=tuple(
                    replace(each, stream_bytes=each.stream_bytes * 2) if each.codec == "twin" else each
                    for each in clip.encodes
                ),
            )
            for clip in twin.clips
        ),
    )
    assert mean_rate(against_peers(halved)) == pytest.approx(-50, abs=0.01)
    (scale, *_) = scales_of(halved)
    assert mean_rate(against_anchor(halved, scale, "zvc69")) == pytest.approx(100, abs=0.01)


def test_speeds_are_of_all_encodes_and_clips_count_alike(result: BenchResult) -> None:
    timed = replace(
        result,
        clips=tuple(
            replace(clip, encodes=tuple(replace(each, encode_s=seconds, decode_s=1.0) for each in clip.encodes))
            for clip, seconds in zip(result.clips, (2.0, 6.0), strict=True)
        ),
    )
    assert [each.encode_fps for each in speeds(timed) if each.codec == "x264"] == [3.0, 1.0]
    assert mean_speed(speeds(timed), "x264") == pytest.approx((1.5, 6.0))


def test_the_json_holds_every_encode_and_every_figure(result: BenchResult) -> None:
    facts = json_facts(result)
    assert facts["schema"] == "zvc69-bench/1"
    assert {each["scale"] for each in facts["bd"]} == {"psnr", "ssim"}
    assert len(facts["bd"]) == 4
    assert len(facts["clips"][0]["encodes"]) == len(result.clips[0].encodes)
    assert facts["clips"][0]["encodes"][0]["mean"]["psnr"] > 5


def test_the_page_has_all_that_was_asked_for_and_is_small(result: BenchResult) -> None:
    text = bench_html(result)
    sections = data_of(text)["sections"]
    assert isinstance(sections, list)
    assert {each["type"] for each in sections} >= {"curves", "table", "speed", "slider", "frames", "facts"}
    (slider,) = [each for each in sections if each["type"] == "slider"]
    assert [picture["name"] for picture in slider["scenes"][0]["pictures"]] == ["original", "x264", "zvc69"]
    assert len(text.encode()) < 3_000_000


def test_zvc69_alone_makes_a_page_too(clips: tuple[Path, ...]) -> None:
    result, _ = benched(plan_of(clips[:1], None, ()))
    assert against_peers(result) == ()
    assert "zvc69 beside its peers" in bench_html(result)


@pytest.mark.parametrize("peer", [VP9, AOM_AV1, VVENC], ids=lambda peer: peer.name)
def test_a_peer_gives_back_its_frames_in_order_with_their_kinds(peer: Peer, clips: tuple[Path, ...]) -> None:
    from zvc69_cli.measure.clips import read_clip
    from zvc69_cli.measure.metrics import frame_psnr
    from zvc69_cli.measure.pairs import shallowed

    if not is_available(peer):
        pytest.skip(f"{peer.name}: {peer_bench.missing(peer)}")
    clip = read_clip(write_y4m(clips[0].parent / "large.y4m", FRAMES, 128, 128), clips[0].parent, None)
    coded = code_with(peer, clip.frames, clip.video, peer.rate_factors[-1], threads=1)
    decoded = [shallowed(frame, 8) for frame in coded.frames]
    for number, frame in enumerate(decoded):
        errors = [frame_psnr(other, frame).y for other in clip.frames]
        assert errors.index(max(errors)) == number
    assert [each.kind for each in coded.stored].count("I") == 1
    assert sum(each.size_bytes for each in coded.stored) == coded.stream_bytes


def test_numbers_are_short_and_never_in_powers() -> None:
    assert [short(each) for each in (1234.5, 99.94, 5.126, 0.5)] == ["1234", "99.9", "5.13", "0.5"]
