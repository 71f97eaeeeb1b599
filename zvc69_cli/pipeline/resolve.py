"""From what was typed to what is done: flags, preset and environment become frozen options.

Later wins: default, preset, environment, flag; the order in which flags are typed does not matter.
"""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import Flag, flags_of
from zvc69_cli.media.settings import InputSettings, OutputSettings
from zvc69_cli.pipeline.settings import DecodeSettings
from zvc69_cli.runtime.settings import RunSettings

DEFAULT_PRESET: Final = "medium"
ENVIRONMENT_PREFIX: Final = "ZVC69_"
ENCODE_SETTINGS: Final = (CodecSettings, RunSettings, InputSettings)
DECODE_SETTINGS: Final = (RunSettings, OutputSettings, DecodeSettings)

# x265 has ten presets. Until another one differs measurably, the rest are names of these two, and say so.
PRESET_ALIASES: Final = {
    "superfast": "ultrafast",
    "veryfast": "medium",
    "faster": "medium",
    "fast": "medium",
    "slow": "medium",
    "slower": "medium",
    "veryslow": "medium",
    "placebo": "medium",
}
# Pairs that ask for the same thing in two ways: at most one of them counts.
_RIVALS: Final = {"crf": "qp", "qp": "crf"}
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")

_log = logging.getLogger(__name__)
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """Everything that an encode is asked for.

    codec      what reaches the stream
    run        where and with how many threads it is computed
    input      which part of which input
    preset     name of the preset that `codec` began from, for the note in the stream
    with_note  whether the stream says how it was made; without, equal settings make equal bytes
    """

    codec: CodecSettings = field(default_factory=CodecSettings)
    run: RunSettings = field(default_factory=RunSettings)
    input: InputSettings = field(default_factory=InputSettings)
    preset: str = DEFAULT_PRESET
    with_note: bool = True

    @classmethod
    def of(cls, *, preset: str = DEFAULT_PRESET, **flags: Any) -> EncodeOptions:
        """Options from a preset and flags by name: `EncodeOptions.of(preset="ultrafast", crf=30)`."""
        return resolve_encode(flags, find_preset(preset), {})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """Everything that a decode is asked for; nothing here changes a pixel."""

    run: RunSettings = field(default_factory=RunSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    part: DecodeSettings = field(default_factory=DecodeSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named set of values, as its file says them: keys are flag names."""

    name: str
    values: Mapping[str, Any]


def find_preset(name: str, folder: Path | None = None, *, where: str = "--preset") -> Preset:
    """The preset of that name, or of the name that x265's stands for; `where` is who named it.

    raises  UsageError, naming the nearest preset
    """
    if folder is None:
        from zvc69_cli.runtime.places import presets_folder

        folder = presets_folder()
    meant = PRESET_ALIASES.get(name, name)
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if meant not in known:
        raise UsageError(
            where,
            f"there is no preset {name!r}",
            suggest(name, [*known, *PRESET_ALIASES]) or f"Choose one of {', '.join(known)}.",
        )
    if meant != name:
        _log.info("preset %s is the same as %s in this version", name, meant)
    path = folder / f"{meant}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise UsageError(f"preset {meant}", f"{path} cannot be read: {cause}", "Mend the file.") from cause
    return Preset(name=meant, values=values)


def resolve_encode(
    explicit: Mapping[str, Any], preset: Preset, environment: Mapping[str, str], *, with_note: bool = True
) -> EncodeOptions:
    """What an encode does.

    explicit     values of the flags that were typed, by field name
    environment  variables such as ZVC69_CRF; those of no flag are left alone
    raises       UsageError, naming the flag, key or variable
    """
    layers = (_preset_layer(preset), *_layers(explicit, environment, ENCODE_SETTINGS))
    values = _merge(layers)
    return EncodeOptions(
        codec=_fill(CodecSettings, values),
        run=_fill(RunSettings, values),
        input=_fill(InputSettings, values),
        preset=preset.name,
        with_note=with_note,
    )


def resolve_decode(explicit: Mapping[str, Any], environment: Mapping[str, str]) -> DecodeOptions:
    """What a decode does; raises UsageError, naming the flag or variable."""
    values = _merge(_layers(explicit, environment, DECODE_SETTINGS))
    return DecodeOptions(
        run=_fill(RunSettings, values), output=_fill(OutputSettings, values), part=_fill(DecodeSettings, values)
    )


def suggest(wrong: str, known: Iterable[str], form: str = "{}") -> str:
    """A sentence naming the nearest of `known`, or "" where none is near."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"Did you mean {form.format(near[0])}?" if near else ""


def parse_value(described: Flag, text: str, where: str) -> Any:
    """The value that `text` means for that flag, checked; raises UsageError about `where`."""
    value: Any = text
    if described.kind is bool:
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
    return _checked(described, value, where)


def _checked(described: Flag, value: Any, where: str) -> Any:
    try:
        described.check(value)
    except UsageError as cause:
        near = suggest(str(value), described.choices)
        raise UsageError(where, cause.what, near or cause.next_step) from cause
    return value


def _preset_layer(preset: Preset) -> dict[str, Any]:
    allowed = {each.name: each for each in flags_of(CodecSettings) if each.in_presets}
    layer = {}
    for key, value in preset.values.items():
        where = f"preset {preset.name}"
        if key not in allowed:
            raise UsageError(
                where,
                f"there is no key {key!r}",
                suggest(key, allowed) or f"The keys are {', '.join(sorted(allowed))}.",
            )
        described = allowed[key]
        due = (int, float) if described.kind is float else (described.kind,)
        if not isinstance(value, due) or (isinstance(value, bool) and described.kind is not bool):
            raise UsageError(
                where, f"{key} is {value!r}, should be of type {described.kind.__name__}", "Mend the preset."
            )
        layer[described.field_name] = _checked(described, value, f"{where}, {key}")
    return layer


def _layers(
    explicit: Mapping[str, Any], environment: Mapping[str, str], settings: Iterable[type]
) -> tuple[dict[str, Any], dict[str, Any]]:
    known = {each.field_name: each for kind in settings for each in flags_of(kind)}
    typed = {}
    for name, value in explicit.items():
        if name not in known:
            raise UsageError(
                name, "there is no such option", suggest(name, known) or "See --help for all of them."
            )
        typed[name] = _checked(known[name], value, f"--{known[name].name}")
    from_environment = {}
    for name, described in known.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in environment:
            from_environment[name] = parse_value(described, environment[variable], variable)
            _log.debug("%s=%s", variable, environment[variable])
    return from_environment, typed


def _merge(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for layer in layers:
        for name, rival in _RIVALS.items():
            if name in layer:
                if rival in layer:
                    raise UsageError(
                        f"--{name}",
                        f"was given together with --{rival}",
                        "Leave one of them out: both set the quality.",
                    )
                values.pop(rival, None)
        values.update(layer)
    return values


def _fill(settings: type[S], values: Mapping[str, Any]) -> S:
    names = {each.name for each in fields(settings)}  # type: ignore[arg-type]
    return settings(**{name: value for name, value in values.items() if name in names})
