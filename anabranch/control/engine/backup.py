"""Backup and restoration of a home: its store and the bundles of its graphs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine.home import locked, open_home, store_file
from anabranch.control.release.backup_file import Backup, read_backup, write_backup
from anabranch.control.release.bundles import BundleStore
from anabranch.control.settings.settings import bundle_store_url, store_url
from anabranch.control.store.copying import copy_store, require_empty
from anabranch.errors import EngineError
from anabranch.files import disk_errors


def backup(home: Path, target: Path, *, replace: bool = False) -> Backup:
    """Write the backup of a home to the file ``target``, also while its engine runs.

    EngineError if the store is missing or damaged, or if ``target`` is there and is not to be
    replaced; StorageError if it cannot be written.
    """
    bundles = _bundles(home)
    if (store := store_file(home)) is not None:
        return write_backup(store, bundles, target, replace=replace)
    with disk_errors(target), TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
        copied = Path(folder) / "store.db"
        copy_store(store_url(os.environ, home), f"sqlite:///{copied}", replace=False)
        return write_backup(copied, bundles, target, replace=replace)


def restore(
    home: Path, source: Path, *, replace: bool = False, warn: Callable[[str], None]
) -> Backup:
    """Bring back the backup in the file ``source``; the next ``up`` starts its graphs.

    EngineError while an engine runs, if ``source`` is no sound backup, or if the store has graphs
    that are not to be replaced; StorageError if there is no room. Of a store in PostgreSQL that is
    replaced nothing stays.
    """
    open_home(home, warn)
    with locked(home):
        if read_state(home) is not None:
            raise EngineError(
                f"an engine runs in {home}, or did not stop by itself: stop it first with"
                " `anabranch down`"
            )
        if (store := store_file(home)) is not None:
            return read_backup(source, store, _bundles(home), replace=replace)
        return _restore_elsewhere(home, source, store_url(os.environ, home), replace)


def _restore_elsewhere(home: Path, source: Path, url: str, replace: bool) -> Backup:
    """Restore into a database that is no file of this machine."""
    if not replace:
        require_empty(url)
    with disk_errors(home), TemporaryDirectory(dir=home, prefix=".restore-") as folder:
        copied = Path(folder) / "store.db"
        found = read_backup(source, copied, _bundles(home), replace=False)
        copy_store(f"sqlite:///{copied}", url, replace=replace)
    return found


def _bundles(home: Path) -> BundleStore:
    return BundleStore(home / "bundles", bundle_store_url(os.environ))
