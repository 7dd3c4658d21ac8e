"""Cache of downloaded artefacts, shared by all processes of this machine and bounded in size.

::

    entries/<key>/content   the file under its name, or the files of a folder
    entries/<key>/meta.json what is known of it; its time of change is that of the last use
    partial/<key>/          what is on its way
    locks/<key>.use         shared by all who use or fill an entry, alone for who removes it
    locks/<key>.fill        held by the one that fills it

An entry appears by a rename, so it is whole or not there. A process keeps its share of ``use``
until it ends; whatever nobody uses is removed, least recently used first, when room is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from anabranch.components.artefacts.locks import locked, try_lock, wait_lock
from anabranch.components.artefacts.sources import shown_size
from anabranch.errors import ArtefactError
from anabranch.files import replace_file

CONTENT = "content"
_META = "meta.json"
_SPARE = 64 * 2**20
"""Bytes of the disk that are left free."""
_REMOVAL_S = 60.0
"""Longest time for which somebody removes an entry that is wanted."""

Meta: TypeAlias = dict[str, str]

_leases: dict[Path, int] = {}
"""Lock of each entry that this process uses: the file descriptor that holds it."""
_leases_lock = threading.Lock()


@dataclass(frozen=True)
class Kept:
    """Something that could be removed: an entry, or what was left of a download."""

    path: Path
    key: str
    size: int
    used_at: float


class Cache:
    """The cache in ``folder``, of at most ``most`` bytes as far as what is in use allows."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most

    def obtain(
        self,
        key: str,
        fill: Callable[[Path], Meta],
        deadline: float,
        waiting: Callable[[], None] | None = None,
    ) -> tuple[Path, Meta]:
        """Return the content of an entry, which ``fill`` makes in a folder where it is missing.

        One process at a time fills it while the others wait, at most until ``deadline`` on the
        monotonic clock. What ``fill`` leaves behind when it fails is there when it is called
        again; it returns what is to be known of the content.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _Lease(self._lock(key, "use")) as lease:
            if not self._entry(key).is_dir():
                with locked(self._lock(key, "fill"), deadline, waiting):
                    self._fill(key, fill)
            described = self._entry(key) / _META
            described.touch()
            lease.keep()
        return self._entry(key) / CONTENT, json.loads(described.read_text())

    def claim(self, key: str) -> tuple[Path, int] | None:
        """Return the content of an entry, a folder that is empty at first, for one user alone.

        Nobody else has it, nor is it removed, until the file descriptor is closed; None where
        another has it.
        """
        lock = try_lock(self._lock(key, "use"))
        if lock is None:
            return None
        try:
            self._fill(key, _empty)
            (self._entry(key) / _META).touch()
        except BaseException:
            os.close(lock)
            raise
        return self._entry(key) / CONTENT, lock

    def make_room(self, size: int) -> None:
        """Remove what nobody uses until ``size`` more bytes fit the cache and the disk.

        ArtefactError where the disk is too full even so. The cache grows over its bound where all
        of it is in use.
        """
        shutil.rmtree(self._folder / "gone", ignore_errors=True)  # of those that were killed
        kept = sorted(self._kept(), key=lambda one: one.used_at)
        total = sum(one.size for one in kept)
        for one in kept:
            if total + size <= self._most and self._free() >= size + _SPARE:
                return
            if self._remove(one):
                total -= one.size
        if (free := self._free()) < size + _SPARE:
            raise ArtefactError(
                f"the disk of the cache has {shown_size(free)} free, it takes {shown_size(size)}"
            )

    def drop(self, prefix: str, kept: Container[str]) -> int:
        """Remove what nobody uses, of the keys that begin with ``prefix``, but those ``kept``.

        Gives the number of removed ones.
        """
        found = [one for one in self._kept() if one.key.startswith(prefix) and one.key not in kept]
        return sum(self._remove(one) for one in found)

    def _fill(self, key: str, fill: Callable[[Path], Meta]) -> None:
        if self._entry(key).is_dir():
            return  # another has done it meanwhile
        partial = self._folder / "partial" / key
        partial.mkdir(parents=True, exist_ok=True, mode=0o700)
        meta = fill(partial)
        for left in partial.iterdir():
            if left.name != CONTENT:
                left.unlink()
        replace_file(partial / _META, json.dumps(meta))
        self._entry(key).parent.mkdir(parents=True, exist_ok=True)
        partial.rename(self._entry(key))

    def _entry(self, key: str) -> Path:
        return self._folder / "entries" / key

    def _lock(self, key: str, kind: str) -> Path:
        return self._folder / "locks" / f"{key}.{kind}"

    def _free(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return shutil.disk_usage(self._folder).free

    def _kept(self) -> Iterator[Kept]:
        for kind in ("entries", "partial"):
            folder = self._folder / kind
            for path in folder.iterdir() if folder.is_dir() else ():
                meta = path / _META
                try:
                    described = meta if kind == "entries" else path
                    yield Kept(path, path.name, _size(path), described.stat().st_mtime)
                except FileNotFoundError:
                    continue  # another process was faster

    def _remove(self, one: Kept) -> bool:
        """Remove an entry unless it is in use; by a rename, so that it is never there in part."""
        handle = try_lock(self._lock(one.key, "use"))
        if handle is None:
            return False
        try:
            gone = self._folder / "gone" / uuid.uuid4().hex
            gone.parent.mkdir(exist_ok=True)
            one.path.rename(gone)
        except FileNotFoundError:
            return True
        finally:
            os.close(handle)
        shutil.rmtree(gone, ignore_errors=True)
        return True


def _empty(partial: Path) -> Meta:
    (partial / CONTENT).mkdir(exist_ok=True)
    return {}


class _Lease:
    """A share of an entry's lock, kept for the life of the process if it is told to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = False

    def __enter__(self) -> _Lease:
        self._handle = wait_lock(self._path, time.monotonic() + _REMOVAL_S, shared=True)
        return self

    def keep(self) -> None:
        with _leases_lock:
            if self._path not in _leases:
                _leases[self._path] = self._handle
                self._kept = True

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            os.close(self._handle)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
