"""Documents that were measured before, one JSON file each, so that a bench can go on where it ended."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from zvc69_cli.errors import OutputError


class KeptFolder:
    """A folder of documents, found by key; None keeps nothing.

    flag    that names the folder, for messages
    raises  OutputError where it cannot be made
    """

    def __init__(self, folder: Path | None, flag: str) -> None:
        self._folder = folder
        self._next_step = f"Name another {flag} folder."
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as cause:
                raise OutputError(str(folder), f"cannot be made: {cause.strerror}", self._next_step) from cause

    def find(self, key: str) -> tuple[Any, bytes] | None:
        """What was kept under this key, and the picture beside it; None where nothing readable is."""
        if self._folder is None:
            return None
        path = self._path(self._folder, key)
        picture = path.with_suffix(".png")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return document, picture.read_bytes() if picture.exists() else b""
        except (OSError, ValueError):
            return None  # never measured, or cut short: measured again

    def keep(self, key: str, document: Any, picture_png: bytes = b"") -> None:
        """Keep a document; under a temporary name first, so that an interruption leaves no half of one.

        raises  OutputError where it cannot be written
        """
        if self._folder is None:
            return
        path = self._path(self._folder, key)
        unfinished = path.with_suffix(".part")
        try:
            if picture_png:
                path.with_suffix(".png").write_bytes(picture_png)
            unfinished.write_text(json.dumps(document), encoding="utf-8")
            unfinished.replace(path)
        except OSError as cause:
            raise OutputError(str(path), f"cannot be written: {cause.strerror}", self._next_step) from cause

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"
