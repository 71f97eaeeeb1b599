"""Flags become command-line options; nothing about a flag is said twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

import click

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import Flag, flags_of, parse_value, suggest

LOG_LEVELS: Final = ("error", "warning", "info", "debug")

# Letters that x265 and ffmpeg have taught people.
_SHORT: Final = {"frames": "-f"}

_METAVARS: Final[dict[type, str]] = {int: "N", float: "X", str: "TEXT"}

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(*settings: type, only: Collection[str] = ()) -> Callable[[F], F]:
    """Give a command an option for every flag of these classes; one that is not typed arrives as None.

    only  names of those to take; all where there are none
    """

    def decorate(command: F) -> F:
        for each in reversed([described for kind in settings for described in flags_of(kind)]):
            if not only or each.name in only:
                command = _option(each)(command)
        return command

    return decorate


def typed_flags(values: dict[str, Any]) -> dict[str, Any]:
    """Of a command's values, those that were typed."""
    return {name: value for name, value in values.items() if value is not None}


def run_options(command: F) -> F:
    """What every command takes: how much to say."""
    command = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)
    return click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS),
        default="info",
        show_default=True,
        envvar="ZVC69_LOG_LEVEL",
        help="How much to say on standard error.",
    )(command)


def file_arguments(command: F) -> F:
    """IN and OUT, by place or by name; or several of IN and a folder."""
    command = click.argument("paths", nargs=-1, type=click.Path(), metavar="IN OUT")(command)
    command = click.option(
        "--output-dir",
        metavar="DIR",
        type=click.Path(),
        help="A folder instead of OUT: every name by place is an input then, and each output is named like its input.",
    )(command)
    command = click.option(
        "-o", "--output", "out_name", metavar="OUT", help="The output, instead of by place."
    )(command)
    return click.option("-i", "--input", "in_name", metavar="IN", help="The input, instead of by place.")(
        command
    )


def overwrite_options(command: F) -> F:
    """-y and -n; neither asks where there is somebody to ask."""
    command = click.option("-n", "--no-overwrite", is_flag=True, help="Never overwrite the output.")(command)
    return click.option("-y", "--overwrite", is_flag=True, help="Overwrite the output without asking.")(command)


def input_and_output(paths: tuple[str, ...], in_name: str | None, out_name: str | None) -> tuple[str, str]:
    """IN and OUT from both ways of giving them; raises UsageError where there are not two."""
    places = list(paths)
    chosen_in = in_name if in_name is not None else (places.pop(0) if places else None)
    chosen_out = out_name if out_name is not None else (places.pop(0) if places else None)
    if chosen_in is None:
        raise UsageError("IN", "the input is missing", "Name a file, or - for standard input.")
    if chosen_out is None:
        raise UsageError("OUT", "the output is missing", "Name a file, or - for standard output.")
    for where, name in (("IN", chosen_in), ("OUT", chosen_out)):
        if not name:
            raise UsageError(where, "its name is empty", "Name a file, or - for a standard stream.")
    if places:
        raise UsageError(
            places[0],
            f"is a name too many, after {chosen_in!r} and {chosen_out!r}",
            "One input, one output: quote names with spaces.",
        )
    return chosen_in, chosen_out


def several_inputs(paths: tuple[str, ...], in_name: str | None, out_name: str | None) -> tuple[str, ...]:
    """Every IN, where --output-dir stands for OUT; raises UsageError."""
    if out_name is not None:
        raise UsageError("--output-dir", "was given together with -o", "Leave one of them out.")
    names = (*([in_name] if in_name is not None else []), *paths)
    if not names:
        raise UsageError("IN", "the input is missing", "Name one file or several.")
    return names


def only_input(paths: tuple[str, ...], in_name: str | None) -> str:
    """IN, where a command has no OUT; raises UsageError."""
    names = [*([in_name] if in_name is not None else []), *paths]
    if not names:
        raise UsageError("IN", "the input is missing", "Name a file, or - for standard input.")
    if len(names) > 1:
        raise UsageError(names[1], f"is a name too many, after {names[0]!r}", "Give one file at a time.")
    if not names[0]:
        raise UsageError("IN", "its name is empty", "Name a file, or - for standard input.")
    return names[0]


def nearest_option(wrong: str, command: click.Command | None) -> str:
    """ "Did you mean --crf?", or "" where nothing is near."""
    if not wrong.startswith("--"):
        return "A file whose name begins with - is given as ./-name."
    known = [
        name for param in (command.params if command else []) for name in (*param.opts, *param.secondary_opts)
    ]
    return suggest(wrong, [name for name in known if name.startswith("--")] + ["--help"])


def completing(choices: Iterable[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What click asks for the words that a shell may complete an option's value to."""
    known = [choice for choice in choices if choice]
    return lambda ctx, param, incomplete: [choice for choice in known if choice.startswith(incomplete)]


def _option(described: Flag) -> Callable[[F], F]:
    name, field_name = described.name, described.field_name
    short = (_SHORT[name],) if name in _SHORT else ()
    help_text = _help(described)
    if described.kind is not bool:
        valued = click.option(
            *short,
            f"--{name}",
            field_name,
            type=lambda text: parse_value(described, text, f"--{name}"),
            metavar=_metavar(described),
            shell_complete=completing(described.choices),
            default=None,
            help=help_text,
        )
        return valued if described.off is None else _with_switch_off(described, valued)
    return click.option(f"--{name}/--no-{name}", field_name, is_flag=True, default=None, help=help_text)


def _metavar(described: Flag) -> str:
    """What an option's value looks like."""
    if described.choices:
        return "|".join(filter(None, described.choices))
    plain = _METAVARS[described.kind]
    return f"{plain}|{':'.join(described.parts)}" if described.parts else plain


def _with_switch_off(described: Flag, valued: Callable[[F], F]) -> Callable[[F], F]:
    """The option and --no-NAME, which stands for one of its values; typed both, the later counts."""

    def decorate(command: F) -> F:
        name = f"--no-{described.name}"
        switch = click.option(
            name,
            described.field_name,
            flag_value=str(described.off),
            type=lambda text: parse_value(described, text, name),
            default=None,
            help=f"The same as --{described.name} {described.off}.",
        )
        return valued(switch(command))

    return decorate


def _help(described: Flag) -> str:
    facts = []
    bounds = "" if described.choices else described.range_text
    if bounds or described.unit:
        facts.append(f"{described.unit} {bounds}".strip())
    if described.default not in (None, ""):
        default = described.default
        if described.kind is bool:
            default = "on" if default else "off"
        elif described.kind is float:
            default = f"{default:g}"
        facts.append(f"default {default}")
    return f"{described.help} [{'; '.join(facts)}]" if facts else described.help
