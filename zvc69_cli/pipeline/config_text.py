"""What was chosen for an encode, as a file that --config takes: its keys are flag names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import flags_of
from zvc69_cli.pipeline.resolve import CHOOSERS, ENCODE_SETTINGS, MODES_OF_QUALITY, Choices


def config_text(choices: Choices) -> str:
    """TOML with a line a flag, and who chose its value where somebody did.

    A flag that stands for nothing where it is left out is left out; so is --crf where something else sets the quality.
    raises  UsageError for a text that TOML cannot hold
    """
    lines = [f"preset = {_toml('preset', choices.preset)}"]
    if choices.tune is not None:
        lines.append(f"tune = {_toml('tune', choices.tune)}")
    for name, value, origin in _chosen(choices):
        lines.append(f"{name} = {_toml(name, value)}" + (f"  # {_one_line(origin)}" if origin else ""))
    return "\n".join(lines) + "\n"


def _chosen(choices: Choices) -> Iterator[tuple[str, Any, str]]:
    asked = [name for name in MODES_OF_QUALITY if name in choices.values]
    for settings in ENCODE_SETTINGS:
        for each in flags_of(settings):
            choice = choices.values.get(each.field_name)
            value = each.default if choice is None else choice.value
            is_idle = asked and each.field_name in MODES_OF_QUALITY and each.field_name not in asked
            if value in (None, "") or is_idle or each.name in CHOOSERS:
                continue
            yield each.name, value, "" if choice is None else choice.origin


def _toml(name: str, value: Any) -> str:
    """One value; JSON's texts are TOML's but for a letter or two."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as cause:
            raise UsageError(
                f"--{name}", f"{value!r} is no text that a file can hold", "Give it another name."
            ) from cause
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
