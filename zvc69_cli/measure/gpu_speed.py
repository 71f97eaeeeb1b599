"""How fast a device codes pictures that lie in memory, and what bounds it."""

from __future__ import annotations

import io
import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av

from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.errors import Zvc69Error
from zvc69_cli.frames import Frame, Packet, VideoFormat
from zvc69_cli.media.pictures import picture_of, views
from zvc69_cli.media.settings import InputSettings, OutputSettings
from zvc69_cli.media.source import open_source
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.engine import Engines
from zvc69_cli.pipeline.pace import Pace
from zvc69_cli.pipeline.pipelined import PipelinedEncoder
from zvc69_cli.pipeline.places import Pipes
from zvc69_cli.pipeline.queues import StageTime
from zvc69_cli.pipeline.resolve import DecodeOptions
from zvc69_cli.pipeline.settings import FlightSettings
from zvc69_cli.runtime.settings import RunSettings

CRF: Final = 28.0
RATE: Final = 30
SOURCE_FRAMES: Final = 16  # different pictures; they are shown to and fro
WARM_UP_FRAMES: Final = 9  # a keyframe and two groups of four: every network has seen the size
LATENCY_FRAMES: Final = 60
KEYINT: Final = 32  # where several GOPs go at once
JOBS: Final = (1, 2, 4)
MEMORY_EVERY_S: Final = 0.25
TIMELINE_EVERY_S: Final = 0.25


