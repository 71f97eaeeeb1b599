"""Encoding in an ffmpeg beside this program, with the encoders that PyAV was built without."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure.ffmpeg_program import HOW_TO_GET, find_program

PIXEL_FORMATS: Final = {8: "yuv420p", 10: "yuv420p10le"}  # by bit depth
RATE_OF_THE_RATELESS: Final = Fraction(25)


def encode_with_program(
    encoder: str,
    options: Mapping[str, str],
    container: str,
    frames: Sequence[Frame],
    video: VideoFormat,
    *,
    threads: int,
) -> bytes:
    """The file that ffmpeg makes of the frames.

    container  FFmpeg's muxer, one that adds next to nothing
    threads    0 for as many as the encoder likes
    raises     RuntimeUnavailable where there is no such ffmpeg, or it refuses the video
    """
    program = find_program(encoder=encoder)
    if program is None:
        raise RuntimeUnavailable(encoder, "no ffmpeg with it is found", HOW_TO_GET)
    rate = video.frame_rate or RATE_OF_THE_RATELESS
    given = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        PIXEL_FORMATS[video.bit_depth],
        "-s",
        f"{video.width}x{video.height}",
    ]
    asked = [part for name, value in options.items() for part in (f"-{name}:v", value)]
    with tempfile.TemporaryDirectory() as folder:
        said, stream = Path(folder) / "said.txt", Path(folder) / "stream"
        command = [program.path, "-v", "error", "-nostats", *given, "-r", str(rate), "-i", "pipe:0"]
        command += ["-c:v", encoder, *asked, "-threads", str(threads), "-f", container, str(stream)]
        with said.open("wb") as messages:
            _run(command, frames, messages)
        if not stream.exists() or not stream.stat().st_size:
            lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise RuntimeUnavailable(
                encoder,
                f"ffmpeg made nothing of {video.width}x{video.height}: {lines[0] if lines else 'it does not say why'}",
                "Leave this encoder out with --peers, or this clip.",
            )
        return stream.read_bytes()


def _run(command: list[str], frames: Sequence[Frame], messages: Any) -> None:
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages)
    except OSError as cause:
        raise RuntimeUnavailable(command[0], f"does not start: {cause}", HOW_TO_GET) from cause
    assert process.stdin is not None
    try:
        with (
            suppress(BrokenPipeError),
            process.stdin as pipe,
        ):  # what is missing is found by looking at the file
            for frame in frames:
                for plane in (frame.y, frame.u, frame.v):
                    pipe.write(np.ascontiguousarray(plane).data)
    finally:
        process.wait()


def packets_of(stream: bytes) -> tuple[list[av.Packet[av.VideoStream]], bytes]:
    """The packets of a file with one video in it, and what their decoder needs to read them.

    The latter is b"" where it needs nothing; it repeats parameters that the first packet has too.
    """
    with av.open(io.BytesIO(stream), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        is_apart = "mp4" in container.format.name
        return packets, bytes(container.streams.video[0].codec_context.extradata or b"") if is_apart else b""
