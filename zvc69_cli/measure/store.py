"""Results that were measured before, one small file each, found by content and settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from zvc69_cli.errors import OutputError


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTotals:
    """All frames of one kind in one stream.

    size_bytes    of their coded sections
    motion_bytes  of these, what codes motion
    psnr_db       their mean PSNR 6:1:1, dB
    """

    kind: str
    frame_count: int
    size_bytes: int
    motion_bytes: int
    psnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One encode of one clip.

    setting       the q or crf of zvc69, the crf of a peer
    pixels        luma samples of all frames together
    stream_bytes  of the whole stream, headers, container and text included
    text_bytes    of these, the encoder's text about itself
    y, u, v       mean PSNR of each plane, dB
    psnr_db       mean PSNR 6:1:1, dB
    kinds         the frames by their kind; empty where nobody looked
    """

    clip: str
    group: str
    codec: str
    setting: float
    frame_count: int
    pixels: int
    stream_bytes: int
    text_bytes: int
    y: float
    u: float
    v: float
    psnr_db: float
    encode_s: float
    decode_s: float
    kinds: tuple[KindTotals, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.group}/{self.clip}" if self.group else self.clip

    @property
    def bits_per_pixel(self) -> float:
        """Without the encoder's text about itself."""
        return (self.stream_bytes - self.text_bytes) * 8 / self.pixels

    @property
    def bits_per_pixel_as_written(self) -> float:
        return self.stream_bytes * 8 / self.pixels


def measurement_of(document: Any) -> Measurement:
    """What `asdict` made of a measurement, as one again; other keys are left alone.

    raises  AttributeError, KeyError, TypeError where it is not that
    """
    values = {each.name: document[each.name] for each in fields(Measurement) if each.name != "kinds"}
    kinds = tuple(KindTotals(**each) for each in document.get("kinds", ()))
    return Measurement(**values, kinds=kinds)


class Store:
    """A folder of measurements; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as cause:
                raise OutputError(
                    str(folder), f"cannot be made: {cause}", "Name another --cache folder."
                ) from cause

    def find(self, content_hash: str, settings: str) -> Measurement | None:
        """What was measured for this content and these settings; None where nothing readable is kept."""
        if self._folder is None:
            return None
        try:
            return measurement_of(json.loads(self._path(self._folder, content_hash, settings).read_text()))
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None  # never measured, cut short, or of another version: measured again

    def keep(self, content_hash: str, settings: str, measurement: Measurement) -> None:
        """Write a measurement under a temporary name first, so that an interruption leaves no half of one."""
        if self._folder is None:
            return
        path = self._path(self._folder, content_hash, settings)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(asdict(measurement)))
        unfinished.replace(path)

    def _path(self, folder: Path, content_hash: str, settings: str) -> Path:
        return folder / f"{hashlib.sha256(f'{content_hash} {settings}'.encode()).hexdigest()[:40]}.json"
