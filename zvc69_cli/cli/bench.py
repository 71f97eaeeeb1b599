"""`zvc69 bench`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvc69_cli.cli.options import run_options, settings_options, typed_flags
from zvc69_cli.cli.report import say, show_messages
from zvc69_cli.cli.terminal import make_console, printing, write_json
from zvc69_cli.errors import Interrupted, UsageError
from zvc69_cli.measure.settings import (
    BenchSettings,
    MetricSettings,
    ReportSettings,
    check_report,
    fill,
    results_folder,
)
from zvc69_cli.pipeline.presets import DEFAULT_PRESET
from zvc69_cli.runtime.settings import RunSettings

if TYPE_CHECKING:
    from zvc69_cli.measure.peer_bench import BenchPlan, BenchResult, Watcher
    from zvc69_cli.measure.video_codec import VideoCodec
    from zvc69_cli.pipeline.engine import Engines
    from zvc69_cli.pipeline.resolve import EncodeOptions


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="CLIP...")
@click.option("--preset", metavar="NAME", default=DEFAULT_PRESET, show_default=True, help="zvc69's preset.")
@settings_options(BenchSettings, MetricSettings, ReportSettings, RunSettings)
@run_options
@click.pass_obj
def bench_command(
    engines: Engines | None, /, paths: tuple[str, ...], preset: str, log_level: str, quiet: bool, **flags: Any
) -> None:
    """Hold zvc69 against other encoders on your own clips.

    Encodes each clip at several rates with zvc69 and with every peer that this machine has, decodes and measures it
    all, and says how many bits each needs for equal quality. What was measured once is kept, so that an interrupted
    bench goes on where it ended.
    """
    show_messages(log_level if log_level != "info" else "warning", is_quiet=quiet)
    if not paths:
        raise UsageError("CLIP", "there is no clip to measure with", "Name one video or more.")
    typed = typed_flags(flags)
    reports = fill(ReportSettings, typed)
    check_report("--html", reports.html, paths)

    from zvc69_cli.measure.bd_rate import require_bjontegaard
    from zvc69_cli.measure.peer_bench import run_bench
    from zvc69_cli.measure.peer_figures import json_facts
    from zvc69_cli.pipeline.resolve import EncodeOptions

    require_bjontegaard()
    run = fill(RunSettings, typed)
    options = EncodeOptions.of(preset=preset, device=run.device, threads=run.threads)
    plan = _plan(paths, fill(BenchSettings, typed), fill(MetricSettings, typed), run)
    codec, bundle = _codec(engines, options)
    try:
        with _watching(is_shown=reports.progress and not quiet) as watch:
            result = run_bench(plan, codec, bundle, watch)
    except KeyboardInterrupt as cause:
        step = f"What was measured is in {plan.results}: the same command goes on from there."
        raise Interrupted(
            "SIGINT", "interrupted", step if plan.results else "Nothing was kept.", signal_number=signal.SIGINT
        ) from cause
    if not quiet:
        for note in result.notes:
            say(f"zvc69: {note}")
    if reports.html:
        from zvc69_cli.measure.page import write_text
        from zvc69_cli.measure.peer_page import bench_html

        write_text(reports.html, bench_html(result))
    if reports.json:
        write_json(json_facts(result))
        return
    with printing():
        _print_tables(result)


def _plan(paths: tuple[str, ...], asked: BenchSettings, metrics: MetricSettings, run: RunSettings) -> BenchPlan:
    from zvc69_cli.measure.peer_bench import USUAL_CRFS, BenchPlan, quick_plan
    from zvc69_cli.measure.peers import ALL_PEERS

    plan = BenchPlan(
        clips=tuple(Path(path) for path in paths),
        crfs=asked.rates or USUAL_CRFS,
        peers=asked.chosen(ALL_PEERS),
        frames=asked.frame_limit,
        metrics=metrics.names,
        threads=run.threads,
        results=results_folder(asked),
    )
    return quick_plan(plan) if asked.quick else plan


def _codec(engines: Engines | None, options: EncodeOptions) -> tuple[VideoCodec, str]:
    """zvc69 with an engine that is loaded once, and what its results depend on."""
    from zvc69_cli.measure.one_engine import OneEngine
    from zvc69_cli.measure.video_codec import VideoCodec
    from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, crew_for
    from zvc69_cli.pipeline.engine import InstalledEngines

    run = crew_for(options.run, USUAL_GROUP_FRAMES).networks
    engine = (engines or InstalledEngines()).for_encoding(run)
    bundle = f"{engine.bundle_name} {engine.bundle_sha256.hex()[:16]} on {engine.device}"
    return VideoCodec(OneEngine(engine), options), bundle


@contextmanager
def _watching(*, is_shown: bool) -> Iterator[Watcher]:
    """Whom to tell about progress: a bar on a terminal, a line for each encode elsewhere."""
    if not is_shown:
        yield lambda done, total, text: None
    elif sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(unit="encode", file=sys.stderr, dynamic_ncols=True) as bar:

            def renew(done: int, total: int, text: str) -> None:
                bar.total = total
                bar.set_postfix_str(text, refresh=False)
                bar.update(done - bar.n)
                bar.refresh()

            yield renew
    else:
        said = -1

        def tell(done: int, total: int, text: str) -> None:
            nonlocal said
            if done > said:
                said = done
                say(f"zvc69: [{done}/{total}] {text}")

        yield tell


def _print_tables(result: BenchResult) -> None:
    from rich.table import Table

    from zvc69_cli.cli.info import as_it_is
    from zvc69_cli.measure.peer_figures import (
        against_peers,
        mean_gain,
        mean_rate,
        mean_speed,
        scales_of,
        speeds,
    )
    from zvc69_cli.measure.peer_page import short

    console = make_console()
    figures, peers = against_peers(result), result.codecs[1:]
    if peers:
        table = Table(
            title="bits that zvc69 needs more (+) or fewer (-) at equal quality", title_justify="left"
        )
        for name in ("clip", "measure", *(f"{peer}" for peer in peers)):
            table.add_column(as_it_is(name), justify="left" if name in ("clip", "measure") else "right")
        for scale in scales_of(result):
            own = [each for each in figures if each.scale == scale.name]
            for clip in result.clips:
                by_peer = {each.anchor: each for each in own if each.clip == clip.name}
                cells = (
                    _rate_text(by_peer[peer].rate.percent) if peer in by_peer else "none" for peer in peers
                )
                table.add_row(as_it_is(clip.name), scale.title, *cells)
            means = [[each for each in own if each.anchor == peer] for peer in peers]
            if len(result.clips) > 1:
                table.add_row(
                    "mean", scale.title, *(_rate_text(mean_rate(each)) for each in means), style="bold"
                )
            if scale.name == "psnr":
                gains = (
                    f"{gain:+.2f} dB" if (gain := mean_gain(each)) is not None else "none" for each in means
                )
                table.add_row("mean BD-PSNR", "", *gains, end_section=True)
        console.print(table)
    speed_table = Table("codec", "encoded", "decoded", title="frames a second, mean", title_justify="left")
    all_speeds = speeds(result)
    for codec in result.codecs:
        if any(each.codec == codec for each in all_speeds):
            speed_table.add_row(codec, *(short(fps) for fps in mean_speed(all_speeds, codec)))
    console.print(speed_table)
    console.print(as_it_is(result.machine))


def _rate_text(percent: float | None) -> str:
    return "none" if percent is None else f"{percent:+.1f} %"
