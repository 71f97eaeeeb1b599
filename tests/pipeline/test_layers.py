"""Who wins: default, preset, tune, config file, environment, what was typed."""

import itertools
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvc69_cli.errors import UsageError
from zvc69_cli.pipeline.layers import LIKE_A_VARIABLE, warn_of_misspelt
from zvc69_cli.pipeline.resolve import choose_encode, options_of


@pytest.fixture
def config(tmp_path):
    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def chosen(explicit=None, environment=None, configs=()):
    return options_of(choose_encode(explicit or {}, environment or {}, configs=configs))


def test_a_config_file_wins_over_preset_and_tune_and_loses_to_environment_and_flag(config):
    path = config('preset = "ultrafast"\ntune = "zerolatency"\nbframes = 1\nmotion-search = "full"\ncrf = 30\n')
    assert chosen(configs=[path]).codec.bframes == 1
    assert chosen(configs=[path]).codec.motion_search == "full"
    assert chosen(environment={"ZVC69_BFRAMES": "7"}, configs=[path]).codec.bframes == 7
    assert chosen({"bframes": 15}, {"ZVC69_BFRAMES": "7"}, [path]).codec.bframes == 15
    assert chosen(configs=[path]).preset == "ultrafast"


def test_what_is_typed_chooses_the_preset_over_environment_and_file(config):
    one, two, three = (config("", f"{name}.toml") for name in ("one", "two", "three"))
    path = config(f"preset = '{one}'")
    assert chosen(configs=[path]).preset == "one"
    assert chosen(environment={"ZVC69_PRESET": two}, configs=[path]).preset == "two"
    assert chosen({"preset": three}, {"ZVC69_PRESET": two}, [path]).preset == "three"


def test_of_two_files_the_later_wins(config):
    one, two = config("crf = 20", "one.toml"), config("crf = 30", "two.toml")
    assert chosen(configs=[one, two]).codec.crf == 30
    assert chosen(configs=[two, one]).codec.crf == 20


def test_the_environment_names_a_file_where_none_is_typed(config):
    one, two = config("crf = 20", "one.toml"), config("crf = 30", "two.toml")
    assert chosen(environment={"ZVC69_CONFIG": one}).codec.crf == 20
    assert chosen(environment={"ZVC69_CONFIG": one}, configs=[two]).codec.crf == 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crff = 3", ("no key 'crff'", "Did you mean crf?")),
        ("crf = 60", ("60 is out of range 0..51",)),
        ('crf = "low"', ("not a number",)),
        ("[encode]\ncrf = 3", ("no key 'encode'",)),
        ("crf = 3\nqp = 52", ("given together",)),
        ("audio = 1", ("not True or False",)),
        ("preset = true", ("no name of a preset",)),
        ('preset = "mediun"', ("mediun", "Did you mean medium?")),
        ('config = "other.toml"', ("no key 'config'",)),
        ("crf = ", ("cannot be read",)),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_name(config, text, words):
    path = config(text)
    with pytest.raises(UsageError) as refusal:
        chosen(configs=[path])
    assert "mine.toml" in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_a_file_that_is_not_there_is_refused_by_the_flag_or_the_variable(tmp_path):
    missing = str(tmp_path / "no.toml")
    with pytest.raises(UsageError, match="--config"):
        chosen(configs=[missing])
    with pytest.raises(UsageError, match="ZVC69_CONFIG"):
        chosen(environment={"ZVC69_CONFIG": missing})


MODES = {"crf": 20.0, "qp": 53, "bitrate": "2M", "quality": 3, "target_size": "3M"}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(MODES, 2)))
def test_two_ways_of_asking_for_a_quality_are_refused_and_a_later_layer_replaces_an_earlier(one, other, config):
    with pytest.raises(UsageError, match="given together"):
        chosen({one: MODES[one], other: MODES[other]})
    name = one.replace("_", "-")
    value = f'"{MODES[one]}"' if isinstance(MODES[one], str) else MODES[one]
    path = config(f"{name} = {value}")
    choices = choose_encode({other: MODES[other]}, {}, configs=[path])
    assert other in choices.values and one not in choices.values


def test_a_quality_by_step_becomes_a_crf():
    crfs = [chosen({"quality": step}).codec.crf for step in range(1, 9)]
    assert crfs == sorted(crfs, reverse=True) and len(set(crfs)) == 8


@pytest.mark.parametrize(
    "explicit",
    [
        {"keyint": 1, "bframes": 3},
        {"keyint": 1, "scenecut": 40},
        {"keyint": 1, "force_key_frames": "5s"},
        {"keyint": 1, "motion_precision": "half"},
        {"keyint": 1, "motion_search": "thorough"},
        {"keyint": 1, "rdoq_level": 1},
        {"keyint": 1, "qp": "68:71:76"},
        {"keyint": 1, "cutree": True},
        {"rc_lookahead": 30},
        {"strict": True},
        {"strict": True, "qp": 68},
    ],
)
def test_a_flag_that_can_have_no_effect_is_refused(explicit):
    with pytest.raises(UsageError, match="has no effect"):
        chosen(explicit)


def test_a_flag_that_has_an_effect_beside_the_others_is_taken():
    assert chosen({"rc_lookahead": 30, "cutree": True}).codec.rc_lookahead == 30
    assert chosen({"rc_lookahead": 30, "bitrate": "2M"}).codec.rc_lookahead == 30
    assert chosen({"strict": True, "vbv_maxrate": 20, "vbv_bufsize": 20}).report.strict


def test_what_is_said_for_many_runs_is_never_idle(config):
    assert chosen({"keyint": 1, "preset": "ultrafast"}).codec.keyint == 1
    assert chosen({"keyint": 1}, {"ZVC69_BFRAMES": "7"}, [config("scenecut = 30")]).codec.keyint == 1
    assert chosen({"keyint": 1, "bframes": 0, "scenecut": 0}).codec.keyint == 1


def test_a_misspelt_variable_is_told_with_the_nearest(caplog):
    caplog.set_level(logging.WARNING, "zvc69_cli")
    chosen(environment={"ZVC69_CFR": "3", "ZVC69_BITRAT": "2M"})
    assert "ZVC69_BITRAT stands for no flag" in caplog.text
    assert "Did you mean ZVC69_BITRATE?" in caplog.text
    assert "ZVC69_CFR" in caplog.text


@pytest.mark.parametrize(
    "variable", ["ZVC69_CRF", "ZVC69_PRESET", "ZVC69_ON_ERROR", "ZVC69_TOY_DELAY_S", "PATH"]
)
def test_a_variable_that_is_one_or_looks_like_none_is_left_in_peace(variable, caplog):
    caplog.set_level(logging.WARNING, "zvc69_cli")
    chosen(environment={variable: "medium" if variable.endswith("PRESET") else "3"})
    assert not caplog.text


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_variable_of_any_name_is_an_obstacle(name):
    warn_of_misspelt({f"ZVC69_{name}": "x"}, ["crf", "bitrate"])
    assert 0 < LIKE_A_VARIABLE < 1
