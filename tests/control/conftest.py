"""Imports Ray Serve once, apart from the rule that warnings are errors: it warns of itself.

Gives stores on both databases: a test that takes ``url`` or ``store`` runs on each.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.control.store.store import Store
from tests.control.postgres import Server, running_server
from tests.control.stores import new_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.nightly)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with nothing in it; the store's own tests take both by day."""
    yield from new_database(request, tmp_path)


def new_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """A new database of the kind that is asked for, while it is used."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'deep' / 'store.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as fresh:
        yield fresh


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = new_store(url)
    yield opened
    opened.close()
