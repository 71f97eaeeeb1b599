"""zvc69 itself on a whole clip, as `zvc69 encode` and `zvc69 decode` run it: a file each way, every byte counted."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.container.reader import StreamReader
from zvc69_cli.frames import Packet
from zvc69_cli.measure.clips import Clip, read_clip
from zvc69_cli.measure.peers import Coded, CodedFrame
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.pipeline.decode import decode
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import Engines
from zvc69_cli.pipeline.inspect import motion_bytes
from zvc69_cli.pipeline.resolve import DecodeOptions, EncodeOptions


class VideoCodec:
    """The pipeline with engines of its own."""

    def __init__(self, engines: Engines, options: EncodeOptions) -> None:
        self.options = options
        self._engines = engines

    def code(self, settings: CodecSettings, clip: Clip) -> Coded:
        """The frames of a clip as one stream, and what a decoder makes of it.

        Times are the pipeline's: from the first frame to the last byte, files read and written included.
        raises  one of errors.py where the clip's file cannot be coded
        """
        part = InputSettings(frames=len(clip.frames), audio=False, subtitles=False)
        options = replace(self.options, codec=settings, input=part)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stream, decoded = folder / "clip.zvc69", folder / "clip.y4m"
            encode_stats = encode(str(clip.path), str(stream), options, engines=self._engines)
            text_bytes, stored = read_stored(stream)
            decode_stats = decode(
                str(stream), str(decoded), DecodeOptions(run=options.run), engines=self._engines
            )
            return Coded(
                stream_bytes=stream.stat().st_size,
                text_bytes=text_bytes,
                frames=read_clip(decoded, folder, None).frames,
                encode_s=encode_stats.wall_s,
                decode_s=decode_stats.wall_s,
                stored=stored,
            )


def read_stored(path: Path) -> tuple[int, tuple[CodedFrame, ...]]:
    """Bytes of a stream's note about how it was made, and what it holds of each frame, in display order."""
    with path.open("rb") as file:
        reader = StreamReader(file, str(path))
        packets: list[Packet] = []
        while (item := reader.read()) is not None:
            if isinstance(item, Packet):
                packets.append(item)
        note_bytes = len(reader.header.settings_note.encode())
    packets.sort(key=lambda packet: packet.pts)
    return note_bytes, tuple(
        CodedFrame(kind=packet.kind.name, size_bytes=len(packet.payload), motion_bytes=motion_bytes(packet))
        for packet in packets
    )
