"""Features in tables, of SQLite and of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import CannotLoad
from anabranch.components.features import sql
from anabranch.components.features.kinds import open_store
from anabranch.components.features.stores import StoredRow
from anabranch.errors import Unavailable
from tests.components.features.conftest import DEFAULTS, lookup_graph, options
from tests.control.postgres import running_server
from tests.examples import examples
from tests.ports import free_ports
from tests.waiting import eventually, until

START = datetime(2026, 11, 1, tzinfo=UTC)
tables = sa.MetaData()
users = sa.Table(
    "users",
    tables,
    sa.Column("user_id", sa.Integer, primary_key=True),
    sa.Column("age", sa.Integer),
    sa.Column("tier", sa.String(40)),
)
history = sa.Table(
    "history",
    tables,
    sa.Column("shop", sa.String(20)),
    sa.Column("user_id", sa.BigInteger),
    sa.Column("age", sa.Numeric(10, 2)),
    sa.Column("tier", sa.Text),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("seconds", sa.Float),
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_server() as server, server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: Any, tmp_path: Path) -> Iterator[str]:
    """URL of a database with empty tables."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'features.db'}"
        engine = sa.create_engine(url)
    else:
        url = request.getfixturevalue("postgres")
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    tables.create_all(engine)
    fill(engine)
    yield url
    tables.drop_all(engine)
    engine.dispose()


def fill(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.insert(users),
            [
                {"user_id": 1, "age": 30, "tier": "gold"},
                {"user_id": 2, "age": None, "tier": "it's; DROP TABLE users"},
            ],
        )
        connection.execute(
            sa.insert(history),
            [
                {
                    "shop": shop,
                    "user_id": 1,
                    "age": age,
                    "tier": shop,
                    "at": START + timedelta(days=age),
                    "seconds": float(age),
                }
                for shop in ("oslo", "bonn")
                for age in (3, 1, 2)
            ],
        )


def called(url: str, method: str, *given: Any, **more: Any) -> Any:
    async def run() -> Any:
        store: Any = open_store(options(url, **{"table": "users", **more}))
        try:
            return await getattr(store, method)(*given)
        finally:
            await store.close()

    return asyncio.run(run())


def test_rows_come_by_key_whatever_its_datatype(database: str) -> None:
    keys = [(2,), ("1",), (3,), ("no number",), ("1; DROP TABLE users",), (2**40,), ("9" * 99,)]
    assert called(database, "fetch", keys) == [
        StoredRow((None, "it's; DROP TABLE users"), None),
        StoredRow((30, "gold"), None),
        *[None] * 5,
    ]
    text = "it's; DROP TABLE users"
    more = {"entities": ("tier",), "refs": ("user_id",)}
    found = called(database, "fetch", [(text,), (5,), ("\0",)], **more)
    assert found == [StoredRow((2,), None), None, None]


def test_whole_numbers_of_sqlite_have_64_bits(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'features.db'}")
    tables.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(users).values(user_id=2**62, age=2**40, tier="x"))
    engine.dispose()
    found = called("sqlite:///features.db", "fetch", [(2**62,), (2**63,)], root=tmp_path)
    assert found == [StoredRow((2**40, "x"), None), None]


def test_the_latest_row_of_several_counts(database: str) -> None:
    more = {"table": "history", "entities": ("shop", "user_id"), "timestamp": "at"}
    found = called(database, "fetch", [("bonn", 1), ("oslo", "1"), ("oslo", 2)], **more)
    at = (START + timedelta(days=3)).timestamp()
    assert found == [StoredRow((3, "bonn"), at), StoredRow((3, "oslo"), at), None]


@pytest.mark.parametrize("column", ["at", "seconds"])
def test_the_past_is_what_was_there_by_then(database: str, column: str) -> None:
    more = {"table": "history", "entities": ("shop", "user_id"), "timestamp": column}
    start = START.timestamp() if column == "at" else 0.0
    day = 86400.0 if column == "at" else 1.0
    wanted = [(0.99, None), (1.0, 1), (2.5, 2), (99.0, 3), (1.5, 1)]
    keys = [("oslo", 1)] * len(wanted)
    times = [start + days * day for days, _ in wanted]
    found = called(database, "as_of", keys, times, **more)
    assert [row and row.values[0] for row in found] == [age for _, age in wanted]
    assert called(database, "as_of", [("rome", 1)], [times[3]], **more) == [None]


