"""Small streams to test with, made by the writer itself."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.container.writer import StreamWriter
from zvc69_cli.errors import DamagedPacket
from zvc69_cli.frames import (
    Chapter,
    ColourTags,
    ContentLight,
    CopiedPacket,
    CopiedStream,
    FrameKind,
    MasteringDisplay,
    Packet,
    VideoFormat,
)

SHA256 = hashlib.sha256(b"a bundle").digest()
VIDEO = VideoFormat(width=64, height=48, frame_rate=Fraction(30))
HEADER = StreamHeader(
    video=VIDEO, bundle_name="zvc69-s", bundle_sha256=SHA256, base_q_256=23 * 256, gop_frames=1
)
AUDIO = CopiedStream(number=0, media="audio", codec="aac", time_base=Fraction(1, 48_000))

RICH_HEADER = StreamHeader(
    video=VideoFormat(
        width=1921,
        height=1081,
        bit_depth=10,
        time_base=Fraction(1, 1000),
        frame_rate=Fraction(2_997_003, 100_000),
        sample_aspect=Fraction(64, 45),
        rotation_degrees=270,
        colour=ColourTags(primaries=9, transfer=16, matrix=9, colour_range=1, chroma_location=3),
        mastering_display=MasteringDisplay(
            red=(Fraction(17, 25), Fraction(8, 25)),
            green=(Fraction(53, 200), Fraction(69, 100)),
            blue=(Fraction(3, 20), Fraction(3, 50)),
            white=(Fraction(3127, 10_000), Fraction(329, 1000)),
            min_luminance=Fraction(1, 10_000),
            max_luminance=Fraction(1000),
        ),
        content_light=ContentLight(max_content=1000, max_average=400),
    ),
    bundle_name="zvc69-s",
    bundle_sha256=SHA256,
    base_q_256=23 * 256 + 77,
    gop_frames=-1,
    total_frames=12,
    latent_channels=96,
    hyper_channels=64,
    has_b_frames=True,
    start_pts=-4321,
    copied_streams=(
        CopiedStream(
            number=0,
            media="audio",
            codec="aac",
            time_base=Fraction(1, 44_100),
            extradata=b"\x12\x10",
            language="deu",
            title="Ton",
            default=True,
            parameters=(("sample_rate", "44100"), ("layout", "stereo")),
        ),
        CopiedStream(number=1, media="subtitle", codec="subrip", time_base=Fraction(1, 1000)),
    ),
    chapters=(Chapter(start=-5, end=900, time_base=Fraction(1, 1000), title="Vorspann"),),
    tags=(("title", "Ein Film"), ("comment", "naïve 映画")),
    settings_note='{"crf": 23.3}',
)


def key_packet(number: int, payload: bytes, **changes: object) -> Packet:
    """An I frame of a 30 fps stream in 90 kHz ticks."""
    packet = Packet(
        kind=FrameKind.I,
        coding_index=number,
        pts=3000 * number,
        dts=3000 * number,
        payload=payload,
        symbol_crc=0x1234_0000 + number,
    )
    return replace(packet, **changes)  # type: ignore[arg-type]


def key_packets(count: int, size: int = 20) -> list[Packet]:
    """I frames whose payloads differ and look like an entropy coder's."""
    return [key_packet(number, filler(number, size)) for number in range(count)]


def filler(seed: int, size: int) -> bytes:
    """Bytes that look random and are always the same."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def written(header: StreamHeader, packets: Iterable[Packet | CopiedPacket], *, complete: bool = True) -> bytes:
    """A whole stream."""
    out = io.BytesIO()
    writer = StreamWriter(out, header)
    for packet in packets:
        if isinstance(packet, Packet):
            writer.write_packet(packet)
        else:
            writer.write_copied(packet)
    writer.close(complete=complete)
    return out.getvalue()


def reader_of(data: bytes) -> StreamReader:
    return StreamReader(io.BytesIO(data), "clip.zvc69")


def read_all(reader: StreamReader) -> list[Packet | CopiedPacket]:
    """Packets up to the end; raises what `read` raises."""
    return list(iter(reader.read, None))


def saved(reader: StreamReader) -> tuple[list[Packet | CopiedPacket], int]:
    """Packets that can be saved from a damaged stream, and how many times reading failed."""
    packets: list[Packet | CopiedPacket] = []
    failures = 0
    while True:
        try:
            packet = reader.read()
        except DamagedPacket:
            failures += 1
            reader.resync()
            continue
        if packet is None:
            return packets, failures
        packets.append(packet)


class Pipe(io.RawIOBase):
    """Bytes that can only be read, and come a few at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._most = most
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._data[self._at : self._at + min(self._most, size if size >= 0 else self._most)]
        self._at += len(piece)
        return piece

    def seekable(self) -> bool:
        return False
