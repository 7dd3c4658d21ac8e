"""The store of bundles that the machines of a cluster share, at any URL that fsspec knows.

It holds ``<digest>.zip`` of each bundle. Whoever can write to it cannot change a bundle unnoticed:
all who read compare the digest.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from anabranch.components.artefacts import filesystems, uris
from anabranch.components.artefacts.archives import UNREADABLE
from anabranch.components.artefacts.digests import folder_digest
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import ArtefactSource, TransferInterrupted
from anabranch.errors import ArtefactError, NotFound, Unavailable

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "file")
"""Schemes of URLs at which files can be written."""
_CHUNK = 2**20


def parse(url: str) -> str:
    """Return the URL of a store without a slash at its end; ValueError for what can be none."""
    if uris.scheme(url) not in SCHEMES or uris.problem(url) or "#" in url:
        raise ValueError(url)
    return url.rstrip("/")


def source(store: str, digest: str) -> ArtefactSource:
    """Return the source of a bundle. Raises what ``open_source`` does."""
    return filesystems.open_source(_place(store, digest), ArtefactSettings.from_env())


def get(store: str, digest: str, target: IO[bytes]) -> None:
    """Write a bundle to the empty file ``target``; NotFound if the store has none of that digest.

    Unavailable if the store does not answer, or holds something else under that name.
    """
    with _named(store), filesystems.opened(_place(store, digest)) as (system, place):
        if is_there := system.exists(place):
            with system.open(place, "rb") as packed:
                shutil.copyfileobj(packed, target, _CHUNK)
            if (found := _digest(target)) != digest:
                raise ArtefactError(f"{digest}.zip holds what has the digest {found}")
    if not is_there:
        raise NotFound(f"the bundle {digest!r} is not in {uris.redacted(store)}")


def digests(store: str) -> list[str]:
    """Return the digests of all bundles in the store; Unavailable if it does not answer."""
    with _named(store), filesystems.opened(store) as (system, place):
        try:
            found = system.ls(place, detail=False)
        except FileNotFoundError:  # nothing was put yet
            return []
    names = (one.rpartition("/")[2] for one in found)
    return [name.removesuffix(".zip") for name in names if name.endswith(".zip")]


def put(store: str, digest: str, file: Path) -> None:
    """Have the store hold the bundle in ``file``, unless it does; Unavailable if it takes none."""
    with _named(store), filesystems.opened(_place(store, digest)) as (system, place):
        if system.exists(place) and system.size(place) == file.stat().st_size:
            return
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        with file.open("rb") as packed, system.open(place, "wb") as target:
            shutil.copyfileobj(packed, target, _CHUNK)


def remove(store: str, digest: str) -> None:
    """Remove a bundle that may be there; Unavailable if the store does not answer."""
    with (
        _named(store),
        filesystems.opened(_place(store, digest)) as (system, place),
        suppress(FileNotFoundError),
    ):
        system.rm(place)


@contextmanager
def _named(store: str) -> Iterator[None]:
    try:
        yield
    except (ArtefactError, TransferInterrupted) as error:
        raise Unavailable(f"the bundle store {uris.redacted(store)}: {error}") from None


def _place(store: str, digest: str) -> str:
    return f"{store}/{digest}.zip"


def _digest(packed: IO[bytes]) -> str:
    """Return the digest of a bundle's content; the names in the zip begin with one folder."""
    contents = {}
    try:
        with zipfile.ZipFile(packed) as archive:
            for entry in archive.infolist():
                content = hashlib.sha256()
                with archive.open(entry) as file:
                    while chunk := file.read(_CHUNK):
                        content.update(chunk)
                contents[entry.filename.partition("/")[2]] = content.hexdigest()
    except UNREADABLE as error:
        raise ArtefactError(f"what it holds is no zip file: {error}") from None
    return folder_digest(contents)
