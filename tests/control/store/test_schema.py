from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent, Moment
from anabranch.control.store import schema
from anabranch.control.store.store import Store
from anabranch.errors import EngineError

_OLD = """
CREATE TABLE anabranch_schema (version INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE graphs (
  name VARCHAR(63) NOT NULL PRIMARY KEY, state VARCHAR(16) NOT NULL, live INTEGER,
  created_at FLOAT NOT NULL
);
CREATE TABLE revisions (
  graph VARCHAR(63) NOT NULL REFERENCES graphs (name), number INTEGER NOT NULL,
  spec TEXT NOT NULL, digest VARCHAR(64) NOT NULL, author TEXT NOT NULL, message TEXT NOT NULL,
  created_at FLOAT NOT NULL, state VARCHAR(16) NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (graph, number)
);
CREATE TABLE events (
  id INTEGER NOT NULL PRIMARY KEY, at FLOAT NOT NULL, graph VARCHAR(63) NOT NULL, revision INTEGER,
  kind VARCHAR(32) NOT NULL, message TEXT NOT NULL
);
CREATE INDEX ix_events_graph ON events (graph);
INSERT INTO anabranch_schema VALUES (1);
INSERT INTO graphs VALUES ('digits', 'present', 3, 10.0);
INSERT INTO graphs VALUES ('iris', 'present', NULL, 11.0);
INSERT INTO graphs VALUES ('gone', 'deleting', NULL, 12.0);
INSERT INTO revisions VALUES ('digits', 1, 's1', 'd1', 'ada', 'm1', 13.0, 'retired', '');
INSERT INTO revisions VALUES ('digits', 2, 's2', 'd2', 'ada', 'm2', 14.0, 'failed', 'no file');
INSERT INTO revisions VALUES ('digits', 3, 's3', 'd3', 'ada', 'm3', 15.0, 'live', '');
INSERT INTO revisions VALUES ('digits', 4, 's4', 'd4', 'ada', 'm4', 16.0, 'deploying', '');
INSERT INTO revisions VALUES ('iris', 1, 's', 'd', '', '', 17.0, 'pending', '');
INSERT INTO events VALUES (1, 20.0, 'digits', 1, 'promoted', '');
INSERT INTO events VALUES (2, 21.0, 'digits', 3, 'promoted', '');
INSERT INTO events VALUES (3, 22.0, 'digits', 2, 'deploy_failed', 'no file')
"""


@pytest.fixture
def raw(url: str) -> Iterator[Engine]:
    """The database itself, once a store was opened on it."""
    store = Store.open(url)
    yield store.database._writer
    store.close()


@pytest.fixture
def old(url: str, raw: Engine) -> str:
    """The URL of a store of version 1, as the release before wrote it."""
    with raw.begin() as connection:
        schema.tables.drop_all(connection)
        statements = _OLD
        if connection.dialect.name == "postgresql":
            statements = _OLD.replace("id INTEGER NOT NULL", "id SERIAL NOT NULL")
        for statement in statements.split(";"):
            connection.exec_driver_sql(statement)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT setval('events_id_seq', 3)")
    return url


def _shape(engine: Engine) -> dict[str, object]:
    """Tables, with the names of their columns and indexes, and which may be null."""
    inspector = sa.inspect(engine)
    return {
        table: (
            {column["name"]: column["nullable"] for column in inspector.get_columns(table)},
            {index["name"] for index in inspector.get_indexes(table)},
        )
        for table in inspector.get_table_names()
        if table != "sqlite_sequence"
    }


def test_a_migrated_store_looks_like_a_new_one(url: str, raw: Engine, old: str) -> None:
    Store.open(old).close()
    migrated = _shape(raw)
    with raw.begin() as connection:
        schema.tables.drop_all(connection)
    Store.open(url).close()
    assert migrated == _shape(raw)


def test_an_old_store_keeps_its_graphs_and_gains_weights(old: str) -> None:
    store = Store.open(old)
    digits, gone, iris = store.graphs()
    assert (digits.stable, digits.weights, digits.mirrors) == (3, {3: 100.0}, {})
    assert (iris.stable, iris.weights, iris.state) == (None, {}, "present")
    assert (gone.state, gone.created_at) == ("deleting", 12.0)
    assert digits.generation > 0
    store.close()


def test_an_old_store_keeps_its_revisions(old: str) -> None:
    store = Store.open(old)
    assert [(r.number, r.state, r.reason) for r in store.revisions("digits")] == [
        (4, "deploying", ""), (3, "live", ""), (2, "failed", "no file"), (1, "retired", ""),
    ]  # fmt: skip
    assert {r.intent for r in store.revisions("digits")} == {Intent()}
    assert store.revision("digits", 1).spec == "s1"
    assert store.revision("digits", 3).live_at == 21.0
    assert store.previous("digits") == 1
    assert [event.data for event in store.events()] == [{}, {}, {}]
    store.close()


def test_an_old_store_goes_on(old: str) -> None:
    store = Store.open(old)
    after = store.change("digits", lambda now: operations.arrived(now, Moment(100.0, 10.0), 4))
    assert (after.situation.stable, after.situation.weights) == (4, {4: 100.0})
    assert after.situation.members[3].state == "warm"
    assert store.ensure_revision("digits", "s5", "d5")[0].number == 5
    assert store.events()[-1].id == 5
    store.close()


def test_migration_happens_once(old: str) -> None:
    Store.open(old).close()
    store = Store.open(old)
    assert store.previous("digits") == 1
    store.close()


def test_a_migration_that_fails_leaves_the_old_store(
    old: str, raw: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: sa.Connection) -> None:
        schema._to_2(connection)
        raise EngineError("half-way")

    before = _shape(raw)
    monkeypatch.setattr(schema, "_MIGRATIONS", {1: broken})
    with pytest.raises(EngineError, match="half-way"):
        Store.open(old)
    assert _shape(raw) == before
    monkeypatch.undo()
    store = Store.open(old)
    assert store.graph("digits").weights == {3: 100.0}
    store.close()


def test_a_store_of_a_later_version_is_refused(url: str, raw: Engine) -> None:
    with raw.begin() as connection:
        connection.exec_driver_sql("UPDATE anabranch_schema SET version = 99")
    with pytest.raises(EngineError, match="schema version 99, this anabranch reads 6"):
        Store.open(url)


def test_many_may_create_it_at_once(url: str) -> None:
    _open_often(url)


def test_many_may_migrate_it_at_once(old: str) -> None:
    _open_often(old)
    store = Store.open(old)
    assert store.graph("digits").weights == {3: 100.0}
    store.close()


def _open_often(url: str) -> None:
    start, failures = threading.Barrier(6), []

    def open_it() -> None:
        start.wait(30)
        try:
            Store.open(url).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
