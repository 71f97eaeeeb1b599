"""What is said of an encode that ended early."""

from __future__ import annotations

from zvc69_cli.errors import SIGNAL_EXIT, Interrupted
from zvc69_cli.pipeline.places import Destination


def stopped_at_once(failure: Interrupted, destination: Destination) -> Interrupted:
    """After a second signal: no index, no trailer, but every frame that was written is whole."""
    step = f"`zvc69 decode {destination.written_name} ...` plays what was written up to its last whole frame."
    return Interrupted(
        failure.where,
        failure.what,
        "Decoders play it up to its last whole frame." if destination.is_direct else step,
        signal_number=failure.exit_code - SIGNAL_EXIT,
    )


def cut_short(destination: Destination, frames: int, signal_number: int) -> Interrupted:
    if destination.is_direct:
        return Interrupted(
            destination.shown_name,
            f"interrupted after {frames} frames; the stream is closed and marked incomplete",
            "Decoders play it to its end.",
            signal_number=signal_number,
        )
    return Interrupted(
        destination.written_name,
        f"interrupted after {frames} frames, which are whole; the stream is marked incomplete",
        f"`zvc69 decode {destination.written_name} - | ffplay -` plays it.",
        signal_number=signal_number,
    )
