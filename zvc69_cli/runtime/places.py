"""Where bundles and presets lie: inside an installed package, or at the root of a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def engines_folder() -> Path:
    return _folder("engines")


def presets_folder() -> Path:
    return _folder("presets")


def program_graphs_folder() -> Path:
    """Where the graphs lie that are the program's own."""
    return _PACKAGE / "runtime" / "graphs"


def _folder(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
