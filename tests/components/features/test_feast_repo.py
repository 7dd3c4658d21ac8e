"""Features of a Feast repository on SQLite."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import CannotLoad
from anabranch.components.features.kinds import open_store
from anabranch.components.features.stores import StoredRow
from tests.components.features.conftest import lookup_graph, options

pytest.importorskip("feast", reason="feast is not installed: pip install anabranch[feast]")

from tests.components.features.feast_repository import START, make_repository

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and the libraries below it
REFS = ("users:age", "users:tier", "users:vector")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    make_repository(folder / "repo")
    return folder


def called(root: Path, method: str, *given: Any, refs: tuple[str, ...] = REFS) -> Any:
    async def run() -> Any:
        store: Any = open_store(options("feast://repo", root, refs=refs))
        try:
            await store.open()
            return await getattr(store, method)(*given)
        finally:
            await store.close()

    return asyncio.run(run())


def test_the_online_store_gives_the_latest_rows(root: Path) -> None:
    found = called(root, "fetch", [(1,), (3,), (2,)])
    assert found == [
        StoredRow((31, "gold", [1.0, 1.5]), (START + timedelta(days=2)).timestamp()),
        None,
        StoredRow((40, "gold", [2.0, 2.5]), (START + timedelta(days=1)).timestamp()),
    ]


def test_the_offline_store_gives_the_rows_of_a_time(root: Path) -> None:
    keys = [(1,), (1,), (2,), (1,), (3,), (1,)]
    days = [2.0, 1.9, 0.9, -0.1, 5.0, 99.0]
    times = [(START + timedelta(days=each)).timestamp() for each in days]
    found = called(root, "as_of", keys, times)
    assert [row and row.values[:2] for row in found] == [
        (31, "gold"), (30, "silver"), None, None, None, (31, "gold"),
    ]  # fmt: skip
    assert list(found[0].values[2]) == [1.0, 1.5]


@pytest.mark.parametrize(
    ("refs", "text"),
    [
        (("user:age",), r"Feast has no view 'user' \(available: users\)"),
        (
            ("users:aged",),
            r"view 'users' has no feature 'aged' \(available: age, score, tier, vector\)",
        ),
    ],
)
def test_features_that_no_view_has(root: Path, refs: tuple[str, ...], text: str) -> None:
    with pytest.raises(CannotLoad, match=text):
        called(root, "fetch", [(1,)], refs=refs)


@pytest.mark.parametrize("url", ["feast://elsewhere", "feast://../repo", "feast://"])
def test_a_repository_is_a_folder_of_the_bundle(root: Path, url: str) -> None:
    with pytest.raises(CannotLoad):
        open_store(options(url, root))


def test_a_graph_looks_up_features(root: Path) -> None:
    args = {
        "store": "feast://repo",
        "features": {"age": "users:age", "vector": "users:vector"},
        "defaults": {"age": -1, "vector": [0, 0]},
    }
    outputs = {
        "age": {"datatype": "INT32", "shape": [-1]},
        "vector": {"datatype": "FP32", "shape": [-1, 2]},
    }
    with closing(lookup_graph(root, args, outputs=outputs, timeout="30s")) as graph:
        found = graph.run({"user_id": np.array([2, 7])})
    assert found["age"].tolist() == [40, -1]
    assert found["vector"].tolist() == [[2.0, 2.5], [0.0, 0.0]]


def test_a_store_that_is_locked_is_away(tmp_path: Path) -> None:
    import sqlite3

    make_repository(tmp_path / "repo")
    args = {
        "store": "feast://repo",
        "features": {"age": "users:age"},
        "defaults": {"age": -1},
        "max_age": "1us",
        "max_stale": "1h",
    }
    outputs = {"age": {"datatype": "INT64", "shape": [-1]}}
    with closing(lookup_graph(tmp_path, args, outputs=outputs, timeout="2s")) as graph:
        assert graph.run({"user_id": np.array([1])})["age"].tolist() == [31]
        with closing(sqlite3.connect(tmp_path / "repo" / "online.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert graph.run({"user_id": np.array([1, 2])})["age"].tolist() == [31, -1]
