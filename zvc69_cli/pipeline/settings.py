"""What is asked of decoding: which frames, and what to do about damage."""

from __future__ import annotations

from dataclasses import dataclass

from zvc69_cli.flags import check_flags, flag


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """Which part of a stream to decode, and how to meet damage."""

    seek: int = flag(0, "Frames to leave out at the start.", unit="frames", low=0)
    frames: int | None = flag(None, "Frames to decode at most.", kind=int, unit="frames", low=1)
    on_error: str = flag(
        "stop",
        "At damage: stop, or conceal it by showing the nearest good frame instead (exit code 7).",
        choices=("stop", "conceal"),
    )

    def __post_init__(self) -> None:
        check_flags(self)
