"""The command line in sections, from its own definition: every command, argument and option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from anabranch.cli.app import app
from anabranch.reference.markdown import block, code, table

_HEAD = ("argument or option", "meaning", "default")
_OF_GROUP = "COMMAND [ARGS]..."
"""What the usage of a group ends with; its commands have sections of their own."""
_NOTE = re.compile(r"\s*\[([^\[\]]*)\]$")
"""What the help of an option ends with: its default, its variable, whether it is required."""


def sections() -> str:
    """Return a section for each command, in the order of ``anabranch --help``.

    Before them are the options that come before a command.
    """
    root = typer.main.get_command(app)
    first = ["## anabranch", "Options before the command:", _options("anabranch", root)]
    return "\n\n".join([*first, *(_section(*found) for found in all_commands())])


def all_commands() -> Iterator[tuple[str, Any]]:
    """Yield the name and the definition of each command, and of each group that is one, too."""
    yield from _below("anabranch", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield name, command
    for word, one in inner.items():
        yield from _below(f"{name} {word}", one)


def _section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    pieces = [one for one in command.collect_usage_pieces(context) if one != _OF_GROUP]
    usage = " ".join([name, *pieces])
    listed = _options(name, command)
    parts = [f"## {name}", command.help, block(usage), *([listed] if listed else [])]
    return "\n\n".join([*parts, block(example(command), "sh")])


def _options(name: str, command: Any) -> str:
    """Return the table of a command's arguments and options; nothing without any."""
    context = typer.Context(command, info_name=name)
    rows = [_row(one.get_help_record(context)) for one in command.params if not one.hidden]
    return table(_HEAD, rows) if rows else ""


def example(command: Any) -> str:
    """Return the example at the end of a command's help."""
    return str(command.epilog).partition("Example: ")[2]


def _row(record: tuple[str, str]) -> list[str]:
    names, text = record
    notes: list[str] = []
    while found := _NOTE.search(text):
        notes[:0] = found[1].split("; ")
        text = text[: found.start()]
    return [code(names), text, "; ".join(map(_told, notes))]


def _told(note: str) -> str:
    """Return what a note says: the default, the variable that sets it, a range, or a demand."""
    kind, _, value = note.partition(": ")
    if kind == "default":
        return value
    return f"or {code(value)}" if kind == "env var" else note
