"""Tables of the store, and how an older store becomes one of this version.

A migration is plain SQL that SQLite and PostgreSQL both read, and never changes once released.
All of it happens in one transaction: a store is of the old version or of the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.store.chain import GENESIS, UNRECORDED, link
from anabranch.errors import EngineError
from anabranch.names import MAX_NAME

SCHEMA_VERSION = 7
CONTROLLER = "controller"
"""Name of the lease of whoever acts on the store."""
_OPENING = 0x616E6162
"""Key of PostgreSQL's advisory lock that is held while a store is created or migrated."""

tables = sa.MetaData()
versions = sa.Table("anabranch_schema", tables, sa.Column("version", sa.Integer, primary_key=True))
graphs = sa.Table(
    "graphs",
    tables,
    sa.Column("name", sa.String(MAX_NAME), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("live", sa.Integer),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("weights", sa.Text, nullable=False, server_default="{}"),
    sa.Column("mirrors", sa.Text, nullable=False, server_default="{}"),
    sa.Column("rollout", sa.Text),
    # What each movable reference to a model meant when that was last acted on.
    sa.Column("seen", sa.Text),
)
revisions = sa.Table(
    "revisions",
    tables,
    sa.Column("graph", sa.ForeignKey("graphs.name"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("intent", sa.Text),
    sa.Column("expires_at", sa.Float),
    sa.Column("live_at", sa.Float),
    sa.Column("pins", sa.Text),
    # Finding the few that run must not read the specs of the thousand that do not.
    sa.Index("revisions_by_state", "graph", "state"),
    sa.Index("revisions_by_live_at", "graph", "live_at"),
)
events = sa.Table(
    "events",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("graph", sa.String(MAX_NAME), nullable=False, index=True),
    sa.Column("revision", sa.Integer),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.Text),
    sa.Column("change", sa.Text),
    sa.Column("actor_kind", sa.String(16), nullable=False, server_default=UNRECORDED),
    sa.Column("actor", sa.Text, nullable=False, server_default=""),
    sa.Column("address", sa.Text, nullable=False, server_default=""),
    sa.Column("request_id", sa.Text, nullable=False, server_default=""),
    sa.Column("hash", sa.String(64), nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
event_chain = sa.Table(
    "event_chain",
    tables,
    # One row, which whoever appends an event holds until its transaction ends.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("anchor_id", sa.Integer, nullable=False),
    sa.Column("anchor", sa.String(64), nullable=False),
    sa.Column("last_id", sa.Integer, nullable=False),
    sa.Column("last", sa.String(64), nullable=False),
)
outbox = sa.Table(
    "outbox",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.ForeignKey("events.id"), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
leases = sa.Table(
    "leases",
    tables,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)
feedback = sa.Table(
    "feedback",
    tables,
    # What is beyond the newest million is told by the number.
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("graph", sa.String(MAX_NAME), nullable=False),
    # A digest of the request's id, which may be long and of any characters.
    sa.Column("key", sa.String(32), nullable=False),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("reward", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("feedback_by_key", "graph", "key", unique=True),
    sa.Index("feedback_by_at", "at"),
    sqlite_autoincrement=True,
)
bandits = sa.Table(
    "bandits",
    tables,
    sa.Column("graph", sa.String(MAX_NAME), primary_key=True),
    sa.Column("router", sa.String(63), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

experiments = sa.Table(
    "experiments",
    tables,
    sa.Column("graph", sa.String(MAX_NAME), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("router", sa.String(63), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)
signing_keys = sa.Table(
    "signing_keys",
    tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(16), nullable=False),
    sa.Column("secret", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)
api_keys = sa.Table(
    "api_keys",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(63), nullable=False, index=True),
    # SHA-256 of the key, which is nowhere.
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("grants", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("author", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
version_tags = sa.Table(
    "version_tags",
    tables,
    sa.Column("graph", sa.String(MAX_NAME), primary_key=True),
    # A version in a model registry, such as models:/digits/3.
    sa.Column("version", sa.String(512), primary_key=True),
    sa.Column("wanted", sa.Text, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)
async_requests = sa.Table(
    "async_requests",
    tables,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("graph", sa.String(MAX_NAME), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),
    # Empty once the request is over.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("idempotent", sa.Integer, nullable=False),
    sa.Column("webhook", sa.Text, nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer, nullable=False, server_default="0"),
    sa.Column("answer_headers", sa.Text, nullable=False, server_default="[]"),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("ended_at", sa.Float),
    sa.Index("async_requests_by_phase", "phase", "due_at"),
)
documents = sa.Table(
    "documents",
    tables,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)


def prepare(connection: Connection) -> None:
    """Create what is missing and migrate what is old; EngineError if the store is too new."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OPENING)))
    version = _version(connection)
    if version is None:
        tables.create_all(connection)
        connection.execute(versions.insert().values(version=SCHEMA_VERSION))
        _free_lease(connection)
        _begin_chain(connection, 0, GENESIS)
    elif version > SCHEMA_VERSION:
        raise EngineError(
            f"the store is of schema version {version}, this anabranch reads {SCHEMA_VERSION}"
        )
    elif version < SCHEMA_VERSION:
        _migrate(connection, version)


def require_current(connection: Connection) -> None:
    """Raise EngineError unless there is a store, and it is of this version."""
    version = _version(connection)
    if version != SCHEMA_VERSION:
        there = "there is no store" if version is None else f"the store is of schema {version}"
        raise EngineError(
            f"{there}, and this anabranch copies those of schema version {SCHEMA_VERSION}"
        )


def _version(connection: Connection) -> int | None:
    if not sa.inspect(connection).has_table(versions.name):
        return None
    version: int | None = connection.scalar(sa.select(sa.func.max(versions.c.version)))
    return version


def _migrate(connection: Connection, version: int) -> None:
    for old in range(version, SCHEMA_VERSION):
        _MIGRATIONS[old](connection)
    connection.execute(versions.update().values(version=SCHEMA_VERSION))


_TO_2 = """
ALTER TABLE graphs ADD COLUMN generation INTEGER DEFAULT 0 NOT NULL;
ALTER TABLE graphs ADD COLUMN weights TEXT DEFAULT '{}' NOT NULL;
ALTER TABLE graphs ADD COLUMN mirrors TEXT DEFAULT '{}' NOT NULL;
ALTER TABLE graphs ADD COLUMN rollout TEXT;
ALTER TABLE revisions ADD COLUMN intent TEXT;
ALTER TABLE revisions ADD COLUMN expires_at FLOAT;
ALTER TABLE revisions ADD COLUMN live_at FLOAT;
ALTER TABLE events ADD COLUMN data TEXT;
CREATE INDEX revisions_by_state ON revisions (graph, state);
CREATE INDEX revisions_by_live_at ON revisions (graph, live_at);
UPDATE graphs SET generation = 1;
UPDATE graphs SET weights = '{"' || CAST(live AS TEXT) || '": 100.0}' WHERE live IS NOT NULL;
UPDATE revisions SET live_at = (
  SELECT MAX(at) FROM events
  WHERE events.kind = 'promoted'
  AND events.graph = revisions.graph AND events.revision = revisions.number
)
"""


def _to_2(connection: Connection) -> None:
    """Traffic between revisions: before, the live one had all of it."""
    for statement in _TO_2.split(";"):
        connection.exec_driver_sql(statement)
    tables.create_all(connection, tables=[outbox, leases])
    _free_lease(connection)


_TO_3 = "ALTER TABLE revisions ADD COLUMN pins TEXT"


def _to_3(connection: Connection) -> None:
    """References to models that may move, and what they meant when they were deployed."""
    connection.exec_driver_sql(_TO_3)


def _to_4(connection: Connection) -> None:
    """Rewards that were counted, and what routers have learned of them."""
    tables.create_all(connection, tables=[feedback, bandits])


def _to_5(connection: Connection) -> None:
    """Rewards of routes, and the evidence that routes differ."""
    tables.create_all(connection, tables=[experiments])


_TO_6 = """
ALTER TABLE events ADD COLUMN change TEXT;
ALTER TABLE events ADD COLUMN actor_kind VARCHAR(16) DEFAULT 'unrecorded' NOT NULL;
ALTER TABLE events ADD COLUMN actor TEXT DEFAULT '' NOT NULL;
ALTER TABLE events ADD COLUMN address TEXT DEFAULT '' NOT NULL;
ALTER TABLE events ADD COLUMN request_id TEXT DEFAULT '' NOT NULL;
ALTER TABLE events ADD COLUMN hash VARCHAR(64) DEFAULT '' NOT NULL
"""
_CHAINED = sa.text("UPDATE events SET hash = :hash WHERE id = :id")


def _to_6(connection: Connection) -> None:
    """Who may act, and who acted: keys, access rules, namespaces, and a hash chain over events.

    Events that were there are chained as they stand.
    """
    _widen_names(connection)
    for statement in _TO_6.split(";"):
        connection.exec_driver_sql(statement)
    tables.create_all(connection, tables=[api_keys, documents, signing_keys, event_chain])
    last, hashes = GENESIS, []
    for row in connection.exec_driver_sql("SELECT * FROM events ORDER BY id").mappings():
        last = link(last, row)
        hashes.append({"id": row["id"], "hash": last})
    if hashes:
        connection.execute(_CHAINED, hashes)
    _begin_chain(connection, hashes[-1]["id"] if hashes else 0, last)


_TO_7 = "ALTER TABLE graphs ADD COLUMN seen TEXT"


def _to_7(connection: Connection) -> None:
    """What watched models meant, what their registry is told, and requests answered later."""
    connection.exec_driver_sql(_TO_7)
    tables.create_all(connection, tables=[version_tags, async_requests])


def _begin_chain(connection: Connection, last_id: int, last: str) -> None:
    connection.execute(
        event_chain.insert().values(id=1, anchor_id=0, anchor=GENESIS, last_id=last_id, last=last)
    )


def _widen_names(connection: Connection) -> None:
    """Make room for namespaces in graphs' names; SQLite bounds no text."""
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql("ALTER TABLE graphs ALTER COLUMN name TYPE VARCHAR(127)")
    for table in ("revisions", "events", "feedback", "bandits", "experiments"):
        connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN graph TYPE VARCHAR(127)")


def _free_lease(connection: Connection) -> None:
    connection.execute(leases.insert().values(name=CONTROLLER, holder="", beat=0))


_MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {
    1: _to_2,
    2: _to_3,
    3: _to_4,
    4: _to_5,
    5: _to_6,
    6: _to_7,
}
