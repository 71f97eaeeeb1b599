"""The note in a stream about how it was made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zvc69_cli.flags import flags_of

if TYPE_CHECKING:
    from zvc69_cli.codec.rate.settings import RateSettings
    from zvc69_cli.codec.settings import CodecSettings

_LEFT_OUT = ("stats",)  # a file of the encode's own, which says nothing of how


def settings_note(settings: CodecSettings, rate: RateSettings, preset: str, source_name: str) -> str:
    """JSON that says how a stream was made; nothing in it decides how it decodes.

    Of the settings it has the quality or rate that was asked for and what is not as `program` does it unasked: every
    byte of the note is one of the file.
    """
    from zvc69_cli import __version__

    told = {**_asked_quality(settings, rate), **_unusual(settings), **_unusual(rate)}
    note = {"program": f"zvc69 {__version__}", "source": source_name, "preset": preset, "settings": told}
    return json.dumps(note, separators=(",", ":"), ensure_ascii=False)


def _asked_quality(settings: CodecSettings, rate: RateSettings) -> dict[str, float]:
    """The crf, where nothing else says what the stream is to be like."""
    return {} if rate.has_rate or settings.qp is not None else {"crf": settings.crf}


def _unusual(settings: CodecSettings | RateSettings) -> dict[str, Any]:
    """What differs from the defaults, by the flags' names."""
    values = {each.name: (getattr(settings, each.field_name), each.default) for each in flags_of(settings)}
    return {name: value for name, (value, usual) in values.items() if value != usual and name not in _LEFT_OUT}
