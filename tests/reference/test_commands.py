"""Every command is described, with each of its options and an example."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.testing import CliRunner

from anabranch.cli.app import app
from anabranch.reference.commands import all_commands, example, sections

PAGE = sections()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("## ")[1:]}
COMMANDS = dict(all_commands())


def test_every_command_has_a_section() -> None:
    assert list(SECTIONS) == ["anabranch", *COMMANDS]
    top = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {name.split()[1] for name in COMMANDS} == set(top)


def test_options_before_the_command_have_rows() -> None:
    for parameter in typer.main.get_command(app).params:
        assert parameter.hidden or f"`{parameter.opts[0]}" in SECTIONS["anabranch"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_row(name: str) -> None:
    assert not [word for word in words_of(name) if word not in SECTIONS[name]]


@pytest.mark.nightly
@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_help(name: str) -> None:
    done = CliRunner().invoke(app, [*name.split()[1:], "--help"], env={"COLUMNS": "300"})
    assert not [word for word in words_of(name) if word not in done.stdout]


def words_of(name: str) -> list[str]:
    """Return what a command's options and arguments are called."""
    found = []
    for parameter in COMMANDS[name].params:
        is_option = parameter.opts[0].startswith("-")
        if not parameter.hidden:
            found += parameter.opts if is_option else [parameter.metavar or parameter.opts[0]]
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_is_a_call_of_the_command(name: str) -> None:
    assert shlex.split(example(COMMANDS[name]))[: len(name.split())] == name.split()


def test_defaults_and_variables_are_told() -> None:
    up = SECTIONS["anabranch up"]
    assert "| `--home <path>` |" in up and "~/.anabranch; or `ANABRANCH_HOME` |" in up
    assert "| Port for HTTP. | 8000" in up
