"""Transactions on SQLite and PostgreSQL that behave the same.

A writer takes its lock first and waits for others; a reader sees one moment of the store and waits
for nobody. Once fenced, a writer's transaction also holds the lease, so that a controller that
lost it, and does not know yet, changes nothing. What a transaction has changed survives a loss of
power once it is committed, unless it asks for less.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from anabranch.control.store.schema import CONTROLLER, leases, prepare, require_current
from anabranch.errors import EngineError, LeaseLost, StorageError, Unavailable
from anabranch.files import free_bytes

BUSY_TIMEOUT = 10.0
"""Longest time that a writer waits for another, in seconds."""
STALL_TIMEOUT = 10.0
"""How long a transaction may stand still before PostgreSQL ends it, in seconds: a process that is
frozen in the middle of one must not keep the lease from the others."""

_PAUSE = 0.01
"""Time between two tries of what SQLite does not wait for, in seconds."""
_READS = "anabranch_reads"
"""Execution option of connections that only read."""
_FLEETING = "anabranch_fleeting"
"""Execution option of connections whose changes a loss of power may take."""
_NO_ROOM = ("SQLITE_FULL", "SQLITE_READONLY")
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
"""How the names of SQLite's errors begin that say so."""
_TROUBLES = (
    sa.exc.DBAPIError,
    sa.exc.TimeoutError,
    sqlite3.Error,
    UnicodeDecodeError,  # from SQLite, whose message may quote what is damaged
)
WAY_BACK = "`anabranch down` and `anabranch restore FILE --replace` bring back the last backup"
"""What helps where the store's file is damaged."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""The driver where the URL names none."""
_OURS = (
    sa.exc.IntegrityError,
    sa.exc.DataError,
    sa.exc.ProgrammingError,
    sa.exc.NotSupportedError,
)
"""Errors that say that the statement was wrong; all others say that the database is in trouble."""


class Database:
    """A store's database. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._writer = engine
        self._fleeting = engine.execution_options(**{_FLEETING: True})
        self._reader = engine.execution_options(**_reading(engine))
        self._holder: str | None = None

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, create what is missing, migrate what is old; EngineError says what is wrong."""
        database = cls(_connect(url))
        with database._opening(), database.write() as connection:
            prepare(connection)
        return database

    @classmethod
    def existing(cls, url: str) -> Self:
        """Connect to a store that is there, of this version, and change nothing; else EngineError.

        So an engine of another version may run on it.
        """
        database = cls(_connect(url))
        with database._opening(), database.read() as connection:
            require_current(connection)
        return database

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Close the database where what is done within fails; EngineError where it is away."""
        try:
            yield
        except Exception as error:
            self.close()
            if isinstance(error, Unavailable):
                raise EngineError(f"cannot open the store: {error}") from error
            raise

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()

    def fence(self, holder: str) -> None:
        """From now on every write needs the lease to be this holder's."""
        self._holder = holder

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment and takes no lock that a writer waits for."""
        with self._known_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, fenced: bool = True, durable: bool = True) -> Iterator[Connection]:
        """A transaction that changes all that it wants to, or nothing where anything is raised.

        LeaseLost if another holds the lease; Unavailable if the database cannot be reached, and
        StorageError if its disk takes nothing. A loss of power may take what is not ``durable``
        (SQLite), and nothing else with it.
        """
        engine = self._writer if durable else self._fleeting
        with self._known_errors(), engine.begin() as connection:
            if fenced and self._holder is not None:
                _check_lease(connection, self._holder)
            yield connection

    def checkpoint(self) -> None:
        """Bring what was committed from SQLite's write-ahead log into its file, as far as nobody
        reads what was there before; PostgreSQL does so by itself.
        """
        if self._writer.dialect.name != "sqlite":
            return
        with self._known_errors(), self._writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)").close()

    @contextmanager
    def _known_errors(self) -> Iterator[None]:
        try:
            yield
        except _OURS:
            raise
        except _TROUBLES as error:
            cause = getattr(error, "orig", None) or error
            raise _trouble(cause, self._writer.url) from error


def put_row(
    connection: Connection, table: sa.Table, place: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Give the row whose key columns are as in ``place`` other values; insert it if there is none.

    The row stays the same one, for which other writers wait.
    """
    if not connection.execute(table.update().filter_by(**place).values(**values)).rowcount:
        connection.execute(table.insert().values(**place, **values))


