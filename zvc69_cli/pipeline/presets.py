"""Named sets of flags: presets, which are files, and tunes, of which there are few."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import suggest

DEFAULT_PRESET: Final = "medium"

# x265's ten names, of which each has the number by which x265 takes it too.
PRESET_NUMBERS: Final = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
# What a name stands for while presets/ holds no file of it: a step nearer to medium, as often as it takes.
PRESET_ALIASES: Final = {
    "superfast": "ultrafast",
    "veryfast": "faster",
    "faster": "fast",
    "fast": "medium",
    "slow": "medium",
    "slower": "slow",
    "veryslow": "slower",
    "placebo": "veryslow",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named set of values, as its file says them: keys are flag names."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """Values for one purpose; they win over a preset's.

    values  by field name; empty where the tune is refused
    why     what they are for, or why there are none
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    why: str


TUNES: Final = {
    "zerolatency": Tune(
        values={"bframes": 0, "rc_lookahead": 0, "cutree": False, "refine": 0},
        why="Nothing is held back: each frame is coded as it comes, a keyframe in the time of any other.",
    ),
    "psnr": Tune(why="the networks were trained for PSNR, and nothing in the encoder works against it"),
    "ssim": Tune(why="no setting of this version gives more SSIM at equal bits"),
    "grain": Tune(why="no setting of this version keeps more grain at equal bits"),
    "animation": Tune(why="no setting of this version does better on drawings at equal bits"),
    "fastdecode": Tune(why="every stream of this version decodes alike: the networks take the time"),
}


def find_preset(
    name: str,
    folder: Path | None = None,
    *,
    where: str = "--preset",
    user_folder: Path | None = None,
) -> Preset:
    """The preset of that name or x265's name or number for one, or the one in that file.

    folder       where the shipped ones lie
    where        who named it
    user_folder  where else to look
    raises       UsageError, naming the nearest preset
    """
    if _is_path(name):
        return _read(Path(name), Path(name).stem, where)
    if folder is None:
        from zvc69_cli.runtime.places import presets_folder

        folder = presets_folder()
    is_number = name.isascii() and name.isdigit() and int(name) < len(PRESET_NUMBERS)
    named = PRESET_NUMBERS[int(name)] if is_number else name
    shipped = _presets_in(folder)
    others = _presets_in(user_folder)
    meant = named
    while meant in PRESET_ALIASES and meant not in shipped and meant not in others:
        meant = PRESET_ALIASES[meant]
    path = shipped.get(meant) or others.get(meant)  # what ships cannot be redefined
    if path is None:
        known = [*shipped, *others]
        raise UsageError(
            where,
            f"there is no preset {name!r}",
            suggest(name, [*known, *PRESET_ALIASES])
            or f"Choose one of {', '.join(known)}, or name a file that ends in .toml.",
        )
    if meant != named:
        _log.info("preset %s is the same as %s in this version", named, meant)
    return _read(path, meant, f"preset {meant}")


def shipped_presets() -> list[str]:
    """Names of the presets that are files of their own, the fastest first."""
    from zvc69_cli.runtime.places import presets_folder

    shipped = _presets_in(presets_folder())
    return [name for name in PRESET_NUMBERS if name in shipped]


def find_tune(name: str, *, where: str = "--tune") -> Tune:
    """The tune of that name; raises UsageError where there is none, or none that would change anything."""
    useful = [each for each, tune in TUNES.items() if tune.values]
    if name not in TUNES:
        step = suggest(name, TUNES) or f"Choose one of {', '.join(useful)}."
        raise UsageError(where, f"there is no tune {name!r}", step)
    if not TUNES[name].values:
        raise UsageError(
            where,
            f"{name} would change nothing: {TUNES[name].why}",
            f"Leave it out, or take {', '.join(useful)}.",
        )
    return TUNES[name]


def user_presets_folder(environment: Mapping[str, str]) -> Path | None:
    """Where a user's own presets lie, NAME.toml each; None where there is no such place."""
    for variable, rest in (("XDG_CONFIG_HOME", ()), ("APPDATA", ()), ("HOME", (".config",))):
        if environment.get(variable):
            return Path(environment[variable], *rest, "zvc69", "presets")
    return None


def read_toml(path: Path, where: str) -> dict[str, Any]:
    """The keys and values of a file; raises UsageError about `where`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise UsageError(where, f"there is no file {path}", "Name one that exists.") from cause
    except (OSError, ValueError) as cause:
        raise UsageError(where, f"{path} cannot be read: {cause}", "Mend the file.") from cause


def _is_path(name: str) -> bool:
    return name.endswith(".toml") or "/" in name or "\\" in name


def _presets_in(folder: Path | None) -> dict[str, Path]:
    try:
        return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.toml"))}
    except OSError:
        return {}


def _read(path: Path, name: str, where: str) -> Preset:
    return Preset(name=name, values=read_toml(path, where))
