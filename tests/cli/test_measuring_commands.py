"""`zvc69 bench`, `profile` and `info --html` as whole command lines, with the toy codec."""

import json

import pytest

from tests.cli.test_commands import refused, zvc69
from tests.measure.browser import data_of
from tests.pipeline.engines import ToyEngines, write_y4m
from zvc69_cli.measure.peers import X264, is_available
from zvc69_cli.measure.profile import part_of
from zvc69_cli.measure.profile_page import flame_of
from zvc69_cli.measure.sampler import Samples

needs_x264 = pytest.mark.skipif(not is_available(X264), reason="this PyAV has no libx264")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_y4m(tmp_path / "in.y4m", 8, 96, 64)
    return tmp_path


@needs_x264
def test_bench_says_how_many_bits_more_and_keeps_what_it_measured(here):
    pytest.importorskip("bjontegaard")
    arguments = (
        "bench",
        "in.y4m",
        "--peers",
        "x264",
        "--metrics",
        "psnr",
        "--crfs",
        "45,35,25,15",
        "--threads",
        1,
    )
    done = zvc69(*arguments, "--html", "b.html")
    assert done.exit_code == 0, done.stderr
    assert "x264" in done.stdout and "PSNR 6:1:1" in done.stdout
    assert "[11/11]" in done.stderr  # four of its own, six of the peer, one at equal rate
    assert "Quality against rate" in (here / "b.html").read_text()
    assert list((here / "cache" / "zvc69" / "bench").glob("*.json"))
    again = zvc69(*arguments, "--json")
    facts = json.loads(again.stdout)
    assert all(each["kept"] for each in facts["clips"][0]["encodes"])
    assert again.stderr.count("kept from before") >= 10


@needs_x264
def test_an_interrupted_bench_says_where_its_results_are(here, monkeypatch):
    pytest.importorskip("bjontegaard")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("zvc69_cli.measure.peer_bench.code_with", interrupt)
    refused(
        zvc69("bench", "in.y4m", "--peers", "x264", "--metrics", "psnr", "--results", "kept"),
        130,
        "interrupted",
    )
    assert list((here / "kept").glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, ["CLIP"]),
        (["in.y4m", "--peers", "x266"], 2, ["--peers", "x266"]),
        (["in.y4m", "--crfs", "23,x"], 2, ["--crfs"]),
        (["in.y4m", "--crfs", "60"], 2, ["--crfs", "0..51"]),
        (["in.y4m", "--frames", "0"], 2, ["--frames"]),
        (["in.y4m", "--no-keep", "--results", "r"], 2, ["--results", "--no-keep"]),
        (["in.y4m", "--html", "in.y4m"], 2, ["--html"]),
        (["missing.mkv", "--no-keep", "--peers", "none", "--no-progress"], 3, ["missing.mkv"]),
    ],
)
def test_bench_refuses_what_it_cannot_do(here, arguments, code, words):
    pytest.importorskip("bjontegaard")
    refused(zvc69("bench", *arguments), code, *words)


def test_profile_tells_time_by_work_and_what_bounds_it(here):
    done = zvc69("profile", "in.y4m", "--frames", 6, "--json", "--html", "p.html", engines=ToyEngines(0.02))
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["schema"] == "zvc69-profile/1"
    for name in ("encode", "decode"):
        phase = facts[name]
        assert phase["frames"] == 6
        assert phase["bound"].endswith(".")
        parts = {part["name"]: part for part in phase["parts"]}
        assert parts["write"]["seconds"] > 0 and parts["read"]["seconds"] > 0
        assert parts["reconstruct"]["ms_a_frame"] > 0
        assert phase["peak_memory_bytes"] >= 0
    networks = {each["name"]: each["busy_s"] for each in facts["encode"]["networks"]}
    assert networks["analyse"] >= 6 * 0.02
    assert "analyse" not in {each["name"] for each in facts["decode"]["networks"]}
    sections = data_of((here / "p.html").read_text())["sections"]
    assert [each["type"] for each in sections].count("flame") == 2
    (flame, _) = [each for each in sections if each["type"] == "flame"]
    assert {child["name"] for child in flame["root"]["children"]} & {"stage quantise", "stage pack"}


