"""The settings that change the stream. Those that do not (threads, device) are runtime.settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zvc69_cli.codec.plan.forced_keys import ForcedKeys
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import check_flags, flag, flags_of

Q_LEVELS: Final = 128
INTRA_Q_LEVELS: Final = 80  # those that the networks of I frames know; an I frame is coded at the last at most
Q_UNIT: Final = 256  # a q is carried as an integer in 1/256 of a quality index
MAX_Q: Final = (Q_LEVELS - 1) * Q_UNIT
MAX_INTRA_Q: Final = (INTRA_Q_LEVELS - 1) * Q_UNIT
MAX_SLICES: Final = 64
MAX_REFINE: Final = 16
MAX_B_FRAMES: Final = 15
KINDS: Final = ("I", "P", "B")  # of frames, as --qp names them
FAST_SEARCH: Final = "fast"
SPARSE_SEARCH: Final = "sparse"
SEARCHES: Final = (SPARSE_SEARCH, FAST_SEARCH, "full", "thorough")  # the quickest first


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSettings:
    """What an encoder is asked for; every field reaches the stream."""

    crf: float = flag(23.0, "Constant quality; lower is better and larger.", low=0, high=51)
    qp: int | str | None = flag(
        None,
        "Constant quantiser index instead of --crf; lower is better and larger. One number is P's, with the usual "
        "distances of I and B from it; I:P:B are those of each kind.",
        kind=int,
        low=0,
        high=Q_LEVELS - 1,
        parts=KINDS,
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
        7,
        "Consecutive B frames at most; they form pyramids, so that 1, 3, 7 and 15 are what is used. 0 is none.",
        unit="frames",
        low=0,
        high=MAX_B_FRAMES,
        in_presets=True,
    )
    b_adapt: int = flag(
        1,
        "How many B frames stand in a row: 0 is always --bframes, 1 is fewer where pictures change much.",
        low=0,
        high=1,
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
        "Frames that are to be keyframes, by number from 0 or by time: 120,5s,1:30.",
    )
    motion_precision: str = flag(
        "quarter",
        "Steps of the motion vectors, in parts of a luma sample.",
        choices=("quarter", "half", "full"),
    )
    motion_search: str = flag(
        "full",
        "How long motion is searched; fast takes two thirds of full's time, thorough twice as long. sparse is fast, "
        "and searches nothing for B frames that no other frame needs: they move as is expected of them.",
        choices=SEARCHES,
        in_presets=True,
    )
    slices: int = flag(
        1,
        "Parts that a frame is coded in, so that several threads can decode it.",
        low=1,
        high=MAX_SLICES,
    )
    frame_headers: str = flag(
        "compact",
        "Form of headers, index and trailer: compact, or full, with every fact in a field of fixed size: about 20 "
        "bytes more a frame and 120 a file.",
        choices=("compact", "full"),
    )
    rounding: str = flag(
        "dead-zone",
        "How the latents of I frames become integers: nearest is simplest, dead-zone costs fewer bits.",
        choices=("nearest", "dead-zone"),
        in_presets=True,
    )
    refine: int = flag(
        8,
        "Steps by which the latents of I frames are refined downhill on rate and distortion; each takes about as long "
        "as to decode a frame twice.",
        low=0,
        high=MAX_REFINE,
        in_presets=True,
        one_only="P and B frames are not refined any more; write --refine {first}.",
    )
    rdoq_level: int = flag(
        2,
        "Rate-distortion optimised quantisation of P and B frames: 0 rounds with a fixed dead zone, 1 decides each "
        "level by its cost, 2 also leaves out groups of coefficients and whole blocks.",
        low=0,
        high=2,
        in_presets=True,
    )
    rc_lookahead: int = flag(
        24,
        "Frames planned before one is given its quantiser, where a rate or --cutree asks for it.",
        unit="frames",
        low=0,
        high=250,
        in_presets=True,
    )
    cutree: bool = flag(
        False,
        "Move bits to frames that live on in the ones behind them.",
        in_presets=True,
    )

    @property
    def qp_of_kinds(self) -> tuple[int, ...] | None:
        """The quantiser index of I, P and B frames where each has its own; None where one or none stands for all."""
        return self._of_kinds("qp")

    @property
    def base_qp(self) -> int | None:
        """The quantiser index that all q are counted from; None where quality is asked for otherwise."""
        if not isinstance(self.qp, str):
            return self.qp
        of_kinds = self.qp_of_kinds or (0,)
        return of_kinds[0] if self.keyint == 1 else of_kinds[1]

    @property
    def search_effort(self) -> str:
        """How long the frames are searched that are searched at all."""
        return FAST_SEARCH if self.motion_search == SPARSE_SEARCH else self.motion_search

    @property
    def forced_keys(self) -> ForcedKeys:
        """What `force_key_frames` names."""
        return ForcedKeys.parse(self.force_key_frames)

    def _of_kinds(self, field_name: str) -> tuple[int, ...] | None:
        """The numbers of I, P and B frames of a flag that has one for each; None where one, or none, is for all."""
        value = getattr(self, field_name)
        if not isinstance(value, str):
            return None
        return next(each for each in flags_of(self) if each.field_name == field_name).split(value)

    def __post_init__(self) -> None:
        check_flags(self)
        ForcedKeys.parse(self.force_key_frames)
        if self.keyint == 0:
            raise UsageError("--keyint", "0 is no distance", "Take 1 for intra only, or -1 to leave it open.")
        if 0 < self.keyint < self.min_keyint:
            raise UsageError(
                "--min-keyint",
                f"{self.min_keyint} is above --keyint {self.keyint}",
                "Take less, or leave it out: it is a tenth of --keyint then.",
            )
