"""The codecs to compare with, all-intra, through the encoders that PyAV carries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.video.codeccontext import VideoCodecContext

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.media.pictures import picture_of, views

START_CODE: Final = b"\x00\x00\x01"
PIXEL_FORMATS: Final = {8: "yuv420p", 10: "yuv420p10le"}  # by bit depth
RATE_OF_THE_RATELESS: Final = Fraction(25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """What came of encoding and decoding a clip.

    stream_bytes  of the whole stream, headers and container included
    text_bytes    of these, a text in which the encoder describes itself: its options, not the picture
    frames        as decoded, in display order
    """

    stream_bytes: int
    text_bytes: int
    frames: tuple[Frame, ...]
    encode_s: float
    decode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One encoder, and how it is called: FFmpeg's names and options.

    rate_factors  what to measure at, fewest bits first
    is_text       whether a NAL unit that begins with these bytes is the encoder's text about itself; None where
                  it writes none
    """

    name: str
    encoder: str
    decoder: str
    options: tuple[tuple[str, str], ...]
    rate_factors: tuple[float, ...]
    is_text: Callable[[bytes], bool] | None = None

    @property
    def settings(self) -> str:
        """The options and library versions that its results depend on, as one line."""
        options = " ".join(f"{name}={value}" for name, value in self.options)
        libraries = " ".join(
            f"{name} {'.'.join(map(str, version))}"
            for name, version in av.library_versions.items()
            if name in ("libavcodec", "libswscale")
        )
        return f"{self.encoder} {options} threads=1, PyAV {av.__version__}, {libraries}"


def _is_h264_text(unit: bytes) -> bool:
    return unit[0] & 31 == 6 and unit[1:2] == b"\x05"  # SEI, user data unregistered


def _is_hevc_text(unit: bytes) -> bool:
    return unit[0] >> 1 & 63 == 39 and unit[2:3] == b"\x05"  # prefix SEI, user data unregistered


# With a keyframe distance of 1, x264 and x265 turn their lookahead off and give more bits at the same crf:
# 26..51 covers the qualities that 18..43 does with longer distances. One thread, so that no machine changes a
# result: with more, x264 cuts pictures into slices. (SVT-AV1 gives the same bytes with any number.)
X264: Final = Peer(
    name="x264",
    encoder="libx264",
    decoder="h264",
    options=(("preset", "medium"), ("tune", "psnr"), ("g", "1")),
    rate_factors=(51, 46, 41, 36, 31, 26),
    is_text=_is_h264_text,
)
X265: Final = Peer(
    name="x265",
    encoder="libx265",
    decoder="hevc",
    options=(
        ("preset", "medium"),
        ("tune", "psnr"),
        ("g", "1"),
        ("x265-params", "log-level=error:pools=none:frame-threads=1"),
    ),
    rate_factors=(51, 46, 41, 36, 31, 26),
    is_text=_is_hevc_text,
)
SVT_AV1: Final = Peer(
    name="SVT-AV1",
    encoder="libsvtav1",
    decoder="libdav1d",
    options=(("preset", "6"), ("g", "1")),
    rate_factors=(63, 58, 50, 40, 30, 20),
)
PEERS: Final = (X264, X265, SVT_AV1)


def is_available(peer: Peer) -> bool:
    """Whether this PyAV can both encode and decode as the peer does."""
    return peer.encoder in av.codecs_available and peer.decoder in av.codecs_available


def encode_intra(peer: Peer, frames: Sequence[Frame], video: VideoFormat, rate_factor: float) -> Coded:
    """Every frame as an intra frame at one rate factor, and what a decoder makes of it.

    raises  RuntimeUnavailable where the encoder is missing or refuses the video
    """
    # SVT-AV1 prints its settings past FFmpeg's log; it reads this once, when it is first used. 1: errors only.
    os.environ.setdefault("SVT_LOG", "1")
    started = time.perf_counter()
    try:
        packets = _encode(peer, frames, video, rate_factor)
        encoded = time.perf_counter()
        decoded = _decode(peer, packets)
    except (av.FFmpegError, ValueError) as cause:
        raise RuntimeUnavailable(
            peer.name,
            f"{peer.encoder} cannot code {video.width}x{video.height} at {video.bit_depth} bits: {cause}",
            "Leave this encoder out with --peers, or this clip.",
        ) from cause
    ended = time.perf_counter()
    if len(decoded) != len(frames):
        raise RuntimeUnavailable(
            peer.name,
            f"{len(decoded)} frames were decoded, should be {len(frames)}",
            "Leave this encoder out with --peers.",
        )
    data = [bytes(packet) for packet in packets]
    return Coded(
        stream_bytes=sum(map(len, data)),
        text_bytes=sum(_text_bytes(peer, packet) for packet in data),
        frames=decoded,
        encode_s=encoded - started,
        decode_s=ended - encoded,
    )


def _encode(
    peer: Peer, frames: Sequence[Frame], video: VideoFormat, rate_factor: float
) -> list[av.Packet[av.VideoStream]]:
    context = av.CodecContext.create(peer.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    rate = video.frame_rate or RATE_OF_THE_RATELESS
    context.width, context.height = video.width, video.height
    context.pix_fmt = PIXEL_FORMATS[video.bit_depth]
    context.framerate, context.time_base = rate, 1 / rate
    context.thread_count = 1
    context.options = {**dict(peer.options), "crf": f"{rate_factor:g}"}
    packets: list[av.Packet[av.VideoStream]] = []
    for number, frame in enumerate(frames):
        pixel_format = PIXEL_FORMATS[video.bit_depth]
        picture = picture_of([frame.y, frame.u, frame.v], pixel_format, video.width, video.height)
        picture.pts, picture.time_base = number, 1 / rate
        packets += context.encode(picture)
    return packets + context.encode(None)


def _decode(peer: Peer, packets: Sequence[av.Packet[av.VideoStream]]) -> tuple[Frame, ...]:
    context = av.CodecContext.create(peer.decoder, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    pictures: list[av.VideoFrame] = []
    for packet in packets:
        pictures += context.decode(packet)
    pictures += context.decode(None)
    return tuple(_frame(picture, number) for number, picture in enumerate(pictures))


def _frame(picture: av.VideoFrame, number: int) -> Frame:
    y, u, v = (plane.copy() for plane in views(picture))
    return Frame(y=y, u=u, v=v, pts=number)


def _text_bytes(peer: Peer, packet: bytes) -> int:
    """Bytes of a packet's units, start codes included, that hold the encoder's text about itself."""
    if peer.is_text is None:
        return 0
    total = 0
    start = packet.find(START_CODE)
    while start >= 0:
        following = packet.find(START_CODE, start + 3)
        end = following if following >= 0 else len(packet)
        if peer.is_text(packet[start + 3 : start + 6]):
            total += end - start
        start = following
    return total
