"""What stands around an encode: rows, summaries, dry runs, printed settings, completion."""

import csv
import json
import tomllib

import pytest
from click.testing import CliRunner

from tests.cli.test_commands import here, refused, zvc69
from zvc69_cli.cli.completion import SHELLS
from zvc69_cli.cli.main import program
from zvc69_cli.cli.summary import check_promises, rate_lines
from zvc69_cli.errors import ConstraintMissed
from zvc69_cli.pipeline.stats import EncodeStats, RateReport

__all__ = ["here"]


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_every_frame_in_the_order_of_coding(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "--csv", "rows.csv", "--psnr")
    assert done.exit_code == 0, done.stderr
    rows = rows_of(here / "rows.csv")
    columns = "Encode Order,Type,POC,QP,Bits,Y PSNR,U PSNR,V PSNR,YUV PSNR"
    assert (here / "rows.csv").read_text().splitlines()[0] == columns
    assert [int(row["Encode Order"]) for row in rows] == list(range(8))
    assert sorted(int(row["POC"]) for row in rows) == list(range(8))
    assert [row["POC"] for row in rows[:3]] == ["0", "4", "2"]
    assert [row["Type"] for row in rows[:3]] == ["I-SLICE", "P-SLICE", "B-SLICE"]
    stored = json.loads(zvc69("info", "a.zvc69", "--frames", "--json").stdout)["per_frame"]
    assert [int(row["Bits"]) for row in rows] == [8 * each["payload_bytes"] for each in stored]
    assert [float(row["QP"]) for row in rows] == pytest.approx([127 - each["q"] for each in stored], abs=0.01)
    assert all(float(row["YUV PSNR"]) > 10 for row in rows)


def test_csv_without_a_measure_has_no_column_of_it(here):
    assert zvc69("encode", "in.y4m", "a.zvc69", "--csv", "rows.csv").exit_code == 0
    assert list(rows_of(here / "rows.csv")[0]) == ["Encode Order", "Type", "POC", "QP", "Bits"]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("-", 2, ("--csv", "standard output")),
        ("a.zvc69", 2, ("--csv", "the output itself")),
        ("in.y4m", 2, ("in.y4m", "over the input")),
        ("no/rows.csv", 4, ("no/rows.csv", "no folder")),
        ("old.csv", 4, ("old.csv", "exists already")),
        (".", 4, (".", "directory")),
    ],
)
def test_rows_that_cannot_be_written_are_refused_before_the_work(here, name, code, words):
    (here / "old.csv").write_text("mine\n")
    refused(zvc69("encode", "in.y4m", "a.zvc69", "--csv", name), code, *words)
    assert sorted(path.name for path in here.iterdir()) == ["in.y4m", "old.csv"]
    assert (here / "old.csv").read_text() == "mine\n"


def test_rows_of_a_failed_encode_are_not_left(here):
    refused(zvc69("encode", "missing.y4m", "a.zvc69", "--csv", "rows.csv"), 3, "missing.y4m")
    assert [path.name for path in here.iterdir()] == ["in.y4m"]


def test_an_existing_file_of_rows_goes_where_the_output_may(here):
    (here / "rows.csv").write_text("old\n")
    assert zvc69("encode", "in.y4m", "a.zvc69", "--csv", "rows.csv", "-y").exit_code == 0
    assert len(rows_of(here / "rows.csv")) == 8


def test_ssim_is_measured_when_it_is_asked_for(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "--ssim", "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert 0 < facts["ssim"]["whole"] <= 1 and 0 < facts["ssim"]["y"] <= 1
    assert facts["psnr"] is None
    assert "SSIM of Y, U and V by their sizes: 0." in done.stderr and "PSNR" not in done.stderr


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "--dry-run", "--crf", "30", "--preset", "ultrafast")
    assert done.exit_code == 0, done.stderr
    for word in ("48x32", "toy on toy", "preset ultrafast, crf 30", "kb/s", "Nothing was written."):
        assert word in done.stdout
    assert [path.name for path in here.iterdir()] == ["in.y4m"]


def test_a_dry_run_says_so_where_a_file_would_be_replaced(here):
    (here / "a.zvc69").write_text("mine")
    assert "exists and would be replaced" in zvc69("encode", "in.y4m", "a.zvc69", "--dry-run").stdout
    assert (here / "a.zvc69").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "due"),
    [([], "crf 23"), (["--qp", "68"], "qp 68"), (["--bitrate", "2M"], "bitrate 2000 kbps")],
)
def test_a_dry_run_names_what_sets_the_quality(here, arguments, due):
    assert f"preset medium, {due}" in zvc69("encode", "in.y4m", "a.zvc69", "--dry-run", *arguments).stdout


