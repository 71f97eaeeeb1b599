"""Writes a stream, from its first byte to its last, without ever going back."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from zvc69_cli.container.copied_headers import CopiedHeader, pack_copied_header
from zvc69_cli.container.fields import MAX_U32, check_range
from zvc69_cli.container.frame_headers import DueTimes, FrameHeader, pack_frame_header
from zvc69_cli.container.head import pack_header
from zvc69_cli.container.index import Keyframes, pack_trailer
from zvc69_cli.container.layout import (
    INDEX_MARKER,
    SYNC_MARKER,
    IndexEntry,
    StreamHeader,
    Trailer,
)
from zvc69_cli.frames import CopiedPacket, FrameKind, Packet


class StreamWriter:
    """Writes the header at once, then packets as they come, then index and trailer.

    Each packet is one write and a flush, so that a reader can follow. What the output raises (a full disk, a
    closed pipe) is an OSError and passes through.
    """

    def __init__(self, out: BinaryIO, header: StreamHeader) -> None:
        self._out = out
        self._header = header
        self._hash = hashlib.sha256()
        self._keyframes = Keyframes()
        self._frame_counts = [0] * len(FrameKind)
        self._late_ticks = 0  # how far the last dts was behind its prediction
        self._first_pts: int | None = None
        self._last_pts = 0
        self._closed = False
        self.bytes_written = 0
        self._carried_bytes = 0
        self._write(pack_header(header))

    @property
    def overhead_bytes(self) -> int:
        """All bytes written so far that are neither payload nor a copied packet's data."""
        return self.bytes_written - self._carried_bytes

    @property
    def frames_written(self) -> int:
        return sum(self._frame_counts)

    def write_packet(self, packet: Packet) -> None:
        """Appends one coded frame.

        raises  ValueError for a packet out of its order, before the start, or beyond a limit of the format
        """
        self._check(packet)
        header = FrameHeader(
            kind=packet.kind,
            payload_bytes=len(packet.payload),
            pts=packet.pts - self._header.start_pts,
            dts=packet.dts - self._header.start_pts,
            symbol_crc=packet.symbol_crc,
            q_offset=packet.q_offset,
            temporal_layer=packet.temporal_layer,
            references=packet.references,
            stored_in=packet.stored_in,
        )
        predicted = self._header.predicted_ticks(packet.coding_index)
        due_dts = predicted if packet.is_key else predicted + self._late_ticks
        due = None
        if not self._header.full_frame_headers:
            due = DueTimes(dts=due_dts, step=self._header.ticks_a_frame)
        before = pack_frame_header(header, packet.payload, packet.coding_index, due)
        if packet.is_key:
            self._keyframes.add(
                IndexEntry(
                    frame_number=packet.coding_index,
                    offset_bytes=self.bytes_written,
                    is_key=True,
                    is_reference=packet.stored_in is not None,
                )
            )
            before = SYNC_MARKER + (packet.coding_index & 0xFFFF).to_bytes(2, "big") + before
        self._write(before, packet.payload)
        self._late_ticks = header.dts - predicted
        self._frame_counts[packet.kind] += 1
        self._first_pts = packet.pts if self._first_pts is None else min(self._first_pts, packet.pts)
        self._last_pts = max(self._last_pts, packet.pts) if self.frames_written > 1 else packet.pts

    def write_copied(self, packet: CopiedPacket) -> None:
        """Appends one packet of a copied stream; raises ValueError for what the format cannot hold."""
        self._check_open()
        check_range("stream number", packet.stream_number, 0, len(self._header.copied_streams) - 1)
        header = CopiedHeader(
            stream_number=packet.stream_number,
            data_bytes=len(packet.data),
            pts=packet.pts,
            dts=packet.dts,
            duration=packet.duration,
            is_key=packet.is_key,
        )
        before = pack_copied_header(header, packet.data, full=self._header.full_frame_headers)
        self._write(before, packet.data)

    def close(self, *, complete: bool = True) -> None:
        """Writes index and trailer; `out` stays open, and a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        index_offset = self.bytes_written
        self._write(INDEX_MARKER + self._keyframes.pack(full=self._header.full_frame_headers))
        i_frames, p_frames, b_forward_frames, b_frames = self._frame_counts
        trailer = Trailer(
            frame_counts=(i_frames, p_frames, b_forward_frames, b_frames),
            duration=self._duration(),
            sha256=self._hash.digest(),
            index_offset=index_offset,
            complete=complete,
        )
        self._write(pack_trailer(trailer, full=self._header.full_frame_headers))

    def _check(self, packet: Packet) -> None:
        self._check_open()
        if packet.coding_index != self.frames_written:
            raise ValueError(
                f"packet has coding index {packet.coding_index}, should have {self.frames_written}"
            )
        check_range("coding index", packet.coding_index, 0, MAX_U32)
        if not self.frames_written and not packet.is_key:
            raise ValueError("the first packet is no keyframe")
        if packet.kind in (FrameKind.B_FORWARD, FrameKind.B) and not self._header.has_b_frames:
            raise ValueError("a B frame in a stream whose header promises none")
        check_range("payload size", len(packet.payload), 0, self._header.packet_limit_bytes)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the stream is closed")

    def _duration(self) -> int:
        """From the first pts to the end of the last frame; without a rate, frames last the mean."""
        if self._first_pts is None:
            return 0
        spread = self._last_pts - self._first_pts
        if self._header.video.frame_rate is not None:
            return spread + self._header.predicted_ticks(1)
        return spread + spread // max(1, self.frames_written - 1)

    def _write(self, before: bytes, carried: bytes = b"") -> None:
        data = before + carried if carried else before
        view = memoryview(data)
        while view:
            written = self._out.write(view)
            view = view[len(view) if written is None else written :]
        self._out.flush()
        self._hash.update(data)
        self.bytes_written += len(data)
        self._carried_bytes += len(carried)
