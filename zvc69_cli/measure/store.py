"""Results that were measured before, one small file each, found by content and settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from zvc69_cli.measure.kept_folder import KeptFolder


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
        self._kept = KeptFolder(folder, "--cache")

    def find(self, content_hash: str, settings: str) -> Measurement | None:
        """What was measured for this content and these settings; None where nothing readable is kept."""
        kept = self._kept.find(f"{content_hash} {settings}")
        try:
            return None if kept is None else measurement_of(kept[0])
        except (TypeError, AttributeError, KeyError):
            return None  # of another version: measured again

    def keep(self, content_hash: str, settings: str, measurement: Measurement) -> None:
        """Keep a measurement; raises OutputError."""
        self._kept.keep(f"{content_hash} {settings}", asdict(measurement))
