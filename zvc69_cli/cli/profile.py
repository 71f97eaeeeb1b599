"""`zvc69 profile`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.options import only_input, run_options, settings_options, typed_flags
from zvc69_cli.cli.report import show_messages
from zvc69_cli.cli.terminal import make_console, printing, write_json
from zvc69_cli.measure.settings import ProfileSettings, check_report, fill
from zvc69_cli.pipeline.presets import DEFAULT_PRESET
from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.measure.profile import Phase, Profile
    from zvc69_cli.pipeline.engine import Engines

BAR_COLUMNS: Final = 28


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="CLIP")
@click.option(
    "--preset", metavar="NAME", default=DEFAULT_PRESET, show_default=True, help="The encoder's preset."
)
@settings_options(ProfileSettings, RunSettings)
@run_options
@click.pass_obj
def profile_command(
    engines: Engines | None, /, paths: tuple[str, ...], preset: str, log_level: str, quiet: bool, **flags: Any
) -> None:
    """Say where the time goes when a clip is encoded and decoded.

    The clip is encoded to a file and decoded to y4m, both in a folder that is taken away again.
    """
    show_messages(log_level, is_quiet=quiet)
    clip = only_input(paths, None)
    typed = typed_flags(flags)
    asked, run = fill(ProfileSettings, typed), fill(RunSettings, typed)
    check_report("--html", asked.html, [clip])

    from zvc69_cli.measure.profile import json_facts, profile_clip
    from zvc69_cli.media.settings import InputSettings
    from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, crew_for
    from zvc69_cli.pipeline.engine import InstalledEngines
    from zvc69_cli.pipeline.resolve import EncodeOptions

    options = EncodeOptions.of(preset=preset, crf=asked.crf, device=run.device, threads=run.threads)
    part = InputSettings(seek=asked.seek, frames=asked.frames, audio=False, subtitles=False)
    networks = crew_for(run, USUAL_GROUP_FRAMES).networks
    engine = (engines or InstalledEngines()).for_encoding(networks)
    profile = profile_clip(clip, replace(options, input=part), engine)
    if asked.html:
        from zvc69_cli.measure.page import write_text
        from zvc69_cli.measure.profile_page import profile_html

        write_text(asked.html, profile_html(profile))
    if asked.json:
        write_json(json_facts(profile))
        return
    with printing():
        _print(profile)


def _print(profile: Profile) -> None:
    console = make_console()
    console.print(
        f"{profile.machine}; {profile.width}x{profile.height} at crf {profile.crf:g} on {profile.device}"
    )
    for phase in profile.phases:
        console.print(_table(phase))
        console.print(phase.bound)


def _table(phase: Phase) -> Any:
    from rich.table import Table

    memory = f", {phase.peak_bytes / 1e6:.0f} MB at most" if phase.peak_bytes else ""
    title = f"{phase.name}: {phase.frames} frames, {phase.frames_per_s:.2f} a second{memory}"
    table = Table(title=title, title_justify="left")
    for name in ("work", "ms a frame", "share", "megapixels a second"):
        table.add_column(name, justify="left" if name == "work" else "right")
    table.add_column("")
    total = sum(part.seconds for part in phase.parts)
    for part in phase.parts:
        share = part.seconds / total
        table.add_row(
            part.name,
            f"{1e3 * part.seconds / phase.frames:.2f}",
            f"{100 * share:.1f} %",
            f"{phase.pixels * phase.frames / 1e6 / part.seconds:.1f}",
            "#" * round(BAR_COLUMNS * share),
        )
    return table
