"""Whole command lines in this process, with the toy codec."""

import importlib
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import zvc69_cli
from tests.pipeline.engines import ToyEngines, write_y4m, y4m_bytes
from zvc69_cli.cli import report
from zvc69_cli.cli.main import COMMANDS, program
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.flags import flags_of
from zvc69_cli.frames import VideoFormat
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.pipeline.engine import plain_header
from zvc69_cli.pipeline.stats import Progress
from zvc69_cli.runtime.settings import RunSettings


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with a clip of eight frames."""
    monkeypatch.chdir(tmp_path)
    write_y4m(tmp_path / "in.y4m", 8)
    return tmp_path


def zvc69(*arguments, stdin=None, engines=None, env=None):
    return CliRunner().invoke(
        program, [str(each) for each in arguments], input=stdin, obj=engines or ToyEngines(), env=env
    )


def refused(result, code, *words):
    """Asserts a refusal in three parts: where and what, then an indented step; nothing on standard output."""
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    first = next(number for number, line in enumerate(lines) if all(word in line for word in words))
    assert lines[first].startswith("zvc69: ")
    assert lines[first].count(": ") >= 2
    assert lines[first + 1].startswith(" " * 7)
    assert "Traceback" not in result.stderr


@pytest.fixture
def stream(here):
    assert zvc69("encode", "in.y4m", "a.zvc69", "--keyint", 1).exit_code == 0
    return here / "a.zvc69"


def test_encode_info_and_decode_say_what_they_did(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "--psnr")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert "8 frames" in done.stderr and "PSNR (6 Y + U + V) / 8" in done.stderr
    told = zvc69("info", "a.zvc69")
    assert told.exit_code == 0, told.stderr
    assert "48x32" in told.stdout and "toy" in told.stdout and "crf 23" in told.stdout
    back = zvc69("decode", "a.zvc69", "b.y4m")
    assert back.exit_code == 0, back.stderr
    assert back.stdout == ""
    assert len((here / "b.y4m").read_bytes()) >= len((here / "in.y4m").read_bytes())


def test_names_can_be_given_by_flag(here):
    assert zvc69("encode", "-i", "in.y4m", "-o", "a.zvc69").exit_code == 0
    assert zvc69("encode", "--output", "b.zvc69", "in.y4m").exit_code == 0
    assert zvc69("info", "-i", "b.zvc69").exit_code == 0


def test_frames_has_a_short_form(here):
    assert zvc69("encode", "in.y4m", "a.zvc69", "-f", "3").exit_code == 0
    assert json.loads(zvc69("info", "a.zvc69", "--json").stdout)["frames"] == 3


def test_a_pipe_on_both_sides_carries_data_only(here):
    encoded = zvc69("encode", "-", "-", stdin=y4m_bytes(4))
    assert encoded.exit_code == 0, encoded.stderr
    assert encoded.stdout_bytes.startswith(b"ZVC69\0")
    decoded = zvc69("decode", "-", "-", stdin=encoded.stdout_bytes)
    assert decoded.exit_code == 0, decoded.stderr
    assert decoded.stdout_bytes.startswith(b"YUV4MPEG2 ")


def test_json_summaries_have_a_schema_and_times_for_each_stage(here):
    encoded = json.loads(zvc69("encode", "in.y4m", "a.zvc69", "--json", "--psnr").stdout)
    assert encoded["schema"] == "zvc69-encode/1"
    stages = ["read", "plan", "quantise", "pack", "compare", "write"]
    assert [stage["name"] for stage in encoded["stages"]] == stages
    assert encoded["psnr"]["weighted_db"] > 10
    decoded = json.loads(zvc69("decode", "a.zvc69", "b.y4m", "--json").stdout)
    assert decoded["schema"] == "zvc69-decode/1"
    assert [stage["name"] for stage in decoded["stages"]] == ["read", "parse", "reconstruct", "write"]
    assert decoded["entropy_s"] > 0


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_json_cannot_share_standard_output_with_data(here, command):
    refused(zvc69(command, "in.y4m", "-", "--json"), 2, "--json")


def test_info_json_is_exact_and_tells_each_frame(stream):
    facts = json.loads(zvc69("info", stream, "--json", "--frames").stdout)
    assert facts["schema"] == "zvc69-info/1"
    assert facts["video"]["frame_rate"] == "25"
    assert facts["complete"] is True
    assert facts["bundle"]["name"] == "toy" and not facts["bundle"]["installed"]
    assert [frame["kind"] for frame in facts["per_frame"]] == ["I"] * 8
    assert facts["payload_bytes"] + facts["overhead_bytes"] == facts["size_bytes"] == stream.stat().st_size
    assert facts["settings"]["settings"]["crf"] == 23.0


def test_info_lists_frames_as_a_table(stream):
    assert "coding order" in zvc69("info", stream, "--frames").stdout


def test_info_reports_a_cut_file_and_ends_with_7(stream):
    stream.write_bytes(stream.read_bytes()[:-150])
    told = zvc69("info", stream)
    assert told.exit_code == 7
    assert "cut" in told.stdout or "missing" in told.stdout
    facts = json.loads(zvc69("info", stream, "--json").stdout)
    assert facts["complete"] is None and facts["problems"]


def test_no_info_makes_equal_bytes(here):
    for name in ("a.zvc69", "b.zvc69"):
        assert zvc69("encode", "in.y4m", name, "--no-info").exit_code == 0
    assert (here / "a.zvc69").read_bytes() == (here / "b.zvc69").read_bytes()
    assert json.loads(zvc69("info", "a.zvc69", "--json").stdout)["settings"] is None


def test_quiet_says_nothing(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "-q")
    assert (done.exit_code, done.output) == (0, "")


def test_presets_of_x265_are_named_in_a_line_of_information(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "--preset", "slower")
    assert done.exit_code == 0
    assert "preset slower is the same as slow in this version" in done.stderr


def test_flags_win_over_the_preset_in_any_order(here):
    for name, arguments in (
        ("a", ["--preset", "ultrafast", "--motion-search", "full"]),
        ("b", ["--motion-search", "full", "--preset", "ultrafast"]),
    ):
        assert zvc69("encode", "in.y4m", name, *arguments, "--no-info").exit_code == 0
    assert (here / "a").read_bytes() == (here / "b").read_bytes()


def test_the_environment_sets_flags_and_presets(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", env={"ZVC69_CRF": "40", "ZVC69_PRESET": "ultrafast"})
    assert done.exit_code == 0
    note = json.loads(zvc69("info", "a.zvc69", "--json").stdout)["settings"]
    assert (note["settings"]["crf"], note["preset"]) == (40.0, "ultrafast")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "in.y4m", "a.zvc69", "--crf", "60"], ("--crf", "60 is out of range 0..51")),
        (["encode", "in.y4m", "a.zvc69", "--crf", "nan"], ("--crf", "0..51")),
        (["encode", "in.y4m", "a.zvc69", "--crf", "low"], ("--crf", "'low' is not a number 0..51")),
        (["encode", "in.y4m", "a.zvc69", "--keyint", "1.5"], ("--keyint", "whole number")),
        (["encode", "in.y4m", "a.zvc69", "--crf", "1", "--qp", "50"], ("--qp",)),
        (["encode", "in.y4m", "a.zvc69", "--crff", "1"], ("--crff", "no such flag")),
        (["encode", "in.y4m", "a.zvc69", "--preset", "mediun"], ("--preset", "mediun")),
        (["encode", "in.y4m", "a.zvc69", "--frame-headers", "fll"], ("--frame-headers", "compact, full")),
        (["encode", "in.y4m", "a.zvc69", "extra"], ("extra", "too many")),
        (["encode", "in.y4m"], ("OUT", "missing")),
        (["encode"], ("IN", "missing")),
        (["encode", "in.y4m", "a.zvc69", "-y", "-n"], ("-y", "-n")),
        (["encode", "in.y4m", "a.zvc69", "--crf"], ("--crf", "argument")),
        (["encode", "in.y4m", "in.y4m", "-y"], ("in.y4m", "over the input")),
        (["decode", "in.y4m", "in.y4m", "-y"], ("in.y4m", "over the input")),
        (["decode", "in.y4m", "out"], ("out", "format")),
        (["decode", "in.y4m", "b.y4m", "--on-error", "ignore"], ("--on-error", "stop, conceal")),
        (["info", "in.y4m", "in.y4m"], ("in.y4m", "too many")),
        (["info"], ("IN", "missing")),
        (["encod", "in.y4m"], ("encod", "no such command")),
        (["--crf", "3"], ("--crf", "no such flag")),
    ],
)
def test_a_wrong_command_line_is_refused_with_2(here, arguments, words):
    refused(zvc69(*arguments), 2, *words)
    assert [path.name for path in here.iterdir()] == ["in.y4m"]


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["encode", "--crff", "3"], "Did you mean --crf?"),
        (["encode", "--no-audi"], "Did you mean --no-audio?"),
        (["decode", "--on-eror", "stop"], "Did you mean --on-error?"),
        (["encode", "a", "b", "--preset", "slwo"], "Did you mean slow?"),
        (["decod"], "Did you mean decode?"),
        (["encode", "a", "b", "--rounding", "deadzone"], "Did you mean dead-zone?"),
    ],
)
def test_the_nearest_name_is_suggested(arguments, suggestion):
    assert suggestion in zvc69(*arguments).stderr


@pytest.mark.parametrize("name", ["missing.mp4", ".", "notes.txt", "empty.mp4"])
def test_an_input_that_is_no_video_is_refused_with_3(here, name):
    (here / "notes.txt").write_text("not a video\n" * 50)
    (here / "empty.mp4").touch()
    refused(zvc69("encode", name, "a.zvc69"), 3, name)
    assert not list(here.glob("a.zvc69*"))


def test_a_stream_that_is_none_is_refused_with_7(here):
    refused(zvc69("decode", "in.y4m", "b.y4m"), 7, "in.y4m")
    refused(zvc69("info", "in.y4m"), 7, "in.y4m")


def test_an_existing_output_is_refused_with_4_without_somebody_to_ask(stream):
    before = stream.read_bytes()
    refused(zvc69("encode", "in.y4m", "a.zvc69"), 4, "a.zvc69", "exists already")
    refused(zvc69("encode", "in.y4m", "a.zvc69", "-n"), 4, "a.zvc69", "exists already")
    assert stream.read_bytes() == before
    assert zvc69("encode", "in.y4m", "a.zvc69", "-y", "--crf", "40").exit_code == 0
    assert stream.read_bytes() != before


def test_a_seek_past_the_end_is_refused_with_3(stream):
    refused(zvc69("encode", "in.y4m", "b.zvc69", "--seek", "100"), 3, "in.y4m")
    refused(zvc69("decode", "a.zvc69", "b.y4m", "--seek", "100"), 3, "a.zvc69", "0 frames")


def test_another_bundle_is_refused_with_5_and_its_hash(stream):
    class Installed(ToyEngines):
        def for_decoding(self, header, run):
            from zvc69_cli.runtime.bundle import find_bundle_by_hash

            return find_bundle_by_hash(header.bundle_sha256, header.bundle_name)

    done = zvc69("decode", "a.zvc69", "b.y4m", engines=Installed())
    refused(done, 5, "toy")
    assert bytes(range(4)).hex() in done.stderr


def test_conceal_writes_what_can_be_saved_and_ends_with_7(stream, here):
    data = bytearray(stream.read_bytes())
    data[len(data) * 6 // 10] ^= 0xFF
    stream.write_bytes(data)
    refused(zvc69("decode", "a.zvc69", "b.y4m"), 7, "a.zvc69", "packet")
    assert not list(here.glob("b.y4m*"))
    done = zvc69("decode", "a.zvc69", "b.y4m", "--on-error", "conceal")
    assert done.exit_code == 7
    assert "1 frame could not be decoded" in done.stderr
    assert (here / "b.y4m").exists()


def test_a_cut_stream_ends_with_7_and_names_the_part(stream, here):
    stream.write_bytes(stream.read_bytes()[: len(stream.read_bytes()) * 6 // 10])
    refused(zvc69("decode", "a.zvc69", "b.y4m"), 7, "a.zvc69", "cut")
    assert (here / "b.y4m.part").exists()
    assert not (here / "b.y4m").exists()


def test_a_lack_of_memory_ends_with_5_and_a_fault_with_1(here):
    class Failing(ToyEngines):
        def __init__(self, error):
            self.error = error

        def for_encoding(self, run):
            raise self.error

    refused(zvc69("encode", "in.y4m", "a.zvc69", engines=Failing(MemoryError())), 5, "memory")
    fault = zvc69("encode", "in.y4m", "a.zvc69", engines=Failing(ValueError("surprise")))
    refused(fault, 1, "ValueError: surprise")
    assert "report" in fault.stderr
    traced = zvc69(
        "encode", "in.y4m", "a.zvc69", "--log-level", "debug", engines=Failing(ValueError("surprise"))
    )
    assert traced.exit_code == 1
    assert "Traceback" in traced.stderr


def test_odd_names_are_no_obstacle(here):
    for name in ("with space.zvc69", "it's.zvc69", "100%.zvc69", "电影.zvc69", "🎬.zvc69"):
        assert zvc69("encode", "in.y4m", name).exit_code == 0
        assert zvc69("info", name).exit_code == 0
    assert zvc69("encode", "in.y4m", "--", "-dash.zvc69").exit_code == 0
    assert (here / "-dash.zvc69").exists()


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert zvc69("--version").stdout == f"zvc69 {zvc69_cli.__version__}\n"
    assert project.get("version", zvc69_cli.__version__) == zvc69_cli.__version__


@pytest.mark.parametrize(
    ("arguments", "due"),
    [
        ([], 40),
        (["--scenecut", "25"], 25),
        (["--no-scenecut"], 0),
        (["--scenecut", "25", "--no-scenecut"], 0),
        (["--no-scenecut", "--scenecut", "25"], 25),
    ],
)
def test_a_flag_that_can_be_switched_off_takes_what_comes_last(here, arguments, due):
    done = zvc69("encode", "in.y4m", "a.zvc69", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["scenecut"] == due


def test_the_summary_tells_frames_by_their_kind(here):
    done = zvc69("encode", "in.y4m", "a.zvc69", "--json", "-q")
    kinds = json.loads(done.stdout)["kinds"]
    assert {kind: facts["frames"] for kind, facts in kinds.items()} == {"I": 1, "P": 2, "B": 5}
    assert kinds["I"]["mean_q"] > kinds["P"]["mean_q"] > kinds["B"]["mean_q"]
    said = zvc69("encode", "in.y4m", "b.zvc69").stderr
    assert "B: 5 frames, mean q" in said
    assert "I: 1 frame, mean q" in said
    told = zvc69("info", "a.zvc69", "--frames").stdout
    assert "3 B in a row, reordering delay 2 frames" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bframes", "16"],
        ["--keyint", "0"],
        ["--keyint", "5", "--min-keyint", "6"],
        ["--motion-precision", "eighth"],
    ],
)
def test_flags_of_the_groups_are_refused_out_of_their_range(here, arguments):
    refused(zvc69("encode", "in.y4m", "a.zvc69", *arguments), 2, arguments[-2])


def test_every_flag_of_the_settings_is_in_the_help_with_its_range():
    text = " ".join(zvc69("encode", "--help").stdout.split())
    for kind in (CodecSettings, RunSettings, InputSettings):
        for each in flags_of(kind):
            assert f"--{each.name}" in text
    assert "[0..51; default 23]" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_they_say_of_themselves(name):
    with_command = zvc69(name, "--help").stdout
    assert COMMANDS[name] in with_command
    assert COMMANDS[name] in zvc69("--help").stdout


def test_devices_names_the_one_that_auto_takes():
    facts = json.loads(zvc69("devices", "--json").stdout)
    assert facts["schema"] == "zvc69-devices/1"
    assert facts["auto"] in [device["name"] for device in facts["devices"] if device["available"]]
    assert "cpu" in zvc69("devices").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "in.y4m", "x" * 300),
        ("decode", "a.zvc69", "x" * 300 + ".y4m"),
        ("encode", "in.y4m", "x" * 254),
    ],
)
def test_an_output_name_that_is_too_long_is_refused_with_4(stream, arguments):
    refused(zvc69(*arguments), 4, "too long")


@pytest.mark.parametrize("arguments", [("encode", "x" * 300, "b.zvc69"), ("info", "x" * 300)])
def test_an_input_name_that_is_too_long_is_refused_with_3(here, arguments):
    refused(zvc69(*arguments), 3, "too long")


@pytest.mark.parametrize("arguments", [("encode", "", "b.zvc69"), ("encode", "in.y4m", ""), ("info", "")])
def test_an_empty_name_is_not_called_a_directory(here, arguments):
    refused(zvc69(*arguments), 2, "its name is empty")


def test_a_name_that_begins_with_a_dash_is_told_how_to_be_written(here):
    result = zvc69("encode", "-clip.mp4", "b.zvc69")
    refused(result, 2, "there is no such flag")
    assert "./-name" in result.stderr


def test_a_preset_from_the_environment_is_refused_by_the_name_of_its_variable(here):
    refused(zvc69("encode", "in.y4m", "b.zvc69", env={"ZVC69_PRESET": "xx"}), 2, "ZVC69_PRESET: ")


def test_a_number_that_is_none_is_not_called_out_of_range(here):
    refused(zvc69("encode", "in.y4m", "b.zvc69", "--crf", "nan"), 2, "--crf", "is not a number 0..51")


def test_settings_that_were_not_given_are_not_listed(stream):
    assert "qp None" not in zvc69("info", stream).stdout


def test_an_output_on_a_pipe_is_called_standard_output(here):
    assert "zvc69: standard output: 8 frames" in zvc69("encode", "in.y4m", "-").stderr


def test_brackets_and_escapes_of_a_tag_are_shown_and_not_obeyed(here):
    info = importlib.import_module("zvc69_cli.cli.info")
    assert info.as_it_is("[/red] [bold]x").plain == "[/red] [bold]x"
    assert "\x1b" not in info.as_it_is("\x1b[2J").plain


def test_an_input_whose_tag_looks_like_markup_can_be_looked_at(here):
    engines = ToyEngines()
    header = replace(
        plain_header(engines.for_encoding(None), VideoFormat(width=48, height=32), CodecSettings()),
        tags=(("[/bold]", "[/red] me"),),
    )
    with (here / "tagged.zvc69").open("wb") as out:
        StreamWriter(out, header).close()
    told = zvc69("info", "tagged.zvc69")
    assert told.exit_code == 0, told.stderr
    assert "[/red] me" in told.stdout and "[/bold]" in told.stdout


def test_progress_does_not_count_the_time_of_loading(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("zvc69_cli.cli.report.time.monotonic", lambda: now[0])
    said = []
    monkeypatch.setattr("zvc69_cli.cli.report.say", said.append)
    with report.progress(is_shown=True) as watch:
        now[0] = 110.0  # loading
        watch(Progress(frames=0, total_frames=10, payload_bytes=0, duration_s=0.0))
        now[0] = 111.0
        watch(Progress(frames=10, total_frames=10, payload_bytes=0, duration_s=0.4))
    assert "10/10 frames, 10.00 fps" in said[-1]
