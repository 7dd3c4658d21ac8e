from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from anabranch.control.store.wal import lost_changes, unreadable

HEADER, FRAME = 32, 24 + 512


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A database with small pages, whose log is not brought into it when it is closed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (x)")
        yield connection


def logged(folder: Path, changes: int) -> Path:
    """The log of some one-page transactions beside its database, as a killed process leaves it."""
    with writing(folder / "live.db") as connection:
        for number in range(changes):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        shutil.copy(folder / "live.db", folder / "store.db")
        return Path(shutil.copy(folder / "live.db-wal", folder / "store.db-wal"))


def read(folder: Path) -> int:
    """How many changes SQLite finds."""
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return connection.execute("SELECT count(*) FROM t").fetchone()[0] if tables else -1


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_a_log_as_sqlite_writes_it_is_whole(tmp_path: Path) -> None:
    log = logged(tmp_path, 20)
    assert (unreadable(log), lost_changes(log)) == (False, 0)
    assert read(tmp_path) == 20


@pytest.mark.parametrize("at", range(HEADER))
def test_a_header_with_any_byte_changed_is_found_where_sqlite_reads_nothing(
    tmp_path: Path, at: int
) -> None:
    log = logged(tmp_path, 3)
    flip(log, at, bit=at % 8)
    assert unreadable(log)
    assert read(tmp_path) < 3


@pytest.mark.parametrize("part", [0, 3, 8, 17, 24, 535])
def test_changes_behind_a_damaged_frame_are_counted(tmp_path: Path, part: int) -> None:
    log = logged(tmp_path, 20)
    frames = (log.stat().st_size - HEADER) // FRAME
    flip(log, HEADER + (frames - 5) * FRAME + part)
    # A frame with another salt ends the log: it may be what a former log has left.
    assert lost_changes(log) == (0 if part == 8 else 4)
    assert read(tmp_path) == 15


@pytest.mark.parametrize("left", [0, 10, HEADER, HEADER + 10, HEADER + FRAME, HEADER + 3 * FRAME])
def test_a_log_that_was_cut_ends_there_as_after_a_crash(tmp_path: Path, left: int) -> None:
    log = logged(tmp_path, 20)
    log.write_bytes(log.read_bytes()[:left])
    assert (unreadable(log), lost_changes(log)) == (False, 0)


def test_zeros_are_what_a_crash_leaves_of_a_new_log(tmp_path: Path) -> None:
    log = logged(tmp_path, 3)
    log.write_bytes(bytes(log.stat().st_size))
    assert (unreadable(log), lost_changes(log)) == (False, 0)


def test_frames_of_a_former_log_are_no_loss(tmp_path: Path) -> None:
    with writing(tmp_path / "live.db") as connection:
        for number in range(20):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("INSERT INTO t VALUES (20)")
        shutil.copy(tmp_path / "live.db", tmp_path / "store.db")
        log = Path(shutil.copy(tmp_path / "live.db-wal", tmp_path / "store.db-wal"))
    assert log.stat().st_size > 10 * FRAME
    assert (unreadable(log), lost_changes(log)) == (False, 0)
    assert read(tmp_path) == 21


def test_no_log_is_no_damage(tmp_path: Path) -> None:
    assert (unreadable(tmp_path / "x-wal"), lost_changes(tmp_path / "x-wal")) == (False, 0)
