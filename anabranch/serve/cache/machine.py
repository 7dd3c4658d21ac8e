"""Answers in a file of the machine, which the replicas of a revision share: SQLite without syncing.

Reads are made on the event loop, some microseconds each, and never wait for a writer (SQLite's
write-ahead log). The file is empty when a first replica opens it, and is removed with the last:
each holds a shared lock, which is gone with its process however that ends. A file that nobody holds
any more is swept by whoever opens or closes one beside it, and so is the file of its lock: one lock
of the folder is held by whoever looks for the others.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from anabranch.components.artefacts.locks import locked, try_lock
from anabranch.errors import ArtefactError
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.store import AnswerStore, AnswerWrite, KeptAnswer
from anabranch.serve.cache.wire import Digest

OPENING_S = 10.0
"""Longest wait for other replicas that open files in the folder."""
_CLOSING_S = 2.0
"""Longest wait for them before what nobody has a share of is left to the next one."""
_WRITE_S = 2.0
"""Longest wait of a writer for another, in another process."""
_LOG_BYTES = 8 * 2**20
"""Bytes of SQLite's write-ahead log that are kept once their pages are in the file."""
_SUFFIX, _SHARE, _FOLDER = ".answers", ".lock", "folder"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, expires REAL NOT NULL, used REAL NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON answers (used);
CREATE INDEX IF NOT EXISTS by_end ON answers (expires);
"""


class MachineStore(AnswerStore):
    """The answers of one cache, of ``size`` bytes at most; the least recently used leave first.

    The file is ``folder/name.answers``. Times are on the machine's monotonic clock. Blocks while it
    is opened; OSError, sqlite3.Error or ArtefactError where that fails.
    """

    def __init__(self, folder: Path, name: str, size: int, ttl: float, counts: CacheCounts) -> None:
        super().__init__(ttl, size, counts)
        self._path = folder / f"{name}{_SUFFIX}"
        self._size = size
        self._touched = max(1.0, ttl / 16)
        """Seconds after which another use of an answer is worth a write."""
        self._writer: sqlite3.Connection | None = None
        with locked(folder / _FOLDER, time.monotonic() + OPENING_S):
            _sweep(folder)
            self._share = _shared(self._path)
            try:
                self._reader = _connection(self._path)
                self._reader.executescript(_SCHEMA)
                self._reader.execute("PRAGMA busy_timeout = 0")  # it is the event loop that waits
            except BaseException:
                os.close(self._share)
                raise

    async def _read(self, key: Digest) -> KeptAnswer | None:
        try:
            found = self._reader.execute(
                "SELECT data, expires, used FROM answers WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error:
            self._counts.failed()
            return None
        now = time.monotonic()
        if found is None or found[1] <= now:
            return None
        data, expires, used = found
        if now - used > self._touched:
            self._outlet.offer(AnswerWrite(key, now))
        return KeptAnswer(data, expires - now)

    async def close(self) -> None:
        """Write what is left, for two seconds at most, and remove the file if nobody shares it."""
        await super().close()
        self._reader.close()
        if self._writer is not None:
            self._writer.close()
        os.close(self._share)
        await asyncio.to_thread(_swept, self._path.parent)

    def _write(self, writes: Sequence[AnswerWrite]) -> None:
        if self._writer is None:
            self._writer = _connection(self._path)
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            self._written(writer, writes)
            writer.execute("COMMIT")
        finally:
            if writer.in_transaction:
                writer.execute("ROLLBACK")

    def _written(self, writer: sqlite3.Connection, writes: Sequence[AnswerWrite]) -> None:
        answers = [(w.key, w.at + self._ttl, w.at, w.data) for w in writes if w.data is not None]
        uses = [(w.at, w.key) for w in writes if w.data is None]
        writer.execute("DELETE FROM answers WHERE expires <= ?", (time.monotonic(),))
        writer.executemany("UPDATE answers SET used = ? WHERE key = ?", uses)
        writer.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", answers)
        excess = _taken(writer) - self._size
        if excess > 0:
            gone = list(_oldest(writer, excess))
            writer.executemany("DELETE FROM answers WHERE key = ?", gone)
            self._counts.evicted(len(gone))
        self._counts.holds(_taken(writer))


def _oldest(writer: sqlite3.Connection, size: int) -> Iterator[tuple[Digest]]:
    """Yield the least recently used answers that take so many bytes together."""
    for key, length in writer.execute("SELECT key, length(data) FROM answers ORDER BY used"):
        if size <= 0:
            return
        size -= length
        yield (key,)


def _connection(path: Path) -> sqlite3.Connection:
    found = sqlite3.connect(path, _WRITE_S, isolation_level=None, check_same_thread=False)
    found.execute("PRAGMA journal_mode = WAL")
    found.execute("PRAGMA synchronous = OFF")
    found.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    return found


def _taken(connection: sqlite3.Connection) -> int:
    """Return the bytes of all pages that hold something."""
    asked = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA {one}").fetchone()[0] for one in asked)
    return int((pages - free) * size)


def _shared(path: Path) -> int:
    """Return a share of a file, whose folder is locked."""
    share = try_lock(path.with_suffix(_SHARE), shared=True)
    assert share is not None, "only who has the folder's lock holds one alone"
    return share


def _swept(folder: Path) -> None:
    with suppress(ArtefactError), locked(folder / _FOLDER, time.monotonic() + _CLOSING_S):
        _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove the files that nobody has a share of; the folder is locked."""
    for lock in folder.glob(f"*{_SHARE}"):
        alone = try_lock(lock)
        if alone is not None:
            for end in ("", "-wal", "-shm"):
                lock.with_name(f"{lock.stem}{_SUFFIX}{end}").unlink(missing_ok=True)
            lock.unlink()
            os.close(alone)
