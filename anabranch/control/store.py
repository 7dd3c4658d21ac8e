"""The store: what should run. Graphs, their immutable revisions, and an append-only event log.

SQLite in the engine's home by default, any SQLAlchemy URL otherwise. Every method is one
transaction; writers take their lock first, so two of them never number the same revision.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from anabranch.errors import EngineError, NotFound

SCHEMA_VERSION = 1
BUSY_TIMEOUT = 10.0
"""Longest time that a writer waits for another, in seconds."""

_READS = "anabranch_reads"
"""Execution option of connections that only read."""

RevisionState = Literal["pending", "deploying", "live", "failed", "retired"]
GraphState = Literal["present", "deleting", "deleted"]

_tables = sa.MetaData()
_schema = sa.Table("anabranch_schema", _tables, sa.Column("version", sa.Integer, primary_key=True))
_graphs = sa.Table(
    "graphs",
    _tables,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("live", sa.Integer),
    sa.Column("created_at", sa.Float, nullable=False),
)
_revisions = sa.Table(
    "revisions",
    _tables,
    sa.Column("graph", sa.ForeignKey("graphs.name"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
)
_events = sa.Table(
    "events",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("graph", sa.String(63), nullable=False, index=True),
    sa.Column("revision", sa.Integer),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Graph:
    """A graph by name; ``live`` is the revision that answers, None before the first."""

    name: str
    state: GraphState
    live: int | None
    created_at: float


@dataclass(frozen=True)
class Revision:
    """One deployed version of a graph. Only ``state`` and ``reason`` ever change."""

    graph: str
    number: int
    spec: str
    digest: str
    author: str
    message: str
    created_at: float
    state: RevisionState
    reason: str


@dataclass(frozen=True)
class Event:
    """Something that happened; ``id`` only grows, ``at`` is Unix time."""

    id: int
    at: float
    graph: str
    revision: int | None
    kind: str
    message: str


class Store:
    """Desired state, kept in a database. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, and create what is missing; EngineError if the store is of another version."""
        engine = _connect(url)
        with engine.begin() as connection:
            _tables.create_all(connection)
            version = connection.scalar(sa.select(sa.func.max(_schema.c.version)))
            if version is None:
                connection.execute(_schema.insert().values(version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise EngineError(
                    f"the store is of schema version {version}, this anabranch reads "
                    f"{SCHEMA_VERSION}"
                )
        return cls(engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def graphs(self) -> list[Graph]:
        """All graphs but the deleted ones, by name."""
        query = sa.select(_graphs).where(_graphs.c.state != "deleted").order_by(_graphs.c.name)
        with self._read() as connection:
            return [Graph(**row) for row in connection.execute(query).mappings()]

    def graph(self, name: str) -> Graph:
        """The graph of that name, deleted or not; NotFound lists the others."""
        with self._read() as connection:
            return _graph(connection, name)

    def revisions(self, name: str) -> list[Revision]:
        """Revisions of a graph, newest first."""
        query = sa.select(_revisions).where(_revisions.c.graph == name)
        with self._read() as connection:
            rows = connection.execute(query.order_by(_revisions.c.number.desc())).mappings()
            return [Revision(**row) for row in rows]

    def revision(self, name: str, number: int) -> Revision:
        """One revision; NotFound names the ones there are."""
        with self._read() as connection:
            return _revision(connection, name, number)

    def unsettled(self) -> dict[str, list[Revision]]:
        """Revisions that are live or on their way, oldest first, of every graph not deleted."""
        query = (
            sa.select(_graphs.c.name, _revisions)
            .outerjoin(
                _revisions,
                sa.and_(
                    _revisions.c.graph == _graphs.c.name,
                    _revisions.c.state.in_(("pending", "deploying", "live")),
                ),
            )
            .where(_graphs.c.state == "present")
            .order_by(_revisions.c.number)
        )
        found: dict[str, list[Revision]] = {}
        with self._read() as connection:
            for row in connection.execute(query).mappings():
                kept = found.setdefault(row["name"], [])
                if row["number"] is not None:
                    kept.append(
                        Revision(**{column.name: row[column.name] for column in _revisions.c})
                    )
        return found

    def events(self, graph: str | None = None, after: int = 0, limit: int = 100) -> list[Event]:
        """Events with an id above ``after``, oldest first, at most ``limit``."""
        query = sa.select(_events).where(_events.c.id > after).order_by(_events.c.id).limit(limit)
        if graph is not None:
            query = query.where(_events.c.graph == graph)
        with self._read() as connection:
            return [Event(**row) for row in connection.execute(query).mappings()]

    def add_revision(
        self, name: str, spec: str, digest: str, author: str = "", message: str = ""
    ) -> Revision:
        """Append a pending revision; the graph comes to be, or comes back, with its first."""
        with self._write(name) as connection:
            last = connection.scalar(
                sa.select(sa.func.max(_revisions.c.number)).where(_revisions.c.graph == name)
            )
            number = (last or 0) + 1
            connection.execute(
                _revisions.insert().values(
                    graph=name, number=number, spec=spec, digest=digest, author=author,
                    message=message, created_at=time.time(), state="pending", reason="",
                )
            )  # fmt: skip
            _update_graph(connection, name, state="present")
            _log(connection, name, number, "revision_created", message)
            return _revision(connection, name, number)

    def start(self, name: str, number: int) -> None:
        """Note that a revision is being brought up."""
        with self._write(name) as connection:
            if _set_state(connection, name, number, "deploying", ("pending",)):
                _log(connection, name, number, "deploy_started", "")

    def promote(self, name: str, number: int) -> None:
        """Make a revision the live one and retire the one before it."""
        with self._write(name) as connection:
            previous = _graph(connection, name).live
            if not _set_state(connection, name, number, "live", ("pending", "deploying")):
                return
            if previous is not None:
                _set_state(connection, name, previous, "retired", ("live",))
            _update_graph(connection, name, live=number)
            _log(connection, name, number, "promoted", "")

    def fail(self, name: str, number: int, reason: str) -> None:
        """Give a revision up that is not live; ``reason`` says why."""
        with self._write(name) as connection:
            if _set_state(connection, name, number, "failed", ("pending", "deploying"), reason):
                _log(connection, name, number, "deploy_failed", reason)

    def delete(self, name: str) -> None:
        """Ask for a graph to go; its revisions are retired and stay on record."""
        with self._write(name) as connection:
            connection.execute(
                _revisions.update()
                .where(_revisions.c.graph == name)
                .where(_revisions.c.state.in_(("pending", "deploying", "live")))
                .values(state="retired", reason="the graph was deleted")
            )
            _update_graph(connection, name, state="deleting", live=None)
            _log(connection, name, None, "delete_requested", "")

    def mark_deleted(self, name: str) -> None:
        """Note that nothing of a graph runs any more; no effect if it was deployed again."""
        with self._write(name) as connection:
            if _graph(connection, name).state == "deleting":
                _update_graph(connection, name, state="deleted")
                _log(connection, name, None, "deleted", "")

    def log(self, graph: str, revision: int | None, kind: str, message: str) -> None:
        """Append an event."""
        with self._write(graph) as connection:
            _log(connection, graph, revision, kind, message)

    def _read(self) -> Connection:
        """A connection whose transaction takes no lock that a writer waits for."""
        return self._engine.connect().execution_options(**{_READS: True})

    @contextmanager
    def _write(self, name: str) -> Iterator[Connection]:
        """A transaction that holds the graph's row, which is created where it is missing."""
        with self._engine.begin() as connection:
            row = sa.select(_graphs.c.name).where(_graphs.c.name == name).with_for_update()
            if connection.scalar(row) is None:
                _create_graph(connection, name)
                connection.scalar(row)
            yield connection


