"""What --print-config writes, --config reads."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.pipeline.config_text import config_text
from zvc69_cli.pipeline.resolve import ENCODE_SETTINGS, MODES_OF_QUALITY, choose_encode, options_of
from zvc69_cli.pipeline.settings import ReportSettings


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "printed.toml"


def read_again(choices, path):
    path.write_text(config_text(choices), encoding="utf-8")
    return choose_encode({}, {}, configs=[str(path)])


def test_every_value_is_printed_with_who_chose_it(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("slices = 2\n")
    choices = choose_encode(
        {"tune": "zerolatency", "preset": "ultrafast", "crf": 20.0}, {"ZVC69_THREADS": "3"}, configs=[str(mine)]
    )
    lines = config_text(choices).splitlines()
    assert lines[:2] == ['preset = "ultrafast"', 'tune = "zerolatency"']
    assert "crf = 20.0  # --crf" in lines
    assert 'motion-search = "sparse"  # preset ultrafast' in lines
    assert "bframes = 0  # tune zerolatency" in lines
    assert "threads = 3  # ZVC69_THREADS" in lines
    assert f"slices = 2  # {mine}" in lines
    assert "keyint = 250" in lines


def test_the_quality_that_does_not_count_is_not_printed():
    printed = tomllib.loads(config_text(choose_encode({"bitrate": "2M"}, {})))
    assert printed["bitrate"] == "2M"
    assert not {name.replace("_", "-") for name in MODES_OF_QUALITY if name != "bitrate"} & set(printed)
    assert tomllib.loads(config_text(choose_encode({}, {})))["crf"] == 23.0


@pytest.mark.parametrize(
    "text", ['a"b', "tab\tand\nline", "back\\slash", "\x7f", "电影 🎬", "# no comment", "{x}"]
)
def test_any_text_survives(text, path):
    assert options_of(read_again(choose_encode({"csv": text}, {}), path)).report.csv == text


def test_a_text_that_no_file_can_hold_is_refused():
    with pytest.raises(UsageError, match="--csv"):
        config_text(choose_encode({"csv": "\udc80"}, {}))


def _values(described):
    if described.choices:
        return st.sampled_from([choice for choice in described.choices if choice])
    if described.kind is bool:
        return st.booleans()
    if described.kind is int:
        return st.integers(int(described.low or 0), int(min(described.high or 1000, 100_000)))
    if described.kind is float:
        return st.floats(described.low or 0, min(described.high or 100, 100), allow_nan=False)
    return None


SIMPLE = {
    each.field_name: values
    for kind in ENCODE_SETTINGS
    for each in flags_of(kind)
    if kind is not ReportSettings and (values := _values(each)) is not None
}


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=SIMPLE), st.sampled_from(["medium", "ultrafast"]))
def test_what_is_printed_means_the_same_when_it_is_read(path, flags, preset):
    explicit = {**flags, "preset": preset}
    try:
        choices = choose_encode(explicit, {})
        options = options_of(choices)
    except UsageError:
        return
    assert options_of(read_again(choices, path)) == options
