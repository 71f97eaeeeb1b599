"""A flag's value from text, from a file and from Python."""

import pytest

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import Flag, parse_value, suggest, value_from_file

RATE = Flag(name="rate", kind=str, help="", default="", field_name="rate")
CUT = Flag(name="cut", kind=int, help="", default=40, field_name="cut", low=0, high=100, off=0)
GAIN = Flag(name="gain", kind=float, help="", default=1.0, field_name="gain", low=0)
FORM = Flag(name="form", kind=str, help="", default="", field_name="form", choices=("", "round", "flat"))
ALIKE = Flag(
    name="qp", kind=int, help="", default=None, field_name="qp", low=0, high=127, parts=("I", "P", "B")
)
ALONE = Flag(
    name="refine",
    kind=int,
    help="",
    default=8,
    field_name="refine",
    low=0,
    high=16,
    one_only="Write --refine {first}.",
)
LOUD = Flag(name="loud", kind=bool, help="", default=False, field_name="loud")


@pytest.mark.parametrize(
    ("flag", "value", "due"),
    [(RATE, 2000, "2000"), (RATE, "2M", "2M"), (CUT, False, 0), (CUT, 7, 7), (GAIN, 2, 2), (LOUD, True, True)],
)
def test_a_file_may_say_a_value_as_people_would(flag, value, due):
    assert value_from_file(flag, value, "here") == due


@pytest.mark.parametrize(
    ("flag", "value"), [(CUT, True), (CUT, "7"), (RATE, True), (LOUD, 1), (CUT, 1.5), (CUT, [1])]
)
def test_a_value_of_another_type_in_a_file_is_refused_by_its_place(flag, value):
    with pytest.raises(UsageError) as refusal:
        value_from_file(flag, value, "mine.toml, cut")
    assert refusal.value.where == "mine.toml, cut"


def test_the_choice_that_stands_for_nothing_is_not_listed():
    assert FORM.range_text == "round|flat"
    with pytest.raises(UsageError) as refusal:
        parse_value(FORM, "rond", "--form")
    assert refusal.value.what == "'rond' is not one of round, flat"
    assert refusal.value.next_step == "Did you mean round?"


@pytest.mark.parametrize(("text", "due"), [("1", True), ("On", True), ("no", False), ("FALSE", False)])
def test_a_switch_is_read_from_words(text, due):
    assert parse_value(LOUD, text, "ZVC69_LOUD") is due


def test_likeness_decides_whether_a_name_is_suggested():
    assert suggest("crf", ["crop"], likeness=0.5) == "Did you mean crop?"
    assert suggest("crf", ["crop"], likeness=0.9) == ""


@pytest.mark.parametrize(("text", "due"), [("30", 30), ("68:71:76", "68:71:76"), ("0:127:07", "0:127:07")])
def test_parts_may_have_a_number_each(text, due):
    assert parse_value(ALIKE, text, "--qp") == due
    assert value_from_file(ALIKE, due, "here") == due


def test_the_numbers_of_parts_are_told_apart():
    assert ALIKE.split("20:23:28") == (20, 23, 28)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("20:23", "'20:23' holds 2 numbers, should be 1 or 3"),
        ("1:2:3:4", "'1:2:3:4' holds 4 numbers, should be 1 or 3"),
        ("20::28", "'' is not a whole number for P"),
        ("20:23:2.5", "'2.5' is not a whole number for B"),
        ("x:1:1", "'x' is not a whole number for I"),
        ("20:128:28", "128 is out of range 0..127"),
        ("-1:23:28", "-1 is out of range 0..127"),
        ("128", "128 is out of range 0..127"),
        ("2.5", "'2.5' is not a whole number 0..127"),
    ],
)
def test_parts_that_cannot_be_had_are_refused(text, what):
    with pytest.raises(UsageError) as refusal:
        parse_value(ALIKE, text, "ZVC69_QP")
    assert (refusal.value.where, refusal.value.what) == ("ZVC69_QP", what)


def test_numbers_where_one_is_taken_are_refused_with_what_to_write():
    assert parse_value(ALONE, "12", "--refine") == 12
    for refuse in (parse_value, value_from_file):
        with pytest.raises(UsageError) as refusal:
            refuse(ALONE, "8:4:0", "here")
        found = refusal.value
        assert (found.where, found.what) == ("here", "'8:4:0' holds 3 numbers, should be 1")
        assert found.next_step == "Write --refine 8."


def test_a_text_that_holds_no_parts_is_refused_in_a_file():
    with pytest.raises(UsageError, match="holds 1 numbers"):
        value_from_file(ALIKE, "30", "here")
