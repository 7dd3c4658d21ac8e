"""Backup and restoration of a home: its store and the bundles of its graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine.home import locked, open_home, store_file
from anabranch.control.release.backup_file import Backup, read_backup, write_backup
from anabranch.errors import EngineError


def backup(home: Path, target: Path, *, replace: bool = False) -> Backup:
    """Write the backup of a home to the file ``target``, also while its engine runs.

    EngineError if the store is not SQLite, missing or damaged, or if ``target`` is there and is not
    to be replaced; StorageError if it cannot be written.
    """
    return write_backup(_sqlite(home), home / "bundles", target, replace=replace)


def restore(
    home: Path, source: Path, *, replace: bool = False, warn: Callable[[str], None]
) -> Backup:
    """Bring back the backup in the file ``source``; the next ``up`` starts its graphs.

    EngineError while an engine runs, if ``source`` is no sound backup, if the store is not SQLite,
    or if it has graphs that are not to be replaced; StorageError if there is no room.
    """
    store = _sqlite(home)
    open_home(home, warn)
    with locked(home):
        if read_state(home) is not None:
            raise EngineError(
                f"an engine runs in {home}, or did not stop by itself: stop it first with"
                " `anabranch down`"
            )
        return read_backup(source, store, home / "bundles", replace=replace)


def _sqlite(home: Path) -> Path:
    store = store_file(home)
    if store is None:
        raise EngineError(
            "the store at ANABRANCH_STORE is not a SQLite file: pg_dump and pg_restore copy"
            f" PostgreSQL, and the bundles of its revisions are in {home / 'bundles'}"
        )
    return store
