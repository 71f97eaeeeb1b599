"""Encodes that were measured, kept as files so that a bench can go on where it ended."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from zvc69_cli.measure.kept_folder import KeptFolder
from zvc69_cli.measure.peers import CodedFrame
from zvc69_cli.measure.quality import Quality, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Encode:
    """One encode of one clip by one codec, decoded again and measured.

    setting       crf or qp
    label         the same as text: "crf 28"
    pixels        luma samples of all frames together
    duration_s    of the clip
    stream_bytes  of the whole stream, the encoder's text about itself left out
    stored        what the stream holds of each frame, as watched; empty where nobody knows
    crop_png      a part of one frame, as decoded
    made          when, ISO 8601
    is_kept       whether it was made in an earlier run
    """

    codec: str
    setting: float
    label: str
    frame_count: int
    pixels: int
    duration_s: float
    stream_bytes: int
    encode_s: float
    decode_s: float
    quality: Quality
    stored: tuple[CodedFrame, ...]
    crop_png: bytes
    made: str
    is_kept: bool = False

    @property
    def bits_per_pixel(self) -> float:
        return self.stream_bytes * 8 / self.pixels

    @property
    def kbps(self) -> float:
        return self.stream_bytes * 8 / 1000 / self.duration_s

    @property
    def encode_fps(self) -> float:
        return self.frame_count / self.encode_s

    @property
    def decode_fps(self) -> float:
        return self.frame_count / self.decode_s


class Results:
    """A folder of encodes; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._kept = KeptFolder(folder, "--results")

    def find(self, key: str) -> Encode | None:
        """What was measured under this key; None where nothing readable is kept."""
        kept = self._kept.find(key)
        try:
            return _encode_of(*kept) if kept is not None and kept[1] else None
        except (TypeError, AttributeError, KeyError):
            return None  # of another version: measured again

    def keep(self, key: str, encode: Encode) -> None:
        """Keep an encode; raises OutputError."""
        document = asdict(replace(encode, crop_png=b""))
        del document["crop_png"], document["is_kept"]
        self._kept.keep(key, document, encode.crop_png)


def _encode_of(document: Any, crop_png: bytes) -> Encode:
    quality = Quality(
        series=tuple(
            Series(name=each["name"], values=tuple(each["values"])) for each in document["quality"]["series"]
        ),
        missing=tuple(document["quality"]["missing"]),
    )
    stored = tuple(CodedFrame(**each) for each in document["stored"])
    rest = {name: value for name, value in document.items() if name not in ("quality", "stored")}
    return Encode(**rest, quality=quality, stored=stored, crop_png=crop_png, is_kept=True)


@cache
def program_hash() -> str:
    """Of this program's own source, so that what another version of it measured is not taken for its own."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for room in ("codec", "container", "pipeline", "runtime"):
        for path in sorted((package / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
