"""The codecs to compare with, all-intra and as video, through the encoders that PyAV carries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import av
from av.video.codeccontext import VideoCodecContext

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure.ffmpeg_program import HOW_TO_GET, find_program
from zvc69_cli.measure.program_encoder import (
    PIXEL_FORMATS,
    RATE_OF_THE_RATELESS,
    encode_with_program,
    packets_of,
)
from zvc69_cli.media.pictures import picture_of, views

START_CODE: Final = b"\x00\x00\x01"
_KINDS: Final = {1: "I", 2: "P", 3: "B"}  # AVPictureType


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedFrame:
    """What a stream holds of one frame.

    size_bytes    of its coded sections
    motion_bytes  of these, what codes motion
    """

    kind: str
    size_bytes: int
    motion_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """What came of encoding and decoding a clip.

    stream_bytes  of the whole stream, headers and container included
    text_bytes    of these, a text in which the encoder describes itself: its options, not the picture
    frames        as decoded, in display order
    stored        what the stream holds of each, in display order; empty where nobody looked
    """

    stream_bytes: int
    text_bytes: int
    frames: tuple[Frame, ...]
    encode_s: float
    decode_s: float
    stored: tuple[CodedFrame, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One encoder, and how it is called: FFmpeg's names and options.

    rate_factors  what to measure at, fewest bits first
    rate_option   FFmpeg's name of the rate factor
    rate_step     the finest step that it takes
    container     where PyAV lacks the encoder: FFmpeg's muxer for its stream, which the ffmpeg program then makes
    one_thread    options to add, so that it takes one thread and no more
    is_text       whether a NAL unit that begins with these bytes is the encoder's text about itself; None where
                  it writes none
    """

    name: str
    encoder: str
    decoder: str
    options: tuple[tuple[str, str], ...]
    rate_factors: tuple[float, ...]
    one_thread: tuple[tuple[str, str], ...] = ()
    is_text: Callable[[bytes], bool] | None = None
    rate_option: str = "crf"
    rate_step: float = 0.25
    container: str = ""

    def options_with(self, threads: int) -> dict[str, str]:
        """What FFmpeg is given on that many threads, the rate factor apart."""
        return {**dict(self.options), **(dict(self.one_thread) if threads == 1 else {})}

    @property
    def settings(self) -> str:
        """The options and library versions that its results on one thread depend on, as one line."""
        return self.settings_with(1)

    def settings_with(self, threads: int) -> str:
        """The same on that many threads."""
        options = " ".join(f"{name}={value}" for name, value in self.options_with(threads).items())
        libraries = " ".join(
            f"{name} {'.'.join(map(str, version))}"
            for name, version in av.library_versions.items()
            if name in ("libavcodec", "libswscale")
        )
        program = find_program(encoder=self.encoder) if self.container else None
        made_by = f", ffmpeg {program.version}" if program else ""
        return f"{self.encoder} {options} threads={threads}, PyAV {av.__version__}, {libraries}{made_by}"


def _is_h264_text(unit: bytes) -> bool:
    return unit[0] & 31 == 6 and unit[1:2] == b"\x05"  # SEI, user data unregistered


def _is_hevc_text(unit: bytes) -> bool:
    return unit[0] >> 1 & 63 == 39 and unit[2:3] == b"\x05"  # prefix SEI, user data unregistered


# One thread, so that no machine changes a result: with more, x264 cuts pictures into slices or looks less far
# ahead. (SVT-AV1 gives the same bytes with any number.) Each keeps the distance of keyframes that it has by itself.
X264: Final = Peer(
    name="x264",
    encoder="libx264",
    decoder="h264",
    options=(("preset", "medium"), ("tune", "psnr")),
    rate_factors=(43, 38, 33, 28, 23, 18),
    is_text=_is_h264_text,
)
X265: Final = Peer(
    name="x265",
    encoder="libx265",
    decoder="hevc",
    options=(("preset", "medium"), ("tune", "psnr"), ("x265-params", "log-level=error")),
    rate_factors=(43, 38, 33, 28, 23, 18),
    one_thread=(("x265-params", "log-level=error:pools=none:frame-threads=1"),),
    is_text=_is_hevc_text,
)
SVT_AV1: Final = Peer(
    name="SVT-AV1",
    encoder="libsvtav1",
    decoder="libdav1d",
    options=(("preset", "6"), ("svtav1-params", "tune=1")),  # 1: PSNR
    rate_factors=(63, 60, 50, 40, 30, 20),
    rate_step=1,
)
VP9: Final = Peer(
    name="VP9",
    encoder="libvpx-vp9",
    decoder="vp9",
    options=(("b", "0"), ("deadline", "good"), ("cpu-used", "2"), ("row-mt", "1"), ("lag-in-frames", "25")),
    rate_factors=(63, 58, 50, 41, 32, 23),
    rate_step=1,
)
AOM_AV1: Final = Peer(
    name="libaom AV1",
    encoder="libaom-av1",
    decoder="libdav1d",
    options=(("cpu-used", "6"), ("row-mt", "1"), ("lag-in-frames", "35")),
    rate_factors=(63, 57, 49, 41, 32, 23),
    rate_step=1,
    container="ivf",
)
# By itself VVenC puts a keyframe every second; as far apart as the others' it is compared with what it can do.
VVENC: Final = Peer(
    name="VVenC",
    encoder="libvvenc",
    decoder="vvc",
    options=(("preset", "faster"), ("qpa", "0"), ("period", "10")),
    rate_factors=(47, 42, 37, 32, 27, 22),
    rate_option="qp",
    rate_step=1,
    container="mp4",
)
VIDEO_PEERS: Final = (X264, X265, SVT_AV1)