def _trouble(cause: BaseException, url: URL) -> Unavailable:
    """The error for a database that does not do what it should; the URL may hold a password."""
    text = " ".join(str(cause).split())
    kind = getattr(cause, "sqlite_errorname", "")
    if url.database and kind.startswith(_NO_ROOM):
        file = Path(url.database)
        free = free_bytes(file.parent)
        return StorageError(
            f"the store takes no change: {text}; {file.parent} has {free:,} bytes free"
        )
    if kind.startswith(DAMAGED):
        text = f"{text}: {url.database} is damaged; {WAY_BACK}"
    return Unavailable(f"the store does not answer: {text}")


def _check_lease(connection: Connection, holder: str) -> None:
    """Hold the lease's row until the transaction ends: nobody takes it over before."""
    row = sa.select(leases.c.holder).where(leases.c.name == CONTROLLER).with_for_update(read=True)
    if connection.scalar(row) != holder:
        raise LeaseLost("another controller holds the store, or none does yet; try again")


def _connect(url: str) -> Engine:
    try:
        parsed = sa.make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        engine = sa.create_engine(parsed, pool_pre_ping=True, **_pool(parsed))
    except (sa.exc.ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise EngineError(f"cannot open the store: {error}") from error
    except ImportError as error:
        raise EngineError(
            f"cannot open the store: {error}; for PostgreSQL: pip install 'anabranch[postgres]'"
        ) from error
    _CONFIGURE.get(engine.dialect.name, _refuse)(engine, parsed)
    return engine


def sqlite_file(url: str, folder: Path) -> Path | None:
    """The file of SQLite at ``url``, which may be relative to ``folder``; None for other databases
    and for a URL that is none, which ``Database.open`` refuses.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return folder / str(parsed.database) if is_file else None


def _pool(url: URL) -> dict[str, Any]:
    """Never wait for a connection: who waits may hold one that the others wait for."""
    is_in_memory = url.get_backend_name() == "sqlite" and not url.database
    return {} if is_in_memory else {"max_overflow": -1}


def _refuse(engine: Engine, url: URL) -> None:
    raise EngineError(
        f"cannot open the store: {engine.dialect.name} is not supported; use a URL that begins "
        "with sqlite:/// or postgresql://"
    )


def _use_sqlite(engine: Engine, url: URL) -> None:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)


def _use_postgresql(engine: Engine, url: URL) -> None:
    sa.event.listen(engine, "connect", _configure_postgresql)


_CONFIGURE = {"sqlite": _use_sqlite, "postgresql": _use_postgresql}


def _reading(engine: Engine) -> dict[str, Any]:
    """Execution options of readers. In SQLite's WAL mode every reader sees one moment anyway."""
    if engine.dialect.name == "postgresql":
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {_READS: True}


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    _use_wal(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """Let readers and a writer go side by side.

    For this change alone SQLite does not wait: it takes over a lock that others hold only for a
    moment, and says at once that the database is locked.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _begin_sqlite(connection: Connection) -> None:
    """Let a writer take its lock at once: one that starts as a reader cannot wait for it later."""
    options = connection.get_execution_options()
    if options.get(_READS, False):
        connection.exec_driver_sql("BEGIN")
        return
    level = "NORMAL" if options.get(_FLEETING, False) else "FULL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _configure_postgresql(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {int(BUSY_TIMEOUT * 1000)}")
    cursor.execute(f"SET idle_in_transaction_session_timeout = {int(STALL_TIMEOUT * 1000)}")
    cursor.close()
    connection.commit()
