"""Features in a table of any database that SQLAlchemy knows.

All values are bound, never written into a statement. Without a ``timestamp`` a table has a row for
each entity. With one it may have several, the table of a history: the latest counts, or for the
past the latest that was there by then.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from anabranch.components.contract import CannotLoad
from anabranch.components.features.keys import Key
from anabranch.components.features.stores import (
    StoredRow,
    StoredRows,
    StoreOptions,
    unknown_columns,
)
from anabranch.components.features.threads import THREADS, ThreadedStore
from anabranch.components.features.values import unix_seconds
from anabranch.errors import Unavailable

T = TypeVar("T")

MOST_VALUES = 10_000
"""Most values that one statement binds; databases have limits from 32,766 on."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""The driver where the URL names none."""
_BITS = ((sa.SmallInteger, 16), (sa.BigInteger, 64), (sa.Integer, 32))
"""Bits of whole numbers in PostgreSQL, which refuses a statement with more; others compare them."""
_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


class SqlStore(ThreadedStore):
    """A table, or a view, whose key columns are called as the inputs of the node."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._engine = _engine(options)
        super().__init__(options.node)
        self._reading = threading.Lock()
        self._known: _FeatureTable | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Let the threads go, and close the connections; those in use once their calls end."""
        await super().close()
        self._is_closed = True
        self._engine.pool.dispose()

    def _open(self) -> None:
        _ = self._table

    @property
    def _table(self) -> _FeatureTable:
        with self._reading:
            if self._known is None:
                table = _reflected(self._engine, self._options)
                self._known = _FeatureTable(table, self._options, self._engine.dialect.name)
            return self._known

    def _fetch(self, keys: Sequence[Key]) -> StoredRows:
        table = self._table
        given = [table.converted(key) for key in keys]
        found: dict[Key, StoredRow] = {}
        for part in table.parts(key for key in given if key is not None):
            for row in self._rows(table.latest(part)):
                found[table.key_of(row)] = table.stored(row)
        return [None if key is None else found.get(key) for key in given]

    def _as_of(self, keys: Sequence[Key], times: Sequence[float]) -> StoredRows:
        table = self._table
        given = [table.converted(key) for key in keys]
        history: dict[Key, list[tuple[float, StoredRow]]] = {}
        wanted = dict.fromkeys(key for key in given if key is not None)
        for part in table.parts(wanted):
            for row in self._rows(table.until(part, max(times))):
                stored = table.stored(row)
                history.setdefault(table.key_of(row), []).append((stored.at or 0.0, stored))
        return [_latest(history.get(key, ()) if key is not None else (), at)
                for key, at in zip(given, times, strict=True)]  # fmt: skip

    def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Run a statement; once more where its connection had been closed meanwhile."""
        for last in (False, True):
            try:
                with self._engine.connect() as connection:
                    return connection.execute(statement).all()
            except sa.exc.DBAPIError as error:
                if last or not error.connection_invalidated:
                    raise
        raise AssertionError

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except _AWAY as error:
            cause = getattr(error, "orig", None) or error
            text = " ".join(str(cause).split())[:300]
            raise Unavailable(f"the database does not answer: {text}") from None
        finally:
            if self._is_closed:
                self._engine.pool.dispose()


class _FeatureTable:
    """The columns of a table that a lookup needs, and the statements on them."""

    def __init__(self, table: sa.Table, options: StoreOptions, backend: str) -> None:
        place, known = f"table {options.table!r}", list(table.c.keys())
        asked = (*options.entities, *options.refs, *filter(None, [options.timestamp]))
        missing = [name for name in asked if name not in table.c]
        if missing:
            raise CannotLoad(unknown_columns(missing, known, place))
        self._keys = [table.c[name] for name in options.entities]
        self._features = [table.c[name] for name in options.refs]
        self._at = None if options.timestamp is None else table.c[options.timestamp]
        self._to_key = [_to_key(column, backend) for column in self._keys]
        self._to_time = None if self._at is None else _to_time(self._at)
        self._timed = [] if self._at is None else [self._at]

    def converted(self, key: Key) -> Key | None:
        """Return a key as the columns have it; None where no row can have such a key."""
        try:
            return tuple(to(part) for to, part in zip(self._to_key, key, strict=True))
        except (ValueError, ArithmeticError):
            return None

    def parts(self, keys: Iterable[Key]) -> Iterator[list[Key]]:
        """Yield keys in parts for one statement each: nearly always there is one."""
        left = list(keys)
        most = max(1, MOST_VALUES // len(self._keys))
        return (left[start : start + most] for start in range(0, len(left), most))

    def latest(self, keys: Sequence[Key]) -> sa.Select[Any]:
        """Return the statement for the rows of entities as they are now."""
        if self._at is None:
            return self._selected(self._columns, keys)
        place = sa.func.row_number().over(partition_by=self._keys, order_by=self._at.desc())
        ranked = self._selected([*self._columns, place.label("place_")], keys).subquery()
        return sa.select(*list(ranked.c)[:-1]).where(ranked.c["place_"] == 1)

    def until(self, keys: Sequence[Key], time: float) -> sa.Select[Any]:
        """Return the statement for all rows of entities up to a time, in order of time."""
        if self._at is None or self._to_time is None:
            raise CannotLoad("a table without the argument `timestamp` does not know the past")
        return (
            self._selected(self._columns, keys)
            .where(self._at <= self._to_time(time))
            .order_by(self._at)
        )

    def key_of(self, row: Sequence[Any]) -> Key:
        """Return the key of a row."""
        return tuple(row[: len(self._keys)])

    def stored(self, row: Sequence[Any]) -> StoredRow:
        """Return the features and the time of a row."""
        *values, at = row[len(self._keys) :] if self._timed else (*row[len(self._keys) :], None)
        return StoredRow(tuple(values), None if at is None else unix_seconds(at))

    @property
    def _columns(self) -> list[Any]:
        """Keys, features, time: labelled by place, for a column may be asked for twice."""
        every = [*self._keys, *self._features, *self._timed]
        return [column.label(f"c{place}") for place, column in enumerate(every)]

    def _selected(self, columns: Sequence[Any], keys: Sequence[Key]) -> sa.Select[Any]:
        if len(self._keys) == 1:
            return sa.select(*columns).where(self._keys[0].in_([key[0] for key in keys]))
        return sa.select(*columns).where(sa.tuple_(*self._keys).in_(keys))


def _latest(history: Sequence[tuple[float, StoredRow]], time: float) -> StoredRow | None:
    place = bisect_right(history, time, key=lambda each: each[0])
    return history[place - 1][1] if place else None


def _to_key(column: sa.Column[Any], backend: str) -> Callable[[Any], Any]:
    """Return how a key's part becomes a value of the column; it raises ValueError if it cannot.

    What a column cannot hold is the key of no row, and no mistake of the statement.
    """
    try:
        python = column.type.python_type
    except NotImplementedError:
        return lambda part: part
    if python is str:
        return _to_text
    if python is int:
        known = _BITS if backend == "postgresql" else ()
        bits = next((bits for kind, bits in known if isinstance(column.type, kind)), 64)
        return lambda part: _to_whole(part, bits)
    return python


def _to_text(part: str | int) -> str:
    text = str(part)
    if "\0" in text:
        raise ValueError("databases hold no NUL")
    return text


def _to_whole(part: str | int, bits: int) -> int:
    number = int(part)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(f"{number} has more than {bits} bits")
    return number


def _to_time(column: sa.Column[Any]) -> Callable[[float], Any]:
    """Return how Unix seconds become a value of a column of times."""
    try:
        python = column.type.python_type
    except NotImplementedError:
        python = str
    if issubclass(python, datetime):
        zone = getattr(column.type, "timezone", False)
        return lambda time: _moment(time) if zone else _moment(time).replace(tzinfo=None)
    if issubclass(python, date):
        return lambda time: _moment(time).date()
    if python is str:
        raise CannotLoad(f"column {column.name!r} holds texts; a time is a date, or Unix seconds")
    return lambda time: time


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def _engine(options: StoreOptions) -> sa.Engine:
    try:
        url = sa.make_url(options.url)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        if url.get_backend_name() == "sqlite":
            url = _read_only(url, options.root)
        return sa.create_engine(
            url, pool_size=THREADS, max_overflow=0, pool_timeout=options.seconds,
            connect_args=_connect(url.get_backend_name(), options.seconds),
        )  # fmt: skip
    except (sa.exc.ArgumentError, ValueError) as error:
        raise CannotLoad(f"the URL of the database cannot be read: {error}") from None
    except ImportError as error:
        raise CannotLoad(f"{error}; for PostgreSQL: pip install 'anabranch[postgres]'") from None


def _read_only(url: sa.URL, root: Path) -> sa.URL:
    """Return the URL of a file of SQLite, relative to the spec, which a reader never makes."""
    if not url.database:
        raise CannotLoad("a lookup in SQLite needs a file: sqlite:///features.db")
    file = quote(str((root / url.database).absolute()))
    return url.set(database=f"file:{file}", query={"mode": "ro", "uri": "true"})


def _connect(backend: str, seconds: float) -> dict[str, Any]:
    """Return what keeps the driver from waiting longer than a call may take."""
    if backend == "postgresql":
        return {
            "connect_timeout": max(2, math.ceil(seconds)),
            "options": f"-c statement_timeout={math.ceil(seconds * 1000)}",
        }
    return {"timeout": seconds} if backend == "sqlite" else {}


def _reflected(engine: sa.Engine, options: StoreOptions) -> sa.Table:
    schema, _, name = str(options.table).rpartition(".")
    try:
        return sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=engine)
    except sa.exc.NoSuchTableError:
        there = ", ".join(sorted(sa.inspect(engine).get_table_names(schema or None))[:10])
        raise CannotLoad(
            f"there is no table {options.table!r} (available: {there or 'none'})"
        ) from None
