"""`zvc69 devices`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import click

from zvc69_cli.cli.options import run_options
from zvc69_cli.cli.report import show_messages
from zvc69_cli.cli.terminal import make_console, printing, write_json

SCHEMA: Final = "zvc69-devices/1"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_options
def devices_command(as_json: bool, log_level: str, quiet: bool) -> None:
    """List what can run the networks, and what --device auto takes."""
    show_messages(log_level, is_quiet=quiet)
    from zvc69_cli.runtime.providers import choose_device, list_devices

    devices, chosen = list_devices(), choose_device("auto")
    if as_json:
        write_json({"schema": SCHEMA, "auto": chosen.name, "devices": [asdict(each) for each in devices]})
        return
    from rich.table import Table

    table = Table("device", "what it is", "to be had", "why", title=f"--device auto takes {chosen.name}")
    for each in devices:
        table.add_row(each.name, each.description, "yes" if each.available else "no", each.why)
    with printing():
        make_console().print(table)
