"""What an encode will weigh and take, reckoned from what others weighed and took.

presets/estimates.json holds the figures; `python -m zvc69_cli.measure.preset_bench --estimates` makes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from zvc69_cli.codec.rate.quality import base_q_256
from zvc69_cli.codec.settings import Q_UNIT
from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.presets import DEFAULT_PRESET
from zvc69_cli.pipeline.resolve import EncodeOptions

SCHEMA: Final = "zvc69-estimates/1"
INTRA: Final = "intra"  # the table of streams that are keyframes only
FILE_NAME: Final = "estimates.json"
USUAL_RATE: Final = 25  # frames a second, where the source does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What to expect, where contents differ: of the clips measured the lightest, the mean and the heaviest.

    pixels_per_s  luma samples that were encoded in a second
    machine       that they were encoded on
    bundle        networks that were measured
    """

    low_kbps: float
    likely_kbps: float
    high_kbps: float
    pixels_per_s: float
    machine: str
    bundle: str

    def wall_s(self, video: VideoFormat, frames: int) -> float:
        """Seconds that so many frames took that machine."""
        return video.width * video.height * frames / self.pixels_per_s if self.pixels_per_s else 0.0


def estimate_bitrate(
    video: VideoFormat, options: EncodeOptions | None = None, *, path: Path | None = None
) -> Estimate:
    """The bitrate that a video of this size and rate is likely to get, its content unknown.

    path    of the figures; the shipped ones when left out
    raises  RuntimeUnavailable where there are none
    """
    options = options or EncodeOptions()
    facts = _read(path)
    table = _table(facts, options)
    rate = float(video.frame_rate or USUAL_RATE)
    kbps_a_bit = video.width * video.height * rate / 1000
    each = sorted(bits * kbps_a_bit for bits in _measured_bits(table, options).values())
    low, high = each[0], each[-1]
    likely = math.exp(sum(math.log(kbps) for kbps in each) / len(each))
    asked = options.rate.bitrate_kbps
    if asked is not None:
        low = likely = high = asked
    most = options.rate.maxrate_kbps or math.inf
    return Estimate(
        low_kbps=min(low, most),
        likely_kbps=min(likely, most),
        high_kbps=min(high, most),
        pixels_per_s=float(table["pixels_per_s"]),
        machine=str(facts["machine"]),
        bundle=str(facts["bundle"]),
    )


def measured_bits(options: EncodeOptions, path: Path | None = None) -> dict[str, float]:
    """Bits a luma sample that each clip took which was measured, by its name.

    path    of the figures; the shipped ones when left out
    raises  RuntimeUnavailable where there are none
    """
    return _measured_bits(_table(_read(path), options), options)


def _measured_bits(table: dict[str, Any], options: EncodeOptions) -> dict[str, float]:
    q = base_q_256(options.codec) / Q_UNIT
    return {name: _at(table["q"], curve, q) for name, curve in table["bits_per_pixel"].items()}


def _table(facts: dict[str, Any], options: EncodeOptions) -> dict[str, Any]:
    """The figures of the preset, or of medium where it is somebody's own."""
    tables: dict[str, dict[str, Any]] = facts["tables"]
    name = INTRA if options.codec.keyint == 1 else options.preset
    return tables.get(name) or tables[DEFAULT_PRESET]


def _at(qualities: Sequence[float], bits: Sequence[float], q: float) -> float:
    """Bits a sample at a quality: a straight line through its logarithms, flat beyond the ends."""
    if q <= qualities[0]:
        return bits[0]
    pairs = list(zip(qualities, bits, strict=True))
    for (below, fewer), (above, more) in pairwise(pairs):
        if q <= above:
            share = (q - below) / (above - below)
            return math.exp(math.log(fewer) + share * (math.log(more) - math.log(fewer)))
    return bits[-1]


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        from zvc69_cli.runtime.places import presets_folder

        path = presets_folder() / FILE_NAME
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if facts["schema"] != SCHEMA or not facts["tables"][DEFAULT_PRESET]["bits_per_pixel"]:
            raise ValueError(f"schema is {facts['schema']!r}, should be {SCHEMA!r} with a table of medium")
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise RuntimeUnavailable(
            "estimates",
            f"{path} cannot be used: {cause}",
            "Install zvc69 anew, or make the file with `python -m zvc69_cli.measure.preset_bench --estimates`.",
        ) from cause
    return facts
