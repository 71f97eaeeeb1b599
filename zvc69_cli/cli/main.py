"""`zvc69`: the commands, and the one place that prints a refusal and ends the process."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final

import click

from zvc69_cli.cli.report import say, say_error
from zvc69_cli.errors import Interrupted, OutputError, RuntimeUnavailable, UsageError, Zvc69Error

if TYPE_CHECKING:
    from zvc69_cli.pipeline.engine import Engines

SIGINT_NUMBER: Final = 2
COMPLETE_VARIABLE: Final = "_ZVC69_COMPLETE"  # where a shell's script and our answer to it meet

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_REPORT: Final = "This is a fault of the program. Please report it with the output of --log-level debug."

# Loaded when called: `zvc69 --help` loads none of them. A test keeps these lines equal to the commands' own.
COMMANDS: Final = {
    "bench": "Hold zvc69 against other encoders on your own clips.",
    "compare": "Measure how far videos are from their reference.",
    "completion": "Print the script by which a shell completes zvc69's words.",
    "decode": "Decode a .zvc69 to a video.",
    "devices": "List what can run the networks, and what --device auto takes.",
    "encode": "Encode a video to .zvc69.",
    "engines": "Build, list, clear, check and calibrate what runs the networks.",
    "info": "Say what is in a .zvc69, and what is wrong with it.",
    "profile": "Say where the time goes when a clip is encoded and decoded.",
}


class Commands(MutableMapping[str, click.Command]):
    """The commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            if name not in COMMANDS:
                raise KeyError(name)
            self._loaded[name] = getattr(importlib.import_module(f"zvc69_cli.cli.{name}"), f"{name}_command")
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Completed(Exception):
    """A shell's question is answered."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Program(click.Group):
    """A click group whose every ending, click's own refusals too, has our shape and our exit codes."""

    def main(self, args: Any = None, prog_name: Any = None, *rest: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name or "zvc69", *rest, **extra)
        except _Completed as done:
            _end(done.code)
        except BaseException as error:
            _end(_exit_code(error))
        _end(code if isinstance(code, int) else 0)

    def _main_shell_completion(
        self, ctx_args: MutableMapping[str, Any], prog_name: str, complete_var: str | None = None
    ) -> None:
        """Answer a shell that asks for the words that may follow; click would leave by SystemExit."""
        try:
            super()._main_shell_completion(ctx_args, prog_name, COMPLETE_VARIABLE)
        except SystemExit as answered:
            raise _Completed(int(answered.code or 0)) from answered
        except Zvc69Error as nothing:  # the line so far means nothing; a shell shows no message in its middle
            raise _Completed(0) from nothing

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from zvc69_cli.flags import suggest

            raise UsageError(
                args[0],
                "there is no such command",
                suggest(args[0], COMMANDS) or f"The commands are {', '.join(COMMANDS)}.",
            )
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from zvc69_cli import __version__

        click.echo(f"zvc69 {__version__}")
        ctx.exit()


@click.group(
    cls=Program,
    commands=Commands(),
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def program() -> None:
    """A neural video codec: video files to .zvc69 and back.

    zvc69 encode in.mp4 out.zvc69        zvc69 decode out.zvc69 back.mp4
    """


def run(args: list[str] | None = None, *, engines: Engines | None = None) -> None:
    """The program: runs the command line, prints what went wrong and exits.

    engines  where the networks come from; the installed bundles when left out
    """
    try:
        program.main(args, obj=engines)
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left that it could interrupt


def _exit_code(error: BaseException) -> int:
    """Print what `error` says and return the exit code that goes with it."""
    if isinstance(error, SystemExit):  # click's own answer to a closed pipe, in --help and --version
        error = BrokenPipeError()
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    refusal = _as_refusal(error)
    say_error(refusal)
    if refusal.exit_code == 1:
        _trace(error)
    return refusal.exit_code


def _as_refusal(error: BaseException) -> Zvc69Error:
    """One of ours for whatever was raised; Zvc69Error itself, exit code 1, for what nobody foresaw."""
    if isinstance(error, Zvc69Error):
        return error
    if isinstance(error, click.ClickException):
        return _of_click(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Interrupted("SIGINT", "interrupted", "Nothing was written.", signal_number=SIGINT_NUMBER)
    if isinstance(error, MemoryError):
        return RuntimeUnavailable(
            "memory", "there is not enough for this video", "Close other programs, or take a smaller picture."
        )
    if isinstance(error, BrokenPipeError):
        return OutputError(
            "standard output", "the reader closed the pipe", "Look at the program that read from it."
        )
    if isinstance(error, OSError) and error.errno in _FULL:  # --help and --version, which click itself prints
        return OutputError(
            "standard output", f"cannot be written: {error.strerror}", "Free some space, or write elsewhere."
        )
    return Zvc69Error(type(error).__name__, str(error) or "nothing more is known", _REPORT)


def _of_click(error: click.ClickException) -> UsageError:
    """click's refusal of a command line, in three parts."""
    ctx = getattr(error, "ctx", None)
    command = ctx.command if ctx else None
    see = f"`{ctx.command_path} --help` lists what there is." if ctx else "See `zvc69 --help`."
    if isinstance(error, click.NoSuchOption):
        from zvc69_cli.cli.options import nearest_option

        return UsageError(
            error.option_name, "there is no such flag", nearest_option(error.option_name, command) or see
        )
    if isinstance(error, click.BadOptionUsage):
        return UsageError(error.option_name, _sentence(error), see)
    if isinstance(error, click.BadParameter) and error.param is not None:
        return UsageError(max(error.param.opts, key=len), _sentence(error), see)
    is_command = ctx is not None and ctx.parent is not None and ctx.info_name is not None
    return UsageError(str(ctx.info_name) if ctx and is_command else "COMMAND", _sentence(error), see)


def _sentence(error: click.ClickException) -> str:
    text = error.message.rstrip(".")
    return text[:1].lower() + text[1:]


def _trace(error: BaseException) -> None:
    """Show where a fault happened, to those who asked for it."""
    import logging

    if logging.getLogger("zvc69_cli").isEnabledFor(logging.DEBUG):
        import traceback

        say("".join(traceback.format_exception(error)))


def _end(code: int) -> None:
    """Exit without waiting for a stage that hangs in a read, or complaining twice about a closed pipe."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed before the program began
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    queues = sys.modules.get("zvc69_cli.pipeline.queues")
    if queues is not None and _without_sigint(queues.is_stage_left_behind):
        os._exit(code)
    sys.exit(code)


def _without_sigint(look: Callable[[], bool]) -> bool:
    """What `look` finds, unbroken by one more Ctrl-C, which would crash Python on its way out."""
    if threading.current_thread() is not threading.main_thread():
        return look()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return look()
    finally:
        signal.signal(signal.SIGINT, before)
