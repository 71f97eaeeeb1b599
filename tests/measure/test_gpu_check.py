"""The GPU check as far as a machine without one can go: the kit, its pieces, time limits, and all parts on the CPU."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.measure.browser import data_of
from zvc69_cli.measure import bare_machine, gpu_kit
from zvc69_cli.measure.bare_machine import Trouble, install, join, missing_parts, read_manifest, take
from zvc69_cli.measure.gpu_kit import FOUND_THERE, TRAVELS, pack
from zvc69_cli.measure.gpu_page import check_html
from zvc69_cli.measure.gpu_speed import bound_by
from zvc69_cli.pipeline.queues import StageTime

ROOT = Path(__file__).parents[2]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def normal(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


@pytest.fixture
def kit(tmp_path):
    """A kit of two files, cut small."""
    files = {"one-1-py3-none-any.whl": bytes(range(256)) * 10, "clip.mp4": b"video" * 100}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    made = tmp_path / "kit"
    pack(
        made,
        [tmp_path / "one-1-py3-none-any.whl"],
        [tmp_path / "clip.mp4"],
        python=HERE,
        versions={"one": "1"},
        part_bytes=700,
        piece_bytes=1500,
    )
    return made, files


def test_everything_the_program_needs_travels_or_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed, known = [normal(each) for each in project["dependencies"]], set(TRAVELS) | set(FOUND_THERE)
    while needed:
        name = needed.pop()
        if name in ("onnxruntime", "colorama"):  # on other systems
            continue
        assert name in known, f"{name} would be missing on the bare machine"
        required = importlib.metadata.requires(name) or []
        if name not in FOUND_THERE:
            needed += [normal(each) for each in required if "extra ==" not in each]


def test_files_are_cut_into_parts_and_parts_are_laid_into_pieces(kit):
    made, files = kit
    facts, travelling = read_manifest(made)
    assert [each.name for each in travelling] == list(files)
    sizes = {piece.name: sum(part.stat().st_size for part in piece.iterdir()) for piece in made.glob("piece-*")}
    assert facts["pieces"] == len(sizes) == 3
    assert all(size <= 1500 for size in sizes.values())
    for each in travelling:
        assert join(made, each, made / "joined").read_bytes() == files[each.name]


def test_the_script_of_a_kit_needs_nothing_but_python(kit):
    done = subprocess.run(
        [sys.executable, "-I", "-S", kit[0] / "check.py", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "take" in done.stdout and "run" in done.stdout


def test_a_kit_that_comes_in_pieces_is_gathered(kit, tmp_path):
    made, _ = kit
    gathered = tmp_path / "gathered"
    for number in (2, 1, 3):
        carried = tmp_path / f"carried-{number}"
        carried.mkdir()
        for name in ("check.py", "manifest.json"):
            shutil.copyfile(made / name, carried / name)
        shutil.copytree(made / f"piece-{number}", carried / f"piece-{number}")
        done = subprocess.run(
            [sys.executable, carried / "check.py", "take", gathered],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert ("are missing" in done.stdout) == (number != 3)
    _, files = read_manifest(gathered)
    assert missing_parts(gathered, files) == []


def test_a_part_that_was_damaged_on_the_way_is_refused(kit, tmp_path):
    made, _ = kit
    part = next((made / "piece-1").iterdir())
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(Trouble, match="damaged"):
        take(made, tmp_path / "gathered")
    _, files = read_manifest(made)
    with pytest.raises(Trouble, match="damaged"):
        join(made, files[0], tmp_path / "joined")


def test_what_cannot_be_installed_is_said(kit, tmp_path):
    made, _ = kit
    facts = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps(facts | {"python": "2.7"}))
    with pytest.raises(Trouble, match=r"for Python 2\.7"):
        install(made, tmp_path / "work")
    (made / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(Trouble, match="pip could not install"):
        install(made, tmp_path / "work")
    next((made / "piece-2").iterdir()).unlink()
    with pytest.raises(Trouble, match="have not arrived"):
        install(made, tmp_path / "work")
    with pytest.raises(Trouble, match="cannot be read"):
        install(tmp_path / "nothing", tmp_path / "work")


def test_a_part_larger_than_a_piece_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not go"):
        pack(tmp_path / "kit", [], [], python=HERE, versions={}, part_bytes=2, piece_bytes=1)


def test_a_part_that_hangs_is_stopped_and_what_was_found_is_kept(tmp_path, monkeypatch, capsys):
    for name in ("CHECK", "PAGE"):
        monkeypatch.setattr(bare_machine, name, "tests.measure.stub_check")
    monkeypatch.chdir(ROOT)
    (tmp_path / "clip.mp4").touch()
    began = time.monotonic()
    arguments = ["run", "--here", "--device", "cpu", "--minutes", "1", "--out", str(tmp_path / "out")]
    code = bare_machine.main([*arguments, "--clips", str(tmp_path / "clip.mp4")])
    assert code == 1
    assert time.monotonic() - began < 150
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    ended = {name: part["ended"].split()[0] for name, part in result["parts"].items()}
    assert ended == {"exactness": "finished", "precision": "stopped", "speed": "ended"}
    assert [each["part"] for each in result["findings"]] == ["exactness", "precision", "speed"]
    assert (tmp_path / "out" / "page.html").read_text() == "page"
    assert "speed failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--parts", "speed,sped"], "no part 'sped'"), ([], "no clips"), (["--clips", "x"], "no clip x")],
)
def test_a_run_that_cannot_be_had_ends_with_2(tmp_path, capsys, arguments, word):
    assert bare_machine.main(["run", "--here", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert word in capsys.readouterr().err


def test_a_kit_is_not_made_over_another(tmp_path, capsys):
    assert gpu_kit.main([str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_cuda_is_found_where_pytorch_brings_it(tmp_path, monkeypatch):
    for name, file in (("cu13", "libcudart.so.13"), ("cudnn", "libcudnn.so.9"), ("empty", None)):
        folder = tmp_path / "nvidia" / name / "lib"
        folder.mkdir(parents=True)
        if file:
            (folder / file).touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    folders = bare_machine.child_environment(None)["LD_LIBRARY_PATH"].split(":")
    assert [str(tmp_path / "nvidia" / name / "lib") for name in ("cu13", "cudnn")] == folders[-3:-1]
    assert folders[-1] == "/mine"
    assert bare_machine.child_environment(tmp_path)["PYTHONPATH"].split(":")[0] == str(tmp_path)


def test_what_bounds_a_run_is_its_busiest_stage():
    stages = [StageTime(name="read", busy_s=1.0), StageTime(name="quantise", busy_s=7.6, threads=4)]
    text = bound_by(2.0, stages, [StageTime(name="search", busy_s=3.0), StageTime(name="prior", busy_s=1.0)])
    assert text.startswith("quantise: each of its 4 threads busy 95 %")
    assert "2.00 at a time, most of it search (75 %)" in text


RESULT = {
    "device": "cuda",
    "machine": {"gpu": "a GPU", "processor": "a CPU", "cores": 4, "system": "Linux", "python": "3.12"},
    "began": "now",
    "kit": {"av": "18"},
    "parts": {"exactness": {"ended": "finished", "seconds": 1.0}, "precision": {"ended": "finished", "seconds": 1.0}},
    "findings": [
        {"part": "exactness", "clip": "a", "encoded_on": "cpu", "decoded_on": "cuda", "equal": False, "what": "crc"},
        {"part": "precision", "clip": "a", "precision": "fp32", "bytes": 100, "psnr_db": 36.0,
         "psnr_of_the_fp32_stream_db": 36.0},
        {"part": "precision", "clip": "a", "precision": "fp16", "bytes": 101, "psnr_db": 35.9,
         "psnr_of_the_fp32_stream_db": 35.7},
        {"part": "precision", "clip": "a", "precision": "int8", "skipped": "no scales"},
    ],
}  # fmt: skip


def test_the_page_names_what_is_not_equal_and_what_lost_too_much():
    page = check_html(RESULT)
    assert "NOT EQUAL" in page and "0 of 1" in page
    assert "-0.300" in page and "+1.00 %" in page and "no scales" in page


def test_the_page_shows_how_a_run_went_by():
    stage = {"name": "quantise", "busy_s": 1.5, "processor_s": 1.0, "threads": 2}
    run = {
        "frames": 30,
        "frames_per_s": 30.0,
        "wall_s": 1.0,
        "stages": [stage],
        "networks": [],
        "bound": "nothing",
    }
    rows = [{"at_s": at / 4, "frames_per_s": 30.0, "busy": {"quantise": 1.25}, "in_flight": 3} for at in (1, 2)]
    found = {"part": "speed", "size": "64x48", "in": {**run, "timeline": rows}, "out": run}
    result = {**RESULT, "parts": {"speed": {"ended": "finished", "seconds": 1.0}}, "findings": [found]}
    sections = data_of(check_html(result))["sections"]
    (timeline,) = (each for each in sections if each["type"] == "timeline")
    assert timeline["title"].startswith("64x48, in") and timeline["stages"] == ["quantise"]
    assert [each["busy"] for each in timeline["moments"]] == [[1.25], [1.25]]


@pytest.mark.slow
def test_the_whole_check_runs_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = ["run", "--here", "--device", "cpu", "--minutes", "15", "--out", str(tmp_path), "--frames", "2"]
    arguments += ["--sizes", "64x48", "--most", "20", "--clips", "samples/cafe_640x360.mp4"]
    assert bare_machine.main(arguments) == 0, (tmp_path / "log.txt").read_text()
    result = json.loads((tmp_path / "result.json").read_text())
    assert {part["ended"] for part in result["parts"].values()} == {"finished"}
    proof = [each for each in result["findings"] if each["part"] == "exactness"]
    assert [each["equal"] for each in proof] == [True, True]
    assert [each["largest_difference"] for each in proof] == [0, 0]
    speeds = [each for each in result["findings"] if each["part"] == "speed"]
    assert speeds[0]["in"]["frames_per_s"] > 0 and speeds[0]["out"]["frames_per_s"] > 0
    assert any("latency_ms" in each for each in speeds)
    several = [(each["way"], each["jobs"]) for each in speeds if "jobs" in each]
    assert several == [(way, jobs) for jobs in (1, 2, 4) for way in ("in", "out")]
    assert all(each["busy"]["quantise"] >= 0 for each in speeds[0]["in"]["timeline"])
    page = (tmp_path / "page.html").read_text()
    assert "Run on the CPU alone" in page and "64x48" in page
