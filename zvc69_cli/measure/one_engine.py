"""One bundle on one device, loaded once and used for every encode and decode of a bench."""

from __future__ import annotations

from pathlib import Path

from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.pipeline.engine import Engine
from zvc69_cli.runtime.bundle import Bundle, find_bundle, load_bundle
from zvc69_cli.runtime.settings import RunSettings


class OneEngine:
    """Satisfies pipeline.engine.Engines with the same engine for every stream."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def for_encoding(self, run: RunSettings) -> Engine:
        return self.engine

    def for_decoding(self, header: StreamHeader, run: RunSettings) -> Engine:
        return self.engine


def bundle_of(name: str) -> Bundle:
    """The bundle in the folder of this path where there is one, the installed bundle of this name otherwise.

    raises  UnknownBundle, RuntimeUnavailable
    """
    return load_bundle(Path(name)) if Path(name).is_dir() else find_bundle(name)
