"""What a bench keeps: found again by its key, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from zvc69_cli.errors import OutputError
from zvc69_cli.measure.kept_folder import KeptFolder


def test_what_was_kept_is_found_again_by_its_key(tmp_path: Path) -> None:
    kept = KeptFolder(tmp_path / "a" / "b", "--cache")
    kept.keep("one", {"x": [1, 2.5]})
    kept.keep("two", {"x": []}, b"picture")
    assert KeptFolder(tmp_path / "a" / "b", "--cache").find("one") == ({"x": [1, 2.5]}, b"")
    assert kept.find("two") == ({"x": []}, b"picture")
    assert kept.find("three") is None
    assert not list(tmp_path.rglob("*.part"))


def test_no_folder_keeps_nothing() -> None:
    kept = KeptFolder(None, "--cache")
    kept.keep("one", {})
    assert kept.find("one") is None


@pytest.mark.parametrize("content", [b"", b'{"x": [1,', b"\xff\xfe"])
def test_what_is_damaged_is_not_found(tmp_path: Path, content: bytes) -> None:
    kept = KeptFolder(tmp_path, "--cache")
    kept.keep("one", {"x": 1})
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(content)
    assert kept.find("one") is None


def test_a_folder_that_cannot_be_made_or_written_is_told_with_its_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made") as refusal:
        KeptFolder(tmp_path / "file", "--results")
    assert "--results" in refusal.value.next_step
    kept = KeptFolder(tmp_path / "gone", "--cache")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputError, match="cannot be written"):
        kept.keep("one", {})