class Speeds:
    """Measures one device with the pictures of one clip.

    most  frames of one measurement at most
    """

    def __init__(self, engines: Engines, run: RunSettings, clip: Path, most: int) -> None:
        self._engines = engines
        self._run = run
        self._clip = clip
        self._most = most

    def measured(
        self, sizes: Sequence[tuple[int, ...]], left_s: Callable[[], float]
    ) -> Iterator[dict[str, Any]]:
        """Findings as soon as they are there: every size in and out, then latency and GOPs at once for the middle one.

        left_s  seconds that are left for all of them
        """
        # Latency and jobs take two parts of the time, each size one and a half: to load and to warm up is in it.
        shares = len(sizes) * 1.5 + 2
        for width, height in sizes:
            name = f"{width}x{height}"
            seconds = left_s() * 1.5 / shares
            shares -= 1.5
            try:
                yield {"size": name, **self._in_and_out(_pictures(self._clip, width, height), seconds)}
            except Zvc69Error as error:
                yield {"size": name, "failed": f"{error.where}: {error.what}"}
        width, height = sizes[len(sizes) // 2]
        name, frames = f"{width}x{height}", _pictures(self._clip, width, height)
        yield {"size": name, **self._latency(frames, left_s() / 3)}
        for jobs in JOBS:
            common = {"size": name, "jobs": jobs, "keyint": KEYINT}
            facts, header, packets = self._encoded(frames, left_s() / 5, jobs=jobs, keyint=KEYINT)
            yield {**common, "way": "in", **facts}
            yield {**common, "way": "out", **self._decoded(header, packets, jobs)}

    def _in_and_out(self, frames: list[Frame], seconds: float) -> dict[str, Any]:
        with GpuMemory() as memory:
            encoded, header, packets = self._encoded(frames, 0.6 * seconds)
            decoded = self._decoded(header, packets)
        return {"in": encoded, "out": decoded, "gpu_memory_bytes": memory.taken_bytes}

    def _encoded(
        self, frames: list[Frame], seconds: float, *, jobs: int = 1, keyint: int = 250
    ) -> tuple[dict[str, Any], StreamHeader, list[Packet]]:
        """As many frames as go in within that time, and what became of them; what warms up is not counted."""
        run, video = self._run, _video(frames[0])
        options = Pace.HIGH_THROUGHPUT.options(
            crf=CRF,
            device=run.device,
            threads=run.threads,
            jobs=jobs,
            keyint=keyint,
            min_keyint=min(keyint, 25),
        )
        with PipelinedEncoder(video, Pace.HIGH_THROUGHPUT, options, engines=self._engines) as encoder:
            for frame in _shown(frames, WARM_UP_FRAMES):
                encoder.submit(frame)
            encoder.flush()
        packets = []
        until = time.monotonic() + seconds
        with PipelinedEncoder(video, Pace.HIGH_THROUGHPUT, options, engines=self._engines) as encoder:
            timeline = Timeline()
            for number, frame in enumerate(_shown(frames, max(self._most, WARM_UP_FRAMES))):
                timeline.look(encoder)
                if number >= WARM_UP_FRAMES and time.monotonic() > until:
                    break
                encoder.submit(frame)
            encoder.flush()
            while (timed := encoder.try_recv()) is not None:
                packets.append(timed.packet)
        stats = encoder.stats
        facts = _facts(stats.frames, stats.wall_s, stats.stages, stats.networks)
        return {**facts, "kbps": stats.bitrate_kbps, "timeline": timeline.rows}, encoder.header, packets

    def _decoded(self, header: StreamHeader, packets: Sequence[Packet], jobs: int = 1) -> dict[str, Any]:
        """The same stream out again, as y4m that nobody keeps; the first of it to warm up."""
        for part in (packets[:WARM_UP_FRAMES], packets):
            stored = io.BytesIO()
            writer = StreamWriter(stored, header)
            for packet in part:
                writer.write_packet(packet)
            writer.close()
            options = DecodeOptions(
                run=self._run, flight=FlightSettings(jobs=jobs), output=OutputSettings(y4m=True)
            )
            pipes = Pipes(stdin=io.BytesIO(stored.getvalue()), stdout=io.BufferedWriter(Nowhere()))
            stats = decode("-", "-", options, pipes=pipes, engines=self._engines)
        return _facts(stats.frames, stats.wall_s, stats.stages, stats.networks)

    def _latency(self, frames: list[Frame], seconds: float) -> dict[str, Any]:
        """Milliseconds from a frame to its packet where each is waited for, low_latency."""
        options = Pace.LOW_LATENCY.options(crf=CRF, device=self._run.device, threads=self._run.threads)
        times: list[float] = []
        until = time.monotonic() + seconds
        with PipelinedEncoder(_video(frames[0]), Pace.LOW_LATENCY, options, engines=self._engines) as encoder:
            for number, frame in enumerate(_shown(frames, WARM_UP_FRAMES + LATENCY_FRAMES)):
                if number > WARM_UP_FRAMES and time.monotonic() > until:
                    break
                encoder.submit(frame)
                while (timed := encoder.try_recv()) is None:
                    time.sleep(0.0002)
                if number >= WARM_UP_FRAMES:
                    times.append(timed.latency_ms)
        ordered = sorted(times)
        return {
            "latency_ms": {
                "frames": len(times),
                "median": ordered[len(ordered) // 2],
                "p95": ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)))],
                "worst": ordered[-1],
            }
        }


def _facts(
    frames: int, wall_s: float, stages: Sequence[StageTime], networks: Sequence[StageTime]
) -> dict[str, Any]:
    return {
        "frames": frames,
        "frames_per_s": frames / wall_s,
        "wall_s": wall_s,
        "stages": [asdict(each) for each in stages],
        "networks": [asdict(each) for each in networks if each.busy_s > 0],
        "bound": bound_by(wall_s, stages, networks),
    }


def bound_by(wall_s: float, stages: Sequence[StageTime], networks: Sequence[StageTime]) -> str:
    """What would have to be faster for the whole to be, as a sentence."""
    if not stages or wall_s <= 0:
        return "nothing was measured"
    busiest = max(stages, key=lambda each: each.busy_s / each.threads)
    share = busiest.busy_s / (busiest.threads * wall_s)
    text = (
        f"{busiest.name}: each of its {busiest.threads} threads busy {100 * min(1.0, share):.0f} % of the time"
    )
    total = sum(each.busy_s for each in networks)
    if total:
        most = max(networks, key=lambda each: each.busy_s)
        text += f"; networks {total / wall_s:.2f} at a time, most of it {most.name} ({100 * most.busy_s / total:.0f} %)"
    return text


