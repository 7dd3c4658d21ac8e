"""Writes to the terminal: results to stdout, notes and warnings to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer

from anabranch.errors import EngineError
from anabranch.files import replace_file

T = TypeVar("T")

Say = Callable[[str], None]


def result(text: str) -> None:
    """Print a result on stdout."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def result_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a result on stdout as JSON; as one line where ``indent`` is None."""
    result(json.dumps(value, indent=indent, ensure_ascii=False))


def write(path: Path, content: bytes | str) -> None:
    """Put a file in the place of an older one, and print its path; EngineError if it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, mode=0o666)
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror}") from None
    result(str(path))


def note(text: str) -> None:
    """Print a note on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Print a warning on stderr."""
    note(f"warning: {text}")


def is_terminal() -> bool:
    """Return whether somebody may answer questions."""
    return sys.stdin.isatty()


def confirm(question: str, otherwise: str = "--yes goes ahead") -> None:
    """Ask a question on the terminal, and end the command unless the answer is yes.

    Args:
        question: The question.
        otherwise: What a script does instead, for the error without a terminal.

    Raises:
        BadParameter: If stdin is no terminal.
    """
    if not is_terminal():
        raise typer.BadParameter(f"there is no terminal to ask on; {otherwise} ({question})")
    typer.confirm(question, abort=True, err=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows in aligned columns under a heading, as text."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 graph`` or ``2 graphs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def on_change(text: Callable[[T], str], say: Say) -> Callable[[T], None]:
    """Return a listener that says what ``text`` makes of what it hears, where that has changed."""
    last = ""

    def said(found: T) -> None:
        nonlocal last
        if last != (last := text(found)):
            say(last)

    return said


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else " ".join(str(value).split())


@contextmanager
def progress(text: str) -> Iterator[Say]:
    """Show progress while the block runs: a spinner on a terminal, plain lines elsewhere.

    Yield the function that shows a new text.
    """
    if not sys.stderr.isatty():
        note(text)
        yield note
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)) as status:
        yield lambda news: status.update(escape(news))
