"""The ffmpeg program, for what PyAV's FFmpeg was built without: VMAF, VVenC, libaom."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final

ASKING_S: Final = 20.0  # a program that does not say what it can within this is of no use
HOW_TO_GET: Final = "`pip install 'zvc69[measure]'` brings an ffmpeg with it."


@dataclass(frozen=True, slots=True, kw_only=True)
class FfmpegProgram:
    """One ffmpeg, and what it says that it can do."""

    path: str
    version: str
    filters: frozenset[str]
    encoders: frozenset[str]


@cache
def find_program(filter_name: str = "", encoder: str = "") -> FfmpegProgram | None:
    """The first ffmpeg that has this filter and this encoder: imageio-ffmpeg's, then that of PATH."""
    for path in _paths():
        program = _described(path)
        if program is None:
            continue
        if (not filter_name or filter_name in program.filters) and (not encoder or encoder in program.encoders):
            return program
    return None


def _paths() -> list[str]:
    found: list[str] = []
    with suppress(ImportError, RuntimeError, OSError):  # not installed, or installed without its program
        found.append(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    if on_path := shutil.which("ffmpeg"):
        found.append(on_path)
    return list(dict.fromkeys(found))


@cache
def _described(path: str) -> FfmpegProgram | None:
    try:
        version = _said(path, ["-version"]).partition("\n")[0].split()
        return FfmpegProgram(
            path=path,
            version=version[2] if len(version) > 2 else "unknown",
            filters=_names(_said(path, ["-filters"])),
            encoders=_names(_said(path, ["-encoders"])),
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _said(path: str, arguments: Sequence[str]) -> str:
    return subprocess.run(
        [path, "-hide_banner", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=ASKING_S,
        stdin=subprocess.DEVNULL,
    ).stdout


def _names(listing: str) -> frozenset[str]:
    """The second word of each line: flags come first."""
    words = (line.split() for line in listing.splitlines())
    return frozenset(each[1] for each in words if len(each) > 1)
