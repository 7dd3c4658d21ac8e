"""The request log in files, as JSON lines: an event a line.

Every file can be read at any time: what is written is whole lines, and they are with the operating
system when ``send`` returns, so a process that dies loses nothing of them. The file in progress is
locked, which says to others (routers of the same graph, also of an engine that is being replaced)
that it is neither to be deleted nor to be converted; the lock goes with the process.

With the format Parquet a file is converted when it is complete, or by whoever finds it left behind.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from anabranch.router.request_log import parquet
from anabranch.router.request_log.parquet import JSONL, PARQUET

Format: TypeAlias = Literal["jsonl", "parquet"]

MAX_EVENT = 8 * 2**20
_WRITE = 2**20
"""Bytes that are gathered for one write."""
_CLOSING_S = 5.0
"""Longest time that closing waits for a conversion; what is not converted stays JSON lines."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

logger = logging.getLogger("anabranch.telemetry")


@dataclass(frozen=True)
class Rotation:
    """When a file is complete, and how much is kept; sizes in bytes, times in seconds."""

    size: int = 64 * 2**20
    age: float = 3600.0
    total: int = 2**30
    """Of all files of the graph: beyond, the oldest are deleted."""


class Files:
    """Files ``<prefix>-<start>.jsonl`` in a folder, one after the other; a ``Sink``."""

    most = MAX_EVENT

    def __init__(
        self,
        folder: Path,
        prefix: str,
        format: Format = "jsonl",
        rotation: Rotation | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._prefix = _UNSAFE.sub("_", prefix)
        self._format = format
        self._rotation = rotation or Rotation()
        self._clock = clock
        self._file: _Lines | None = None
        self._conversion = _Repeated(self._convert, "anabranch-parquet")
        if format == "parquet":
            parquet.library()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._complete()

    def send(self, events: Iterable[bytes]) -> int:
        """Write events; OSError if none could be written."""
        written = 0
        for lines in _gathered(events):
            try:
                self._current().write(b"".join(lines))
            except OSError:
                if not written:
                    raise
                break
            written += len(lines)
        return written

    def close(self) -> None:
        """Close the file in progress."""
        self._end()
        self._conversion.join(_CLOSING_S)

    def _current(self) -> _Lines:
        file, rotation = self._file, self._rotation
        if file is not None and (
            file.size >= rotation.size or self._clock() - file.started >= rotation.age
        ):
            self._end()
            file = None
        if file is None:
            file = self._file = _Lines(self._folder, self._prefix, self._clock())
        return file

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._complete()

    def _complete(self) -> None:
        """Do what is due with files that are complete, on a thread of its own if it takes long."""
        if self._format == "parquet":
            self._conversion.ask()
        prune(self._folder, self._rotation.total)

    def _convert(self) -> None:
        revision = self._prefix.partition("-")[0]
        for path in sorted(self._folder.glob(f"{revision}-*{JSONL}")):
            try:
                with unlocked(path) as free:
                    if free:
                        _finish(path)
            except Exception:
                logger.exception("%s stays JSON lines", path)


def _finish(path: Path) -> None:
    """Convert a complete file.

    An empty one is deleted: its writer may be about to lock it, and begins it again then.
    """
    if path.stat().st_size:
        parquet.convert(path)
    else:
        path.unlink()


class _Repeated:
    """Work on a thread of its own; asked for while it is being done, it is done once more."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._name = name
        self._lock = threading.Lock()
        self._due = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have the work done, from its start, after this call."""
        with self._lock:
            self._due = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for what was asked for, but no longer than this."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        while self._is_due():
            self._work()

    def _is_due(self) -> bool:
        with self._lock:
            due, self._due = self._due, False
            if not due:
                self._thread = None
        return due


class _Lines:
    """A file in progress."""

    def __init__(self, folder: Path, prefix: str, now: float) -> None:
        self.started = now
        self.size = 0
        start = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._descriptor = _locked(folder / f"{prefix}-{start}{JSONL}")
        self.size = os.fstat(self._descriptor).st_size

    def write(self, data: bytes) -> None:
        """Append whole lines; where that fails, as on a full disk, nothing of them is left."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        os.close(self._descriptor)


def _locked(path: Path) -> int:
    """Open a file to append to, with its lock.

    Between the two, others may take it for one that is complete, and delete it: then, again.
    """
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _gathered(events: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Events as lines, in lists of about as many bytes as are written at once."""
    lines: list[bytes] = []
    size = 0
    for event in events:
        lines.append(event + b"\n")
        size += len(event)
        if size >= _WRITE:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


@contextmanager
def unlocked(path: Path) -> Iterator[bool]:
    """Hold the lock of a file: False if somebody else has it, or the file is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def prune(folder: Path, total: int) -> None:
    """Delete the oldest complete files of a folder until the others fit into ``total`` bytes."""
    found = sorted(
        (status.st_mtime, status.st_size, path)
        for path in folder.iterdir()
        if path.suffix in (JSONL, PARQUET) and (status := _status(path)) is not None
    )
    left = sum(size for _, size, _ in found)
    for _, size, path in found:
        if left <= total:
            return
        with unlocked(path) as free:
            if free:
                path.unlink(missing_ok=True)
                left -= size
                logger.info("request log: %s was deleted, to keep within %d bytes", path, total)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