def test_profile_prints_tables(here):
    done = zvc69("profile", "in.y4m", "--frames", 4)
    assert done.exit_code == 0, done.stderr
    assert "encode: 4 frames" in done.stdout and "decode: 4 frames" in done.stdout and "entropy" in done.stdout
    assert sorted(path.name for path in here.iterdir()) == ["in.y4m"]


@pytest.mark.parametrize(
    ("stage", "stack", "part"),
    [
        ("read", [("media.demux", "__iter__")], "read"),
        ("read", [("media.demux", "_frame"), ("media.pictures", "planes")], "convert"),
        ("quantise", [("codec.encoder", "code"), ("pipeline.timed", "residual_costs")], "analyse"),
        ("quantise", [("codec.encoder", "code"), ("codec.intra.rounding", "rounded")], "arithmetic"),
        ("quantise", [("codec.motion.search", "chooser"), ("pipeline.timed", "search")], "search"),
        ("pack", [("codec.encoder", "pack")], "entropy"),
        ("parse", [("codec.decoder", "parse"), ("codec.entropy.coder", "read")], "entropy"),
        ("write", [("container.writer", "write_packet")], "write"),
        ("write", [], "write"),
    ],
)
def test_a_place_in_the_program_belongs_to_one_sort_of_work(stage, stack, part):
    assert part_of(stage, stack) == part


def test_the_flame_picture_adds_up():
    samples = Samples()
    samples.add("pack", (("codec.encoder", "pack"), ("codec.entropy.coder", "pack_string")), 2.0)
    samples.add("pack", (("codec.encoder", "pack"),), 1.0)
    samples.add("read", (), 1.0)
    root = flame_of("encode", samples)
    assert root.value == 4.0
    pack, read = root.children
    assert (pack.name, pack.value, read.value) == ("stage pack", 3.0, 1.0)
    assert [(node.name, node.value) for node in pack.children[0].children] == [("coder pack_string", 2.0)]


def test_info_makes_a_page_of_every_frame(here):
    assert zvc69("encode", "in.y4m", "a.zvc69", "--keyint", 4).exit_code == 0
    done = zvc69("info", "a.zvc69", "--html", "i.html", "--json")
    assert done.exit_code == 0, done.stderr
    assert "per_frame" not in json.loads(done.stdout)
    sections = data_of((here / "i.html").read_text())["sections"]
    (frames,) = [each for each in sections if each["type"] == "frames"]
    (run,) = frames["groups"][0]["runs"]
    assert len(run["kinds"]) == len(run["bytes"]) == len(run["q"]) == len(run["motion"]) == 8
    assert run["kinds"][0] == run["kinds"][4] == "I"
    told = json.loads(zvc69("info", "a.zvc69", "--frames", "--json").stdout)
    by_pts = sorted(told["per_frame"], key=lambda frame: frame["pts"])
    assert run["bytes"] == [frame["payload_bytes"] for frame in by_pts]
    assert run["motion"] == [frame["motion_bytes"] for frame in by_pts]
    assert any(run["motion"]) and run["motion"][0] == 0


def test_info_makes_a_page_of_a_damaged_stream_too(here):
    assert zvc69("encode", "in.y4m", "a.zvc69").exit_code == 0
    cut = here / "cut.zvc69"
    cut.write_bytes((here / "a.zvc69").read_bytes()[:-150])
    assert zvc69("info", "cut.zvc69", "--html", "i.html").exit_code == 7
    assert "What is wrong" in (here / "i.html").read_text()
    refused(zvc69("info", "a.zvc69", "--html", "a.zvc69"), 2, "--html")
