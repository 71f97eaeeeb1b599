"""`zvc69 engines`: what is built for a device and kept."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.options import run_options, settings_options, typed_flags
from zvc69_cli.cli.report import clock_text, say, show_messages
from zvc69_cli.cli.terminal import make_console, printing, write_json
from zvc69_cli.errors import SymbolMismatch, UsageError
from zvc69_cli.flags import check_flags, flags_of
from zvc69_cli.runtime.settings import EngineSettings, RunSettings

if TYPE_CHECKING:
    from zvc69_cli.runtime.cache import Entry
    from zvc69_cli.runtime.providers import Device

SCHEMA: Final = "zvc69-engines/1"
TICK_S: Final = 1.0
_MIB: Final = 1 << 20

_log = logging.getLogger(__name__)


@click.group(no_args_is_help=False)
def engines_command() -> None:
    """Build, list, clear, check and calibrate what runs the networks.

    Engines are built by themselves when a device first needs them, and kept in a folder of the user's caches (--cache,
    ZVC69_CACHE). None of them is ever needed to decode a file.
    """


@engines_command.command("build")
@settings_options(RunSettings)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_options
def build_command(as_json: bool, log_level: str, quiet: bool, **flags: Any) -> None:
    """Build a device's engines now. For tensorrt-rtx no GPU is needed."""
    show_messages("warning" if log_level == "info" else log_level, is_quiet=quiet)
    run = _run_settings(flags)
    from zvc69_cli.pipeline.warmup import build_engines
    from zvc69_cli.runtime.bundle import find_bundle
    from zvc69_cli.runtime.providers import check_run

    device = _buildable_device(run)
    check_run(run, device)
    with _ticking(is_shown=not quiet) as tick:
        times = build_engines(
            find_bundle(),
            device,
            run,
            lambda number, count, graph: tick(f"engine {number} of {count} for {device.name}: {graph}"),
        )
    if as_json:
        write_json({"schema": SCHEMA, "device": device.name, "precision": run.precision, "seconds": times})
    elif not times:
        say(f"zvc69: nothing to build for {device.name}: it takes the networks as they are shipped")
    else:
        say(f"zvc69: {len(times)} engines for {device.name} in {clock_text(sum(times.values()))}")


@engines_command.command("list")
@settings_options(RunSettings, only=("cache",))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_options
def list_command(as_json: bool, log_level: str, quiet: bool, **flags: Any) -> None:
    """List what was built and is kept."""
    show_messages(log_level, is_quiet=quiet)
    from zvc69_cli.runtime.cache import open_cache

    cache = open_cache(_run_settings(flags).cache)
    entries = cache.entries()
    if as_json:
        write_json(
            {"schema": SCHEMA, "cache": str(cache.root or ""), "entries": [_facts(each) for each in entries]}
        )
        return
    from rich.table import Table

    size = sum(each.size_bytes for each in entries) / _MIB
    title = f"{len(entries)} engines, {size:.1f} MiB, in {cache.root or 'no cache'}"
    table = Table("kind", "graph", "precision", "device", "bundle", "MiB", "used", title=title)
    for each in entries:
        key = each.key
        table.add_row(
            each.kind,
            key.get("graph", "all"),
            key.get("precision", each.kind),
            key.get("gpu", ""),
            key.get("bundle", "")[:16],
            f"{each.size_bytes / _MIB:.1f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(each.used_at)),
        )
    with printing():
        make_console().print(table)


@engines_command.command("clear")
@settings_options(RunSettings, only=("cache",))
@click.option("--calibrations", is_flag=True, help="Remove what `calibrate` made, too.")
@run_options
def clear_command(calibrations: bool, log_level: str, quiet: bool, **flags: Any) -> None:
    """Remove what is kept; calibrations stay unless they are asked for."""
    show_messages(log_level, is_quiet=quiet)
    from zvc69_cli.runtime.cache import KEPT_KINDS, open_cache

    cache = open_cache(_run_settings(flags).cache)
    count, size = cache.clear(keep=() if calibrations else KEPT_KINDS)
    if not quiet:
        say(f"zvc69: {count} engines removed, {size / _MIB:.1f} MiB, from {cache.root or 'no cache'}")


