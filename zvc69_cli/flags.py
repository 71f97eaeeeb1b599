"""A flag is declared once: a dataclass field that carries its range, unit and help.

The command-line option, the preset key, the check, the documentation and the test of its bounds are derived from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final

from zvc69_cli.errors import UsageError

_FLAG: Final = "flag"
_KINDS: Final = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What the outside knows of one field.

    name       as typed, without dashes ("frame-headers")
    kind       int, float, str or bool
    low, high  bounds, both allowed; None where there is none
    choices    the only values allowed; empty when any is
    off        what --no-NAME stands for; None where there is no such option
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

    def check(self, value: Any) -> None:
        """Raises UsageError naming the value and the range or the type."""
        if value is None and self.default is None:
            return
        if not _is_of(self.kind, value):
            raise UsageError(f"--{self.name}", f"{value!r} is not {_KINDS[self.kind]}", "Give it as one.")
        if self.choices and value not in self.choices:
            raise UsageError(
                f"--{self.name}", f"{value!r} is not one of {', '.join(self.choices)}", "Choose one of these."
            )
        below = self.low is not None and not value >= self.low
        above = self.high is not None and not value <= self.high
        if below or above:
            raise UsageError(
                f"--{self.name}",
                f"{_plain(value)} is out of range {self.range_text}",
                f"Take the nearest valid value, {self.low if below else self.high}, or leave the flag out.",
            )

    @property
    def range_text(self) -> str:
        """The allowed values as text: "0..51", "1.." or "a|b"."""
        if self.choices:
            return "|".join(self.choices)
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


def _is_of(kind: type, value: Any) -> bool:
    """Whether a value is of that type; whole numbers are numbers too, True is not 1."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _plain(number: float) -> str:
    """Digits as a person would write them: 60, 2147483648, 0.25."""
    return str(int(number)) if number == number // 1 else f"{number:g}"


def _flag(described: Field[Any]) -> Flag:
    about = dict(described.metadata[_FLAG])
    about["name"] = about["name"] or described.name.replace("_", "-")
    assert described.default is not MISSING
    return Flag(default=described.default, field_name=described.name, **about)
