"""Damage in SQLite's write-ahead log that SQLite takes for the log's end, without a word.

SQLite reads a log up to the first frame whose checksum is wrong, since a crash leaves such an end;
one whose header is wrong it does not read at all. The format: https://sqlite.org/fileformat2.html,
section 4. Integers are big-endian; checksums are sums over 32-bit words, in the byte order that the
magic number tells.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER, _FRAME = 32, 24
_MAGIC = 0x377F0682
"""Of logs with little-endian checksums; the last bit is set in those with big-endian ones."""
_WORD = 2**32


@dataclass(frozen=True)
class Log:
    """A log's bytes, and what its header says."""

    data: bytes
    order: str
    page: int
    salt: bytes
    sums: tuple[int, int]


def unreadable(path: Path) -> bool:
    """Return whether SQLite would ignore the log at ``path`` because its header is damaged.

    A log of zeros is none: it is what a crash leaves of a new one.
    """
    data = path.read_bytes() if path.exists() else b""
    return len(data) >= _HEADER and any(data[:_HEADER]) and _log(data) is None


def lost_changes(path: Path) -> int:
    """Return how many transactions in the log at ``path`` SQLite does not read, because a frame
    before them is damaged.

    A loss of power may leave some, which nobody was told of.
    """
    log = _log(path.read_bytes()) if path.exists() else None
    return 0 if log is None else sum(_commits(log))


def _log(data: bytes) -> Log | None:
    """The log whose header has the right checksum; None without one."""
    if len(data) < _HEADER:
        return None
    magic, _version, page = struct.unpack_from(">3I", data)
    order = ">" if magic & 1 else "<"
    sums = _sum(order, data[:24], (0, 0))
    if magic & ~1 != _MAGIC or sums != struct.unpack_from(">2I", data, 24):
        return None
    return Log(data, order, page, data[16:24], sums)


def _commits(log: Log) -> Iterator[bool]:
    """Whether each frame after the first damaged one, of this log and no former, is a commit."""
    sums, good = log.sums, True
    size = _FRAME + log.page
    for at in range(_HEADER, len(log.data) - size + 1, size):
        frame = log.data[at : at + size]
        _number, committed = struct.unpack_from(">2I", frame)
        ours = frame[8:16] == log.salt
        if good:
            sums = _sum(log.order, frame[:8] + frame[_FRAME:], sums)
            good = ours and sums == struct.unpack_from(">2I", frame, 16)
            if not good and not ours:
                return  # what a former log has left
        else:
            yield ours and committed > 0


def _sum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for low, high in zip(words[::2], words[1::2], strict=True):
        first = (first + low + second) % _WORD
        second = (second + high + first) % _WORD
    return first, second
