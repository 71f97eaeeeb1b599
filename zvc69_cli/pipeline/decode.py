"""A .zvc69 goes in, a video comes out: reader, priors and entropy, networks (on several threads), sink."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from zvc69_cli.errors import DamagedStream, InputError, Interrupted, SymbolMismatch, TruncatedStream
from zvc69_cli.frames import CopiedPacket, Packet
from zvc69_cli.pipeline.coding import FRAMES_HELD, PACKETS_A_FRAME, weigh
from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, Crew, crew_for
from zvc69_cli.pipeline.delivery import Decoded, Delivered, Delivery
from zvc69_cli.pipeline.engine import Engine, Engines, FrameClaim, InstalledEngines
from zvc69_cli.pipeline.order import Place
from zvc69_cli.pipeline.places import (
    PIPE,
    Destination,
    Pipes,
    choose_destination,
    opened_for_reading,
    writing,
)
from zvc69_cli.pipeline.queues import Channel, Line
from zvc69_cli.pipeline.resolve import DecodeOptions
from zvc69_cli.pipeline.stats import DecodeStats, Progress, Watch, times_since
from zvc69_cli.pipeline.stop import StopRequest, interrupted_early
from zvc69_cli.pipeline.stored import Lost, StoredItem, StoredPart, Unwanted

if TYPE_CHECKING:
    from zvc69_cli.container.reader import StreamReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A frame between its symbols and its picture; without a claim on its references where they are damaged."""

    claim: FrameClaim | None
    place: Place
    is_wanted: bool


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
        header = reader.header
        self._name = name
        self._reader = reader
        self._engine = engine
        self._crew = crew
        self._options = options
        self._stop = stop
        self._watch = watch
        self._part = StoredPart(name, reader, source, options.part)
        self._networks_before = engine.network_times
        self._decoder = engine.decoder(header.video, header.base_q_256)
        self._line = Line()
        self._conceals = options.part.on_error == "conceal"
        self._is_broken = False  # whether the last frame could not be decoded
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
        line = self._line
        stored: Channel[StoredItem] = line.channel(FRAMES_HELD * PACKETS_A_FRAME, weigh)
        parsed: Channel[Any] = line.channel(FRAMES_HELD * PACKETS_A_FRAME, weigh)
        pictures: Channel[Any] = line.channel(FRAMES_HELD * PACKETS_A_FRAME, weigh)
        line.feed("read", self._read, stored)
        line.map("parse", self._parse, stored, parsed)
        line.map(
            "reconstruct",
            self._reconstruct,
            parsed,
            pictures,
            threads=self._crew.hands,
            at_once=self._crew.at_once,
            is_ready=_is_ready,
        )
        line.drain(
            "write", pictures, lambda item: self._write(item, destination), lambda: self._finish(destination)
        )
        self._stop.is_under_way = True
        self._began = time.perf_counter()
        try:
            line.run(lambda: self._look(destination))
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
        if not self._is_read:
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
        if not self._is_read:
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

    def _parse(self, item: StoredItem) -> Parsed | Lost | CopiedPacket:
        if isinstance(item, CopiedPacket):
            return item
        if isinstance(item, Lost):
            self._decoder.lose(None)
            self._is_broken = True
            return item
        is_wanted = not isinstance(item, Unwanted)
        packet = item.packet if isinstance(item, Unwanted) else item
        if packet.is_damaged:
            self._decoder.lose(packet)
            self._is_broken = True
            return Parsed(claim=None, place=Place.of(packet), is_wanted=is_wanted)
        try:
            symbols = self._decoder.parse(packet)
        except (DamagedStream, SymbolMismatch) as cause:
            where = f"{self._name}: {cause.where}"
            if not self._conceals:
                raise type(cause)(where, cause.what, cause.next_step) from cause
            # What follows from the first damage, frame by frame, is not worth a line each.
            _log.log(logging.DEBUG if self._is_broken else logging.WARNING, "%s: %s", where, cause.what)
            self._decoder.lose(packet)
            self._is_broken = True
            return Parsed(claim=None, place=Place.of(packet), is_wanted=is_wanted)
        self._is_broken = False
        return Parsed(claim=self._decoder.claim(symbols), place=Place.of(packet), is_wanted=is_wanted)

    def _reconstruct(self, item: Parsed | Lost | CopiedPacket) -> Delivered:
        if not isinstance(item, Parsed):
            return item
        frame = None if item.claim is None else self._decoder.show(item.claim)
        return Decoded(frame=frame, place=item.place, is_wanted=item.is_wanted)

    def _write(self, item: Delivered, destination: Destination) -> None:
        with writing(destination.shown_name):
            self._delivery.put(item)

    def _finish(self, destination: Destination) -> None:
        """Write what waits for frames before it, unless these were not read: then there would be a hole."""
        if self._is_read:
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
    header = reader.header
    if header.gop_frames == 1:
        return crew_for(options.run, None)
    return crew_for(options.run, USUAL_GROUP_FRAMES if header.has_b_frames else 1)


def _is_ready(item: Any) -> bool:
    return not isinstance(item, Parsed) or item.claim is None or item.claim.is_ready


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
