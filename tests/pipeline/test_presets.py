"""Presets and tunes by name, by number and by file."""

import logging

import pytest

from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.pipeline.layers import flags_by_field
from zvc69_cli.pipeline.presets import (
    PRESET_ALIASES,
    PRESET_NUMBERS,
    TUNES,
    find_preset,
    find_tune,
    shipped_presets,
    user_presets_folder,
)
from zvc69_cli.pipeline.resolve import ENCODE_SETTINGS, EncodeOptions

SHIPPED = shipped_presets()


@pytest.mark.parametrize("number", range(10))
def test_the_numbers_of_x265_are_names(number):
    assert find_preset(str(number)) == find_preset(PRESET_NUMBERS[number])


def test_every_name_of_x265_is_shipped_or_an_alias_of_one_that_is():
    assert {find_preset(name).name for name in PRESET_NUMBERS} == set(SHIPPED)
    assert set(PRESET_ALIASES) | {"ultrafast", "medium"} == set(PRESET_NUMBERS)


def test_a_name_is_a_preset_of_its_own_as_soon_as_there_is_a_file(tmp_path):
    (tmp_path / "medium.toml").touch()
    assert find_preset("placebo", tmp_path).name == "medium"
    (tmp_path / "slow.toml").touch()
    assert [find_preset(name, tmp_path).name for name in ("fast", "slow", "veryslow")] == [
        "medium",
        "slow",
        "slow",
    ]


def test_no_two_shipped_presets_are_the_same():
    options = [EncodeOptions.of(preset=name).codec for name in SHIPPED]
    assert len(set(options)) == len(SHIPPED)


def test_presets_refine_i_frames_and_decide_levels_by_their_effort():
    names = ("ultrafast", "fast", "medium", "slow", "veryslow")
    assert set(names) == set(SHIPPED)
    options = [EncodeOptions.of(preset=name).codec for name in names]
    assert [each.refine for each in options] == [0, 0, 8, 8, 12]
    assert [each.rdoq_level for each in options] == [0, 0, 2, 2, 2]


def test_a_preset_of_ones_own_that_refines_p_and_b_frames_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('refine = "12:8:4"\n')
    with pytest.raises(UsageError, match="mine") as refusal:
        EncodeOptions.of(preset=str(path))
    assert refusal.value.next_step == "P and B frames are not refined any more; write --refine 12."


def test_medium_is_the_defaults():
    assert EncodeOptions.of(preset="medium").codec == CodecSettings()


def test_presets_speak_of_effort_and_never_of_what_a_decoder_needs():
    allowed = {each.name for each in flags_of(CodecSettings) if each.in_presets}
    assert not allowed & {"frame-headers", "slices", "crf", "qp", "keyint"}
    for name in SHIPPED:
        assert set(find_preset(name).values) <= allowed


def test_a_file_of_ones_own_is_a_preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('rounding = "nearest"\n')
    preset = find_preset(str(path))
    assert (preset.name, preset.values) == ("mine", {"rounding": "nearest"})
    assert EncodeOptions.of(preset=str(path)).codec.rounding == "nearest"


def test_a_users_folder_adds_presets_and_redefines_none(tmp_path):
    (tmp_path / "mine.toml").write_text('rounding = "nearest"\n')
    (tmp_path / "medium.toml").write_text('rounding = "nearest"\n')
    assert find_preset("mine", user_folder=tmp_path).values == {"rounding": "nearest"}
    assert find_preset("medium", user_folder=tmp_path).values == find_preset("medium").values
    with pytest.raises(UsageError) as refusal:
        find_preset("mines", user_folder=tmp_path)
    assert refusal.value.next_step == "Did you mean mine?"


def test_a_user_may_take_a_name_that_is_only_an_alias(tmp_path, caplog):
    caplog.set_level(logging.INFO, "zvc69_cli")
    (tmp_path / "placebo.toml").write_text("bframes = 7\n")
    assert find_preset("placebo", user_folder=tmp_path).name == "placebo"
    assert not caplog.text


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/zvc69/presets"),
        ({"HOME": "/h"}, "/h/.config/zvc69/presets"),
        ({"APPDATA": "/a", "HOME": "/h"}, "/a/zvc69/presets"),
        ({}, None),
    ],
)
def test_a_users_presets_lie_where_settings_do(environment, folder):
    found = user_presets_folder(environment)
    assert (found and found.as_posix()) == folder


@pytest.mark.parametrize("name", ["missing.toml", "no/such/folder", "."])
def test_a_file_that_cannot_be_read_is_refused(name, tmp_path):
    with pytest.raises(UsageError):
        find_preset(str(tmp_path / name), where="--preset")


def test_a_preset_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        find_preset(str(path))


@pytest.mark.parametrize("name", [name for name, tune in TUNES.items() if tune.values])
def test_a_tune_changes_something_and_speaks_of_flags_only(name):
    known = flags_by_field(ENCODE_SETTINGS)
    values = find_tune(name).values
    assert set(values) <= set(known)
    assert EncodeOptions.of(tune=name).codec != EncodeOptions.of().codec


@pytest.mark.parametrize("name", [name for name, tune in TUNES.items() if not tune.values])
def test_a_tune_that_would_change_nothing_is_refused_by_name(name):
    with pytest.raises(UsageError, match=f"{name} would change nothing"):
        find_tune(name)


def test_an_unknown_tune_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as refusal:
        find_tune("zerolatancy")
    assert refusal.value.next_step == "Did you mean zerolatency?"
