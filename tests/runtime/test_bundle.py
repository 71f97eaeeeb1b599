"""Bundles: found by name and by hash, refused when they are not whole."""

from __future__ import annotations

import json
import shutil

import pytest

from zvc69_cli.errors import RuntimeUnavailable, UnknownBundle
from zvc69_cli.runtime import bundle as bundles
from zvc69_cli.runtime.bundle import bundle_sha256, find_bundle, find_bundle_by_hash, load_bundle

FILES = find_bundle().files


@pytest.fixture
def copy(tmp_path):
    """A writable copy of the bundle that ships."""
    folder = tmp_path / "zvc69-s"
    folder.mkdir()
    for name in FILES:
        shutil.copy(find_bundle().folder / name, folder)
    return folder


def _edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def test_the_shipped_bundle_is_found_by_name_and_by_hash():
    bundle = find_bundle()
    assert bundle.name == "zvc69-s"
    assert find_bundle_by_hash(bundle.sha256, "another name").folder == bundle.folder


def test_the_shipped_bundle_keeps_its_budget():
    bundle = find_bundle()
    size = sum((bundle.folder / name).stat().st_size for name in FILES)
    assert size <= 16e6
    parameters = sum(array.size for name, array in bundle.arrays.items() if "tables." not in name)
    assert parameters <= 8e6


def test_the_shipped_bundle_codes_p_and_b_frames():
    assert find_bundle().has_inter


def test_the_hash_covers_every_file_and_nothing_else(copy):
    before = bundle_sha256(copy)
    (copy / "README.md").write_text("other words")
    assert bundle_sha256(copy) == before
    for name in FILES:
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content + b" " if path.suffix == ".json" else content[:-1] + bytes([content[-1] ^ 1]))
        assert bundle_sha256(copy) != before, name
        path.write_bytes(content)


def test_an_unknown_name_says_what_is_installed():
    with pytest.raises(UnknownBundle, match=r"not found in .*installed: zvc69-s"):
        find_bundle("zvc69-xl")


def test_an_unknown_hash_names_it_and_where_it_was_looked_for():
    with pytest.raises(UnknownBundle) as caught:
        find_bundle_by_hash(b"\xab" * 32, "zvc69-xl")
    assert "zvc69-xl abababababababab" in caught.value.what
    assert str(find_bundle().folder.parent) in caught.value.what
    assert caught.value.exit_code == 5


def test_no_bundles_at_all_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "engines_folder", lambda: tmp_path / "nowhere")
    with pytest.raises(UnknownBundle, match="installed: none"):
        find_bundle()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(RuntimeUnavailable, match=name):
        load_bundle(copy)


def test_a_file_without_end_is_refused_before_it_is_read(copy, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 1000)
    with pytest.raises(RuntimeUnavailable, match="should be at most 1000"):
        load_bundle(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"arrays": {"a": {"shape": [1]}}},
        {"arrays": 3},
        {"graphs": None},
        {"graphs": ["analyse"]},
    ],
)
def test_a_broken_manifest_is_refused(copy, changes):
    _edit_manifest(copy, **changes)
    with pytest.raises(RuntimeUnavailable, match="manifest is broken"):
        load_bundle(copy)


def test_a_manifest_that_is_not_json_is_refused(copy):
    (copy / "manifest.json").write_text("{")
    with pytest.raises(RuntimeUnavailable, match="manifest is broken"):
        load_bundle(copy)


def test_a_later_manifest_is_refused(copy):
    _edit_manifest(copy, version=4)
    with pytest.raises(RuntimeUnavailable, match="version is 4, should be 3"):
        load_bundle(copy)


def test_cut_weights_are_refused(copy):
    path = copy / "weights.bin"
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(RuntimeUnavailable, match="does not lie within"):
        load_bundle(copy)
