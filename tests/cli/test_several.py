"""Several files in one run: names, reports, exit codes, networks that are loaded once, and a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_commands import refused, zvc69
from tests.pipeline.engines import ToyEngines, write_y4m

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with three clips, and an empty one in it."""
    monkeypatch.chdir(tmp_path)
    for name, frames in (("a.y4m", 4), ("b.y4m", 5), ("c.y4m", 6)):
        write_y4m(tmp_path / name, frames)
    (tmp_path / "out").mkdir()
    return tmp_path


class Loading(ToyEngines):
    """Counts how often networks are loaded."""

    loaded = 0

    def for_encoding(self, run):
        self.loaded += 1
        return super().for_encoding(run)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_input_becomes_a_file_of_its_name_with_networks_loaded_once(here):
    engines = Loading()
    done = zvc69("encode", "a.y4m", "b.y4m", "--output-dir", "out", "-i", "c.y4m", engines=engines)
    assert done.exit_code == 0, done.stderr
    assert names(here / "out") == ["a.zvc69", "b.zvc69", "c.zvc69"]
    assert engines.loaded == 1
    for name, frames in (("a", 4), ("b", 5), ("c", 6)):
        assert f"out/{name}.zvc69: {frames} frames in" in done.stderr
    assert "3 of 3 files: 15 frames in" in done.stderr
    engines = Loading()
    back = zvc69(
        "decode",
        *sorted((here / "out").iterdir()),
        "--output-dir",
        here,
        "--output-format",
        "mkv",
        engines=engines,
    )
    assert back.exit_code == 0, back.stderr
    assert engines.loaded == 1
    assert {"a.mkv", "b.mkv", "c.mkv"} <= set(names(here))
    assert "3 of 3 files: 15 frames in" in back.stderr


def test_the_bytes_are_those_of_a_run_for_each(here):
    assert zvc69("encode", "a.y4m", "b.y4m", "--output-dir", "out", "--no-info").exit_code == 0
    for name in "ab":
        assert zvc69("encode", f"{name}.y4m", f"{name}.zvc69", "--no-info").exit_code == 0
        assert (here / f"{name}.zvc69").read_bytes() == (here / "out" / f"{name}.zvc69").read_bytes()


@pytest.mark.parametrize(
    ("flags", "suffix"),
    [([], "mp4"), (["--y4m"], "y4m"), (["--raw"], "yuv"), (["--output-format", "y4m"], "y4m")],
)
def test_decoded_files_are_named_for_what_they_are(here, flags, suffix):
    assert zvc69("encode", "a.y4m", "--output-dir", "out").exit_code == 0
    done = zvc69("decode", "out/a.zvc69", "--output-dir", "out", *flags)
    assert done.exit_code == 0, done.stderr
    assert f"a.{suffix}" in names(here / "out")


def test_json_is_an_object_a_line_for_each_file(here):
    (here / "broken.y4m").write_text("no video")
    done = zvc69("encode", "a.y4m", "broken.y4m", "b.y4m", "--output-dir", "out", "--json")
    assert done.exit_code == 3
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["input"] for each in facts] == ["a.y4m", "broken.y4m", "b.y4m"]
    assert [each["schema"] for each in facts] == ["zvc69-encode/1"] * 3
    assert [each.get("frames") for each in facts] == [4, None, 5]
    assert facts[1]["error"]["exit_code"] == 3 and "broken.y4m" in facts[1]["error"]["where"]
    # Clocks of networks that stay loaded count for each file alone.
    first, last = (sum(net["busy_s"] for net in each["networks"]) for each in (facts[0], facts[2]))
    assert 0 < last < 10 * first


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_it(here):
    done = zvc69("encode", "missing.y4m", "a.y4m", "b.y4m", "--output-dir", "out")
    refused(done, 3, "missing.y4m")
    assert names(here / "out") == ["a.zvc69", "b.zvc69"]
    assert "2 of 3 files: 9 frames" in done.stderr and "1 failed" in done.stderr


def test_the_exit_code_is_that_of_the_first_that_failed(here):
    (here / "out" / "a.zvc69").write_text("mine")
    done = zvc69("encode", "a.y4m", "missing.y4m", "b.y4m", "--output-dir", "out")
    refused(done, 4, "out/a.zvc69", "exists already")
    assert (here / "out" / "a.zvc69").read_text() == "mine"
    assert names(here / "out") == ["a.zvc69", "b.zvc69"]
    assert zvc69("encode", "a.y4m", "--output-dir", "out", "-y").exit_code == 0
    assert (here / "out" / "a.zvc69").read_bytes().startswith(b"ZVC69\0")


