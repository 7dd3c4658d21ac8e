from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.control.store import copying
from anabranch.control.store.copying import copy_store, require_empty
from anabranch.control.store.database import Database
from anabranch.control.store.schema import tables, versions
from anabranch.control.store.store import Store
from anabranch.errors import EngineError


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store.open(url)
    try:
        yield store
    finally:
        store.close()


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    with opened(url) as store, store.database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in tables.sorted_tables
        }


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'copy.db'}"


def filled(url: str) -> None:
    with opened(url) as store:
        for number in range(20):
            store.log("digits", None, "noted", f"event {number}")
        store.ensure_revision("digits", "spec", "d")


def test_a_copy_is_equal_and_goes_on_like_the_original(
    url: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_BATCH", 7)
    filled(url)
    before = rows(url)
    copy_store(url, file, replace=False)
    assert rows(file) == before
    copy_store(file, url, replace=True)
    assert rows(url) == before
    with opened(url) as store:
        store.log("digits", None, "noted", "one more")
        ids = [event.id for event in store.events()]
    assert ids == list(range(1, len(before["events"]) + 2))


def test_graphs_are_replaced_only_where_that_is_asked_for(url: str, file: str) -> None:
    filled(file)
    require_empty(url)
    with opened(url) as store:
        store.ensure_revision("iris", "spec", "d")
    for act in (lambda: require_empty(url), lambda: copy_store(file, url, replace=False)):
        with pytest.raises(EngineError, match=r"the store has graphs \(iris, …\): .*--replace"):
            act()
    with opened(url) as store:
        assert [one.situation.graph for one in store.situations()] == ["iris"]


def test_a_store_of_another_version_is_left_alone(url: str, file: str) -> None:
    filled(url)
    database = Database.open(url)
    with database.write() as connection:
        connection.execute(versions.update().values(version=5))
    database.close()
    with pytest.raises(EngineError, match="is of schema 5, and this anabranch copies those of"):
        copy_store(url, file, replace=False)


def test_where_there_is_no_store(url: str, file: str) -> None:
    with pytest.raises(EngineError, match="there is no store, and this anabranch"):
        copy_store(url, file, replace=False)
