"""Reads a stream from a file or a pipe, in stored order, and finds its place again after damage."""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO, Final

from zvc69_cli.container.fields import EndOfBytes, Malformed
from zvc69_cli.container.head import unpack_header
from zvc69_cli.container.index import (
    END_BYTES,
    Keyframes,
    trailer_bytes,
    unpack_index,
    unpack_trailer,
)
from zvc69_cli.container.intake import Intake
from zvc69_cli.container.layout import INDEX_MARKER, MARKER_BYTES, TRAILER_MARKER, IndexEntry, Trailer
from zvc69_cli.container.structures import (
    MARKERS,
    DamagedCopy,
    DamagedEnd,
    DamagedFrame,
    Index,
    Structure,
    StructureReader,
)
from zvc69_cli.errors import DamagedPacket, InputError
from zvc69_cli.frames import CopiedPacket, FrameKind, Packet

__all__ = ["IndexEntry", "StreamReader", "Trailer"]

_REMEDY: Final = "The file is damaged. `zvc69 decode --on-error conceal` writes what can be saved."


class StreamReader:
    """Reads the header at once, then packets one by one.

    header    all that is said ahead of the packets
    problems  a sentence for each thing that was redundant and wrong, or missing; all of them once all was read
    complete  False where the trailer says so or no whole one ends the file; None until it is known
    trailer   what the stream says of itself at its end, once that was read
    damaged   what the damaged frame that `resync` went over says of itself, where only that one is lost; else None
    raises    NotZvc69, LaterVersion, DamagedHeader, TruncatedStream
    """

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source = source
        self._name = name
        self._intake = Intake(source, name)
        self.header = unpack_header(self._intake.take, name)
        self._first_packet_at = self._intake.offset
        self._structures = StructureReader(self.header, self._intake.take)
        self._found: Structure | None = None  # read ahead of `read`, where the stream goes on after damage
        self._failure: DamagedPacket | None = None
        self._suspect: Packet | None = None  # the frame that failed, all its bytes being there
        self._suspect_bytes = 0
        self._damaged_from = 0
        self._ended = False
        self._is_whole = True  # read from the start without a jump
        self._frame_counts: Counter[FrameKind] = Counter()
        self._keyframes = Keyframes()
        self._index_at: int | None = None
        self._index: tuple[IndexEntry, ...] | None = None
        self.problems: list[str] = []
        self.complete: bool | None = None
        self.trailer: Trailer | None = None
        self.damaged: Packet | None = None

    def read(self) -> Packet | CopiedPacket | None:
        """The next packet in stored order; None at the end, also where the bytes were cut (`problems` says so).

        raises  DamagedPacket, the same one until `resync` or `seek` goes elsewhere
        """
        if self._failure is not None:
            raise self._failure
        while not self._ended:
            structure = self._structure()
            if isinstance(structure, Packet):
                self._frame_counts[structure.kind] += 1
            if isinstance(structure, Packet | CopiedPacket):
                return structure
            if isinstance(structure, Trailer):
                self._end(structure)
        return None

    def resync(self) -> bool:
        """After a DamagedPacket: goes to what follows it, or to the next structure that begins with a marker.

        That must be whole, checksum included. Where it stands at the end that a damaged frame states, only that frame
        is lost and `damaged` says which.

        returns  False where there is none; `read` then returns None
        """
        self.damaged = None
        is_one_frame = self._found is None and self._find_behind_suspect()
        if self._found is None:
            self._find_structure()
        self._suspect = None
        damaged_from = self._damaged_from
        marked_at = self._intake.offset - self._intake.taken_bytes
        damaged_to = damaged_from + self._suspect_bytes if is_one_frame else marked_at
        if damaged_to > damaged_from:
            self._note(f"bytes {damaged_from} to {damaged_to - 1} are damaged and were left out")
        else:
            self._note(f"frames are missing before byte {damaged_to}")
        self._failure = None
        if self._found is None:
            self._cut_short("the trailer is missing")
        return self._found is not None

    def seek(self, entry: IndexEntry) -> None:
        """Goes to a keyframe, which `read` returns next; raises InputError where the source is a pipe."""
        self._check_seekable()
        self._intake.seek(entry.offset_bytes)
        self._structures.next_index = entry.frame_number
        self._found = self._failure = self._suspect = None
        self._ended = self._is_whole = False

    def index(self) -> tuple[IndexEntry, ...]:
        """Every keyframe; from the index, or from a walk through all packets where that is damaged or missing.

        The place of `read` stays. Raises InputError where the source is a pipe.
        """
        self._check_seekable()
        if self._index is None:
            try:
                self._index = self._stored_index()
            except (Malformed, EndOfBytes) as error:
                self._note(f"the stored index cannot be used and was made anew from the packets: {error}")
                self._index = self._walked_index()
        return self._index

    def _structure(self) -> Structure | None:
        """What comes next; None where the bytes end."""
        if self._found is not None:
            structure, self._found = self._found, None
            return structure
        self._intake.mark()
        start = self._intake.offset
        try:
            return self._undamaged_structure()
        except DamagedEnd as error:
            return self._structure_behind_damaged_end(start, str(error))
        except EndOfBytes:
            if not self._intake.taken_bytes:
                self._cut_short("the trailer is missing: the file was cut, or it is still being written")
                return None
            fault, is_cut = "more bytes are due than the file has", True
        except Malformed as error:
            fault, is_cut = str(error), False
            self._suspect = error.packet if isinstance(error, DamagedFrame) else None
            self._suspect_bytes = self._intake.taken_bytes
        repaired = self._structure_behind_damaged_marker(start)
        if repaired is not None:
            self._suspect = None
            return repaired
        if is_cut:
            self._find_structure()
            if self._found is None:
                index = self._structures.next_index
                self._cut_short(f"the file is cut inside packet {index}, which begins at byte {start}")
                return None
        raise self._failed(start, fault)

    def _undamaged_structure(self) -> Structure:
        """What stands here; damaged copied packets are left out, if what follows them is whole."""
        while True:
            start = self._intake.offset
            try:
                return self._accepted(self._structures.read(), start)
            except DamagedCopy as damage:
                self._note(f"{damage}; it was left out")

    def _structure_behind_damaged_end(self, start: int, fault: str) -> Structure | None:
        """The trailer, where the index before it is damaged; what is redundant is no reason to fail."""
        self._intake.rewind()
        self._find_structure()
        if isinstance(self._found, Packet | CopiedPacket):
            raise self._failed(start, fault)
        self._note(f"byte {start}: {fault}")
        if self._found is None:
            self._cut_short("no whole trailer ends the file")
        found, self._found = self._found, None
        return found

    def _structure_behind_damaged_marker(self, start: int) -> Structure | None:
        """What stands behind the marker here, if nothing but the marker is damaged."""
        for marker in MARKERS:
            self._intake.rewind()
            try:
                self._intake.take(MARKER_BYTES)
                structure = self._structures.read_behind(marker)
            except (Malformed, EndOfBytes):
                continue
            self._note(f"the marker at byte {start} is damaged")
            return self._accepted(structure, start)
        self._intake.rewind()
        return None

    def _find_behind_suspect(self) -> bool:
        """Keeps the structure that follows a damaged frame at once; False where no whole one does."""
        if self._suspect is None:
            return False
        start = self._damaged_from = self._intake.offset
        try:
            self._intake.take(self._suspect_bytes)
            structure = self._structures.read_after(self._suspect)
        except (Malformed, EndOfBytes, DamagedCopy):
            self._intake.rewind()
            return False
        self.damaged = self._suspect
        self._found = self._accepted(structure, start + self._suspect_bytes)
        return True

    def _find_structure(self) -> None:
        """Looks for a structure that begins with a marker and is whole, and keeps it for `read`."""
        self._damaged_from = self._intake.offset
        while self._intake.skip_to(MARKERS):
            start = self._intake.offset
            try:
                self._found = self._accepted(self._structures.read(may_skip_frames=True), start)
                return
            except (Malformed, EndOfBytes):
                self._intake.rewind()
                self._intake.take(1)

    def _accepted(self, structure: Structure, start: int) -> Structure:
        """Keeps what is compared at the end."""
        for remark in self._structures.remarks:
            self._note(remark)
        if isinstance(structure, Packet) and structure.is_key and self._is_whole:
            is_reference = structure.stored_in is not None
            number = structure.coding_index
            self._keyframes.add(
                IndexEntry(frame_number=number, offset_bytes=start, is_key=True, is_reference=is_reference)
            )
        if isinstance(structure, Index):
            self._index_at = start
            if self._is_whole and structure.entries != self._keyframes.entries():
                self._note(f"the index at byte {start} lists other keyframes than were found")
        return structure

    def _failed(self, start: int, fault: str) -> DamagedPacket:
        index = self._structures.next_index
        self._failure = DamagedPacket(self._name, f"packet {index} at byte {start}: {fault}", _REMEDY)
        return self._failure

    def _end(self, trailer: Trailer) -> None:
        """Compares the trailer with what was read."""
        self._ended = True
        self.trailer, self.complete = trailer, trailer.complete
        if self._is_whole:
            if trailer.sha256 != self._intake.digest[: len(trailer.sha256)]:
                self._note("the SHA-256 of the stream is not the one that its trailer states")
            counts = tuple(self._frame_counts[kind] for kind in FrameKind)
            if counts != trailer.frame_counts:
                self._note(f"{sum(counts)} frames were found, the trailer counts {trailer.total_frames}")
        if self._index_at != trailer.index_offset:
            self._note(f"no index was found at byte {trailer.index_offset}, where the trailer has it")
        self._intake.mark()
        try:
            self._intake.take(1)
            self._note("bytes follow the end of the stream")
        except EndOfBytes:
            pass

    def _cut_short(self, sentence: str) -> None:
        """Ends the stream without a trailer."""
        self._ended = True
        self.complete = False
        self._note(sentence)

    def _stored_index(self) -> tuple[IndexEntry, ...]:
        """The index that the trailer at the end points at; raises Malformed and EndOfBytes."""
        full, size = self.header.full_frame_headers, self._intake.size()
        if size < self._first_packet_at + END_BYTES:
            raise Malformed("the file ends before a trailer")
        trailer_at = size - trailer_bytes(self._intake.part(size - END_BYTES)(END_BYTES), full=full)
        if trailer_at < self._first_packet_at:
            raise Malformed("the file ends before a trailer")
        take = self._intake.part(trailer_at)
        if take(MARKER_BYTES) != TRAILER_MARKER:
            raise Malformed("no trailer ends the file")
        trailer = unpack_trailer(take, full=full)
        if not self._first_packet_at <= trailer.index_offset < trailer_at:
            raise Malformed(f"the trailer has the index at byte {trailer.index_offset}")
        take = self._intake.part(trailer.index_offset)
        if take(MARKER_BYTES) != INDEX_MARKER:
            raise Malformed(f"no index begins at byte {trailer.index_offset}")
        entries = unpack_index(take, full=full)
        if (
            entries
            and not self._first_packet_at <= entries[0].offset_bytes <= entries[-1].offset_bytes < trailer_at
        ):
            raise Malformed("the index points outside of the packets")
        self.trailer, self.complete = trailer, trailer.complete
        return entries

    def _walked_index(self) -> tuple[IndexEntry, ...]:
        """The keyframes that a second reader finds from the start to the end."""
        with self._intake.elsewhere():
            walker = StreamReader(self._source, self._name)
            while True:
                try:
                    if walker.read() is None:
                        break
                except DamagedPacket:
                    walker.resync()
        for problem in walker.problems:
            self._note(problem)
        self.trailer, self.complete = walker.trailer, walker.complete
        return walker._keyframes.entries()

    def _check_seekable(self) -> None:
        if not self._intake.is_seekable:
            raise InputError(self._name, "is a pipe, which has no way back", "Save it as a file first.")

    def _note(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)
