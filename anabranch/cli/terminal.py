"""What goes to the terminal: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Say = Callable[[str], None]


def result(text: str) -> None:
    """Print a result."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def result_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a result as JSON; one line where ``indent`` is None."""
    result(json.dumps(value, indent=indent, ensure_ascii=False))


def note(text: str) -> None:
    """Say something beside the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Say something that should not be overlooked."""
    note(f"warning: {text}")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows in aligned columns under a heading, as text; fields on one line each."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else " ".join(str(value).split())


@contextmanager
def progress(text: str) -> Iterator[Say]:
    """Show that something takes time: a spinner on a terminal, plain lines elsewhere.

    Yields what to call with news.
    """
    if not sys.stderr.isatty():
        note(text)
        yield note
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)) as status:
        yield lambda news: status.update(escape(news))
