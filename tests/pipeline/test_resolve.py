"""From flags, preset and environment to options."""

import logging

import pytest

from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.pipeline.presets import PRESET_ALIASES, Preset, find_preset, shipped_presets
from zvc69_cli.pipeline.resolve import (
    DECODE_SETTINGS,
    ENCODE_SETTINGS,
    EncodeOptions,
    resolve_decode,
    resolve_encode,
)

PLAIN = Preset(name="plain", values={})
NEAREST = Preset(name="sharp", values={"rounding": "nearest"})


def test_defaults_are_those_of_the_settings():
    assert resolve_encode({}, PLAIN, {}).codec == CodecSettings()


def test_a_preset_changes_what_its_file_says():
    assert resolve_encode({}, NEAREST, {}).codec.rounding == "nearest"


def test_a_typed_flag_wins_over_the_preset():
    assert resolve_encode({"rounding": "dead-zone"}, NEAREST, {}).codec.rounding == "dead-zone"


def test_the_environment_wins_over_the_preset_and_loses_to_a_flag():
    environment = {"ZVC69_ROUNDING": "dead-zone", "ZVC69_CRF": "30", "ZVC69_THREADS": "2"}
    options = resolve_encode({"crf": 18.0}, NEAREST, environment)
    assert (options.codec.rounding, options.codec.crf, options.run.threads) == ("dead-zone", 18.0, 2)


def test_switches_can_be_set_in_the_environment():
    assert resolve_encode({}, PLAIN, {"ZVC69_AUDIO": "0"}).input.audio is False
    with pytest.raises(UsageError, match="ZVC69_AUDIO"):
        resolve_encode({}, PLAIN, {"ZVC69_AUDIO": "maybe"})


def test_a_wrong_value_in_the_environment_names_the_variable_and_the_range():
    with pytest.raises(UsageError) as refusal:
        resolve_encode({}, PLAIN, {"ZVC69_CRF": "60"})
    assert refusal.value.where == "ZVC69_CRF"
    assert "60 is out of range 0..51" in refusal.value.what


def test_variables_of_no_flag_are_left_alone():
    assert resolve_encode({}, PLAIN, {"ZVC69_CACHE_DIR": "/x", "PATH": "/bin"}) == resolve_encode({}, PLAIN, {})


def test_crf_and_qp_together_are_refused_but_a_later_layer_replaces_the_other():
    with pytest.raises(UsageError, match="together with"):
        resolve_encode({"crf": 20.0, "qp": 53}, PLAIN, {})
    assert resolve_encode({"crf": 20.0}, PLAIN, {"ZVC69_QP": "53"}).codec.qp is None
    assert resolve_encode({"qp": 53}, PLAIN, {"ZVC69_CRF": "20"}).codec.qp == 53


@pytest.mark.parametrize(
    "described",
    [each for kind in (*ENCODE_SETTINGS, *DECODE_SETTINGS) for each in flags_of(kind)],
    ids=lambda f: f.name,
)
def test_every_bound_of_every_flag_is_kept(described):
    resolve = (
        (lambda flags: resolve_encode(flags, PLAIN, {}))
        if any(described in list(flags_of(kind)) for kind in ENCODE_SETTINGS)
        else (lambda flags: resolve_decode(flags, {}))
    )
    beyond = []
    if described.low is not None:
        beyond.append(described.low - 1)
    if described.high is not None:
        beyond.append(described.high + 1)
    if described.choices:
        beyond.append("no such choice")
    for value in beyond:
        with pytest.raises(UsageError) as refusal:
            resolve({described.field_name: value})
        assert refusal.value.where == f"--{described.name}"


def test_an_unknown_key_in_a_preset_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as refusal:
        resolve_encode({}, Preset(name="mine", values={"roundin": "nearest"}), {})
    assert "roundin" in refusal.value.what
    assert refusal.value.next_step == "Did you mean rounding?"


def test_a_flag_that_presets_may_not_hold_is_an_unknown_key():
    with pytest.raises(UsageError):
        resolve_encode({}, Preset(name="mine", values={"frame-headers": "full"}), {})


@pytest.mark.parametrize("value", [3, True, "loud"])
def test_a_wrong_value_in_a_preset_names_the_preset(value):
    with pytest.raises(UsageError) as refusal:
        resolve_encode({}, Preset(name="mine", values={"rounding": value}), {})
    assert refusal.value.where.startswith("preset mine")


@pytest.mark.parametrize("name", shipped_presets())
def test_every_shipped_preset_resolves(name):
    assert resolve_encode({}, find_preset(name), {}).preset == name


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as refusal:
        find_preset("mediun")
    assert refusal.value.next_step == "Did you mean medium?"


def test_a_preset_that_is_no_toml_is_refused(tmp_path):
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(UsageError, match=r"bad\.toml"):
        find_preset("bad", tmp_path)


@pytest.mark.parametrize("alias", sorted(set(PRESET_ALIASES) - set(shipped_presets())))
def test_names_of_x265_stand_for_their_neighbours_and_say_so(alias, caplog):
    caplog.set_level(logging.INFO, "zvc69_cli")
    assert find_preset(alias).name in shipped_presets()
    assert f"preset {alias} is the same as" in caplog.text


def test_options_can_be_made_from_names_of_flags():
    assert EncodeOptions.of(preset="ultrafast", crf=30).codec.crf == 30
    with pytest.raises(UsageError, match="crff"):
        EncodeOptions.of(crff=30)


@pytest.mark.parametrize(
    ("flags", "due"),
    [
        ({"crf": "abc"}, "a number"),
        ({"crf": None}, "a number"),
        ({"crf": True}, "a number"),
        ({"slices": 2.5}, "a whole number"),
        ({"seek": "3"}, "a whole number"),
        ({"audio": "maybe"}, "True or False"),
        ({"device": 0}, "a text"),
    ],
)
def test_a_flag_of_the_wrong_type_is_refused_by_name_and_not_by_a_comparison(flags, due):
    with pytest.raises(UsageError) as refused:
        EncodeOptions.of(**flags)
    assert refused.value.where == f"--{next(iter(flags))}"
    assert f"is not {due}" in refused.value.what


def test_a_whole_number_is_a_number():
    assert EncodeOptions.of(crf=20).codec.crf == 20
