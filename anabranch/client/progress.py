"""Progress of what takes a while: one line that is written again, on a terminal or in a notebook.

Elsewhere, such as in a script whose output goes to a file, nothing is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Say = Callable[[str], None]


@contextmanager
def progress(text: str) -> Iterator[Say]:
    """Show ``text`` while the block runs; yield the function that shows a new text instead.

    The last text stays.
    """
    stream = progress_stream()
    if stream is None:
        yield lambda news: None
        return
    longest = 0

    def say(news: str) -> None:
        nonlocal longest
        longest = max(longest, len(news))
        stream.write(f"\r{news.ljust(longest)}")
        stream.flush()

    say(text)
    try:
        yield say
    finally:
        stream.write("\n")
        stream.flush()


def progress_stream() -> TextIO | None:
    """Return the stream for progress: a notebook's stdout, stderr if it is a terminal, or None."""
    notebook = getattr(sys.modules.get("ipykernel.iostream"), "OutStream", None)
    stdout: TextIO = sys.stdout
    if isinstance(notebook, type) and isinstance(stdout, notebook):
        return stdout
    return sys.stderr if sys.stderr.isatty() else None