class Timeline:
    """How busy each stage was in each short while of a run: of the time, summed over its threads."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._began = self._last = time.perf_counter()
        self._busy_s: dict[str, float] = {}
        self._frames = 0

    def look(self, encoder: PipelinedEncoder) -> None:
        """Add a row where enough time has gone by."""
        now = time.perf_counter()
        if now - self._last < TIMELINE_EVERY_S:
            return
        stats, gone = encoder.stats, now - self._last
        busy_s = {each.name: each.busy_s for each in stats.stages}
        row: dict[str, Any] = {"at_s": now - self._began, "frames_per_s": (stats.frames - self._frames) / gone}
        row["busy"] = {name: (value - self._busy_s.get(name, 0.0)) / gone for name, value in busy_s.items()}
        row["in_flight"] = stats.in_flight
        self.rows.append(row)
        self._last, self._busy_s, self._frames = now, busy_s, stats.frames


class GpuMemory:
    """The most GPU memory that this process had while it was entered; None where nobody tells."""

    def __init__(self) -> None:
        self.taken_bytes: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="gpu memory", daemon=True)
        self._before = _own_bytes()

    def __enter__(self) -> Self:
        if self._before is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._before is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._ended.is_set():
            now = _own_bytes()
            if now is not None:
                self.taken_bytes = max(self.taken_bytes or 0, now)
            self._ended.wait(MEMORY_EVERY_S)


def _own_bytes() -> int | None:
    """GPU memory of this process, or of all where processes are not told apart; None without a GPU."""
    own = _ask_driver("--query-compute-apps=pid,used_memory")
    mine = [row[1] for row in own if row[0] == str(os.getpid()) and row[1].isdigit()]
    whole = mine or [row[0] for row in _ask_driver("--query-gpu=memory.used") if row[0].isdigit()]
    return max(int(each) for each in whole) << 20 if whole else None


def _ask_driver(query: str) -> list[list[str]]:
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


class Nowhere(io.RawIOBase):
    """Takes every byte and keeps none."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def _pictures(clip: Path, width: int, height: int) -> list[Frame]:
    """The first pictures of a clip in another size, in 8 bits."""
    source = open_source(str(clip), InputSettings(frames=SOURCE_FRAMES, audio=False, subtitles=False))
    try:
        depth = source.video.bit_depth
        form = "yuv420p" if depth == 8 else "yuv420p10le"
        frames: list[Frame] = []
        for item in source:
            if isinstance(item, Frame):
                rows, columns = item.y.shape
                picture = picture_of([item.y, item.u, item.v], form, columns, rows)
                frames.append(_scaled(picture, width, height, len(frames)))
    finally:
        source.close()
    return frames


def _scaled(picture: av.VideoFrame, width: int, height: int, number: int) -> Frame:
    larger = picture.reformat(width=width, height=height, format="yuv420p")
    y, u, v = (plane.copy() for plane in views(larger))  # the picture's memory is not kept
    return Frame(y=y, u=u, v=v, pts=number)


def _shown(frames: Sequence[Frame], count: int) -> Iterator[Frame]:
    """To and fro through the pictures, so that motion never jumps."""
    period = max(1, 2 * (len(frames) - 1))
    for number in range(count):
        place = number % period
        yield replace(frames[min(place, period - place) if period > 1 else 0], pts=number)


def _video(frame: Frame) -> VideoFormat:
    height, width = frame.y.shape
    return VideoFormat(width=width, height=height, time_base=Fraction(1, RATE), frame_rate=Fraction(RATE))
