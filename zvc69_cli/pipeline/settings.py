"""What is asked of a run as a whole, apart from codec, networks and media."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightSettings:
    """How much of one video is worked on at the same time; stream and pictures are the same whatever it is."""

    jobs: int = flag(
        1,
        "GOPs that are worked on at the same time. More keep a GPU busy where one GOP's frames wait for each other; "
        "the frames of all of them are held in memory, so keyframes should not be far apart.",
        unit="GOPs",
        low=1,
        high=64,
    )

    def __post_init__(self) -> None:
        check_flags(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """A quality by the step of a ladder instead of by crf; `resolve` turns one into the other."""

    quality: int | None = flag(
        None,
        "Quality by steps instead of --crf; higher is better and larger. 4 is the middle; each has a rate about it.",
        kind=int,
        low=1,
        high=8,
    )

    def __post_init__(self) -> None:
        check_flags(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What an encode says of itself, and how strictly it takes its promises."""

    psnr: bool = flag(False, "Measure the PSNR of what decoders will show, and print it.")
    ssim: bool = flag(False, "Measure the SSIM of what decoders will show, and print it.")
    csv: str = flag("", "File for a row of figures a frame, in x265's columns.")
    json: bool = flag(False, "Print a summary as JSON on standard output.")
    strict: bool = flag(
        False, "End with exit code 9 where the buffer ran empty, or a rate was missed by more than 5 %."
    )
    info: bool = flag(True, "Store how the stream was made; --no-info makes equal bytes of equal settings.")
    progress: bool = flag(True, "Show progress.")

    def __post_init__(self) -> None:
        check_flags(self)