@engines_command.command("check")
@settings_options(RunSettings)
@settings_options(EngineSettings, only=("size",))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_options
def check_command(as_json: bool, log_level: str, quiet: bool, **flags: Any) -> None:
    """Prove that a device computes the priors as every other does; nothing is remembered of it."""
    show_messages(log_level, is_quiet=quiet)
    run, asked = _run_settings(flags), _engine_settings(flags)
    from zvc69_cli.pipeline.self_test import self_test
    from zvc69_cli.runtime.bundle import find_bundle
    from zvc69_cli.runtime.providers import check_run, choose_device

    device = choose_device(run.device)
    check_run(run, device)
    results = self_test(find_bundle(), device, run, asked.picture_size)
    if as_json:
        facts = [{"what": what, "is_exact": not told, "differs": told} for what, told in results.items()]
        write_json({"schema": SCHEMA, "device": device.name, "checks": facts})
    elif not quiet:
        for what, told in results.items():
            say(f"zvc69: {device.name}: priors of {what}: {told or 'exact'}")
    if any(results.values()):
        raise SymbolMismatch(
            device.name,
            "computes other integers than the codec's definition",
            "Encoding and decoding there take the priors from the CPU by themselves.",
        )


@engines_command.command("calibrate")
@click.argument("clips", nargs=-1, type=click.Path(), metavar="CLIP...")
@settings_options(RunSettings, only=("threads", "cache"))
@settings_options(EngineSettings, only=("frames",))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_options
def calibrate_command(clips: tuple[str, ...], as_json: bool, log_level: str, quiet: bool, **flags: Any) -> None:
    """Find the ranges that --precision int8 needs, on clips such as will be encoded, and say what it costs."""
    show_messages("warning" if log_level == "info" else log_level, is_quiet=quiet)
    if not clips:
        raise UsageError("CLIP", "there is no clip to watch the networks on", "Name one video or more.")
    run, asked = _run_settings(flags), _engine_settings(flags)
    from zvc69_cli.pipeline.calibrate import calibrate
    from zvc69_cli.runtime.bundle import find_bundle
    from zvc69_cli.runtime.cache import open_cache

    with _ticking(is_shown=not quiet) as tick:
        found = calibrate(clips, find_bundle(), run, open_cache(run.cache), asked.frames, tick)
    cost = found.cost
    if as_json:
        told = {name: getattr(cost, name) for name in type(cost).__slots__}
        write_json({"schema": SCHEMA, "folder": str(found.folder), "watched": found.watched, "cost": told})
        return
    for line in (
        f"calibrated on {len(clips)} clips: {found.folder}",
        f"int8 beside fp32 at equal bytes: {cost.at_equal_bytes_db:+.2f} dB of luma on {clips[0]}"
        f" ({cost.bytes_share:.3f} of the bytes at the same crf)",
        f"a float32 stream decoded in int8: {cost.decoded_db:+.2f} dB, its last frame {cost.last_frame_db:+.2f} dB",
    ):
        say(f"zvc69: {line}")


def _run_settings(flags: dict[str, Any]) -> RunSettings:
    names = {each.field_name for each in flags_of(RunSettings)}
    return RunSettings(**{name: value for name, value in typed_flags(flags).items() if name in names})


def _engine_settings(flags: dict[str, Any]) -> EngineSettings:
    names = {each.field_name for each in flags_of(EngineSettings)}
    settings = EngineSettings(**{name: value for name, value in typed_flags(flags).items() if name in names})
    check_flags(settings)
    return settings


def _buildable_device(run: RunSettings) -> Device:
    """The device asked for; for tensorrt-rtx one that is not here will do."""
    from zvc69_cli.runtime.providers import choose_device, rtx_to_build_for
    from zvc69_cli.runtime.rtx import require_builder

    if run.device.partition(":")[0] == "tensorrt-rtx":
        require_builder(f"--device {run.device}")
        return rtx_to_build_for()
    return choose_device(run.device)


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "key": dict(entry.key),
        "folder": str(entry.folder),
        "size_bytes": entry.size_bytes,
        "used_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(entry.used_at)) + "Z",
    }


@contextmanager
def _ticking(*, is_shown: bool) -> Iterator[Callable[[str], None]]:
    """Whom to tell what goes on: a line with the time that has passed, renewed on a terminal."""
    text, began = "", time.monotonic()
    done = threading.Event()
    renews = is_shown and sys.stderr is not None and sys.stderr.isatty()

    def line() -> str:
        return f"{text}, {clock_text(time.monotonic() - began)}"

    def finish_line() -> None:
        if is_shown and text:
            click.echo(f"\r\x1b[K{line()}" if renews else line(), err=True)

    def tell(new_text: str) -> None:
        nonlocal text, began
        finish_line()
        text, began = new_text, time.monotonic()

    def renew() -> None:
        while not done.wait(TICK_S):
            if text:
                click.echo(f"\r\x1b[K{line()}", err=True, nl=False)

    thread = threading.Thread(target=renew, daemon=True)
    if renews:
        thread.start()
    try:
        yield tell
        finish_line()
    finally:
        done.set()
        if renews:
            thread.join()
