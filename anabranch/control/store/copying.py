"""Copies a store, row by row, between databases of any kind that a store can be in."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.store.database import Database
from anabranch.control.store.schema import graphs, tables
from anabranch.errors import EngineError

_BATCH = 500
"""Rows that are in memory at a time."""


def copy_store(source: str, target: str, *, replace: bool) -> None:
    """Copy the store at a URL, as it is at one moment, into the one at another, which is made.

    With ``replace`` that takes the place of a store with graphs. EngineError without, for a store
    of another version of anabranch, and where a database cannot be used.
    """
    origin = Database.existing(source)
    try:
        copy = Database.open(target)
        try:
            with origin.read() as reader, copy.write() as writer:
                _require_empty(writer, replace)
                _copy(reader, writer)
        finally:
            copy.close()
    finally:
        origin.close()


def require_empty(url: str) -> None:
    """Raise EngineError if the store at a URL has graphs."""
    database = Database.open(url)
    try:
        with database.read() as connection:
            _require_empty(connection, False)
    finally:
        database.close()


def _require_empty(connection: Connection, replace: bool) -> None:
    found = connection.scalars(sa.select(graphs.c.name).where(graphs.c.state != "deleted"))
    if not replace and (names := found.fetchmany(5)):
        raise EngineError(
            f"the store has graphs ({', '.join(names)}, …): restore into another database; "
            "--replace removes them"
        )


def _copy(reader: Connection, writer: Connection) -> None:
    for table in reversed(tables.sorted_tables):
        writer.execute(table.delete())
    for table in tables.sorted_tables:
        rows = reader.execution_options(yield_per=_BATCH).execute(sa.select(table)).mappings()
        for batch in rows.partitions():
            writer.execute(table.insert(), [dict(row) for row in batch])
        _count_on(writer, table)


def _count_on(connection: Connection, table: sa.Table) -> None:
    """Have PostgreSQL number the next row of a table as if it had numbered those in it."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    last = connection.scalar(sa.select(sa.func.max(column)))
    sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
    if last is not None:
        connection.execute(sa.select(sa.func.setval(sequence, last)))