def _connect(url: str) -> Engine:
    try:
        parsed = sa.make_url(url)
        engine = sa.create_engine(parsed, pool_pre_ping=True)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise EngineError(f"cannot open the store: {error}") from error
    if engine.dialect.name == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Let a writer take its lock at once: one that starts as a reader cannot wait for it later."""
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _create_graph(connection: Connection, name: str) -> None:
    values = {"name": name, "state": "present", "live": None, "created_at": time.time()}
    try:
        with connection.begin_nested():
            connection.execute(_graphs.insert().values(**values))
    except sa.exc.IntegrityError:
        pass  # another writer was first


def _graph(connection: Connection, name: str) -> Graph:
    row = connection.execute(sa.select(_graphs).where(_graphs.c.name == name)).mappings().first()
    if row is None:
        known = connection.scalars(
            sa.select(_graphs.c.name).where(_graphs.c.state != "deleted").order_by(_graphs.c.name)
        )
        raise NotFound(f"no graph {name!r}; there are: {', '.join(known.fetchmany(20)) or 'none'}")
    return Graph(**row)


def _revision(connection: Connection, name: str, number: int) -> Revision:
    query = sa.select(_revisions).where(_revisions.c.graph == name)
    row = connection.execute(query.where(_revisions.c.number == number)).mappings().first()
    if row is None:
        last = connection.scalar(
            sa.select(sa.func.max(_revisions.c.number)).where(_revisions.c.graph == name)
        )
        raise NotFound(
            f"graph {name!r} has no revision {number}; it has "
            + (f"1 to {last}" if last else "none")
        )
    return Revision(**row)


def _set_state(
    connection: Connection,
    name: str,
    number: int,
    state: RevisionState,
    allowed: tuple[RevisionState, ...],
    reason: str = "",
) -> bool:
    """Move a revision to ``state`` if it is in one of ``allowed``; say whether it moved."""
    result = connection.execute(
        _revisions.update()
        .where(_revisions.c.graph == name, _revisions.c.number == number)
        .where(_revisions.c.state.in_(allowed))
        .values(state=state, reason=reason)
    )
    return result.rowcount == 1


def _update_graph(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(_graphs.update().where(_graphs.c.name == name).values(**values))


def _log(connection: Connection, graph: str, revision: int | None, kind: str, text: str) -> None:
    connection.execute(
        _events.insert().values(
            at=time.time(), graph=graph, revision=revision, kind=kind, message=text
        )
    )
