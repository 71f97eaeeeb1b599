"""The settings that change how fast a stream is made, and not the stream."""

from __future__ import annotations

from dataclasses import dataclass

from zvc69_cli.flags import check_flags, flag


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Where and how wide the networks run."""

    device: str = flag(
        "auto", "What runs the networks: auto, cpu, cuda[:N] or tensorrt[:N]. auto says what it chose and why."
    )
    threads: int = flag(0, "Cores of the CPU to work on; 0 is all.", low=0, high=1024)

    def __post_init__(self) -> None:
        check_flags(self)