def test_a_damaged_stream_among_several_ends_with_7_and_the_others_are_there(here):
    assert zvc69("encode", "a.y4m", "b.y4m", "--output-dir", "out").exit_code == 0
    damaged = here / "out" / "a.zvc69"
    damaged.write_bytes(damaged.read_bytes()[:-60])
    done = zvc69(
        "decode", damaged, here / "out" / "b.zvc69", "--output-dir", here / "out", "--output-format", "y4m"
    )
    assert done.exit_code == 7
    assert "b.y4m" in names(here / "out") and "a.y4m" not in names(here / "out")


def test_what_no_file_could_be_worked_on_with_is_said_once(here):
    from zvc69_cli.errors import RuntimeUnavailable

    class Missing(ToyEngines):
        def for_encoding(self, run):
            raise RuntimeUnavailable("--device cuda", "no driver", "Take --device cpu.")

    done = zvc69("encode", "a.y4m", "b.y4m", "--output-dir", "out", engines=Missing())
    refused(done, 5, "--device cuda")
    assert done.stderr.count("no driver") == 1
    assert names(here / "out") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["encode", "a.y4m", "sub/a.mp4"], 2, ("a.zvc69", "both a.y4m and sub/a.mp4")),
        (["encode", "a.y4m", "-"], 2, ("--output-dir", "standard input")),
        (["encode", "a.y4m", "b.y4m", "-o", "x.zvc69"], 2, ("--output-dir", "-o")),
        (["encode"], 2, ("IN", "missing")),
        (["encode", "a.y4m", ""], 2, ("IN", "empty")),
        (["encode", "a.y4m", ".."], 2, ("..", "no name")),
        (["encode", "a.y4m", "b.y4m", "--csv", "rows.csv"], 2, ("--csv", "one file")),
        (["encode", "a.y4m", "--bitrate", "9", "--pass", "1", "--stats", "s"], 2, ("--stats", "one file")),
        (["encode", "a.y4m", "b.y4m", "--crf", "99"], 2, ("--crf", "99")),
        (["decode", "out/../c.y4m", "a.y4m", "--output-format", "xyz"], 2, ("--output-format", "xyz")),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_begun(here, arguments, code, words):
    refused(zvc69(*arguments, "--output-dir", "out"), code, *words)
    assert names(here / "out") == []


def test_a_folder_that_is_not_there_is_not_made(here):
    refused(zvc69("encode", "a.y4m", "--output-dir", "new"), 4, "new", "no such folder")
    refused(zvc69("encode", "a.y4m", "--output-dir", "b.y4m"), 4, "b.y4m", "a file")
    assert not (here / "new").exists()


def test_an_output_that_is_an_input_of_the_same_run_is_refused(here):
    assert zvc69("encode", "a.y4m", "--output-dir", ".").exit_code == 0
    refused(zvc69("encode", "a.zvc69", "b.y4m", "--output-dir", ".", "-y"), 2, "a.zvc69", "over the input")


def test_a_format_without_a_folder_is_refused(here):
    refused(zvc69("decode", "a.y4m", "b.mp4", "--output-format", "mp4"), 2, "--output-format", "--output-dir")


def test_two_names_are_still_input_and_output(here):
    assert zvc69("encode", "a.y4m", "b.zvc69").exit_code == 0
    refused(zvc69("encode", "a.y4m", "b.y4m", "c.y4m"), 2, "c.y4m", "too many")


def test_a_dry_run_of_several_writes_nothing(here):
    done = zvc69("encode", "a.y4m", "b.y4m", "--output-dir", "out", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("Nothing was written.") == 2
    told = zvc69("encode", "a.y4m", "b.y4m", "--output-dir", "out", "--dry-run", "--json")
    assert [json.loads(line)["frames"] for line in told.stdout.splitlines()] == [4, 5]
    assert names(here / "out") == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_ends_the_present_file_and_begins_no_other(here):
    write_y4m(here / "long.y4m", 400)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.toy_program", "encode", "long.y4m", "a.y4m", "--output-dir", "out"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ZVC69_TOY_DELAY_S": "0.05"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    part = here / "out" / "long.zvc69.part"
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 1000) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert names(here / "out") == ["long.zvc69.part"]
    assert b"long.zvc69.part: interrupted after" in err and b"0 of 2 files" in err
