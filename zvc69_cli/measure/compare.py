"""`zvc69 compare`: how far videos are from their reference, frame by frame and over all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zvc69_cli.errors import InputError, RuntimeUnavailable, Zvc69Error
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure.clips import owned
from zvc69_cli.measure.meters import Meters
from zvc69_cli.measure.metrics import psnr_611
from zvc69_cli.measure.pairs import Pairs, Video, is_zvc69, parts_of, refuse_pipe_twice
from zvc69_cli.measure.quality import Quality
from zvc69_cli.measure.settings import ALL, MetricSettings, PairSettings
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.pipeline.engine import Engines
from zvc69_cli.pipeline.inspect import FrameFacts, inspect
from zvc69_cli.pipeline.places import PIPE
from zvc69_cli.pipeline.stats import Progress, Watch, bitrate_kbps
from zvc69_cli.runtime.settings import RunSettings

SCHEMA: Final = "zvc69-compare/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstFrame:
    """The pair of frames of the lowest PSNR 6:1:1."""

    number: int
    psnr_db: float
    reference: Frame
    distorted: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One video held against the reference.

    size_bytes    of the file, whatever else is in it; 0 for a pipe
    bitrate_kbps  of that file over the whole of its own length; 0 where that is not known
    stored        what a .zvc69 holds of its frames, as watched; empty of others and where only a part was compared
    notes         what was changed to make the two fit
    """

    name: str
    video: VideoFormat
    size_bytes: int
    bitrate_kbps: float
    quality: Quality
    worst: WorstFrame
    stored: tuple[FrameFacts, ...] = ()
    notes: tuple[str, ...] = ()


def compare_files(
    reference: str,
    distorted: Sequence[str],
    *,
    part: InputSettings,
    pairing: PairSettings,
    metrics: MetricSettings,
    run: RunSettings,
    engines: Engines | None = None,
    watch: Watch = lambda progress: None,
) -> tuple[Compared, ...]:
    """Each of `distorted` against `reference`, which is read again for each.

    raises  UsageError, InputError, DamagedStream, RuntimeUnavailable; where a measure was asked for by name and
            cannot be had, too
    """
    refuse_pipe_twice(reference, distorted)
    results: list[Compared] = []
    first, second = parts_of(part, pairing)

    def tell(frames: int, total: int | None) -> None:
        whole = None if total is None else total * len(distorted)
        done = frames + sum(each.quality.frame_count for each in results)
        watch(Progress(frames=done, total_frames=whole, payload_bytes=0, duration_s=0.0))

    for name in distorted:
        with (
            Video(reference, first, run, engines=engines) as one,
            Video(name, second, run, engines=engines) as two,
        ):
            results.append(_compared(Pairs(one, two, pairing), one, two, metrics, run, tell))
    return tuple(results)


def _compared(
    pairs: Pairs,
    reference: Video,
    distorted: Video,
    metrics: MetricSettings,
    run: RunSettings,
    tell: Callable[[int, int | None], None],
) -> Compared:
    worst: WorstFrame | None = None
    with Meters(pairs.video, metrics.names, threads=run.threads) as meters:
        if meters.missing and metrics.metrics != ALL:
            raise RuntimeUnavailable("--metrics", meters.missing[0], "Leave it out of --metrics, or take all.")
        for number, (original, other) in enumerate(pairs):
            meters.add(original, other)
            psnr_db = psnr_611(original, other)
            if worst is None or psnr_db < worst.psnr_db:
                worst = WorstFrame(
                    number=number, psnr_db=psnr_db, reference=owned(original), distorted=owned(other)
                )
            tell(number + 1, reference.frame_count)
        if worst is None:
            raise InputError(distorted.name, "0 frames were paired", "Skip fewer frames of each.")
        quality = meters.finish()
    stored, kbps = _stored(distorted.name, quality.frame_count)
    return Compared(
        name=distorted.name,
        video=distorted.video,
        size_bytes=0 if distorted.name == PIPE else Path(distorted.name).stat().st_size,
        bitrate_kbps=kbps,
        quality=quality,
        worst=worst,
        stored=stored,
        notes=tuple(pairs.notes),
    )


def _stored(name: str, frame_count: int) -> tuple[tuple[FrameFacts, ...], float]:
    """A .zvc69's frames as watched, and its rate; of another file only the rate, from its stated length."""
    if not is_zvc69(name):
        return (), _container_kbps(name)
    try:
        report = inspect(name, with_frames=True)
    except Zvc69Error:
        return (), 0.0
    frames = tuple(sorted(report.frames, key=lambda frame: frame.pts))
    return (frames if len(frames) == frame_count else ()), report.video_kbps


def _container_kbps(name: str) -> float:
    import av

    if name == PIPE:
        return 0.0
    try:
        with av.open(f"file:{name}") as container:
            duration_s = (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError, ValueError):
        return 0.0
    return bitrate_kbps(Path(name).stat().st_size, duration_s)


def json_facts(reference: str, compared: Sequence[Compared]) -> dict[str, Any]:
    """What `compare --json` prints."""
    return {
        "schema": SCHEMA,
        "reference": reference,
        "distorted": [
            {
                "name": each.name,
                "width": each.video.width,
                "height": each.video.height,
                "bit_depth": each.video.bit_depth,
                "size_bytes": each.size_bytes,
                "bitrate_kbps": each.bitrate_kbps,
                "frames": each.quality.frame_count,
                "mean": {series.name: series.mean for series in each.quality.series},
                "least": {series.name: series.least for series in each.quality.series},
                "worst_frame": each.worst.number,
                "missing": list(each.quality.missing),
                "notes": list(each.notes),
                "per_frame": {series.name: list(series.values) for series in each.quality.series},
            }
            for each in compared
        ],
    }


def csv_text(compared: Sequence[Compared]) -> str:
    """One row a frame of each video, then one row of means; the first row names the columns."""
    names = list(dict.fromkeys(series.name for each in compared for series in each.quality.series))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "frame", *names])
    for each in compared:
        columns = {series.name: series for series in each.quality.series}
        for number in range(each.quality.frame_count):
            values = (columns[name].values[number] if name in columns else "" for name in names)
            writer.writerow([each.name, number, *values])
        writer.writerow([each.name, "mean", *(columns[name].mean if name in columns else "" for name in names)])
    return out.getvalue()
