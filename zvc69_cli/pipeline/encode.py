"""A video goes in, a .zvc69 comes out: source, plan, networks (on several threads), entropy coding, writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from io import BufferedWriter
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO

from zvc69_cli.errors import Aborted, InputError, Interrupted
from zvc69_cli.frames import CopiedPacket, Frame, FrameKind, Packet
from zvc69_cli.pipeline.coding import Coding, CodingStages, Compare, frames_channel
from zvc69_cli.pipeline.crew import crew_of
from zvc69_cli.pipeline.endings import cut_short, stopped_at_once
from zvc69_cli.pipeline.engine import Engines, InstalledEngines, plain_header, possible_settings
from zvc69_cli.pipeline.note import settings_note
from zvc69_cli.pipeline.places import (
    PIPE,
    Destination,
    Pipes,
    check_input,
    choose_destination,
    opened_for_writing,
    writing,
)
from zvc69_cli.pipeline.queues import Line
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.stats import Clock, EncodeStats, KindTally, Progress, Record, Watch, times_since
from zvc69_cli.pipeline.stop import StopRequest, interrupted_early
from zvc69_cli.pipeline.two_pass import (
    NOWHERE,
    Nowhere,
    first_pass_options,
    quick_options,
    stats_name,
)
from zvc69_cli.pipeline.window import InOrder, Numbered

if TYPE_CHECKING:
    from zvc69_cli.codec.rate.pass_log import PassLog
    from zvc69_cli.container.layout import StreamHeader
    from zvc69_cli.media.source import Source

_log = logging.getLogger(__name__)


def encode(
    in_name: str,
    out_name: str,
    options: EncodeOptions,
    *,
    pipes: Pipes | None = None,
    may_overwrite: Callable[[str], bool] = lambda name: False,
    engines: Engines | None = None,
    stop: StopRequest | None = None,
    watch: Watch = lambda progress: None,
    compare: Compare | None = None,
    record: Record | None = None,
) -> EncodeStats:
    """Encode a video file, or raw video from a pipe, into a .zvc69.

    in_name, out_name  files, or "-" for the standard streams in `pipes`
    may_overwrite      asked before an existing file is replaced
    watch              called about ten times a second, in the caller's thread
    compare            called with every frame and what decoders will show of it, in coding order
    record             called with what each frame became, in coding order
    raises             one of errors.py; nothing is left under `out_name` then, and OUT.part only by Interrupted
    """
    from zvc69_cli.media.source import open_source

    pipes = pipes or Pipes()
    check_input(in_name, pipes)
    destination = choose_destination(out_name, in_name, pipes, may_overwrite)
    stop = stop or StopRequest()
    engines = engines or InstalledEngines()
    log = None
    if options.rate.passes == 2:
        log = _first_pass(in_name, options, engines, stop, watch)
    stats_file = None if options.rate.pass_ is None else stats_name(options, in_name, out_name)
    source = open_source(in_name, options.input, pipes.stdin)
    run = _Encode(in_name, source, quick_options(options), stop, watch, compare, record, stats_file, log)
    has_begun = False  # before that, OUT.part is one that an earlier run left
    try:
        run.begin(engines)
        with opened_for_writing(destination, pipes) as out:
            has_begun = True
            run.write_to(out, destination)
    except BaseException as failure:
        if isinstance(failure, Interrupted) and run.frames_written:
            raise stopped_at_once(failure, destination) from failure
        if has_begun:
            destination.discard()
        raise
    finally:
        stop.is_under_way = False
        run.close_source()
    if run.was_cut and not run.frames_written:
        destination.discard()
        raise interrupted_early(stop.signal_number)
    if run.was_cut:
        destination.settle()
        raise cut_short(destination, run.frames_written, stop.signal_number)
    destination.keep()
    run.keep_statistics()
    return run.stats()


def _first_pass(
    in_name: str, options: EncodeOptions, engines: Engines, stop: StopRequest, watch: Watch
) -> PassLog:
    """Encode for the sizes alone; raises as `encode` does."""
    from zvc69_cli.media.source import open_source

    _log.info("first pass")
    options = first_pass_options(options, in_name)
    source = open_source(in_name, options.input, None)
    run = _Encode(in_name, source, options, stop, watch)
    try:
        run.begin(engines, is_first_pass=True)
        run.write_to(BufferedWriter(Nowhere()), NOWHERE)
    finally:
        stop.is_under_way = False
        run.close_source()
    if run.was_cut:
        raise interrupted_early(stop.signal_number)
    _log.info("second pass")
    return run.pass_log


class _Encode:
    """One encode: what its stages share."""

    def __init__(
        self,
        in_name: str,
        source: Source,
        options: EncodeOptions,
        stop: StopRequest,
        watch: Watch,
        compare: Compare | None = None,
        record: Record | None = None,
        stats_file: str | None = None,
        log: PassLog | None = None,
    ) -> None:
        self._in_name = in_name
        self._source = source
        self._options = options
        self._stop = stop
        self._watch = watch
        self._compare = compare
        self._record = record
        self._stats_file = stats_file
        self._log = log
        self._line = Line()
        self._began = time.perf_counter()
        self._clock = Clock(source.video.time_base, source.video.frame_rate)
        self._waiting: list[Frame | CopiedPacket] = []
        self._is_source_lent = False
        self._is_source_exhausted = False
        self._frames_read = 0
        self._display_indexes: dict[int, int] = {}  # by pts, of frames on their way
        self._notes_said = 0
        self._has_warned = False
        self._copied_packets = 0
        self._payload_bytes = 0
        self._kinds: dict[FrameKind, KindTally] = {}
        self.frames_written = 0

    def begin(self, engines: Engines, *, is_first_pass: bool = False) -> None:
        """Read up to the first frame, which the header needs, and get the engine ready."""
        from zvc69_cli.pipeline.rate_stage import RateInputs, rate_stage

        self._items = iter(self._source)
        for item in self._items:
            self._waiting.append(item)
            if isinstance(item, Frame):
                break
        else:
            raise InputError(
                self._in_name,
                "there are 0 frames to encode",
                "Check --seek and --frames, and that it is a video.",
            )
        self._say_notes()
        self._crew = crew_of(self._options)
        self._engine = engines.for_encoding(self._crew.networks)
        self._networks_before = self._engine.network_times
        self._settings = possible_settings(self._engine, self._options.codec)
        self._header = self._stream_header()
        video = self._source.video
        self._rate = rate_stage(
            RateInputs(
                video=video,
                first=self._waiting[-1],
                frames=self._source.frame_count,
                settings=self._settings,
                options=self._options,
                bundle=self._engine.bundle_name,
                base_q_256=self._header.base_q_256,
                stats_file=self._stats_file,
                log=self._log,
                is_first_pass=is_first_pass,
            ),
            self._line.wait_until_rung,
        )
        encoder = self._engine.encoder(video, self._settings)
        self._coding = Coding(encoder, self._rate.steering, self._rate.sizes, self._line.changed, self._compare)

    def write_to(self, out: BinaryIO, destination: Destination) -> None:
        """Run the line to its end, or to the end of what is under way when a stop is asked for."""
        from zvc69_cli.container.writer import StreamWriter

        with writing(destination.shown_name):
            self._writer = StreamWriter(out, self._header)
        arriving = frames_channel(self._line)
        self._line.feed("read", self._read, arriving)
        compares = self._compare is not None
        self._stages = CodingStages(
            self._line,
            self._coding,
            self._crew,
            arriving,
            self._source.video.frame_bytes,
            compares=compares,
        )
        order: InOrder[Packet | CopiedPacket] = InOrder()

        def write(numbered: Numbered[Packet | CopiedPacket]) -> None:
            for each in order.push(numbered):
                self._write(each.item, destination)

        self._line.drain("write", self._stages.packed, write, lambda: self._finish(out, destination))
        self._is_source_lent = True
        self._stop.is_under_way = True
        self._began = time.perf_counter()
        self._line.run(self._look)
        if not self.was_cut and self.frames_written != self._frames_read:
            raise Aborted(
                destination.shown_name,
                f"{self.frames_written} frames were written, should be {self._frames_read}",
                "This is a fault of the program; please report it.",
            )

    @property
    def was_cut(self) -> bool:
        """Whether a stop came before the end of the input."""
        return not self._is_source_exhausted or self._stages.has_left_out

    @property
    def pass_log(self) -> PassLog:
        """What a first pass saw."""
        assert self._rate.collector is not None
        return self._rate.collector.log

    def keep_statistics(self) -> None:
        """Write what a first pass saw, where a file of it is asked for; raises OutputError."""
        if self._rate.collector is not None and self._stats_file is not None:
            self._rate.collector.write(self._stats_file, self._in_name)

    def close_source(self) -> None:
        if not self._is_source_lent:
            self._source.close()

    def stats(self) -> EncodeStats:
        return EncodeStats(
            frames=self.frames_written,
            copied_packets=self._copied_packets,
            stream_bytes=self._writer.bytes_written,
            payload_bytes=self._payload_bytes,
            overhead_bytes=self._writer.overhead_bytes,
            duration_s=self._clock.duration_s,
            wall_s=time.perf_counter() - self._began,
            device=self._engine.device,
            bundle_name=self._engine.bundle_name,
            kinds=tuple(sorted(self._kinds.items())),
            rate=self._rate.tally.report(self._clock.duration_s, self._rate.control.unreachable),
            stages=self._line.times,
            networks=times_since(self._engine.network_times, self._networks_before),
        )

    def _stream_header(self) -> StreamHeader:
        first = self._waiting[-1]
        plain = plain_header(self._engine, self._source.video, self._settings)
        source_name = "standard input" if self._in_name == PIPE else PurePath(self._in_name).name
        try:
            return replace(
                plain,
                total_frames=self._source.frame_count or 0,
                start_pts=plain.start_pts + (first.pts if isinstance(first, Frame) else 0),
                copied_streams=self._source.copied_streams,
                chapters=self._source.chapters,
                tags=self._source.tags,
                settings_note=settings_note(
                    self._settings, self._options.rate, self._options.preset, source_name
                )
                if self._options.with_note
                else "",
            )
        except ValueError as cause:
            raise InputError(
                self._in_name, f"cannot be stored: {cause}", "Remux it first, or leave the other streams out."
            ) from cause

    def _read(self) -> Generator[Frame | CopiedPacket, None, None]:
        try:
            while self._waiting:
                yield self._count(self._waiting.pop(0))
            for item in self._items:
                yield self._count(item)
            self._is_source_exhausted = True
        finally:
            self._source.close()

    def _count(self, item: Frame | CopiedPacket) -> Frame | CopiedPacket:
        if isinstance(item, Frame):
            if self._record is not None:
                self._display_indexes[item.pts] = self._frames_read
            self._frames_read += 1
        return item

    def _write(self, item: Packet | CopiedPacket, destination: Destination) -> None:
        with writing(destination.shown_name):
            if isinstance(item, CopiedPacket):
                self._write_copied(item)
                return
            self._writer.write_packet(item)
        self._clock.show(item.pts)
        self._kinds.setdefault(item.kind, KindTally()).add(item, self._header.base_q_256)
        self._rate.tally.take(item)
        if self._rate.collector is not None:
            self._rate.collector.add(item)
        self._payload_bytes += len(item.payload)
        self.frames_written += 1
        if self._record is not None:
            self._record(self._rate.tally.described(item, self._display_indexes.pop(item.pts)))

    def _write_copied(self, packet: CopiedPacket) -> None:
        try:
            self._writer.write_copied(packet)
        except ValueError as cause:
            raise InputError(
                self._in_name,
                f"a packet of copied stream {packet.stream_number} cannot be stored: {cause}",
                "Leave it out with --no-audio or --no-subtitles.",
            ) from cause
        self._copied_packets += 1

    def _finish(self, out: BinaryIO, destination: Destination) -> None:
        with writing(destination.shown_name):
            self._writer.close(complete=not self.was_cut)
            out.flush()

    def _say_notes(self) -> None:
        """What the source did to the video since the last time; it goes on finding things."""
        notes = self._source.notes[self._notes_said :]
        self._notes_said += len(notes)
        for note in notes:
            _log.info("%s: %s", self._in_name, note)

    def _look(self) -> None:
        if self._stop.signal_number:
            self._line.stop_feeding()
        self._say_notes()
        if self._rate.control.unreachable and not self._has_warned:
            self._has_warned = True
            _log.warning("%s; the nearest is taken", self._rate.control.unreachable)
        self._watch(
            Progress(
                frames=self.frames_written,
                total_frames=self._source.frame_count,
                payload_bytes=self._payload_bytes,
                duration_s=self._clock.duration_s,
            )
        )
