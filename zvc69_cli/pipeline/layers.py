"""Where values of flags come from, a layer each: preset, tune, config file, environment, what was typed.

What a layer holds is known and within its range; what the values do to each other is `resolve`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import Flag, checked_value, flags_of, parse_value, suggest, value_from_file
from zvc69_cli.pipeline.presets import Preset, Tune, read_toml

ENVIRONMENT_PREFIX: Final = "ZVC69_"
LIKE_A_VARIABLE: Final = 0.8  # likeness from which a variable of no flag is taken for a misspelt one

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Values by field name, checked.

    form         how a refusal calls one of them; {name} is the flag's name, {variable} its variable's
    is_explicit  whether somebody asked for each of them for this very run
    """

    form: str
    is_explicit: bool = False
    values: Mapping[str, Any]

    def called(self, field_name: str) -> str:
        """One of the values, by the name that the user knows it by."""
        name = field_name.rstrip("_").replace("_", "-")
        return self.form.format(name=name, variable=variable_of(name))


def variable_of(name: str) -> str:
    """The environment variable that stands for a flag: "frame-headers", ZVC69_FRAME_HEADERS."""
    return ENVIRONMENT_PREFIX + name.replace("-", "_").upper()


def flags_by_field(settings: Iterable[type]) -> dict[str, Flag]:
    return {each.field_name: each for kind in settings for each in flags_of(kind)}


def preset_layer(preset: Preset) -> Layer:
    """What a preset says; it may speak of effort only, so that it changes nothing that a decoder needs."""
    allowed = {name: each for name, each in flags_by_field([CodecSettings]).items() if each.in_presets}
    where = f"preset {preset.name}"
    step = "A preset may hold {names}; what else is wanted goes into a file for --config."
    return Layer(form=_plain(where), values=_from_file(preset.values, allowed, where, step))


def tune_layer(name: str, tune: Tune) -> Layer:
    return Layer(form=f"tune {name}", values=tune.values)


def read_config(name: str, where: str) -> Preset:
    """A file of flags, not looked through yet; raises UsageError about `where`."""
    return Preset(name=name, values=read_toml(Path(name), where))


def config_layer(config: Preset, known: Mapping[str, Flag], others: Collection[str]) -> Layer:
    """What a config file says: keys are flag names.

    others  keys that are not for this layer
    """
    values = {key: value for key, value in config.values.items() if key not in others}
    step = "Keys are names of flags without their dashes in front, as `--print-config` writes them."
    return Layer(form=_plain(config.name), values=_from_file(values, known, config.name, step))


def environment_layer(environment: Mapping[str, str], known: Mapping[str, Flag]) -> Layer:
    """What variables such as ZVC69_CRF say; an empty one says nothing."""
    values = {}
    for field_name, described in known.items():
        variable = variable_of(described.name)
        if environment.get(variable):
            values[field_name] = parse_value(described, environment[variable], variable)
            _log.debug("%s=%s", variable, environment[variable])
    return Layer(form="{variable}", values=values)


def typed_layer(explicit: Mapping[str, Any], known: Mapping[str, Flag]) -> Layer:
    """What was typed, or given by name in Python."""
    values = {}
    for field_name, value in explicit.items():
        if field_name not in known:
            step = suggest(field_name, known) or "See --help for all of them."
            raise UsageError(field_name, "there is no such option", step)
        values[field_name] = checked_value(known[field_name], value, f"--{known[field_name].name}")
    return Layer(form="--{name}", is_explicit=True, values=values)


def warn_of_misspelt(environment: Mapping[str, str], names: Iterable[str]) -> None:
    """Tell of variables that begin like ours, are none and look like one of them."""
    variables = {variable_of(name) for name in names}
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in variables:
            continue
        nearest = suggest(variable, variables, likeness=LIKE_A_VARIABLE)
        if nearest:
            _log.warning("%s stands for no flag and is left alone. %s", variable, nearest)


def _from_file(values: Mapping[str, Any], allowed: Mapping[str, Flag], where: str, step: str) -> dict[str, Any]:
    by_name = {each.name: each for each in allowed.values()}
    layer = {}
    for key, value in values.items():
        if key not in by_name:
            told = suggest(key, by_name) or step.format(names=", ".join(sorted(by_name)))
            raise UsageError(where, f"there is no key {key!r}", told)
        described = by_name[key]
        layer[described.field_name] = value_from_file(described, value, f"{where}, {key}")
    return layer


def _plain(name: str) -> str:
    """A file's name as part of a form."""
    return name.replace("{", "{{").replace("}", "}}")
