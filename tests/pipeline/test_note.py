"""What a stream says of how it was made, in few bytes."""

import json

import pytest

from zvc69_cli.flags import flags_of
from zvc69_cli.pipeline.note import settings_note
from zvc69_cli.pipeline.resolve import EncodeOptions


def note_of(source="in.y4m", **flags):
    options = EncodeOptions.of(**flags)
    return settings_note(options.codec, options.rate, options.preset, source)


def test_an_encode_without_flags_says_its_quality_and_no_more():
    note = json.loads(note_of())
    assert list(note) == ["program", "source", "preset", "settings"]
    assert note["settings"] == {"crf": 23.0}
    assert len(note_of()) < 100


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"qp": 78}, {"qp": 78}),
        ({"crf": 30.5, "slices": 2}, {"crf": 30.5, "slices": 2}),
        ({"bitrate": "2M", "passes": 2}, {"bitrate": "2M", "passes": 2}),
        ({"target_size": "9k", "frame_headers": "full"}, {"target-size": "9k", "frame-headers": "full"}),
        ({"bitrate": "2M", "pass_": 1, "stats": "my.stats"}, {"bitrate": "2M", "pass": 1}),
    ],
)
def test_what_was_asked_for_is_said_by_the_names_of_the_flags(flags, told):
    assert json.loads(note_of(**flags))["settings"] == told


def test_what_a_preset_changes_is_said():
    options = EncodeOptions.of(preset="ultrafast")
    told = json.loads(note_of(preset="ultrafast"))["settings"]
    unusual = {
        each.name: getattr(options.codec, each.field_name)
        for each in flags_of(options.codec)
        if getattr(options.codec, each.field_name) != each.default
    }
    assert told == {"crf": 23.0, **unusual}
    assert unusual


def test_a_name_takes_no_more_bytes_than_it_has():
    assert "фильм.mkv" in note_of("фильм.mkv")
