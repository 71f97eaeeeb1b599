"""What the README says can be typed can be typed."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_as_it_stands(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "2 frames" in capsys.readouterr().out


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))))
def test_every_flag_that_is_named_exists(flag):
    from zvc69_cli.cli.main import program

    context = click.Context(program)
    commands = [program.get_command(context, name) for name in program.list_commands(context)]
    parameters = [each for command in commands for each in command.params]
    known = {name for each in parameters for name in [*each.opts, *each.secondary_opts]}
    assert flag in known | {"--help"}


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_two_commands_are_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
