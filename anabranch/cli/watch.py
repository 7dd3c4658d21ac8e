"""Asks an engine again and again: for a report that changes, and for what comes after a cursor.

A report is redrawn on a terminal, and printed at every change elsewhere.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from anabranch.cli.terminal import note, result, result_json

PAUSE_S = 1.0
TRIES = 60
"""Number of further requests to an engine that does not answer."""
_HOME, _CLEAR, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"

T = TypeVar("T")
Cursor = TypeVar("Cursor")


def watch(fetch: Callable[[], T], text: Callable[[T], str], *, as_json: bool) -> None:
    """Print the results of ``fetch`` for ever.

    On a terminal ``text`` of the result is redrawn every second, since it may hold remaining times.
    Elsewhere it is printed at every change; JSON as one line. A controller that restarts is waited
    for.
    """
    redraws = sys.stdout.isatty() and not as_json
    if redraws:
        sys.stdout.write(_CLEAR)
    last: Any = None
    while True:
        found = fetch() if last is None else patiently(fetch)
        if redraws:
            size = shutil.get_terminal_size()
            sys.stdout.write(screen(text(found), size.columns, size.lines))
            sys.stdout.flush()
        elif found != last:
            result_json(found, indent=None) if as_json else result(text(found))
        last = found
        time.sleep(PAUSE_S)


def followed(cursor: Cursor, fetch: Callable[[Cursor], tuple[Sequence[T], Cursor]]) -> Iterator[T]:
    """Yield what comes after a cursor, for ever; an engine that restarts is waited for.

    ``fetch`` returns what is new after a cursor, and the next cursor.
    """
    while True:
        time.sleep(PAUSE_S)
        found, cursor = patiently(partial(fetch, cursor))
        yield from found


def patiently(fetch: Callable[[], T]) -> T:
    """Return the result of ``fetch`` as soon as the engine answers; raise its error after TRIES."""
    from anabranch.client.http import EngineUnreachable
    from anabranch.errors import Unavailable

    for attempt in range(TRIES):
        try:
            return fetch()
        except (EngineUnreachable, Unavailable) as error:
            if not attempt:
                note(f"{error}; waiting for it")
        time.sleep(PAUSE_S)
    return fetch()


def screen(text: str, columns: int, rows: int) -> str:
    """Return the control sequences that redraw the terminal with ``text``, cut to its size."""
    lines = (f"{line[:columns]}{_REST_OF_LINE}\n" for line in text.splitlines()[: rows - 1])
    return f"{_HOME}{''.join(lines)}{_REST}"
