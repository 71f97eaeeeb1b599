"""From what was typed to what is done: flags, presets, files and environment become frozen options.

Later wins: default, preset, tune, config file, environment, flag; the order in which flags are typed does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from zvc69_cli.codec.rate.settings import MODES, RateSettings, check_rate
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import parse_value as parse_value
from zvc69_cli.flags import suggest as suggest
from zvc69_cli.media.settings import InputSettings, OutputSettings
from zvc69_cli.pipeline.idle import refuse_idle
from zvc69_cli.pipeline.layers import (
    Layer,
    config_layer,
    environment_layer,
    flags_by_field,
    preset_layer,
    read_config,
    tune_layer,
    typed_layer,
    variable_of,
    warn_of_misspelt,
)
from zvc69_cli.pipeline.presets import DEFAULT_PRESET as DEFAULT_PRESET
from zvc69_cli.pipeline.presets import Preset, find_tune, user_presets_folder
from zvc69_cli.pipeline.presets import find_preset as find_preset
from zvc69_cli.pipeline.settings import DecodeSettings, FlightSettings, ReportSettings, StepSettings
from zvc69_cli.runtime.settings import RunSettings

ENCODE_SETTINGS: Final = (
    CodecSettings,
    StepSettings,
    RateSettings,
    RunSettings,
    FlightSettings,
    InputSettings,
    ReportSettings,
)
DECODE_SETTINGS: Final = (RunSettings, FlightSettings, OutputSettings, DecodeSettings)

# What chooses other values: typed, or set in the environment, or said in a config file.
CHOOSERS: Final = ("preset", "tune")
CONFIG_VARIABLE: Final = variable_of("config")

# Ways of asking for a quality or a rate, of which one counts; a later layer's replaces an earlier one's.
MODES_OF_QUALITY: Final = (*MODES, "quality")

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """Everything that an encode is asked for.

    codec      what reaches the stream
    rate       how many bits it may take
    run        where and with how many threads it is computed
    flight     how much of it is worked on at the same time
    input      which part of which input
    report     what is said about it
    preset     name of the preset that `codec` began from, for the note in the stream
    with_note  whether the stream says how it was made; without, equal settings make equal bytes
    """

    codec: CodecSettings = field(default_factory=CodecSettings)
    rate: RateSettings = field(default_factory=RateSettings)
    run: RunSettings = field(default_factory=RunSettings)
    flight: FlightSettings = field(default_factory=FlightSettings)
    input: InputSettings = field(default_factory=InputSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    preset: str = DEFAULT_PRESET
    with_note: bool = True

    def __post_init__(self) -> None:
        check_rate(self.codec, self.rate)

    @classmethod
    def of(cls, *, preset: str = DEFAULT_PRESET, tune: str | None = None, **flags: Any) -> EncodeOptions:
        """Options from a preset and flags by name: `EncodeOptions.of(preset="ultrafast", crf=30)`."""
        return options_of(choose_encode({"preset": preset, "tune": tune, **flags}, {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """Everything that a decode is asked for; nothing here changes a pixel."""

    run: RunSettings = field(default_factory=RunSettings)
    flight: FlightSettings = field(default_factory=FlightSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    part: DecodeSettings = field(default_factory=DecodeSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value that was chosen, and who said so ("preset slow", "--crf").

    is_explicit  whether it was asked for by its own name for this very run
    """

    value: Any
    origin: str
    is_explicit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was chosen, by field name; fields that nobody spoke of are left out."""

    preset: str
    tune: str | None
    values: Mapping[str, Choice]


def choose_encode(
    explicit: Mapping[str, Any], environment: Mapping[str, str], *, configs: Sequence[str] = ()
) -> Choices:
    """What was chosen for an encode, of all that was said.

    explicit     values of the flags that were typed, by field name, preset and tune among them
    environment  variables such as ZVC69_CRF; those of no flag are left alone, and told of where they look like one
    configs      files of flags, the later ones winning; without one, the one that ZVC69_CONFIG names
    raises       UsageError, naming the flag, key or variable
    """
    known = flags_by_field(ENCODE_SETTINGS)
    warn_of_misspelt(environment, _names_of_variables())
    named = configs or [name for name in [environment.get(CONFIG_VARIABLE)] if name]
    read = [read_config(name, "--config" if configs else CONFIG_VARIABLE) for name in named]
    said = [
        *({name: config.values.get(name) for name in CHOOSERS} for config in read),
        {name: environment.get(variable_of(name)) for name in CHOOSERS},
        {name: explicit.get(name) for name in CHOOSERS},
    ]
    wheres = [*(config.name for config in read), None, "--{}"]
    preset, where = _last_said("preset", said, wheres)
    tune, tune_where = _last_said("tune", said, wheres)
    chosen = find_preset(
        DEFAULT_PRESET if preset is None else preset, where=where, user_folder=user_presets_folder(environment)
    )
    layers = [preset_layer(chosen)]
    if tune is not None:
        layers.append(tune_layer(tune, find_tune(tune, where=tune_where)))
    layers += [config_layer(each, known, CHOOSERS) for each in read]
    layers.append(environment_layer(environment, known))
    layers.append(typed_layer({name: value for name, value in explicit.items() if name not in CHOOSERS}, known))
    return Choices(preset=chosen.name, tune=tune, values=_merge(layers))


def options_of(choices: Choices, *, with_note: bool = True) -> EncodeOptions:
    """The options that these choices make; raises UsageError where they cannot be had together."""
    values = {name: choice.value for name, choice in choices.values.items()}
    if values.get("quality") is not None:
        from zvc69_cli.codec.rate.quality import QUALITY_CRF

        values["crf"] = QUALITY_CRF[values["quality"]]
    report = _fill(ReportSettings, values)
    options = EncodeOptions(
        codec=_fill(CodecSettings, values),
        rate=_fill(RateSettings, values),
        run=_fill(RunSettings, values),
        flight=_fill(FlightSettings, values),
        input=_fill(InputSettings, values),
        report=report,
        preset=choices.preset,
        with_note=with_note and report.info,
    )
    refuse_idle(choices, options)
    return options


def resolve_encode(
    explicit: Mapping[str, Any], preset: Preset, environment: Mapping[str, str], *, with_note: bool = True
) -> EncodeOptions:
    """What an encode does, from a preset at hand, typed flags by field name and the environment.

    raises  UsageError, naming the flag, key or variable
    """
    known = flags_by_field(ENCODE_SETTINGS)
    layers = (preset_layer(preset), environment_layer(environment, known), typed_layer(explicit, known))
    choices = Choices(preset=preset.name, tune=None, values=_merge(layers))
    return options_of(choices, with_note=with_note)


def resolve_decode(explicit: Mapping[str, Any], environment: Mapping[str, str]) -> DecodeOptions:
    """What a decode does; raises UsageError, naming the flag or variable."""
    known = flags_by_field(DECODE_SETTINGS)
    warn_of_misspelt(environment, _names_of_variables())
    merged = _merge((environment_layer(environment, known), typed_layer(explicit, known)))
    values = {name: choice.value for name, choice in merged.items()}
    return DecodeOptions(
        run=_fill(RunSettings, values),
        flight=_fill(FlightSettings, values),
        output=_fill(OutputSettings, values),
        part=_fill(DecodeSettings, values),
    )


def _names_of_variables() -> list[str]:
    """Everything that a variable may stand for, of whichever command."""
    every = flags_by_field((*ENCODE_SETTINGS, *DECODE_SETTINGS))
    return [*CHOOSERS, "config", "log-level", *(each.name for each in every.values())]


def _last_said(
    name: str, said: Sequence[Mapping[str, Any]], wheres: Sequence[str | None]
) -> tuple[str | None, str]:
    """What the last that spoke of preset or tune said, and who that was."""
    for each, where in reversed(list(zip(said, wheres, strict=True))):
        value = each.get(name)
        if value in (None, ""):
            continue
        shown = variable_of(name) if where is None else where.format(name)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise UsageError(shown, f"{value!r} is no name of a {name}", "Give it as a text.")
        return str(value), shown
    return None, f"--{name}"


def _merge(layers: Iterable[Layer]) -> dict[str, Choice]:
    chosen: dict[str, Choice] = {}
    for layer in layers:
        given = [name for name in MODES_OF_QUALITY if layer.values.get(name) not in (None, "")]
        if len(given) > 1:
            one, other = (layer.called(name) for name in given[:2])
            raise UsageError(one, f"was given together with {other}", "Leave one of them out.")
        if given:
            for name in MODES_OF_QUALITY:
                chosen.pop(name, None)
        for name, value in layer.values.items():
            chosen[name] = Choice(value=value, origin=layer.called(name), is_explicit=layer.is_explicit)
    return chosen


def _fill(settings: type[S], values: Mapping[str, Any]) -> S:
    names = {each.name for each in fields(settings)}  # type: ignore[arg-type]
    return settings(**{name: value for name, value in values.items() if name in names})
