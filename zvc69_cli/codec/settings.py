"""The settings that change the stream. Those that do not (threads, device) are runtime.settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import check_flags, flag

Q_LEVELS: Final = 64
Q_UNIT: Final = 256  # a q is carried as an integer in 1/256 of a quality index
MAX_Q: Final = (Q_LEVELS - 1) * Q_UNIT
MAX_SLICES: Final = 64
MAX_B_FRAMES: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSettings:
    """What an encoder is asked for; every field reaches the stream."""

    crf: float = flag(23.0, "Constant quality; lower is better and larger.", low=0, high=51)
    qp: int | None = flag(
        None, "Constant quantiser index instead of --crf; lower is better and larger.", kind=int, low=0, high=63
    )
    keyint: int = flag(
        250,
        "Largest distance between keyframes; 1 is intra only, -1 leaves it open.",
        unit="frames",
        low=-1,
        high=100_000,
    )
    min_keyint: int = flag(
        0,
        "Least distance from a keyframe to one at a scene cut; 0 is a tenth of --keyint, at most a second.",
        unit="frames",
        low=0,
        high=100_000,
    )
    bframes: int = flag(
        3,
        "Consecutive B frames at most; they form pyramids, so that 1, 3, 7 and 15 are what is used. 0 is none.",
        unit="frames",
        low=0,
        high=MAX_B_FRAMES,
        in_presets=True,
    )
    scenecut: int = flag(
        40,
        "How readily a keyframe is put where a scene begins: the higher, the more; 0 is never.",
        low=0,
        high=100,
        off=0,
    )
    force_key_frames: str = flag(
        "",
        "Frames that are to be keyframes, by their numbers from 0: 120,240,360.",
    )
    motion_precision: str = flag(
        "quarter",
        "Steps of the motion vectors, in parts of a luma sample.",
        choices=("quarter", "half", "full"),
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

    @property
    def forced_keys(self) -> frozenset[int]:
        """Display indexes of the frames that `force_key_frames` names."""
        return frozenset(int(number) for number in self.force_key_frames.split(",") if number.strip())

    def __post_init__(self) -> None:
        check_flags(self)
        if not re.fullmatch(r"\s*(\d+\s*(,\s*\d+\s*)*)?", self.force_key_frames, re.ASCII):
            raise UsageError(
                "--force-key-frames",
                f"{self.force_key_frames!r} is no list of frame numbers",
                "Write them as 120,240,360.",
            )
        if self.keyint == 0:
            raise UsageError("--keyint", "0 is no distance", "Take 1 for intra only, or -1 to leave it open.")
        if 0 < self.keyint < self.min_keyint:
            raise UsageError(
                "--min-keyint",
                f"{self.min_keyint} is above --keyint {self.keyint}",
                "Take less, or leave it out: it is a tenth of --keyint then.",
            )
