"""A .zvc69 goes in, a video comes out: reader, priors and entropy, networks (on several threads), sink."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, BinaryIO

from zvc69_cli.errors import InputError, Interrupted, TruncatedStream
from zvc69_cli.frames import Packet
from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, Crew, crew_for
from zvc69_cli.pipeline.decoding import Decoding, DecodingStages
from zvc69_cli.pipeline.delivery import Delivered, Delivery
from zvc69_cli.pipeline.engine import Engine, Engines, InstalledEngines
from zvc69_cli.pipeline.places import (
    PIPE,
    Destination,
    Pipes,
    choose_destination,
    opened_for_reading,
    writing,
)
from zvc69_cli.pipeline.queues import Line
from zvc69_cli.pipeline.resolve import DecodeOptions
from zvc69_cli.pipeline.stats import DecodeStats, Progress, Watch, times_since
from zvc69_cli.pipeline.stop import StopRequest, interrupted_early
from zvc69_cli.pipeline.stored import StoredItem, StoredPart
from zvc69_cli.pipeline.window import InOrder, Numbered

if TYPE_CHECKING:
    from zvc69_cli.container.reader import StreamReader

_log = logging.getLogger(__name__)


def decode(
    in_name: str,
    out_name: str,
    options: DecodeOptions,
    *,
    pipes: Pipes | None = None,
    may_overwrite: Callable[[str], bool] = lambda name: False,
    engines: Engines | None = None,
    stop: StopRequest | None = None,
    watch: Watch = lambda progress: None,
) -> DecodeStats:
    """Decode a .zvc69 to a video file, or to raw video on a pipe.

    in_name, out_name  files, or "-" for the standard streams in `pipes`
    may_overwrite      asked before an existing file is replaced
    watch              called about ten times a second, in the caller's thread
    returns            what was done; with "conceal", `concealed` and `problems` say what is not as it was
    raises             one of errors.py; nothing is left under `out_name` then, and OUT.part only where the
                       stream was cut (TruncatedStream) or the work was (Interrupted)
    """
    from zvc69_cli.container.reader import StreamReader
    from zvc69_cli.media.sink import check_output_name

    check_output_name(out_name, options.output)
    pipes = pipes or Pipes()
    stop = stop or StopRequest()
    with opened_for_reading(in_name, pipes) as source:
        destination = choose_destination(out_name, in_name, pipes, may_overwrite)
        name = "standard input" if in_name == PIPE else in_name
        reader = StreamReader(source, name)
        crew = _crew_of(reader, options)
        engine = (engines or InstalledEngines()).for_decoding(reader.header, crew.networks)
        run = _Decode(name, reader, source, engine, crew, options, stop, watch)
        try:
            run.write_to(destination, pipes)
        except BaseException:
            destination.discard()
            raise
        finally:
            stop.is_under_way = False
    return run.conclude(destination)


class _Decode:
    """One decode: what its stages share."""

    def __init__(
        self,
        name: str,
        reader: StreamReader,
        source: BinaryIO,
        engine: Engine,
        crew: Crew,
        options: DecodeOptions,
        stop: StopRequest,
        watch: Watch,
    ) -> None:
        self._name = name
        self._reader = reader
        self._engine = engine
        self._crew = crew
        self._options = options
        self._stop = stop
        self._watch = watch
        self._part = StoredPart(name, reader, source, options.part)
        self._networks_before = engine.network_times
        self._line = Line()
        self._conceals = options.part.on_error == "conceal"
        self._is_read = False
        self._notes_said = 0
        self._payload_bytes = 0

    def write_to(self, destination: Destination, pipes: Pipes) -> None:
        """Run the line to its end, or to the end of what is under way when a stop is asked for."""
        from zvc69_cli.media.sink import open_sink

        header = self._reader.header
        with writing(destination.shown_name):
            sink = open_sink(
                destination.written_name,
                header.video,
                self._options.output,
                copied_streams=header.copied_streams,
                chapters=() if self._is_part else header.chapters,
                tags=header.tags,
                stdout=pipes.stdout,
                final_name=destination.name,
            )
        self._sink = sink
        self._delivery = Delivery(
            sink, header, is_sought=bool(self._options.part.seek), first_pts=lambda: self._part.first_pts
        )
        decoding = Decoding(self._name, self._engine, header.video, header.base_q_256, conceals=self._conceals)
        jobs = self._options.flight.jobs
        self._stages = DecodingStages(self._line, decoding, self._read, self._crew, jobs, header.video)
        order: InOrder[Delivered] = InOrder()

        def write(numbered: Numbered[Numbered[Delivered]]) -> None:
            for each in order.push(numbered.item):
                self._write(each.item, destination)

        self._line.drain("write", self._stages.shown, write, lambda: self._finish(destination))
        self._stop.is_under_way = True
        self._began = time.perf_counter()
        try:
            self._line.run(lambda: self._look(destination))
            if not self._delivery.frames:
                raise self._nothing()
            with writing(destination.shown_name):
                sink.close()
            self._say_notes(destination)
        except BaseException:
            sink.abort()
            raise

    def conclude(self, destination: Destination) -> DecodeStats:
        """Give the output its name where everything that was asked for is in it, and say what is not."""
        cut = self._part.cut
        if not self._is_whole:
            destination.settle()
            raise _cut_short(destination, self._delivery.frames, self._stop.signal_number)
        if cut is not None and not self._conceals:
            destination.settle()
            raise _kept_apart(cut, destination, self._delivery.frames, self._lost_text())
        destination.keep()
        trailer = self._reader.trailer
        if trailer is not None and not trailer.complete:
            _log.warning("%s: its encode was interrupted; this is the beginning of the video", self._name)
        return DecodeStats(
            frames=self._delivery.frames,
            copied_packets=self._delivery.copied_packets,
            payload_bytes=self._payload_bytes,
            duration_s=self._delivery.clock.duration_s,
            wall_s=time.perf_counter() - self._began,
            device=self._engine.device,
            bundle_name=self._engine.bundle_name,
            concealed=self._delivery.concealed,
            is_cut=cut is not None,
            problems=tuple(self._reader.problems),
            stages=self._line.times,
            networks=times_since(self._engine.network_times, self._networks_before),
        )

    def _lost_text(self) -> str:
        """How many frames a cut took, as far as the stream says."""
        announced = self._reader.header.total_frames
        if not announced or self._is_part:
            return "how many frames are lost is not known"
        return f"{max(0, announced - self._delivery.frames)} of {announced} frames are lost"

    @property
    def _is_part(self) -> bool:
        return bool(self._options.part.seek) or self._options.part.frames is not None

    def _nothing(self) -> Exception:
        if not self._is_whole:
            return interrupted_early(self._stop.signal_number)
        if self._part.cut is not None:
            return TruncatedStream(self._name, self._part.cut.what, "There is no whole frame before the cut.")
        if self._options.part.seek:
            return InputError(
                self._name,
                f"0 frames selected: --seek {self._options.part.seek} is at or past its end",
                "`zvc69 info` says how many frames it has.",
            )
        return InputError(self._name, "there are 0 frames to decode", "`zvc69 info` says what is in it.")

    def _read(self) -> Generator[StoredItem, None, None]:
        for item in self._part:
            if isinstance(item, Packet):
                self._payload_bytes += len(item.payload)
            yield item
        self._is_read = True

    @property
    def _is_whole(self) -> bool:
        """Whether everything that was asked for was read, and nothing of it was left out."""
        return self._is_read and not self._stages.has_left_out

    def _write(self, item: Delivered, destination: Destination) -> None:
        with writing(destination.shown_name):
            self._delivery.put(item)

    def _finish(self, destination: Destination) -> None:
        """Write what waits for frames before it, unless these were not read: then there would be a hole."""
        if self._is_whole:
            with writing(destination.shown_name):
                self._delivery.finish(is_cut=self._part.cut is not None, holds=self._conceals)

    def _say_notes(self, destination: Destination) -> None:
        """What the output could not hold, since the last time."""
        notes = self._sink.notes[self._notes_said :]
        self._notes_said += len(notes)
        for note in notes:
            _log.warning("%s: %s", destination.shown_name, note)

    def _look(self, destination: Destination) -> None:
        if self._stop.signal_number:
            self._line.stop_feeding()
        self._say_notes(destination)
        announced = self._reader.header.total_frames
        total = max(0, announced - self._options.part.seek) if announced else None
        if self._options.part.frames is not None:
            total = min(total or self._options.part.frames, self._options.part.frames)
        self._watch(
            Progress(
                frames=self._delivery.frames,
                total_frames=total,
                payload_bytes=self._payload_bytes,
                duration_s=self._delivery.clock.duration_s,
            )
        )


def _crew_of(reader: StreamReader, options: DecodeOptions) -> Crew:
    header, jobs = reader.header, options.flight.jobs
    if header.gop_frames == 1:
        return crew_for(options.run, None)
    group_frames = USUAL_GROUP_FRAMES if header.has_b_frames else 1
    return crew_for(options.run, group_frames, jobs=jobs, gop_frames=header.gop_frames)


def _kept_apart(cut: TruncatedStream, destination: Destination, frames: int, lost: str) -> TruncatedStream:
    if destination.is_direct:
        step = f"All {frames} whole frames before the cut were written."
    else:
        step = (
            f"{destination.written_name} holds the {frames} whole frames before the cut; "
            "--on-error conceal would give it its name."
        )
    return TruncatedStream(cut.where, f"{cut.what}; {lost}", step)


def _cut_short(destination: Destination, frames: int, signal_number: int) -> Interrupted:
    return Interrupted(
        destination.shown_name if destination.is_direct else destination.written_name,
        f"interrupted after {frames} frames, which are whole",
        "Decode again for the rest; --seek can begin where this ends.",
        signal_number=signal_number,
    )