# With a keyframe distance of 1, x264 and x265 turn their lookahead off and give more bits at the same crf:
# 26..51 covers the qualities that 18..43 does with longer distances.
X264_INTRA: Final = replace(
    X264,
    options=(("preset", "medium"), ("tune", "psnr"), ("g", "1")),
    rate_factors=(51, 46, 41, 36, 31, 26),
)
X265_INTRA: Final = replace(
    X265,
    options=(("preset", "medium"), ("tune", "psnr"), ("g", "1"), ("x265-params", "log-level=error")),
    rate_factors=(51, 46, 41, 36, 31, 26),
)
SVT_AV1_INTRA: Final = replace(
    SVT_AV1, options=(("preset", "6"), ("g", "1")), rate_factors=(63, 58, 50, 40, 30, 20)
)
INTRA_PEERS: Final = (X264_INTRA, X265_INTRA, SVT_AV1_INTRA)
ALL_PEERS: Final = (X264, X265, SVT_AV1, VP9, AOM_AV1, VVENC)


def is_available(peer: Peer) -> bool:
    """Whether the peer can both be encoded with and be decoded here."""
    return not missing(peer)


def missing(peer: Peer) -> str:
    """What this machine lacks for the peer, as the rest of a sentence; "" where it lacks nothing."""
    if peer.decoder not in av.codecs_available:
        return f"this PyAV has no decoder {peer.decoder}"
    if peer.container:
        has_program = find_program(encoder=peer.encoder) is not None
        return "" if has_program else f"no ffmpeg with {peer.encoder} is found. {HOW_TO_GET}"
    return "" if peer.encoder in av.codecs_available else f"this PyAV has no {peer.encoder}"


def code_with(
    peer: Peer, frames: Sequence[Frame], video: VideoFormat, rate_factor: float, *, threads: int = 1
) -> Coded:
    """A clip at one rate factor, and what a decoder makes of it.

    threads  of encoder and decoder, 0 for as many as they like; results are comparable on 1 only
    raises   RuntimeUnavailable where the encoder is missing or refuses the video
    """
    # SVT-AV1 prints its settings past FFmpeg's log; it reads this once, when it is first used. 1: errors only.
    os.environ.setdefault("SVT_LOG", "1")
    started = time.perf_counter()
    try:
        if peer.container:
            stream = encode_with_program(
                peer.encoder,
                {**peer.options_with(threads), peer.rate_option: f"{rate_factor:g}"},
                peer.container,
                frames,
                video,
                threads=threads,
            )
            encoded = time.perf_counter()
            packets, extradata = packets_of(stream)
        else:
            packets, extradata = _encode(peer, frames, video, rate_factor, threads), b""
            encoded = time.perf_counter()
        decoded, kinds = _decode(peer, packets, extradata, threads)
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
        stored=_stored(packets, kinds),
    )


def _encode(
    peer: Peer, frames: Sequence[Frame], video: VideoFormat, rate_factor: float, threads: int
) -> list[av.Packet[av.VideoStream]]:
    context = av.CodecContext.create(peer.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    rate = video.frame_rate or RATE_OF_THE_RATELESS
    context.width, context.height = video.width, video.height
    context.pix_fmt = PIXEL_FORMATS[video.bit_depth]
    context.framerate, context.time_base = rate, 1 / rate
    context.thread_count = threads
    context.options = {**peer.options_with(threads), peer.rate_option: f"{rate_factor:g}"}
    packets: list[av.Packet[av.VideoStream]] = []
    for number, frame in enumerate(frames):
        pixel_format = PIXEL_FORMATS[video.bit_depth]
        picture = picture_of([frame.y, frame.u, frame.v], pixel_format, video.width, video.height)
        picture.pts, picture.time_base = number, 1 / rate
        packets += context.encode(picture)
    return packets + context.encode(None)


def _decode(
    peer: Peer, packets: Sequence[av.Packet[av.VideoStream]], extradata: bytes, threads: int
) -> tuple[tuple[Frame, ...], tuple[str, ...]]:
    """The frames in display order, and the kind of each."""
    context = av.CodecContext.create(peer.decoder, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = threads
    if extradata:
        context.extradata = extradata
    pictures: list[av.VideoFrame] = []
    for packet in packets:
        pictures += context.decode(packet)
    pictures += context.decode(None)
    frames = tuple(_frame(picture, number) for number, picture in enumerate(pictures))
    # What AV1 and VP9 call an inter frame counts as P, whatever it refers to.
    return frames, tuple(_KINDS.get(int(picture.pict_type), "P") for picture in pictures)


def _stored(packets: Sequence[av.Packet[av.VideoStream]], kinds: Sequence[str]) -> tuple[CodedFrame, ...]:
    """What the stream holds of each frame, in display order; empty where packets and frames do not pair."""
    if len(packets) != len(kinds):
        return ()
    timed = sorted(packets, key=lambda packet: packet.pts if packet.pts is not None else 0)
    return tuple(
        CodedFrame(kind="I" if packet.is_keyframe else kind, size_bytes=packet.size, motion_bytes=0)
        for packet, kind in zip(timed, kinds, strict=True)
    )


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
