"""A flag is declared once: a dataclass field that carries its range, unit and help.

The command-line option, the preset key, the check, the documentation and the test of its bounds are derived from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final

from zvc69_cli.errors import UsageError

_FLAG: Final = "flag"
_KINDS: Final = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What the outside knows of one field.

    name       as typed, without dashes ("frame-headers")
    kind       int, float, str or bool
    low, high  bounds, both allowed; None where there is none
    choices    the only values allowed; empty when any is
    off        what --no-NAME stands for; None where there is no such option
    parts      names of what may have a number each, ":" between, instead of one for all ("I", "P", "B")
    one_only   the next step for a value with parts where the flag takes one number; "{first}" is the first of them
    """

    name: str
    kind: type
    help: str
    default: Any
    field_name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    off: int | None = None
    in_presets: bool = False
    parts: tuple[str, ...] = ()
    one_only: str = ""

    def check(self, value: Any) -> None:
        """Raises UsageError naming the value and the range or the type."""
        if value is None and self.default is None:
            return
        if self.parts and isinstance(value, str):
            for number in self.split(value):
                self.check(number)
            return
        if self.one_only and _has_parts(value):
            step = self.one_only.format(first=value.partition(":")[0])
            raise UsageError(
                f"--{self.name}", f"{value!r} holds {value.count(':') + 1} numbers, should be 1", step
            )
        if not _is_of(self.kind, value):
            raise UsageError(f"--{self.name}", f"{value!r} is not {_KINDS[self.kind]}", "Give it as one.")
        if self.choices and value not in self.choices:
            raise UsageError(
                f"--{self.name}",
                f"{value!r} is not one of {', '.join(filter(None, self.choices))}",
                "Choose one of these.",
            )
        below = self.low is not None and not value >= self.low
        above = self.high is not None and not value <= self.high
        if below or above:
            raise UsageError(
                f"--{self.name}",
                f"{_plain(value)} is out of range {self.range_text}",
                f"Take the nearest valid value, {self.low if below else self.high}, or leave the flag out.",
            )

    def split(self, text: str) -> tuple[int, ...]:
        """The numbers of the parts; raises UsageError where a part has none, or one too many is there."""
        form = ":".join(self.parts)
        numbers = text.split(":")
        if len(numbers) != len(self.parts):
            raise UsageError(
                f"--{self.name}",
                f"{text!r} holds {len(numbers)} numbers, should be 1 or {len(self.parts)}",
                f"Write one for all, or {form}.",
            )
        for part, number in zip(self.parts, numbers, strict=True):
            if not (number.isascii() and number.removeprefix("-").isdigit()):
                raise UsageError(
                    f"--{self.name}", f"{number!r} is not a whole number for {part}", f"Write {form}."
                )
        return tuple(int(number) for number in numbers)

    @property
    def range_text(self) -> str:
        """The allowed values as text: "0..51", "1.." or "a|b"."""
        if self.choices:
            return "|".join(choice for choice in self.choices if choice)
        if self.low is None and self.high is None:
            return ""
        low = "" if self.low is None else _plain(self.low)
        high = "" if self.high is None else _plain(self.high)
        return f"{low}..{high}"


def flag(
    default: Any,
    help: str,
    *,
    kind: type | None = None,
    name: str = "",
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    off: int | None = None,
    in_presets: bool = False,
    parts: tuple[str, ...] = (),
    one_only: str = "",
) -> Any:
    """A dataclass field that is also a flag; `kind` is needed where the default is None."""
    described = {
        "help": help,
        "kind": kind or type(default),
        "name": name,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "off": off,
        "in_presets": in_presets,
        "parts": parts,
        "one_only": one_only,
    }
    return field(default=default, metadata={_FLAG: described})


def flags_of(options: Any) -> Iterator[Flag]:
    """The flags of an options class (or of a value of it), in the order of its fields."""
    for described in fields(options):
        if _FLAG in described.metadata:
            yield _flag(described)


def check_flags(options: Any) -> None:
    """Raises UsageError for the first field of `options` that is out of its range."""
    for each in flags_of(options):
        each.check(getattr(options, each.field_name))


def suggest(wrong: str, known: Iterable[str], form: str = "{}", *, likeness: float = 0.5) -> str:
    """A sentence naming the nearest of `known`, or "" where none is near.

    likeness  how near is near: 0 is anything, 1 the same
    """
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=likeness)
    return f"Did you mean {form.format(near[0])}?" if near else ""


def parse_value(described: Flag, text: str, where: str) -> Any:
    """The value that `text` means for that flag, checked; raises UsageError about `where`."""
    value: Any = text
    if _has_parts(text) and (described.parts or described.one_only):
        pass  # checked_value looks at each
    elif described.kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise UsageError(where, f"{text!r} is neither on nor off", "Write 1 or 0.")
        value = text.lower() in _TRUE
    elif described.kind in (int, float):
        try:
            value = described.kind(text)
            if value != value:
                raise ValueError(f"{text} is not a number")
        except ValueError as cause:
            due = "a whole number" if described.kind is int else "a number"
            bounds = f" {described.range_text}" if described.range_text else ""
            raise UsageError(where, f"{text!r} is not {due}{bounds}", f"Write {due}.") from cause
    return checked_value(described, value, where)


def checked_value(described: Flag, value: Any, where: str) -> Any:
    """The value, where the flag can have it; raises UsageError about `where`."""
    try:
        described.check(value)
    except UsageError as cause:
        near = suggest(str(value), described.choices)
        raise UsageError(where, cause.what, near or cause.next_step) from cause
    return value


def value_from_file(described: Flag, value: Any, where: str) -> Any:
    """What a preset's or a config file's value means for that flag, checked; raises UsageError about `where`.

    A text may be written as a number (bitrate = 2000), and `false` switches off what --no-NAME does.
    """
    if value is False and described.kind is not bool and described.off is not None:
        value = described.off
    if described.kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return checked_value(described, value, where)


def _is_of(kind: type, value: Any) -> bool:
    """Whether a value is of that type; whole numbers are numbers too, True is not 1."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _has_parts(value: Any) -> bool:
    """Whether a value is a text of several numbers, ":" between."""
    return isinstance(value, str) and ":" in value


def _plain(number: float) -> str:
    """Digits as a person would write them: 60, 2147483648, 0.25."""
    return str(int(number)) if number == number // 1 else f"{number:g}"


def _flag(described: Field[Any]) -> Flag:
    about = dict(described.metadata[_FLAG])
    about["name"] = about["name"] or described.name.replace("_", "-")
    assert described.default is not MISSING
    return Flag(default=described.default, field_name=described.name, **about)
