"""The nouns of the program: what passes from one room to another."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # numpy takes 0.1 s, which `--help` does not have
    import numpy as np
    from numpy.typing import NDArray

MIN_SIDE: Final = 16
MAX_SIDE: Final = 8192
BIT_DEPTHS: Final = (8, 10)

UNSPECIFIED: Final = 2  # "unspecified" in the code points of ITU-T H.273

if TYPE_CHECKING:
    Samples = NDArray[np.uint8] | NDArray[np.uint16]
else:
    Samples = Any


class FrameKind(IntEnum):
    """How a frame is predicted; the value is the stream's frame type."""

    I = 0  # noqa: E741
    P = 1
    B_FORWARD = 2
    B = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """What the numbers of a picture mean, as code points of ITU-T H.273; never guessed.

    colour_range     0 unspecified, 1 limited, 2 full
    chroma_location  0 unspecified, 1 left, 2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    colour_range: int = 0
    chroma_location: int = 0

    def __post_init__(self) -> None:
        for name in ("primaries", "transfer", "matrix", "colour_range", "chroma_location"):
            if not 0 <= getattr(self, name) <= 255:
                raise ValueError(f"{name} is {getattr(self, name)}, should be 0..255")


@dataclass(frozen=True, slots=True, kw_only=True)
class MasteringDisplay:
    """SMPTE ST 2086: chromaticities (x, y) and luminances in cd/m2, all exact."""

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    min_luminance: Fraction
    max_luminance: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentLight:
    """CTA-861.3: MaxCLL and MaxFALL in cd/m2."""

    max_content: int
    max_average: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFormat:
    """All that is true of every frame of one video.

    width, height     luma samples, MIN_SIDE..MAX_SIDE, odd sizes too; chroma is 4:2:0, rounded up
    bit_depth         8 or 10
    time_base         seconds a tick of every pts
    frame_rate        frames a second; None where the source does not say
    sample_aspect     width of a sample over its height; 0 where unknown
    rotation_degrees  clockwise rotation to show the picture with: 0, 90, 180 or 270
    """

    width: int
    height: int
    bit_depth: int = 8
    time_base: Fraction = Fraction(1, 90_000)
    frame_rate: Fraction | None = None
    sample_aspect: Fraction = Fraction(0)
    rotation_degrees: int = 0
    colour: ColourTags = field(default_factory=ColourTags)
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None

    def __post_init__(self) -> None:
        if not is_valid_resolution(self.width, self.height):
            raise ValueError(
                f"{self.width}x{self.height} is out of range {MIN_SIDE}x{MIN_SIDE}..{MAX_SIDE}x{MAX_SIDE}"
            )
        if self.bit_depth not in BIT_DEPTHS:
            raise ValueError(f"bit depth is {self.bit_depth}, should be one of {BIT_DEPTHS}")
        if self.time_base <= 0:
            raise ValueError(f"time base is {self.time_base}, should be above 0")
        if self.frame_rate is not None and self.frame_rate <= 0:
            raise ValueError(f"frame rate is {self.frame_rate}, should be above 0")
        if self.rotation_degrees not in (0, 90, 180, 270):
            raise ValueError(f"rotation is {self.rotation_degrees}, should be 0, 90, 180 or 270")

    @property
    def chroma_width(self) -> int:
        return (self.width + 1) // 2

    @property
    def chroma_height(self) -> int:
        return (self.height + 1) // 2

    @property
    def peak(self) -> int:
        """Largest sample value."""
        return (1 << self.bit_depth) - 1

    @property
    def frame_bytes(self) -> int:
        """What the planes of one frame take in memory."""
        samples = self.width * self.height + 2 * self.chroma_width * self.chroma_height
        return samples * (2 if self.bit_depth > 8 else 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture as three planes.

    y         uint8 [height, width] at 8 bits, uint16 at 10
    u, v      same type, [ceil(height/2), ceil(width/2)]
    pts       when it is shown, in ticks of the video's time base
    duration  ticks; None where the source does not say
    """

    y: Samples
    u: Samples
    v: Samples
    pts: int
    duration: int | None = None
    force_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One coded frame.

    coding_index    position in the stream, from 0, counting coded frames only
    pts, dts        ticks of the video's time base
    q_offset        1/256 of a quality index against the stream's base q
    references      bits of the decoded picture buffer's slots that the frame predicts from
    stored_in       slot that the decoded frame goes to; None when it is kept nowhere
    symbol_crc      CRC-32 of the decoded symbols (FORMAT.md 6.6)
    payload         the coded sections
    is_damaged      whether its checksum failed: it holds a place, and nothing of it can be decoded
    """

    kind: FrameKind
    coding_index: int
    pts: int
    dts: int
    payload: bytes
    symbol_crc: int
    q_offset: int = 0
    temporal_layer: int = 0
    references: int = 0
    stored_in: int | None = None
    is_damaged: bool = False

    @property
    def is_key(self) -> bool:
        return self.kind is FrameKind.I


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedStream:
    """A stream that is carried along as it is: audio or subtitles.

    number       its position among the copied streams, from 0
    media        "audio" or "subtitle"
    codec        FFmpeg's name of the codec ("aac", "subrip")
    parameters   what the codec needs beside its extradata: sample rate, layout, bit rate ...
    """

    number: int
    media: str
    codec: str
    time_base: Fraction
    extradata: bytes = b""
    language: str = ""
    title: str = ""
    default: bool = False
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedPacket:
    """One packet of a copied stream; pts, dts and duration in ticks of that stream's time base."""

    stream_number: int
    data: bytes
    pts: int | None
    dts: int | None
    duration: int = 0
    is_key: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """start, end: ticks of `time_base`."""

    start: int
    end: int
    time_base: Fraction
    title: str = ""


def is_valid_resolution(width: int, height: int) -> bool:
    """Whether a video of this size can be coded: every side within MIN_SIDE..MAX_SIDE."""
    return MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE


def align_dimensions(width: int, height: int, multiple: int = 16) -> tuple[int, int]:
    """The size that the transforms see: each side rounded up to a multiple (of luma samples)."""
    return -(-width // multiple) * multiple, -(-height // multiple) * multiple
