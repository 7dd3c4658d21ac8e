"""New stores, as copies of one: to create its tables takes longer than most tests of it do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from anabranch.control.store.store import Store

SQLITE = "sqlite:///"


def new_store(url: str) -> Store:
    """Open the store of a database, which has nothing in it where it was not there."""
    path = Path(url.removeprefix(SQLITE))
    if url.startswith(SQLITE) and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_created())
    return Store.open(url)


@cache
def _created() -> bytes:
    """Return the file of a store with nothing in it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        Store.open(f"{SQLITE}{path}").close()
        return path.read_bytes()
