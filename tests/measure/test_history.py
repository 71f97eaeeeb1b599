"""The history of speeds: a slowdown of more than 10 % shows, and only against runs of the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from zvc69_cli.errors import OutputError
from zvc69_cli.measure.history import SpeedRun, append_run, changes, read_history
from zvc69_cli.measure.speed_bench import compare_with_history

RUN = SpeedRun(when="2026-01-01", machine="here", what="clip crf 28", speeds=(("encode", 5.0), ("decode", 9.0)))


def at(encode: float, decode: float = 9.0) -> SpeedRun:
    return replace(RUN, speeds=(("encode", encode), ("decode", decode)))


def test_a_slowdown_of_more_than_a_tenth_shows() -> None:
    encode, decode = changes([RUN, RUN], at(4.4))
    assert encode.is_slowdown
    assert "12 % SLOWER than 5.00, the median of 2 runs before" in encode.text
    assert not decode.is_slowdown


def test_a_tenth_is_no_slowdown_yet() -> None:
    assert not changes([RUN], at(4.51))[0].is_slowdown
    assert "20 % faster" in changes([RUN], at(6.0))[0].text


def test_the_median_of_the_last_five_is_what_counts() -> None:
    history = [at(50.0)] * 10 + [at(5.0), at(4.9), at(5.1), at(1.0), at(5.0)]
    (encode, _) = changes(history, at(4.8))
    assert (encode.median, encode.runs) == (5.0, 5)


def test_other_machines_and_other_work_are_not_compared_with() -> None:
    assert changes([replace(RUN, machine="there"), replace(RUN, what="another clip")], RUN) == []


def test_what_was_kept_is_read_back_and_broken_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    append_run(path, RUN)
    with path.open("a") as file:
        file.write('{"when": 1}\nnot json\n')
    append_run(path, at(4.0))
    assert read_history(path) == [RUN, at(4.0)]


def test_a_run_is_compared_before_it_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history.jsonl"
    assert compare_with_history(path, RUN) == 0
    assert capsys.readouterr().out == ""
    assert compare_with_history(path, at(3.0)) == 1
    assert "40 % SLOWER" in capsys.readouterr().out


def test_a_history_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        append_run(tmp_path / "missing" / "history.jsonl", RUN)
