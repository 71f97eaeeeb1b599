"""The Python API: frames to packets, packets to frames, and a .zvc69 as a sequence of frames.

Everything happens in the caller's thread, in the call that asks for it.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from zvc69_cli.errors import InputError, UsageError, Zvc69Error
from zvc69_cli.frames import Frame, Packet, VideoFormat
from zvc69_cli.pipeline.engine import Engines, InstalledEngines, plain_header
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.pipeline.stats import Clock, bitrate_kbps
from zvc69_cli.pipeline.stored import key_before
from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.container.layout import StreamHeader

MAX_PTS: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats:
    """What a session has done so far.

    payload_bytes  the coded sections of the frames
    duration_s     of the video, as watched
    busy_s         time spent coding
    """

    frames: int
    payload_bytes: int
    duration_s: float
    busy_s: float

    @property
    def bitrate_kbps(self) -> float:
        return bitrate_kbps(self.payload_bytes, self.duration_s)

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.busy_s if self.busy_s else 0.0


class _Session:
    """What both directions count."""

    def __init__(self, video: VideoFormat) -> None:
        self.video = video
        self._clock = Clock(video.time_base, video.frame_rate)
        self._frames = 0
        self._payload_bytes = 0
        self._busy_s = 0.0
        self._is_flushed = False

    @property
    def stats(self) -> SessionStats:
        return SessionStats(
            frames=self._frames,
            payload_bytes=self._payload_bytes,
            duration_s=self._clock.duration_s,
            busy_s=self._busy_s,
        )

    def flush(self) -> None:
        """Say that nothing more will be sent; what is ready can still be received."""
        self._is_flushed = True

    def _count(self, packet: Packet, began: float) -> None:
        self._clock.show(packet.pts)
        self._frames += 1
        self._payload_bytes += len(packet.payload)
        self._busy_s += time.perf_counter() - began

    def _refuse_after_flush(self, method: str) -> None:
        if self._is_flushed:
            raise UsageError(method, "was called after flush()", "Make a new session for another video.")


class Encoder(_Session):
    """Frames of one video to packets.

    header  what a StreamWriter begins the stream with, and what a Decoder needs; time stamps count from 0
    """

    def __init__(
        self, video: VideoFormat, options: EncodeOptions | None = None, *, engines: Engines | None = None
    ) -> None:
        """Raises RuntimeUnavailable where the device or the bundle cannot be had."""
        super().__init__(video)
        options = options or EncodeOptions()
        engine = (engines or InstalledEngines()).for_encoding(options.run)
        self._encoder = engine.encoder(video, options.codec)
        self._packets: deque[Packet] = deque()
        self._last_pts: int | None = None
        self.header = plain_header(engine, video, options.codec)

    def send_frame(self, frame: Frame) -> None:
        """Encode the next frame, in the order of display.

        raises  InputError where it is not of the video's format or not after the frame before it
        """
        self._refuse_after_flush("send_frame")
        if not _is_whole(frame.pts) or frame.pts > MAX_PTS:
            raise InputError(
                f"frame {self._frames}",
                f"pts is {frame.pts!r}, should be a whole number up to {MAX_PTS}",
                "Count in ticks of the video's time base.",
            )
        if frame.pts < 0 or (self._last_pts is not None and frame.pts <= self._last_pts):
            due = "0 or more" if self._last_pts is None else f"above {self._last_pts}"
            raise InputError(
                f"frame {self._frames}", f"pts is {frame.pts}, should be {due}", "Send frames as watched."
            )
        began = time.perf_counter()
        try:
            packet = self._encoder.pack(self._encoder.quantise(frame))
        except ValueError as cause:
            raise InputError(
                f"frame {self._frames}", str(cause), "Send planes of the size and type of the video."
            ) from cause
        self._last_pts = frame.pts
        self._packets.append(packet)
        self._count(packet, began)

    def receive_packet(self) -> Packet | None:
        """The next packet in coding order; None when another frame is needed, or at the end."""
        return self._packets.popleft() if self._packets else None


class Decoder(_Session):
    """Packets of one stream to frames."""

    def __init__(
        self, header: StreamHeader | bytes, run: RunSettings | None = None, *, engines: Engines | None = None
    ) -> None:
        """From a stream's header, or from the bytes that begin a .zvc69.

        raises  DamagedStream where the bytes are no header; UnknownBundle, RuntimeUnavailable
        """
        if isinstance(header, bytes):
            from zvc69_cli.container.reader import StreamReader

            self.header = StreamReader(io.BytesIO(header), "header").header
        else:
            self.header = header
        super().__init__(self.header.video)
        engine = (engines or InstalledEngines()).for_decoding(self.header, run or RunSettings())
        self._decoder = engine.decoder(self.video, self.header.base_q_256)
        self._ready: deque[Frame] = deque()

    def send_packet(self, packet: Packet) -> None:
        """Decode the next packet, in coding order.

        raises  DamagedPacket, SymbolMismatch; the session can go on with the next keyframe
        """
        self._refuse_after_flush("send_packet")
        began = time.perf_counter()
        self._ready.append(self._decoder.reconstruct(self._decoder.parse(packet)))
        self._count(packet, began)

    def receive_frame(self) -> Frame | None:
        """The next frame in the order of display; None when another packet is needed, or at the end."""
        return self._ready.popleft() if self._ready else None


class VideoFile:
    """A .zvc69 as its frames: iterate, seek, iterate on; a context manager that closes what it opened.

    video   the format of every frame
    header  everything that the stream says of itself
    """

    def __init__(self, source: str | PathLike[str] | BinaryIO, run: RunSettings | None = None, *,
                 engines: Engines | None = None) -> None:  # fmt: skip
        """Raises InputError, DamagedStream, UnknownBundle, RuntimeUnavailable."""
        from zvc69_cli.container.reader import StreamReader

        self._owned: BinaryIO | None = None
        stream: BinaryIO
        if isinstance(source, str | PathLike):
            name = str(source)
            try:
                stream = self._owned = Path(source).open("rb")  # noqa: SIM115 - closed by close()
            except OSError as cause:
                raise InputError(name, f"cannot be opened: {cause.strerror}", "Check the name.") from cause
        else:
            name, stream = str(getattr(source, "name", "stream")), source
        self._name = name
        try:
            self._reader = StreamReader(stream, name)
            self.header = self._reader.header
            self.video = self.header.video
            engine = (engines or InstalledEngines()).for_decoding(self.header, run or RunSettings())
            self._decoder = engine.decoder(self.video, self.header.base_q_256)
        except Zvc69Error:
            self.close()
            raise
        self._position = 0  # number of the frame that is read next
        self._length: int | None = None

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, where it was opened here."""
        if self._owned is not None:
            self._owned.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames from the current position on; raises DamagedStream, SymbolMismatch."""
        while (frame := self.read()) is not None:
            yield frame

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        packet = self._next_packet()
        return None if packet is None else self._decoder.reconstruct(self._decoder.parse(packet))

    def __len__(self) -> int:
        """Frames in the whole stream; raises InputError where the source cannot seek."""
        if self._length is None:
            back = self._position
            keys = self._reader.index()
            if keys:
                self._reader.seek(keys[-1])
                self._position = keys[-1].frame_number
                while self._next_packet() is not None:
                    pass
            self._length = self._position if keys else 0
            if back < self._length:
                self._go_to(back)
        return self._length

    def seek(self, frame_number: int) -> None:
        """Make frame `frame_number`, counted from 0, the next to be read.

        raises  UsageError where there is no such frame, InputError where the source cannot seek
        """
        if not 0 <= frame_number < len(self):
            raise UsageError(
                f"{self._name}: seek",
                f"{frame_number} is out of range 0..{len(self) - 1}",
                "Seek within the video.",
            )
        self._go_to(frame_number)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found wrong with the stream so far, one sentence each; a damaged frame is raised."""
        return tuple(self._reader.problems)

    def _go_to(self, frame_number: int) -> None:
        key = key_before(self._reader.index(), frame_number)
        if key is None:
            raise UsageError(
                f"{self._name}: seek", f"no keyframe leads to frame {frame_number}", "Read from 0."
            )
        self._reader.seek(key)
        self._position = key.frame_number
        while self._position < frame_number:
            self.read()

    def _next_packet(self) -> Packet | None:
        while (item := self._reader.read()) is not None:
            if isinstance(item, Packet):
                self._position += 1
                return item
        return None


def _is_whole(number: object) -> bool:
    """Whether it counts ticks: Python's whole numbers and NumPy's."""
    return isinstance(number, Integral)
