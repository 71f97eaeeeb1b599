"""`zvc69 compare` as whole command lines, with the toy codec."""

import csv
import json

import pytest

from tests.cli.test_commands import refused, zvc69
from tests.pipeline.engines import write_y4m
from zvc69_cli.measure import meters


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_y4m(tmp_path / "in.y4m", 8)
    assert zvc69("encode", "in.y4m", "a.zvc69").exit_code == 0
    assert zvc69("encode", "in.y4m", "b.zvc69", "--crf", 45).exit_code == 0
    return tmp_path


def test_a_stream_is_measured_against_its_source(here):
    encoded = zvc69("encode", "in.y4m", "c.zvc69", "--json", "--psnr")
    due = json.loads(encoded.stdout)["psnr"]
    done = zvc69("compare", "in.y4m", "c.zvc69", "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["schema"] == "zvc69-compare/1"
    (one,) = facts["distorted"]
    assert one["frames"] == 8
    assert one["mean"]["psnr"] == pytest.approx(due["weighted_db"], abs=1e-6)
    assert one["mean"]["psnr_v"] == pytest.approx(due["v_db"], abs=1e-6)
    assert len(one["per_frame"]["ssim"]) == 8
    assert min(one["per_frame"]["psnr"]) == one["least"]["psnr"] == one["per_frame"]["psnr"][one["worst_frame"]]
    assert any("MS-SSIM is left out" in each for each in one["missing"])


@pytest.mark.parametrize("names", [("-", "a.zvc69"), ("in.y4m", "-")])
def test_one_of_the_two_may_come_from_a_pipe(here, names):
    piped = (here / "in.y4m").read_bytes() if names[0] == "-" else zvc69("decode", "a.zvc69", "-").stdout_bytes
    due = json.loads(zvc69("compare", "in.y4m", "a.zvc69", "--json").stdout)["distorted"][0]
    done = zvc69("compare", *names, "--json", stdin=piped)
    assert done.exit_code == 0, done.stderr
    (one,) = json.loads(done.stdout)["distorted"]
    assert one["per_frame"] == due["per_frame"]
    assert (one["size_bytes"] == 0) == (names[1] == "-")


def test_a_stream_in_a_pipe_is_told_how_it_can_be_compared(here):
    done = zvc69("compare", "in.y4m", "-", "--no-progress", stdin=(here / "a.zvc69").read_bytes())
    refused(done, 3, "standard input")


def test_the_table_has_a_column_for_each_and_the_source_equals_itself(here):
    done = zvc69("compare", "in.y4m", "in.y4m", "a.zvc69", "b.zvc69")
    assert done.exit_code == 0, done.stderr
    assert "a.zvc69" in done.stdout and "b.zvc69" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "PSNR 6:1:1" in line and "XPSNR" not in line]
    assert "100.000 (100.000)" in line


def test_rows_and_a_page_are_written(here):
    done = zvc69(
        "compare",
        "in.y4m",
        "a.zvc69",
        "b.zvc69",
        "--csv",
        "q.csv",
        "--html",
        "q.html",
        "--metrics",
        "psnr,ssim",
    )
    assert done.exit_code == 0, done.stderr
    rows = list(csv.DictReader((here / "q.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == [*map(str, range(8)), "mean"] * 2
    mean = sum(float(row["psnr_y"]) for row in rows[:8]) / 8
    assert float(rows[8]["psnr_y"]) == pytest.approx(mean)
    assert "vmaf" not in rows[0]
    page = (here / "q.html").read_text()
    assert "Compared with in.y4m" in page and "b.zvc69" in page
    assert not list(here.glob("*.part"))


@pytest.mark.parametrize("names", [[], ["in.y4m"]])
def test_a_missing_name_is_refused(here, names):
    refused(zvc69("compare", *names), 2, "REF DIST")


def test_what_does_not_fit_is_refused_with_the_flag_that_helps(here):
    write_y4m(here / "larger.y4m", 8, 64, 48)
    write_y4m(here / "longer.y4m", 9)
    result = zvc69("compare", "in.y4m", "larger.y4m", "--no-progress")
    refused(result, 3, "larger.y4m", "64x48", "48x32")
    assert "--scale" in result.stderr
    result = zvc69("compare", "in.y4m", "longer.y4m", "--no-progress", "--metrics", "psnr")
    refused(result, 3, "in.y4m", "ends after 8 frames")
    assert zvc69("compare", "in.y4m", "larger.y4m", "--scale").exit_code == 0
    assert zvc69("compare", "in.y4m", "longer.y4m", "--shortest").exit_code == 0
    assert zvc69("compare", "in.y4m", "longer.y4m", "--frames", "5").exit_code == 0


def test_raw_yuv_is_described_by_flags_and_the_other_by_itself(here):
    assert zvc69("decode", "a.zvc69", "a.yuv", "--raw").exit_code == 0
    described = ("--input-res", "48x32", "--fps", "25")
    done = zvc69("compare", "a.zvc69", "a.yuv", *described, "--json", "--metrics", "psnr")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["distorted"][0]["mean"]["psnr"] == 100.0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--metrics", "psnr,lpips"], 2, ["--metrics", "lpips"]),
        (["--html", "in.y4m"], 2, ["--html", "input"]),
        (["--csv", "missing/q.csv"], 4, ["missing/q.csv"]),
        (["--metrics", "ms-ssim"], 5, ["--metrics", "176x176"]),
    ],
)
def test_wrong_flags_are_refused_before_the_work(here, arguments, code, words):
    before = (here / "in.y4m").read_bytes()
    refused(zvc69("compare", "in.y4m", "a.zvc69", *arguments), code, *words)
    assert (here / "in.y4m").read_bytes() == before


def test_without_libvmaf_the_rest_is_measured_and_it_is_said(here, monkeypatch):
    monkeypatch.setattr(meters, "find_program", lambda **_: None)
    done = zvc69("compare", "in.y4m", "a.zvc69")
    assert done.exit_code == 0
    assert "VMAF left out: no ffmpeg with libvmaf" in done.stderr
    refused(
        zvc69("compare", "in.y4m", "a.zvc69", "--metrics", "vmaf"), 5, "--metrics", "no ffmpeg with libvmaf"
    )


def test_an_error_in_the_middle_leaves_no_ffmpeg_behind(here, monkeypatch):
    import subprocess

    started = []
    real = subprocess.Popen

    def remember(*arguments, **options):
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr("zvc69_cli.measure.vmaf.subprocess.Popen", remember)
    cut = here / "cut.zvc69"
    cut.write_bytes((here / "a.zvc69").read_bytes()[:-200])
    result = zvc69("compare", "in.y4m", "cut.zvc69")
    assert result.exit_code in (3, 7), result.stderr
    assert all(process.poll() is not None for process in started)