def test_more_keys_than_a_statement_binds(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MOST_VALUES", 2)
    found = called(database, "fetch", [(key,) for key in range(6)])
    assert [row is not None for row in found] == [False, True, True, False, False, False]
    more = {"table": "history", "entities": ("shop", "user_id"), "timestamp": "at"}
    found = called(database, "fetch", [("bonn", 1), ("oslo", 1), ("rome", 1)], **more)
    assert [row and row.values[1] for row in found] == ["bonn", "oslo", None]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"table": "user"}, r"there is no table 'user' \(available: history, users\)"),
        ({"refs": ("age", "tiers")}, r"table 'users' has no column 'tiers' \(did you mean 'tier'"),
        ({"entities": ("id",)}, "has no column 'id'"),
        ({"timestamp": "tier"}, "holds texts; a time is a date, or Unix seconds"),
    ],
)
def test_what_the_database_lacks_is_told_at_loading(database: str, more: Any, text: str) -> None:
    with pytest.raises(CannotLoad, match=text):
        called(database, "open", **more)


def test_a_table_without_times_does_not_know_the_past(database: str) -> None:
    with pytest.raises(CannotLoad, match="without the argument `timestamp`"):
        called(database, "as_of", [(1,)], [0.0])


def test_a_file_of_sqlite_is_in_the_bundle_and_never_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="unable to open database file"):
        called("sqlite:///features.db", "fetch", [(1,)], root=tmp_path)
    assert not list(tmp_path.iterdir())
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'features.db'}")
    tables.create_all(engine)
    fill(engine)
    engine.dispose()
    found = called("sqlite:///features.db", "fetch", [(1,)], root=tmp_path)
    assert found == [StoredRow((30, "gold"), None)]


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://host:port/x", "mysql://h/d"])
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(CannotLoad):
        called(url, "open")


def test_a_database_that_is_not_there_is_away() -> None:
    pytest.importorskip("psycopg")
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="the database does not answer"):
        called(f"postgresql://postgres@127.0.0.1:{port}/x", "fetch", [(1,)])


def test_connections_that_the_server_has_closed_are_made_anew(postgres: str) -> None:
    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    tables.create_all(engine)
    fill(engine)

    async def run() -> Any:
        store = open_store(options(postgres, table="users"))
        try:
            await asyncio.gather(*(store.fetch([(1,)]) for _ in range(8)))
            with engine.connect() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                    )
                )
            return await store.fetch([(1,)])
        finally:
            await store.close()

    try:
        assert asyncio.run(run()) == [StoredRow((30, "gold"), None)]
    finally:
        tables.drop_all(engine)
        engine.dispose()


def test_a_database_that_is_held_up_is_away_until_it_goes_on(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_OF_TEST", postgres)
    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    tables.create_all(engine)
    fill(engine)
    args = {"store": "env:STORE", "table": "users", "defaults": DEFAULTS}
    secrets = {"STORE": {"env": "POSTGRES_OF_TEST"}}
    running = lookup_graph(Path(), args, secrets=secrets, timeout="10s")

    def ages() -> list[int]:
        found: list[int] = running.run({"user_id": np.array([1, 9])})["age"].tolist()
        return found

    with closing(running):
        assert ages() == [30, -1]
        with engine.begin() as other:
            other.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            assert ages() == [-1, -1]
        until(lambda: ages() == [30, -1])
    tables.drop_all(engine)
    engine.dispose()


def test_a_call_that_outlives_its_store_leaves_no_connection(postgres: str) -> None:
    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    tables.create_all(engine)

    async def run() -> None:
        store = open_store(options(postgres, table="users", seconds=60.0))
        await store.open()
        with engine.begin() as other:
            other.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            asking = asyncio.ensure_future(store.fetch([(1,)]))
            await eventually(lambda: waits(engine))
            await store.close()
        assert await asking == [None]

    asyncio.run(run())
    gc.collect()  # a connection that is still open would say so now, which fails a test
    tables.drop_all(engine)
    engine.dispose()


def waits(engine: sa.Engine) -> bool:
    """Whether a statement waits for a lock."""
    with engine.connect() as connection:
        count = connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    return bool(count)


@settings(max_examples=examples(60), deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), unique=True, max_size=30),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 21)), min_size=1, max_size=10),
)
def test_a_row_of_the_past_is_never_of_the_future(rows: Any, asked: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/features.db"
        engine = sa.create_engine(url)
        tables.create_all(engine)
        with engine.begin() as connection:
            for user, second in rows:
                connection.execute(
                    sa.insert(history).values(user_id=user, age=second, tier="", seconds=second)
                )
        engine.dispose()
        keys, times = [(user,) for user, _ in asked], [float(time) for _, time in asked]
        found = called(url, "as_of", keys, times, table="history", timestamp="seconds")
    for (user, time), row in zip(asked, found, strict=True):
        there = [second for other, second in rows if other == user and second <= time]
        assert (row and float(row.values[0])) == max(there, default=None)
