"""The home of an engine: its folder, which is its owner's alone, its lock, and its store.

``up``, ``down`` and ``restore`` hold the lock while they work on the home.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anabranch.control.settings.settings import store_url
from anabranch.control.store.database import sqlite_file
from anabranch.control.store.soundness import fold, graphs_in, require_sound
from anabranch.errors import EngineError
from anabranch.files import disk_errors

LOCK_TIMEOUT_S = 60.0
"""How long the commands wait for each other."""
_PRIVATE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PAUSE_S = 0.05


def open_home(home: Path, warn: Callable[[str], None]) -> None:
    """Make the home where it is missing, and keep all other users out of it.

    StorageError where it cannot be made; a warning where its mode cannot be set.
    """
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
    mode = open_mode(home)
    if mode is None:
        return
    try:
        home.chmod(_PRIVATE)
    except OSError as error:
        warn(
            f"the home {home} has {mode} and others may read its store and bundles:"
            f" it cannot be set to {_PRIVATE:o}: {error.strerror}"
        )


def open_mode(home: Path) -> str | None:
    """The mode of a home that other users may enter, such as "mode 755"; None of a private one."""
    mode = stat.S_IMODE(home.stat().st_mode)
    return f"mode {mode:o}" if mode & _OTHERS else None


def store_file(home: Path) -> Path | None:
    """The SQLite file of a home's store, as the environment has it; None for PostgreSQL."""
    return sqlite_file(store_url(os.environ, home), home)


def examine_store(home: Path, warn: Callable[[str], None]) -> None:
    """Raise EngineError if a home's store is damaged, and warn if it seems to have been lost."""
    path = store_file(home)
    if path is None:
        return
    for warning in require_sound(path):
        warn(warning)
    bundles = sum(1 for _ in (home / "bundles").glob("*.zip"))
    if bundles and not graphs_in(path):
        there = "has no graphs" if path.exists() else "is missing"
        warn(
            f"the store {path} {there}, but {home / 'bundles'} has bundles of graphs that were"
            f" deployed ({bundles}): if the store was lost, `anabranch down` and"
            " `anabranch restore FILE` bring back the last backup; this start has no graphs"
        )


def fold_store(home: Path) -> None:
    """Bring the store's write-ahead log into its file, if both are sound and the disk takes it.

    What is damaged stays as it is, for ``examine_store`` to tell.
    """
    path = store_file(home)
    with suppress(sqlite3.Error, EngineError):
        if path is not None and not require_sound(path):
            fold(path)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home's lock; EngineError if another command keeps it too long."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    path = home / "engine.lock"
    with disk_errors(path):
        handle = _opened(path)
    try:
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise EngineError(
                    f"another `anabranch up`, `down` or `restore` is at work in {home}"
                )
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """Open a file to lock, which is made; where the disk has become read-only, one that is there.

    So an engine can be stopped whose disk broke.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
