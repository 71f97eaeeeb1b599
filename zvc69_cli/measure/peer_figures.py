"""What a bench says: BD-rates clip by clip and on average, speeds, and everything as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zvc69_cli.measure.bd_rate import BdRate, RatePoint, bd_quality, bd_rate
from zvc69_cli.measure.peer_bench import TESTED, BenchedClip, BenchResult
from zvc69_cli.measure.quality import SCALES, Scale, comparable
from zvc69_cli.measure.results import Encode

SCHEMA: Final = "zvc69-bench/1"
USUAL_ANCHOR: Final = "x265"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One codec against an anchor on one clip, in one measure.

    rate  more or fewer bits at equal quality
    gain  more or less quality at equal rate: dB, points of VMAF; of SSIM in dB of 1 - SSIM
    """

    clip: str
    scale: str
    anchor: str
    codec: str
    rate: BdRate
    gain: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Frames a second of one codec on one clip, over all its encodes."""

    clip: str
    codec: str
    encode_fps: float
    decode_fps: float


def scales_of(result: BenchResult) -> tuple[Scale, ...]:
    """The main scales that anything was measured on."""
    names = {each.name for clip in result.clips for encode in clip.encodes for each in encode.quality.main}
    return tuple(scale for scale in SCALES if scale.name in names)


def against_peers(result: BenchResult) -> tuple[Figure, ...]:
    """zvc69 against every peer, on every clip and scale; raises RuntimeUnavailable without [measure]."""
    return tuple(
        _figure(clip, scale, peer, TESTED)
        for clip in result.clips
        for scale in scales_of(result)
        for peer in clip.codecs
        if peer != TESTED
    )


def anchor_of(result: BenchResult) -> str:
    """The codec that all are held against where speed and bits are shown together; "" where there is no peer."""
    peers = [
        codec
        for codec in result.codecs
        if codec != TESTED and any(codec in clip.codecs for clip in result.clips)
    ]
    return USUAL_ANCHOR if USUAL_ANCHOR in peers else next(iter(peers), "")


def against_anchor(result: BenchResult, scale: Scale, anchor: str) -> tuple[Figure, ...]:
    """Every codec against the anchor, the anchor itself left out."""
    return tuple(
        _figure(clip, scale, anchor, codec)
        for clip in result.clips
        for codec in clip.codecs
        if codec != anchor and anchor in clip.codecs
    )


def mean_rate(figures: Iterable[Figure]) -> float | None:
    """The mean BD-rate of those that have one, percent."""
    known = [each.rate.percent for each in figures if each.rate.percent is not None]
    return sum(known) / len(known) if known else None


def mean_gain(figures: Iterable[Figure]) -> float | None:
    known = [each.gain for each in figures if each.gain is not None]
    return sum(known) / len(known) if known else None


def speeds(result: BenchResult) -> tuple[Speed, ...]:
    return tuple(
        Speed(
            clip=clip.name,
            codec=codec,
            encode_fps=sum(each.frame_count for each in curve) / sum(each.encode_s for each in curve),
            decode_fps=sum(each.frame_count for each in curve) / sum(each.decode_s for each in curve),
        )
        for clip in result.clips
        for codec in clip.codecs
        for curve in [clip.curve(codec)]
    )


def mean_speed(all_speeds: Sequence[Speed], codec: str) -> tuple[float, float]:
    """Frames a second encoded and decoded, each clip counting alike."""
    own = [each for each in all_speeds if each.codec == codec]
    count = len(own)
    return (
        count / sum(1 / each.encode_fps for each in own),
        count / sum(1 / each.decode_fps for each in own),
    )


def json_facts(result: BenchResult) -> dict[str, Any]:
    """What `bench --json` prints."""
    return {
        "schema": SCHEMA,
        "machine": result.machine,
        "settings": dict(result.settings),
        "notes": list(result.notes),
        "bd": [
            {
                "clip": each.clip,
                "scale": each.scale,
                "anchor": each.anchor,
                "codec": each.codec,
                "rate_percent": each.rate.percent,
                "overlap": each.rate.overlap,
                "gain": each.gain,
            }
            for each in against_peers(result)
        ],
        "clips": [
            {
                "name": clip.name,
                "path": clip.path,
                "width": clip.width,
                "height": clip.height,
                "bit_depth": clip.bit_depth,
                "frames": clip.frame_count,
                "frame_rate": clip.frame_rate,
                "encodes": [_encode_facts(each) for each in clip.encodes],
            }
            for clip in result.clips
        ],
    }


def _figure(clip: BenchedClip, scale: Scale, anchor: str, codec: str) -> Figure:
    first, second = (_points(clip.curve(name), scale) for name in (anchor, codec))
    return Figure(
        clip=clip.name,
        scale=scale.name,
        anchor=anchor,
        codec=codec,
        rate=bd_rate(first, second),
        gain=bd_quality(first, second),
    )


def _points(curve: Sequence[Encode], scale: Scale) -> list[RatePoint]:
    points = []
    for each in curve:
        series = each.quality.find(scale.name)
        if series is not None:
            quality = comparable(scale.name, series.mean)
            points.append(RatePoint(bits_per_pixel=each.bits_per_pixel, quality=quality))
    return points


def _encode_facts(each: Encode) -> dict[str, Any]:
    return {
        "codec": each.codec,
        "label": each.label,
        "setting": each.setting,
        "stream_bytes": each.stream_bytes,
        "bits_per_pixel": each.bits_per_pixel,
        "kbps": each.kbps,
        "encode_s": each.encode_s,
        "decode_s": each.decode_s,
        "mean": {series.name: series.mean for series in each.quality.series},
        "kinds": [frame.kind for frame in each.stored],
        "bytes": [frame.size_bytes for frame in each.stored],
        "made": each.made,
        "kept": each.is_kept,
    }
