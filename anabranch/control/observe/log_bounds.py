"""Keeps the folder of a machine's logs within its bounds, whatever writes into it.

Serve's files of replicas bound themselves; the raw outputs of processes do not, nor does their
number. What processes that have ended left behind is kept for as long as there is room.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from anabranch.telemetry.log_settings import LogBounds

_PROCESSES = Path("/proc")
_BLOCK = 512
"""Bytes of the blocks in which the system tells the sizes of files."""

File: TypeAlias = tuple[int, int]
"""A file by the numbers of its device and its own on that."""


class _Log(NamedTuple):
    written_at: float
    path: Path
    size: int
    file: File


def keep_within(folder: Path, bounds: LogBounds) -> None:
    """Empty the files that are too large, and remove the oldest beyond the total, number or age.

    A file that a process has open is never removed. One that was emptied says how much it held.
    """
    logs = list(_logs(folder))
    for log in logs:
        if log.size > bounds.size:
            _empty(log, bounds.size)
    total, count = sum(min(log.size, bounds.size) for log in logs), len(logs)
    before = time.time() - bounds.age
    ordered = sorted(logs, key=lambda log: log.written_at)
    in_use: frozenset[File] | None = None
    for log in ordered:
        if log.written_at >= before and total <= bounds.total and count <= bounds.files:
            return
        if in_use is None:  # looked up only where something goes
            in_use = _open_files(_PROCESSES)
        if log.file not in in_use:
            log.path.unlink(missing_ok=True)
            total, count = total - log.size, count - 1


def kept_in(folder: Path) -> tuple[int, int, float | None]:
    """Return the number of logs, their bytes, and the Unix time of the one written longest ago."""
    logs = list(_logs(folder))
    oldest = min((log.written_at for log in logs), default=None)
    return len(logs), sum(log.size for log in logs), oldest


def _logs(folder: Path) -> Iterator[_Log]:
    for path in folder.rglob("*"):
        with suppress(OSError):  # it has gone meanwhile
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                size = found.st_blocks * _BLOCK
                yield _Log(found.st_mtime, path, size, (found.st_dev, found.st_ino))


def _empty(log: _Log, most: int) -> None:
    """Empty a file that others append to: they go on at its new end."""
    text = f"{log.size} bytes were left out: a log has at most {most} (ANABRANCH_LOG_SIZE)\n"
    with suppress(OSError):
        os.truncate(log.path, 0)
        with log.path.open("a") as file:
            file.write(text)


def _open_files(processes: Path) -> frozenset[File]:
    """The files that processes of this user have open."""
    return frozenset(_numbers(processes.glob("[0-9]*/fd/*")))


def _numbers(links: Iterable[Path]) -> Iterator[File]:
    for link in links:
        with suppress(OSError):  # the process has ended, or is another user's
            found = link.stat()
            yield found.st_dev, found.st_ino
