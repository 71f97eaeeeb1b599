"""The cache of engines: whole or not at all, one builder at a time, within its limit, never in the way."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvc69_cli.errors import OutputError
from zvc69_cli.runtime import cache as caches
from zvc69_cli.runtime.cache import EngineCache, open_cache, user_cache_folder

KEY = {"graph": "analyse", "bundle": "ab" * 32}


def writes(content=b"engine", name="a.engine"):
    def build(folder):
        writes.calls += 1
        (folder / name).write_bytes(content)

    return build


writes.calls = 0


@pytest.fixture(autouse=True)
def no_calls():
    writes.calls = 0


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "cache")


def test_an_engine_is_built_once(cache):
    first = cache.get("tensorrt", KEY, writes())
    again = EngineCache(cache.root).get("tensorrt", KEY, writes())
    assert first == again
    assert writes.calls == 1
    assert (first / "a.engine").read_bytes() == b"engine"


@given(st.dictionaries(st.sampled_from(("gpu", "driver", "shape")), st.text(max_size=5), min_size=1))
@settings(max_examples=25, deadline=None)
def test_another_key_is_another_engine(tmp_path_factory, more):
    cache = EngineCache(tmp_path_factory.mktemp("cache"))
    cache.get("cuda", KEY, writes())
    assert cache.find("cuda", {**KEY, **more}) is None
    assert cache.find("tensorrt", KEY) is None
    assert cache.find("cuda", dict(reversed(list(KEY.items())))) is not None


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "no entry", "nonsense", "another schema"])
def test_what_is_damaged_is_built_again_and_said_to_be(cache, caplog, harm):
    folder = cache.get("tensorrt", KEY, writes())
    engine, entry = folder / "a.engine", folder / "entry.json"
    {
        "cut": lambda: engine.write_bytes(b"eng"),
        "changed": lambda: engine.write_bytes(b"enginf"),
        "gone": engine.unlink,
        "no entry": entry.unlink,
        "nonsense": lambda: entry.write_text("{"),
        "another schema": lambda: entry.write_text(json.dumps({"schema": "x", "files": {}})),
    }[harm]()
    with caplog.at_level(logging.WARNING):
        again = cache.get("tensorrt", KEY, writes())
    assert "damaged: built again" in caplog.text
    assert (again / "a.engine").read_bytes() == b"engine"
    assert writes.calls == 2


def test_a_build_that_fails_leaves_nothing(cache):
    def fails(folder):
        (folder / "half").write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("tensorrt", KEY, fails)
    assert not list((cache.root / "engines").iterdir())


@pytest.mark.parametrize("blocked", ["root is a file", "engines is a file", "locks is a file"])
def test_a_cache_that_cannot_be_written_is_said_and_done_without(tmp_path, caplog, blocked):
    root = tmp_path / "cache"
    if blocked == "root is a file":
        root.write_bytes(b"")
    else:
        root.mkdir()
        (root / blocked.split()[0]).write_bytes(b"")
    cache = EngineCache(root)
    with caplog.at_level(logging.WARNING):
        folder = cache.get("tensorrt", KEY, writes())
    assert "cannot be written" in caplog.text and "built for this run only" in caplog.text
    assert (folder / "a.engine").read_bytes() == b"engine"
    cache.remember(KEY, "told")
    assert cache.entries() == []
    with pytest.raises(OutputError, match="cannot be written"):
        cache.put("int8", KEY, writes())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_read(cache):
    folder = cache.get("tensorrt", KEY, writes())
    for path in (folder / "a.engine", folder, cache.root):
        path.chmod(0o555)
    assert cache.get("tensorrt", KEY, writes()) == folder
    assert writes.calls == 1


def test_without_a_cache_everything_is_built_anew():
    cache = open_cache("off")
    one, other = (cache.get("cuda", KEY, writes()) for _ in range(2))
    assert one != other and writes.calls == 2
    assert cache.entries() == [] and cache.remembered(KEY) is None
    with pytest.raises(OutputError, match="no cache"):
        cache.put("int8", KEY, writes())


def test_what_was_asked_for_longest_ago_goes_first(tmp_path):
    cache = EngineCache(tmp_path, limit_bytes=3500)
    kept = cache.put("int8", {"n": "calibration"}, writes(b"x" * 1000))
    for number in range(3):
        folder = cache.get("cuda", {"n": str(number)}, writes(b"x" * 1000))
        os.utime(folder / "entry.json", (number + 1, number + 1))
    cache.get("cuda", {"n": "3"}, writes(b"x" * 1000))
    left = {each.key["n"] for each in cache.entries()}
    assert left >= {"3", "calibration"} and "0" not in left
    assert sum(each.size_bytes for each in cache.entries()) <= 3500 + 1000
    assert kept.is_dir()


def test_clearing_keeps_calibrations_unless_they_are_asked_for(cache):
    cache.get("cuda", KEY, writes())
    cache.put("int8", KEY, writes())
    cache.remember(KEY, "told")
    (cache.root / "engines" / ".half.1").mkdir()
    assert cache.clear(keep=("int8",))[0] == 1
    assert [each.kind for each in cache.entries()] == ["int8"]
    assert cache.remembered(KEY) is None
    assert [each.name[:4] for each in (cache.root / "engines").iterdir()] == ["int8"]
    assert cache.clear()[0] == 1
    assert cache.entries() == []


def test_small_facts_are_remembered_by_their_key(cache):
    assert cache.remembered(KEY) is None
    cache.remember(KEY, "")
    assert EngineCache(cache.root).remembered(KEY) == ""
    assert cache.remembered({**KEY, "driver": "other"}) is None
    next((cache.root / "checks").iterdir()).write_text("{")
    assert cache.remembered(KEY) is None


def _builds_slowly(root, log):
    def build(folder):
        with log.open("a") as file:
            file.write("b")
        time.sleep(0.3)
        (folder / "a.engine").write_bytes(b"engine")

    EngineCache(root).get("tensorrt", KEY, build)


def test_two_processes_build_an_engine_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_builds_slowly, args=(tmp_path / "cache", log)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert log.read_text() == "b"


def test_the_place_is_the_users_cache_unless_another_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ZVC69_CACHE", str(tmp_path / "by variable"))
    assert open_cache("").root == tmp_path / "by variable"
    assert open_cache(str(tmp_path / "by flag")).root == tmp_path / "by flag"
    monkeypatch.setenv("ZVC69_CACHE", "off")
    assert open_cache("").root is None


@pytest.mark.parametrize(
    ("platform", "environment", "due"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/zvc69"),
        ("linux", {}, "/home/me/.cache/zvc69"),
        ("darwin", {}, "/home/me/Library/Caches/zvc69"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/zvc69"),
    ],
)
def test_every_platform_has_its_place_for_caches(monkeypatch, platform, environment, due):
    monkeypatch.setattr(caches.sys, "platform", platform)
    monkeypatch.setattr(caches.Path, "home", lambda: Path("/home/me"))
    assert user_cache_folder(environment) == Path(due)
