"""The page of `zvc69 profile`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from zvc69_cli.measure.page import (
    Bar,
    Bars,
    Cell,
    Facts,
    Flame,
    FlameNode,
    Row,
    Section,
    Table,
    Tile,
    Tiles,
    page_html,
)
from zvc69_cli.measure.profile import Phase, Profile
from zvc69_cli.measure.sampler import Place, Samples

SMALLEST_SHARE: Final = 0.002  # of all time: smaller places are left out of the flame picture
DEEPEST: Final = 24
MEGABYTE: Final = 1_000_000


def profile_html(profile: Profile) -> str:
    """The whole page."""
    sections: list[Section] = []
    for phase in profile.phases:
        sections += [_tiles(phase), _bars(phase), _flame(phase), _table(phase)]
    sections.append(
        Facts(
            title="How it was made",
            items=(
                ("clip", f"{profile.clip}, {profile.width}x{profile.height}, crf {profile.crf:g}"),
                ("machine", profile.machine),
                ("device", profile.device),
            ),
        )
    )
    name = PurePath(profile.clip).name
    return page_html(
        f"Where the time of {name} goes",
        f"{profile.phases[0].frames} frames encoded and decoded after a short warm-up, on {profile.device}.",
        sections,
    )


def _tiles(phase: Phase) -> Tiles:
    used = phase.processor_s / (phase.wall_s * phase.cores)
    return Tiles(
        title=phase.name,
        note=phase.bound,
        items=(
            Tile(name="frames a second", value=f"{phase.frames_per_s:.3g}"),
            Tile(name="megapixels a second", value=f"{phase.frames_per_s * phase.pixels / 1e6:.3g}"),
            Tile(name=f"of {phase.cores} cores", value=f"{100 * used:.0f} %"),
            Tile(name="MB of memory at most", value=f"{phase.peak_bytes / MEGABYTE:.0f}"),
        ),
    )


def _bars(phase: Phase) -> Bars:
    total = sum(part.seconds for part in phase.parts)
    return Bars(
        title=f"{phase.name}: time of threads by work",
        note="Stages overlap, so that all parts together exceed the time on the clock.",
        items=tuple(
            Bar(
                name=part.name,
                value=part.seconds,
                text=f"{1e3 * part.seconds / phase.frames:.2f} ms a frame, {100 * part.seconds / total:.0f} %",
            )
            for part in phase.parts
        ),
    )


def _table(phase: Phase) -> Table:
    rows = []
    for kind, times in (("stage", phase.stages), ("network", phase.networks)):
        for each in times:
            cells = [each.name, kind, str(each.threads), f"{1e3 * each.busy_s / phase.frames:.2f}"]
            cells.append(f"{phase.frames / each.busy_s:.3g}" if each.busy_s else "")
            rows.append(Row(cells=tuple(Cell(text=text) for text in cells)))
    return Table(
        title=f"{phase.name}: by the pipeline's own clocks",
        note="A network's time is part of its stage's. Frames a second: what one thread of it alone could do.",
        columns=("name", "what", "threads", "ms a frame", "frames a second"),
        rows=tuple(rows),
    )


def _flame(phase: Phase) -> Flame:
    return Flame(
        title=f"{phase.name}: by place in the program",
        note="Width is time, summed over threads; below each place what it called. Choose one to see it larger.",
        root=flame_of(phase.name, phase.samples),
    )


@dataclass(slots=True)
class _Growing:
    seconds: float = 0.0
    children: dict[str, _Growing] = field(default_factory=dict)


def flame_of(name: str, samples: Samples) -> FlameNode:
    """Samples as a tree: stages, then the places in them, outermost first."""
    root = _Growing()
    for stage, stack, seconds in samples:
        root.seconds += seconds
        node = root
        for title in (f"stage {stage}", *(_title(place) for place in stack[:DEEPEST])):
            node = node.children.setdefault(title, _Growing())
            node.seconds += seconds
    return _pruned(name, root, root.seconds * SMALLEST_SHARE)


def _pruned(name: str, node: _Growing, least: float) -> FlameNode:
    kept = sorted(node.children.items(), key=lambda item: -item[1].seconds)
    return FlameNode(
        name=name,
        value=node.seconds,
        children=tuple(_pruned(title, child, least) for title, child in kept if child.seconds >= least),
    )


def _title(place: Place) -> str:
    return f"{place[0].rpartition('.')[2]} {place[1].strip('<>')}"
