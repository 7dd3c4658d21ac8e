from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent, Moment
from anabranch.control.store import schema
from anabranch.control.store.store import Store
from anabranch.errors import EngineError
from tests.control.store import released


@pytest.fixture
def raw(url: str) -> Iterator[Engine]:
    """The database itself, once a store was opened on it."""
    store = Store.open(url)
    yield store.database._writer
    store.close()


BETWEEN = [pytest.param(one, marks=pytest.mark.nightly) for one in released.VERSIONS[1:-1]]
"""Versions whose migrations are the last ones of the first version's."""


@pytest.fixture(params=[released.VERSIONS[0], *BETWEEN, released.VERSIONS[-1]])
def old(request: pytest.FixtureRequest, url: str, raw: Engine) -> str:
    """The URL of a store as a release before wrote it."""
    released.make(raw, request.param)
    return url


@pytest.fixture
def first(url: str, raw: Engine) -> str:
    """The URL of a store as the first release wrote it."""
    released.make(raw, 1)
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


def _rows(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Rows of all tables but that of the version."""
    tables = [name for name in _shape(engine) if name != schema.versions.name]
    with engine.connect() as connection:
        rows = {name: connection.exec_driver_sql(f"SELECT * FROM {name}") for name in tables}
        return {name: [dict(row) for row in found.mappings()] for name, found in rows.items()}


def test_a_migration_keeps_all_that_there_was(old: str, raw: Engine) -> None:
    before = _rows(raw)
    Store.open(old).close()
    after = _rows(raw)
    assert before["events"]
    for table, rows in before.items():
        kept = [{column: row[column] for column in rows[0]} for row in after[table]]
        assert sorted(kept, key=repr) == sorted(rows, key=repr), table


def test_an_old_store_keeps_its_graphs_and_gains_weights(old: str) -> None:
    store = Store.open(old)
    stored = store.situations()
    digits, gone, iris = (one.situation for one in stored)
    assert (digits.stable, digits.weights, digits.mirrors) == (3, {3: 100.0}, {})
    assert (iris.stable, iris.weights, iris.state) == (None, {}, "present")
    assert (gone.state, stored[1].created) == ("deleting", 12.0)
    assert stored[0].generation > 0
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


def test_an_old_store_takes_the_longest_names(old: str) -> None:
    store = Store.open(old)
    name = f"{'a' * 63}/{'b' * 63}"
    assert store.ensure_revision(name, "s1", "d1")[0].graph == name
    assert [event.graph for event in store.events(name)] == [name]
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
    first: str, raw: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: sa.Connection) -> None:
        schema._to_2(connection)
        raise EngineError("half-way")

    before = _shape(raw)
    monkeypatch.setattr(schema, "_MIGRATIONS", {1: broken})
    with pytest.raises(EngineError, match="half-way"):
        Store.open(first)
    assert _shape(raw) == before
    monkeypatch.undo()
    store = Store.open(first)
    assert store.situation("digits").situation.weights == {3: 100.0}
    store.close()


def test_a_store_of_a_later_version_is_refused(url: str, raw: Engine) -> None:
    with raw.begin() as connection:
        connection.exec_driver_sql("UPDATE anabranch_schema SET version = 99")
    with pytest.raises(EngineError, match="schema version 99, this anabranch reads 7"):
        Store.open(url)


@pytest.mark.parametrize("version", range(1, 6))
def test_the_events_of_each_older_version_are_chained_and_marked(
    first: str, raw: Engine, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    with raw.begin() as connection:
        monkeypatch.setattr(schema, "SCHEMA_VERSION", version)
        schema.prepare(connection)
        monkeypatch.undo()
        columns = {column["name"] for column in sa.inspect(connection).get_columns("events")}
        assert ("data" in columns, "hash" in columns) == (version > 1, False)
        connection.exec_driver_sql(
            "INSERT INTO events (id, at, graph, kind, message) VALUES (7, 23.5, 'größe', 'k', '')"
        )
    store = Store.open(first)
    store.log("digits", None, "noted", "")
    found = store.verify_events()
    assert (found.verified, found.unrecorded, found.broken) == (5, 4, None)
    assert (found.first, found.last) == (1, 8)
    assert [event.actor.kind for event in store.events()] == [*["unrecorded"] * 4, "engine"]
    assert {len(event.hash) for event in store.events()} == {64}
    with raw.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET message = 'other' WHERE id = 2")
    assert store.verify_events().broken == 2
    store.close()


def test_many_may_create_it_at_once(url: str) -> None:
    _open_often(url)


def test_many_may_migrate_it_at_once(first: str) -> None:
    _open_often(first)
    store = Store.open(first)
    assert store.situation("digits").situation.weights == {3: 100.0}
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
