"""The store of bundles that the machines of a cluster share, at any URL that fsspec knows.

It holds ``<digest>.zip`` of each bundle, and ``<digest>.blob`` of each model that bundles have
brought along. Whoever can write to it cannot change a bundle unnoticed:
all who read compare the digest.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterator
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
BUNDLE = ".zip"
BLOB = ".blob"
_CHUNK = 2**20


def parse(url: str) -> str:
    """Return the URL of a store without a slash at its end; ValueError for what can be none."""
    if uris.scheme(url) not in SCHEMES or uris.problem(url) or "#" in url:
        raise ValueError(url)
    return url.rstrip("/")


def source(store: str, name: str) -> ArtefactSource:
    """Return the source of a file of the store, by its name. Raises what ``open_source`` does."""
    return filesystems.open_source(f"{store}/{name}", ArtefactSettings.from_env())


def get(store: str, name: str, target: IO[bytes]) -> None:
    """Write a file of the store to the empty file ``target``; NotFound if the store has none.

    Unavailable if the store does not answer, or holds something else under that name.
    """
    digest, suffix = _parted(name)
    with _named(store), filesystems.opened(f"{store}/{name}") as (system, place):
        if is_there := system.exists(place):
            with system.open(place, "rb") as packed:
                shutil.copyfileobj(packed, target, _CHUNK)
            if (found := _DIGESTS[suffix](target)) != digest:
                raise ArtefactError(f"{name} holds what has the digest {found}")
    if not is_there:
        raise NotFound(f"{name!r} is not in {uris.redacted(store)}")


def digests(store: str, suffix: str = BUNDLE) -> list[str]:
    """Return the digests of all files with that suffix; Unavailable if it does not answer."""
    with _named(store), filesystems.opened(store) as (system, place):
        try:
            found = system.ls(place, detail=False)
        except FileNotFoundError:  # nothing was put yet
            return []
    names = (one.rpartition("/")[2] for one in found)
    return [name.removesuffix(suffix) for name in names if name.endswith(suffix)]


def put(store: str, name: str, file: Path) -> None:
    """Have the store hold a file under a name, unless it does; Unavailable if it takes none."""
    with _named(store), filesystems.opened(f"{store}/{name}") as (system, place):
        if system.exists(place) and system.size(place) == file.stat().st_size:
            return
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        with file.open("rb") as packed, system.open(place, "wb") as target:
            shutil.copyfileobj(packed, target, _CHUNK)


def remove(store: str, name: str) -> None:
    """Remove a file that may be there; Unavailable if the store does not answer."""
    with (
        _named(store),
        filesystems.opened(f"{store}/{name}") as (system, place),
        suppress(FileNotFoundError),
    ):
        system.rm(place)


@contextmanager
def _named(store: str) -> Iterator[None]:
    try:
        yield
    except (ArtefactError, TransferInterrupted) as error:
        raise Unavailable(f"the bundle store {uris.redacted(store)}: {error}") from None


def _parted(name: str) -> tuple[str, str]:
    digest, dot, suffix = name.partition(".")
    return digest, dot + suffix


def _digest_of_blob(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _digest_of_bundle(packed: IO[bytes]) -> str:
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


_DIGESTS: dict[str, Callable[[IO[bytes]], str]] = {
    BUNDLE: _digest_of_bundle,
    BLOB: _digest_of_blob,
}
"""What the digest in a file's name is of, by the suffix."""
