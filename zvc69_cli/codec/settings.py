"""The settings that change the stream. Those that do not (threads, device) are runtime.settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import check_flags, flag

Q_LEVELS: Final = 64
Q_UNIT: Final = 256  # a q is carried as an integer in 1/256 of a quality index
MAX_Q: Final = (Q_LEVELS - 1) * Q_UNIT
MAX_SLICES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSettings:
    """What an encoder is asked for; every field reaches the stream."""

    crf: float = flag(23.0, "Constant quality; lower is better and larger.", low=0, high=51)
    qp: int | None = flag(
        None, "Constant quantiser index instead of --crf; lower is better and larger.", kind=int, low=0, high=63
    )
    keyint: int = flag(
        250,
        "Largest distance between keyframes; 1 is intra only, -1 leaves it open. "
        "This version codes every frame as a keyframe, which keeps every bound.",
        unit="frames",
        low=-1,
        high=100_000,
    )
    slices: int = flag(
        1,
        "Parts that a frame's latent is coded in, so that several threads can decode it.",
        low=1,
        high=MAX_SLICES,
    )
    frame_headers: str = flag(
        "compact",
        "Form of the frame headers: about 10 bytes, or 32 with every fact.",
        choices=("compact", "full"),
    )
    rounding: str = flag(
        "dead-zone",
        "How latents become integers: nearest is fastest to reason about, dead-zone costs fewer bits.",
        choices=("nearest", "dead-zone"),
        in_presets=True,
    )

    def __post_init__(self) -> None:
        check_flags(self)
        if self.keyint == 0:
            raise UsageError("--keyint", "0 is no distance", "Take 1 for intra only, or -1 to leave it open.")