def test_a_dry_run_has_facts_for_programs(here):
    facts = json.loads(zvc69("encode", "in.y4m", "a.zvc69", "--dry-run", "--json").stdout)
    assert facts["schema"] == "zvc69-dry-run/1"
    assert (facts["width"], facts["height"], facts["frame_rate"]) == (48, 32, "25")
    estimate = facts["estimate"]
    assert 0 < estimate["low_kbps"] <= estimate["likely_kbps"] <= estimate["high_kbps"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.y4m", "a.zvc69"], 3),
        (["in.y4m", "in.y4m"], 2),
        (["in.y4m", "no/a.zvc69"], 4),
        (["in.y4m", "a.zvc69", "--crf", "60"], 2),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(here, arguments, code):
    refused(zvc69("encode", *arguments, "--dry-run"), code)


def test_printed_settings_are_a_file_that_makes_the_same_bytes(here):
    typed = ["--preset", "ultrafast", "--crf", "33", "--slices", "2", "--no-info"]
    printed = zvc69("encode", "--print-config", *typed)
    assert printed.exit_code == 0, printed.stderr
    assert tomllib.loads(printed.stdout)["crf"] == 33.0
    (here / "mine.toml").write_text(printed.stdout, encoding="utf-8")
    assert zvc69("encode", "in.y4m", "a.zvc69", *typed).exit_code == 0
    done = zvc69("encode", "in.y4m", "b.zvc69", "--config", "mine.toml")
    assert done.exit_code == 0, done.stderr
    assert (here / "a.zvc69").read_bytes() == (here / "b.zvc69").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "missing.toml"], ("--config", "no file")),
        (["--config", "wrong.toml"], ("wrong.toml", "no key 'crff'")),
        (["--preset", "wrong.toml"], ("preset wrong", "no key 'crff'")),
        (["--tune", "grain"], ("--tune", "grain would change nothing")),
        (["--tune", "filmgrain"], ("--tune", "no tune 'filmgrain'")),
        (["--quality", "9"], ("--quality", "9 is out of range 1..8")),
        (["--quality", "2", "--qp", "51"], ("--qp", "--quality")),
        (["--strict"], ("--strict", "no effect")),
        (["--keyint", "1", "--bframes", "3"], ("--bframes", "no effect")),
        (["--force-key-frames", "soon"], ("--force-key-frames", "no list")),
        (["--print-config", "--crf", "60"], ("--crf", "60")),
    ],
)
def test_a_surface_that_cannot_be_had_is_refused_with_2(here, arguments, words):
    (here / "wrong.toml").write_text("crff = 3\n")
    refused(zvc69("encode", "in.y4m", "a.zvc69", *arguments), 2, *words)


def test_a_misspelt_variable_is_warned_of(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", env={"ZVC69_PRESTE": "fast"})
    assert done.exit_code == 0
    assert "warning: ZVC69_PRESTE stands for no flag" in done.stderr
    assert "Did you mean ZVC69_PRESET?" in done.stderr


def test_keyframes_can_be_asked_for_by_time(here):
    assert zvc69("encode", "in.y4m", "a.zvc69", "--force-key-frames", "0.1s,0:00.24").exit_code == 0
    frames = json.loads(zvc69("info", "a.zvc69", "--frames", "--json").stdout)["per_frame"]
    first = min(each["pts"] for each in frames)
    keys = sorted(each["pts"] - first for each in frames if each["kind"] == "I")
    step = sorted(each["pts"] for each in frames)[1] - first
    assert [key // step for key in keys] == [0, 3, 6]


def promises(**rate):
    return EncodeStats(
        frames=1, copied_packets=0, stream_bytes=1, payload_bytes=1, overhead_bytes=0, duration_s=1.0, wall_s=1.0,
        device="cpu", bundle_name="toy", rate=RateReport(peak_kbps=1.0, **rate),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ({"asked_kbps": 100.0, "got_kbps": 106.0}, "+6.0% off 100.00 kb/s"),
        ({"asked_kbps": 100.0, "got_kbps": 94.0}, "-6.0% off"),
        (
            {"asked_kbps": None, "got_kbps": 9.0, "buffer_kbit": 5.0, "least_kbit": -1.0, "underflows": 2},
            "2 times",
        ),
    ],
)
def test_strict_ends_with_9_where_a_promise_was_missed(rate, words):
    with pytest.raises(ConstraintMissed, match="file is whole") as missed:
        check_promises("a.zvc69", promises(**rate))
    assert missed.value.exit_code == 9
    assert words in missed.value.what


def test_strict_is_content_where_it_was_kept():
    check_promises("a.zvc69", promises(asked_kbps=100.0, got_kbps=104.9, buffer_kbit=5.0, least_kbit=0.0))


def test_the_end_report_says_what_was_asked_for_and_what_came():
    lines = rate_lines(
        RateReport(
            asked_kbps=100.0, got_kbps=101.5, peak_kbps=140.0, buffer_kbit=200.0, least_kbit=-3.0, underflows=1
        )
    )
    assert lines[0] == "rate: 101.50 kb/s of 100.00 kb/s asked for (+1.50%), at most 140.00 kb/s over a second"
    assert lines[1] == "buffer of 200 kbit: -3.0 kbit when it was emptiest, 1 underflow"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_script_of_each_shell(shell):
    done = zvc69("completion", shell)
    assert done.exit_code == 0, done.stderr
    assert f"_ZVC69_COMPLETE={shell}_complete" in done.stdout
    assert zvc69("completion", env={"SHELL": f"/bin/{shell}"}).stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "step"), [(["bsh"], "Did you mean bash?"), (["powershell"], "Choose one")]
)
def test_a_shell_that_is_not_known_is_refused(arguments, step):
    done = zvc69("completion", *arguments)
    refused(done, 2, "SHELL")
    assert step in done.stderr


def completed(words):
    """What the script is answered for a line, the last word unfinished."""
    environment = {
        "_ZVC69_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = CliRunner().invoke(program, [], env=environment)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "due"),
    [
        ("zvc69 enc", ["encode"]),
        ("zvc69 encode --motion-p", ["--motion-precision"]),
        ("zvc69 encode --preset ultra", ["ultrafast"]),
        ("zvc69 encode --rounding near", ["nearest"]),
        ("zvc69 encode --tune zero", ["zerolatency"]),
        ("zvc69 nonsense --rou", []),
    ],
)
def test_a_shell_is_told_the_words_that_may_follow(words, due):
    assert completed(words) == due
