"""The structures of a stream one after another, whole and checked, or an error and the state as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from zvc69_cli.container.copied_headers import unpack_copied_header
from zvc69_cli.container.fields import MAX_U32, EndOfBytes, Malformed, Take
from zvc69_cli.container.frame_headers import DueTimes, unpack_frame_header
from zvc69_cli.container.index import unpack_index, unpack_trailer
from zvc69_cli.container.layout import (
    FIRST_COPIED,
    INDEX_MARKER,
    MARKER_LEAD,
    SYNC_MARKER,
    TRAILER_MARKER,
    IndexEntry,
    StreamHeader,
    Trailer,
)
from zvc69_cli.frames import CopiedPacket, FrameKind, Packet

MARKERS: Final = (SYNC_MARKER, INDEX_MARKER, TRAILER_MARKER)


class DamagedEnd(Malformed):
    """Index or trailer cannot be used; they are redundant, so that no frame is lost with them."""


class DamagedFrame(Malformed):
    """A frame whose checksum fails, all the bytes that it asks for being taken.

    packet  what it says of itself, which may be wrong
    """

    def __init__(self, sentence: str, packet: Packet) -> None:
        super().__init__(sentence)
        self.packet = packet


class DamagedCopy(Exception):
    """A copied packet whose checksum fails, all its bytes being taken; says what was found and due."""


@dataclass(frozen=True, slots=True)
class Index:
    """The index as it stands in the stream."""

    entries: tuple[IndexEntry, ...]


Structure = Packet | CopiedPacket | Index | Trailer


class StructureReader:
    """Parses structures; `next_index` and the dts prediction move on with each frame that is whole.

    remarks  what was redundant and wrong in the structure read last
    """

    def __init__(self, header: StreamHeader, take: Take) -> None:
        self._header = header
        self._take = take
        self._late_ticks = 0
        self.next_index = 0
        self.remarks: list[str] = []

    def read(self, *, may_skip_frames: bool = False) -> Structure:
        """The structure that begins here.

        may_skip_frames  whether a sync marker may count further than the frames read, as after damage
        raises           Malformed, DamagedCopy, EndOfBytes
        """
        self.remarks.clear()
        first = self._take(1)
        if first[0] == MARKER_LEAD:
            return self.read_behind(first + self._take(1), may_skip_frames=may_skip_frames)
        if first[0] < FIRST_COPIED:
            packet = self._unmarked_frame(first[0])
            if packet.is_key:
                self.remarks.append(f"the sync marker of packet {packet.coding_index} is missing")
            return packet
        if first[0] < FIRST_COPIED + len(self._header.copied_streams):
            return self._copied(first[0])
        raise Malformed(f"byte {first[0]:02x} begins no packet")

    def read_after(self, damaged: Packet) -> Structure:
        """The structure that begins here, behind a frame whose checksum failed; raises as `read` does.

        Where it is whole, the damaged frame ended where it said. Its times are believed only where they are due.
        """
        before = self._late_ticks, self.next_index
        self._go_behind(damaged)
        try:
            if abs(self._late_ticks - before[0]) > 1:
                raise Malformed("times that were not due")
            return self.read()
        except (Malformed, EndOfBytes, DamagedCopy):
            self._late_ticks, self.next_index = before
            raise

    def read_behind(self, marker: bytes, *, may_skip_frames: bool = False) -> Structure:
        """The structure that a marker announces; raises as `read` does."""
        self.remarks.clear()
        if marker == SYNC_MARKER:
            return self._keyframe(may_skip_frames=may_skip_frames)
        if marker == INDEX_MARKER:
            try:
                return Index(unpack_index(self._take, full=self._header.full_frame_headers))
            except (Malformed, EndOfBytes) as error:
                raise DamagedEnd(f"the index cannot be used: {error}") from error
        if marker == TRAILER_MARKER:
            try:
                return unpack_trailer(self._take, full=self._header.full_frame_headers)
            except (Malformed, EndOfBytes) as error:
                raise DamagedEnd(f"the trailer cannot be used: {error}") from error
        raise Malformed(f"bytes {marker.hex()} are no marker")

    def _keyframe(self, *, may_skip_frames: bool) -> Packet:
        low_bits = int.from_bytes(self._take(2), "big")
        skipped = (low_bits - self.next_index) & 0xFFFF
        index = self.next_index + skipped if may_skip_frames else self.next_index
        first = self._take(1)[0]
        if first >= FIRST_COPIED or first & 3 != FrameKind.I:
            raise Malformed(f"byte {first:02x} behind a sync marker begins no I frame")
        if may_skip_frames or not skipped:
            return self._frame(first, index)
        counts = f"the sync marker of packet {index} counts {low_bits}, should count {index & 0xFFFF}"
        try:
            packet = self._frame(first, index)
        except DamagedFrame as error:
            raise DamagedFrame(f"{error}, and {counts}", error.packet) from error
        except Malformed as error:
            raise Malformed(f"{error}, and {counts}") from error
        self.remarks.append(counts)
        return packet

    def _unmarked_frame(self, first: int) -> Packet:
        """A frame without a sync marker; a damaged one that calls itself a keyframe is not believed."""
        try:
            return self._frame(first, self.next_index)
        except DamagedFrame as error:
            if error.packet.is_key:
                raise Malformed(str(error)) from error
            raise

    def _frame(self, first: int, coding_index: int) -> Packet:
        if coding_index > MAX_U32:
            raise Malformed(f"more than {MAX_U32} frames")
        header = self._header
        predicted = header.predicted_ticks(coding_index)
        is_key = first & 3 == FrameKind.I
        due = None
        if not header.full_frame_headers:
            due = DueTimes(dts=predicted if is_key else predicted + self._late_ticks, step=header.ticks_a_frame)
        found, crc = unpack_frame_header(first, self._take, header.packet_limit_bytes, due)
        payload = self._take(found.payload_bytes)
        packet = Packet(
            kind=found.kind,
            coding_index=coding_index,
            pts=found.pts + header.start_pts,
            dts=found.dts + header.start_pts,
            payload=payload,
            symbol_crc=found.symbol_crc,
            q_offset=found.q_offset,
            temporal_layer=found.temporal_layer,
            references=found.references,
            stored_in=found.stored_in,
        )
        try:
            _check_crc(crc.found(payload, coding_index), crc.stated)
        except Malformed as error:
            raise DamagedFrame(str(error), replace(packet, is_damaged=True)) from error
        self._go_behind(packet)
        return packet

    def _go_behind(self, packet: Packet) -> None:
        """What the next frame is predicted from."""
        header = self._header
        self._late_ticks = packet.dts - header.start_pts - header.predicted_ticks(packet.coding_index)
        self.next_index = packet.coding_index + 1

    def _copied(self, first: int) -> CopiedPacket:
        found, crc = unpack_copied_header(first, self._take, full=self._header.full_frame_headers)
        data = self._take(found.data_bytes)
        try:
            _check_crc(crc.found(data), crc.stated)
        except Malformed as error:
            raise DamagedCopy(f"a packet of copied stream {found.stream_number}: {error}") from error
        return CopiedPacket(
            stream_number=found.stream_number,
            data=data,
            pts=found.pts,
            dts=found.dts,
            duration=found.duration,
            is_key=found.is_key,
        )


def _check_crc(found: int, stated: int) -> None:
    if found != stated:
        raise Malformed(f"crc {found:04x}, should be {stated:04x}")
