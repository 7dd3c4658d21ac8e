"""Is a store's SQLite file what it was? Asked before an engine begins to write to it.

SQLite itself tells little: it takes an empty file for a new database, and the damaged part of a
write-ahead log for one that never was.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from anabranch.control.store import wal
from anabranch.control.store.database import DAMAGED, WAY_BACK
from anabranch.errors import EngineError

_MISTAKES = 3
"""Mistakes that are shown, of those that SQLite finds."""
_HEADER = 100
"""Bytes of the shortest database that SQLite does not take for a new one."""
_TIMEOUT_S = 10.0


def require_sound(path: Path) -> list[str]:
    """Raise EngineError if the database at ``path`` is damaged; return warnings.

    A file that is not there is sound, unless it has left its write-ahead log behind.
    """
    log = log_of(path)
    if path.exists() and 0 < path.stat().st_size < _HEADER:
        raise _damage(path, f"it was cut to {path.stat().st_size} bytes")
    if not path.exists():
        if log.exists() and log.stat().st_size:
            raise _damage(path, f"it is missing beside its write-ahead log {log.name}")
        return []
    if wal.unreadable(log):
        raise _damage(
            path,
            f"the header of its write-ahead log {log.name} is damaged, so the newest changes cannot"
            f" be read; to go on without them, move {log.name} away",
        )
    lost = wal.lost_changes(log)
    mistakes = _mistakes(path)
    if mistakes:
        raise _damage(path, "; ".join(mistakes))
    return [_warning(path, lost)] if lost else []


def graphs_in(path: Path) -> int:
    """How many graphs, deleted ones too, the sound database at ``path`` knows; 0 without one."""
    if not path.exists():
        return 0
    with closing(_connect(path)) as connection:
        known = "SELECT count(*) FROM sqlite_master WHERE name = 'graphs'"
        if connection.execute(known).fetchone()[0] == 0:
            return 0
        count: int = connection.execute("SELECT count(*) FROM graphs").fetchone()[0]
        return count


def fold(path: Path) -> None:
    """Bring all of the write-ahead log into the file at ``path``, whose users have all gone.

    sqlite3.Error where that cannot be; the log is as good then.
    """
    if path.exists():
        with closing(_connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def log_of(path: Path) -> Path:
    """The write-ahead log of the database at ``path``."""
    return path.with_name(f"{path.name}-wal")


def _mistakes(path: Path) -> list[str]:
    try:
        with closing(_connect(path)) as connection:
            rows = connection.execute(f"PRAGMA quick_check({_MISTAKES})").fetchall()
    except UnicodeDecodeError as error:  # in the message, which quotes what it has found
        return [error.object.decode(errors="replace")]
    except sqlite3.DatabaseError as error:
        text = " ".join(str(error).split())
        if error.sqlite_errorname.startswith(DAMAGED):
            return [text]
        raise EngineError(f"cannot open the store {path}: {text}") from error
    lines = [line for (text,) in rows for line in str(text).splitlines() if line != "ok"]
    return lines[:_MISTAKES]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_TIMEOUT_S, isolation_level=None)
    connection.text_factory = lambda text: text.decode(errors="replace")  # it may be damaged
    return connection


def _damage(path: Path, reason: str) -> EngineError:
    return EngineError(f"the store {path} is damaged: {reason}; {WAY_BACK}")


def _warning(path: Path, lost: int) -> str:
    changes = "1 change" if lost == 1 else f"{lost} changes"
    return (
        f"{changes} at the end of {log_of(path)} cannot be read, as after a loss of power;"
        f" if there was none, the disk is failing, and {WAY_BACK}"
    )
