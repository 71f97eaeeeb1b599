"""`zvc69 completion`."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Final

import click

from zvc69_cli.cli.main import COMPLETE_VARIABLE
from zvc69_cli.cli.terminal import printing
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import suggest

SHELLS: Final = {
    "bash": 'eval "$(zvc69 completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(zvc69 completion zsh)" in ~/.zshrc',
    "fish": "zvc69 completion fish > ~/.config/fish/completions/zvc69.fish",
}


@click.command(
    epilog="To have it always: " + "; ".join(SHELLS.values()) + ". bash needs version 4.4 or later.",
)
@click.argument("shell", required=False, metavar="bash|zsh|fish")
@click.pass_context
def completion_command(ctx: click.Context, /, shell: str | None) -> None:
    """Print the script by which a shell completes zvc69's words.

    Without a name it is for the shell that SHELL names.
    """
    from click.shell_completion import get_completion_class

    chosen = PurePath(os.environ.get("SHELL", "")).name if shell is None else shell
    maker = get_completion_class(chosen) if chosen in SHELLS else None
    if maker is None:
        said = f"there is no completion for {chosen!r}" if chosen else "the shell is missing"
        raise UsageError("SHELL", said, suggest(chosen, SHELLS) or f"Choose one of {', '.join(SHELLS)}.")
    with printing():
        click.echo(maker(ctx.find_root().command, {}, "zvc69", COMPLETE_VARIABLE).source())
