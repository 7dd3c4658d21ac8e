"""Writing to a connection at once, so that memory that others may write to is not needed later."""

from __future__ import annotations

import os
from collections.abc import Sequence

from anabranch.serve.streams.frames import Buffer

_MOST_CHUNKS = 64
"""Linux takes 1,024 in one call (``IOV_MAX``, writev(2))."""


def write_at_once(file: int, chunks: Sequence[Buffer]) -> Buffer:
    """Write as much as the system takes now, and return the rest, in memory of its own."""
    try:
        written = os.writev(file, chunks[:_MOST_CHUNKS])
    except OSError:  # it takes nothing now, or is broken, which its transport will find
        written = 0
    return rest(chunks, written)


def rest(chunks: Sequence[Buffer], start: int) -> Buffer:
    """Return what follows the first ``start`` bytes of some chunks, in memory of its own."""
    for index, chunk in enumerate(chunks):
        if start < len(chunk):
            return b"".join([memoryview(chunk)[start:], *chunks[index + 1 :]])
        start -= len(chunk)
    return b""
