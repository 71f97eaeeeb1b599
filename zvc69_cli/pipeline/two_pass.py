"""The file between two passes: written beside what the first one encodes, compared and read before the second."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zvc69_cli.codec.rate.pass_log import PassFrame, PassLog, end_line, frame_line, head_line, parse_pass_log
from zvc69_cli.codec.settings import FAST_SEARCH, SEARCHES
from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.frames import CopiedPacket, Frame, Packet, VideoFormat
from zvc69_cli.pipeline.places import PIPE, Destination, Pipes, choose_destination, writing

if TYPE_CHECKING:
    from zvc69_cli.codec.settings import CodecSettings
    from zvc69_cli.pipeline.resolve import EncodeOptions

# What changes no frame's size, or nothing at all here, or all sizes alike, or those of one kind by a few percent.
_NOT_COMPARED: Final = ("crf", "qp", "frame_headers", "slices", "motion_search", "refine")


def stats_name(options: EncodeOptions, in_name: str, out_name: str) -> str:
    """The file's name, which can be written in a first pass.

    raises  UsageError where neither flag nor output says one, or it is that of the input or of the output; OutputError
    """
    if not options.rate.stats and out_name == PIPE:
        raise UsageError("--pass", "has no file for its statistics", "Name one with --stats.")
    name = options.rate.stats or out_name + ".stats"
    if out_name != PIPE and Path(name).absolute() == Path(out_name).absolute():
        raise UsageError("--stats", f"{name} is the output as well", "Give the statistics another name.")
    if options.rate.pass_ == 1:
        choose_destination(name, in_name, Pipes(), may_overwrite=lambda name: True)
    return name


def pass_facts(
    video: VideoFormat,
    first: Frame | CopiedPacket,
    frames: int | None,
    settings: CodecSettings,
    bundle: str,
    preset: str,
) -> dict[str, Any]:
    """What both passes must have in common.

    first   frame of the video
    frames  that the source says it holds; None where it does not
    """
    compared = {name: value for name, value in asdict(settings).items() if name not in _NOT_COMPARED}
    return {
        "width": video.width,
        "height": video.height,
        "bit_depth": video.bit_depth,
        "frame_rate": None if video.frame_rate is None else str(video.frame_rate),
        "source_frames": frames,
        "first_frame": hashlib.sha256(_luma(first)).hexdigest()[:16],
        "bundle": bundle,
        "preset": preset,
        "settings": compared,
    }


def _luma(first: Frame | CopiedPacket) -> bytes:
    return first.y.tobytes() if isinstance(first, Frame) else b""


class PassCollector:
    """Gathers what the second pass has to know of each frame.

    offsets  of each frame's q from the base, by coding index; taken out as the frames come by
    facts    of the encode, as `pass_facts` has them
    """

    def __init__(self, base_q_256: int, offsets: dict[int, float], facts: dict[str, Any]) -> None:
        self._facts = facts
        self._base_q_256 = base_q_256
        self._offsets = offsets
        self._frames: list[PassFrame] = []

    def add(self, packet: Packet) -> None:
        """The next frame in the order of coding."""
        frame = PassFrame(
            kind=packet.kind,
            temporal_layer=packet.temporal_layer,
            q_256=self._base_q_256 + packet.q_offset,
            offset=self._offsets.pop(packet.coding_index),
            size_bytes=len(packet.payload),
        )
        self._frames.append(frame)

    @property
    def log(self) -> PassLog:
        """What was gathered, for a second pass in the same run."""
        return PassLog(where="--passes 2", frames=tuple(self._frames))

    def write(self, name: str, in_name: str) -> None:
        """Write the file, in place of one that is there; raises OutputError."""
        destination = choose_destination(name, in_name, Pipes(), may_overwrite=lambda name: True)
        lines = [
            head_line(self._facts),
            *(frame_line(each) for each in self._frames),
            end_line(len(self._frames)),
        ]
        with writing(name):
            Path(destination.written_name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        destination.keep()


def read_pass_log(name: str, facts: dict[str, Any]) -> PassLog:
    """The frames of a first pass.

    raises  InputError where there is no such file, UsageError where it is of another encode
    """
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as cause:
        raise InputError(
            name, f"cannot be read: {cause}", "Run --pass 1 first, or name its file with --stats."
        ) from cause
    return parse_pass_log(io.StringIO(text), name, facts)


def quick_options(options: EncodeOptions) -> EncodeOptions:
    """What a first pass does of what is asked for; the others all of it."""
    if options.rate.pass_ != 1 or options.rate.slow_firstpass:
        return options
    # A sparse search makes some frames larger than a fast one would: the first pass has to see them as they will be.
    quick = min(options.codec.motion_search, FAST_SEARCH, key=SEARCHES.index)
    return replace(options, codec=replace(options.codec, motion_search=quick, refine=0))


def first_pass_options(options: EncodeOptions, in_name: str) -> EncodeOptions:
    """What the first of two passes in one go does: one pass at that rate, the video alone; raises UsageError."""
    if in_name == PIPE:
        raise UsageError("--passes", "2 would read the input twice, and a pipe is read once", "Give a file.")
    return replace(
        quick_options(replace(options, rate=replace(options.rate, passes=1, pass_=1))),
        rate=replace(options.rate, passes=1, slow_firstpass=False),
        input=replace(options.input, audio=False, subtitles=False),
    )


NOWHERE: Final = Destination(name="the first pass", is_pipe=False, is_direct=True)


class Nowhere(io.RawIOBase):
    """Takes what is written and forgets it: the output of a pass that is run for its sizes."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)
