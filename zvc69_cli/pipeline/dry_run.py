"""What an encode would do: everything is looked at, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zvc69_cli.frames import VideoFormat
from zvc69_cli.pipeline.crew import crew_for
from zvc69_cli.pipeline.engine import Engines, InstalledEngines, possible_settings
from zvc69_cli.pipeline.estimate import Estimate, estimate_bitrate
from zvc69_cli.pipeline.places import PIPE, Pipes, check_input, choose_destination
from zvc69_cli.pipeline.resolve import EncodeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What was found.

    frames          that would be encoded, an estimate of the source; None where nobody knows
    copied_streams  audio and subtitles that would come along
    notes           what would be converted, mended or left out
    replaces        whether an existing file would have to go
    device          that the networks would run on
    """

    in_name: str
    out_name: str
    video: VideoFormat
    frames: int | None
    copied_streams: int
    notes: tuple[str, ...]
    replaces: bool
    device: str
    bundle_name: str
    estimate: Estimate

    @property
    def duration_s(self) -> float | None:
        """Of the video, as watched; None where nobody knows."""
        if self.frames is None or self.video.frame_rate is None:
            return None
        return float(self.frames / self.video.frame_rate)

    @property
    def wall_s(self) -> float | None:
        """How long the machine of the estimate would take; None where nobody knows."""
        return None if self.frames is None else self.estimate.wall_s(self.video, self.frames)


def look_at(
    in_name: str,
    out_name: str,
    options: EncodeOptions,
    *,
    pipes: Pipes | None = None,
    engines: Engines | None = None,
) -> DryRun:
    """Open the input, choose the output, load the networks, and reckon; raises what an encode would raise."""
    from zvc69_cli.media.source import open_source

    pipes = pipes or Pipes()
    check_input(in_name, pipes)
    destination = choose_destination(out_name, in_name, pipes, lambda name: True)
    source = open_source(in_name, options.input, pipes.stdin)
    try:
        crew = crew_for(options.run, None)
        engine = (engines or InstalledEngines()).for_encoding(crew.networks)
        possible_settings(engine, options.codec)
        return DryRun(
            in_name=in_name,
            out_name=out_name,
            video=source.video,
            frames=source.frame_count,
            copied_streams=len(source.copied_streams),
            notes=tuple(source.notes),
            replaces=out_name != PIPE and not destination.is_direct and Path(out_name).exists(),
            device=engine.device,
            bundle_name=engine.bundle_name,
            estimate=estimate_bitrate(source.video, options),
        )
    finally:
        source.close()
