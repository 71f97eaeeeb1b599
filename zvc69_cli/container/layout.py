"""The fixed parts of a stream: limits, markers, flags and the file header, in both its forms (FORMAT.md 2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from fractions import Fraction
from typing import Final

from zvc69_cli.container.fields import MAX_TICKS, MAX_U16, MAX_U32, Malformed, check_range, fits_ratio
from zvc69_cli.frames import Chapter, CopiedStream, FrameKind, VideoFormat

MAGIC: Final = b"ZVC69\0"
MAJOR: Final = 1
MINOR: Final = 0

# Markers: a lead byte that begins no other structure, then two bits or more between any two of them.
MARKER_BYTES: Final = 2
MARKER_LEAD: Final = 0xF6
SYNC_MARKER: Final = b"\xf6\x69"
INDEX_MARKER: Final = b"\xf6\x96"
TRAILER_MARKER: Final = b"\xf6\x5a"

FIRST_COPIED: Final = 0x80  # first byte of a copied packet of stream 0

MAX_PACKET_BYTES: Final = 1 << 28
MAX_COPIED_BYTES: Final = 1 << 24
MAX_RECORD_BYTES: Final = 1 << 20
MAX_EXTENSIONS_BYTES: Final = 1 << 22
MAX_RECORDS: Final = 4096
MAX_INDEX_ENTRIES: Final = 1 << 26
MAX_COPIED_STREAMS: Final = 64
MAX_NAME_BYTES: Final = 64
MAX_BASE_Q_256: Final = 127 * 256
MAX_CHANNELS: Final = 4096
MAX_GOP_FRAMES: Final = (1 << 31) - 1
SLOTS: Final = 8  # pictures that a decoder keeps to predict from
MAX_TEMPORAL_LAYER: Final = 7

DEFAULT_TIME_BASE: Final = Fraction(1, 90_000)
MEDIA: Final = ("audio", "subtitle")

HEADER_START: Final = struct.Struct(">6sBBI")  # magic, version and flags, which tell the form of the rest
_FACTS: Final = "HHHHIBBBB"
_COMPACT_FACTS: Final = struct.Struct(f">{_FACTS}HH")
_FULL_FACTS: Final = struct.Struct(f">{_FACTS}4sQII16s")
COLOUR_SPACE_YUV420: Final = 0


class Flags(IntFlag):
    """Bits of the file header's flags."""

    HAS_INDEX = 1 << 0
    HAS_B_FRAMES = 1 << 1
    HAS_TRAILER = 1 << 2
    INTEGERIZED = 1 << 3
    GMM_ENTROPY = 1 << 4
    CHECKERBOARD = 1 << 5
    COMPACT = 1 << 6


