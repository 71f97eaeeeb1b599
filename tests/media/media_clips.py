"""Small clips that the tests make for themselves with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from zvc69_cli.frames import CopiedPacket, Frame
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import Source, open_source

WIDTH, HEIGHT, COUNT = 64, 48, 12
AUDIO_RATE = 48_000


def ramp(height: int, width: int, number: int, depth: int = 8) -> np.ndarray:
    """A smooth plane that differs from frame to frame."""
    lines, columns = np.mgrid[0:height, 0:width]
    peak = (1 << depth) - 1
    values = (lines * 2 + columns + number * 8) * (peak // 255) % (peak - 40 * (peak // 255)) + 20
    return values.astype(np.uint16 if depth > 8 else np.uint8)


def frame(
    number: int, *, width: int = WIDTH, height: int = HEIGHT, depth: int = 8, pts: int | None = None
) -> Frame:
    chroma = (height + 1) // 2, (width + 1) // 2
    return Frame(
        y=ramp(height, width, number, depth),
        u=ramp(*chroma, number + 3, depth),
        v=ramp(*chroma, number + 5, depth),
        pts=number if pts is None else pts,
        duration=1,
    )


def write_clip(
    path: Path,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    count: int = COUNT,
    time_base: Fraction = Fraction(1, 25),
    pts: Callable[[int], int] = lambda number: number,
    sound: bool = False,
    subtitles: Sequence[tuple[int, int, bytes]] = (),
    subtitle_codec: str = "mov_text",
    options: dict[str, str] | None = None,
    configure: Callable[[av.container.OutputContainer, av.VideoStream], None] = lambda container, stream: None,
) -> Path:
    """A clip whose frames grow brighter; subtitles are (start ms, duration ms, stored bytes)."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(25), options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.time_base = stream.codec_context.time_base = time_base
        configure(out, stream)
        audio = out.add_stream("aac", rate=AUDIO_RATE) if sound else None
        if audio is not None:
            audio.layout = "stereo"
            audio.metadata["language"] = "deu"
        text = out.add_mux_stream(subtitle_codec) if subtitles else None
        if text is not None:
            text.time_base = Fraction(1, 1000)
        for number in range(count):
            picture = av.VideoFrame(*size, pixel_format)
            for plane in picture.planes:
                np.frombuffer(plane, np.uint8)[:] = 0
                if pixel_format.endswith("le"):
                    np.frombuffer(plane, "<u2")[:] = 200 + 20 * number
                else:
                    np.frombuffer(plane, np.uint8)[:] = 50 + 10 * number % 200
            picture.pts, picture.time_base = pts(number), time_base
            out.mux(stream.encode(picture))
            if audio is not None:
                _write_sound(out, audio, number)
        for start, duration, data in subtitles:
            packet = av.Packet(data)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = duration, Fraction(1, 1000), text
            out.mux(packet)
        out.mux(stream.encode(None))
        if audio is not None:
            out.mux(audio.encode(None))
    return path


def _write_sound(out: av.container.OutputContainer, audio: av.AudioStream, number: int) -> None:
    samples = AUDIO_RATE // 25
    times = (np.arange(samples) + number * samples) / AUDIO_RATE
    wave = np.sin(times * 440 * 2 * np.pi).astype(np.float32)
    sound = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
    sound.sample_rate, sound.pts, sound.time_base = AUDIO_RATE, number * samples, Fraction(1, AUDIO_RATE)
    out.mux(audio.encode(sound))


def y4m_bytes(tags: str, frames: Sequence[bytes]) -> bytes:
    return f"YUV4MPEG2 {tags}\n".encode() + b"".join(b"FRAME\n" + each for each in frames)


def plane_bytes(count: int, frame_bytes: int) -> list[bytes]:
    """Frames of one value each, the next value in the next frame."""
    return [bytes([number + 1]) * frame_bytes for number in range(count)]


def read_all(source: Source) -> tuple[list[Frame], list[CopiedPacket]]:
    items = list(source)
    source.close()
    return [each for each in items if isinstance(each, Frame)], [
        each for each in items if isinstance(each, CopiedPacket)
    ]


def read_clip(
    path: Path, settings: InputSettings | None = None
) -> tuple[Source, list[Frame], list[CopiedPacket]]:
    source = open_source(str(path), settings or InputSettings())
    return source, *read_all(source)