# Plain integers: the complement of an IntFlag leaves out the bits that have no name.
ALWAYS_SET: Final = int(Flags.HAS_INDEX | Flags.HAS_TRAILER | Flags.INTEGERIZED | Flags.CHECKERBOARD)
MAY_BE_SET: Final = int(Flags.HAS_B_FRAMES | Flags.COMPACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHeader:
    """All that is said once, ahead of the packets.

    bundle_sha256    32 bytes
    base_q_256       1/256 of a quality index
    gop_frames       largest distance between keyframes; -1 = open
    total_frames     as the source announced it, 0 = unknown; the trailer counts what was written
    start_pts        ticks of the video's time base; no pts or dts of a frame is below it
    tags             (key, value)
    settings_note    JSON text for people; "" = absent
    """

    video: VideoFormat
    bundle_name: str
    bundle_sha256: bytes
    base_q_256: int
    gop_frames: int
    total_frames: int = 0
    latent_channels: int = 192
    hyper_channels: int = 128
    full_frame_headers: bool = False
    has_b_frames: bool = False
    start_pts: int = 0
    copied_streams: tuple[CopiedStream, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    settings_note: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.bundle_name.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
            raise ValueError(f"bundle name {self.bundle_name!r} should take 1..{MAX_NAME_BYTES} bytes")
        if len(self.bundle_sha256) != 32:
            raise ValueError(f"bundle hash has {len(self.bundle_sha256)} bytes, should have 32")
        if self.gop_frames != -1:
            check_range("GOP size", self.gop_frames, 1, MAX_GOP_FRAMES)
        check_range("base q", self.base_q_256, 0, MAX_BASE_Q_256)
        check_range("total frames", self.total_frames, 0, MAX_U32)
        check_range("latent channels", self.latent_channels, 1, MAX_CHANNELS)
        check_range("hyper channels", self.hyper_channels, 1, MAX_CHANNELS)
        check_range("start pts", self.start_pts, -MAX_TICKS, MAX_TICKS)
        self._check_ratios()
        self._check_copied_streams()
        for chapter in self.chapters:
            check_range("chapter start", chapter.start, -MAX_TICKS, MAX_TICKS)
            check_range("chapter end", chapter.end, -MAX_TICKS, MAX_TICKS)

    def _check_ratios(self) -> None:
        video = self.video
        ratios = [video.time_base, video.sample_aspect]
        if video.frame_rate is not None:
            ratios.append(video.frame_rate)
        if video.mastering_display is not None:
            display = video.mastering_display
            ratios += [*display.red, *display.green, *display.blue, *display.white]
            ratios += [display.min_luminance, display.max_luminance]
        time_bases = [stream.time_base for stream in self.copied_streams]
        time_bases += [chapter.time_base for chapter in self.chapters]
        for ratio in (*ratios, *time_bases):
            if not fits_ratio(ratio):
                raise ValueError(f"{ratio} should be 0 or more, its parts at most {MAX_U32}")
        if any(time_base == 0 for time_base in time_bases):
            raise ValueError("time base is 0, should be above 0")
        if video.content_light is not None:
            check_range("MaxCLL", video.content_light.max_content, 0, MAX_U32)
            check_range("MaxFALL", video.content_light.max_average, 0, MAX_U32)

    def _check_copied_streams(self) -> None:
        check_range("number of copied streams", len(self.copied_streams), 0, MAX_COPIED_STREAMS)
        for due, stream in enumerate(self.copied_streams):
            if stream.number != due:
                raise ValueError(f"copied stream has number {stream.number}, should have {due}")
            if stream.media not in MEDIA:
                raise ValueError(f"copied stream is {stream.media!r}, should be one of {MEDIA}")

    @property
    def packet_limit_bytes(self) -> int:
        """More than any frame of this size can take: nothing larger is read or written."""
        return min(MAX_PACKET_BYTES, (1 << 16) + 8 * self.video.width * self.video.height)

    @property
    def ticks_a_frame(self) -> Fraction:
        """At the constant frame rate; 0 where there is none."""
        rate = self.video.frame_rate
        return Fraction(0) if rate is None else 1 / (rate * self.video.time_base)

    def predicted_ticks(self, coding_index: int) -> int:
        """How far behind the start a frame is due at the constant frame rate; 0 where there is none."""
        step = self.ticks_a_frame
        return (2 * coding_index * step.numerator + step.denominator) // (2 * step.denominator)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """Where a keyframe is.

    frame_number   its coding index; every keyframe opens a closed group, so its display index too
    offset_bytes   of its sync marker, from the start of the stream
    """

    frame_number: int
    offset_bytes: int
    is_key: bool
    is_reference: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """What can only be said at the end.

    frame_counts   coded frames, by FrameKind
    duration       ticks of the video's time base
    sha256         of all bytes before the trailer; only its first half where the form is compact
    complete       False where the writer was interrupted
    """

    frame_counts: tuple[int, int, int, int]
    duration: int
    sha256: bytes
    index_offset: int
    complete: bool

    @property
    def total_frames(self) -> int:
        return sum(self.frame_counts)

    def frames_of(self, kind: FrameKind) -> int:
        """How many frames are of this kind."""
        return self.frame_counts[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """The fields as they are; 0 where an extension record holds the exact value.

    model_hash  of the full form; None in the compact one
    """

    minor: int
    flags: int
    width: int
    height: int
    frame_rate: tuple[int, int]
    total_frames: int
    gop_frames: int
    quality_level: int
    bit_depth: int
    model_hash: bytes | None
    latent_channels: int
    hyper_channels: int


def pack_file_header(header: StreamHeader) -> bytes:
    """What a stream begins with, up to its extensions."""
    video = header.video
    rate = video.frame_rate if fits_rate(video.frame_rate) else None
    flags = ALWAYS_SET
    if header.has_b_frames:
        flags |= Flags.HAS_B_FRAMES
    if not header.full_frame_headers:
        flags |= Flags.COMPACT
    facts = (
        video.width,
        video.height,
        rate.numerator if rate else 0,
        rate.denominator if rate else 0,
        header.total_frames,
        header.gop_frames if fits_gop(header.gop_frames) else 0,
        header.base_q_256 // 256 if fits_quality_level(header.base_q_256) else 0,
        COLOUR_SPACE_YUV420,
        video.bit_depth,
    )
    channels = header.latent_channels, header.hyper_channels
    start = HEADER_START.pack(MAGIC, MAJOR, MINOR, flags)
    if flags & Flags.COMPACT:
        return start + _COMPACT_FACTS.pack(*facts, *channels)
    return start + _FULL_FACTS.pack(*facts, header.bundle_sha256[:4], 0, *channels, bytes(16))


def facts_bytes(start: bytes) -> int:
    """How many bytes of the file header follow HEADER_START's."""
    *_, flags = HEADER_START.unpack(start)
    return (_COMPACT_FACTS if flags & Flags.COMPACT else _FULL_FACTS).size


def unpack_file_header(data: bytes) -> FileHeader:
    """Undoes `pack_file_header`, magic and major version being checked; raises Malformed."""
    _, _, minor, flags = HEADER_START.unpack(data[: HEADER_START.size])
    if flags & ALWAYS_SET != ALWAYS_SET or flags & ~(ALWAYS_SET | MAY_BE_SET):
        raise Malformed(f"flags {flags:#x}, should be {ALWAYS_SET:#x} and at most {MAY_BE_SET:#x} more")
    facts = data[HEADER_START.size :]
    model_hash, index_offset, reserved = None, 0, b""
    if flags & Flags.COMPACT:
        *fields, latent_channels, hyper_channels = _COMPACT_FACTS.unpack(facts)
    else:
        *fields, model_hash, index_offset, latent_channels, hyper_channels, reserved = _FULL_FACTS.unpack(facts)
    width, height, rate, rate_scale, total_frames, gop_frames, quality_level, colour_space, bit_depth = fields
    if any(reserved):
        raise Malformed("reserved bytes of the header that are not 0")
    if colour_space != COLOUR_SPACE_YUV420:
        raise Malformed(f"colour space {colour_space}, should be {COLOUR_SPACE_YUV420} (YUV 4:2:0)")
    if index_offset:
        raise Malformed(f"index offset {index_offset} in the header, should be 0: the trailer holds it")
    if bool(rate) != bool(rate_scale):
        raise Malformed(f"frame rate {rate}/{rate_scale}")
    return FileHeader(
        minor=minor,
        flags=flags,
        width=width,
        height=height,
        frame_rate=(rate, rate_scale),
        total_frames=total_frames,
        gop_frames=gop_frames,
        quality_level=quality_level,
        bit_depth=bit_depth,
        model_hash=model_hash,
        latent_channels=latent_channels,
        hyper_channels=hyper_channels,
    )


def fits_rate(rate: Fraction | None) -> bool:
    """Whether the file header can hold the frame rate."""
    return rate is not None and rate.numerator <= MAX_U16 and rate.denominator <= MAX_U16


def fits_gop(gop_frames: int) -> bool:
    """Whether the file header can hold the GOP size."""
    return 1 <= gop_frames <= 255


def fits_quality_level(base_q_256: int) -> bool:
    """Whether the file header can hold the base q."""
    return base_q_256 % 256 == 0
