"""Files and folders of this machine by ``file:``, as a source that can be copied into the cache.

Only models that are pinned are copied: others are read where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from anabranch.components.artefacts.digests import files_of
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    ArtefactSource,
    Read,
    RemoteFile,
    Stream,
    chunks_of,
)
from anabranch.components.artefacts.uris import filename, split
from anabranch.errors import ArtefactError


def local_path(uri: str) -> Path:
    """Return the path that a ``file:`` URI means; ArtefactError where nothing is there."""
    path = Path(unquote(urlsplit(split(uri)[0]).path))
    if not path.exists():
        raise ArtefactError("there is no such file")
    return path


def open_source(uri: str, settings: ArtefactSettings) -> ArtefactSource:
    """List the file, or all files below the folder, that a URI means."""
    path = local_path(uri)
    if path.is_dir():
        places = {name: path / name for name in files_of(path)}
    else:
        places = {filename(uri): path}
    files = [_described(name, place) for name, place in places.items()]
    return ArtefactSource(files, reader(places), path.is_dir())


def reader(places: Mapping[str, Path]) -> Read:
    """Return how to read files of this machine, whose places go by path."""

    @contextmanager
    def read(file: RemoteFile, start: int) -> Iterator[Stream]:
        with _mapped(), places[file.path].open("rb") as stream:
            stream.seek(start)
            yield Stream(start, chunks_of(stream))

    return read


def _described(name: str, place: Path) -> RemoteFile:
    with _mapped():
        found = place.stat()
    return RemoteFile(name, found.st_size, f"{found.st_mtime_ns}:{found.st_ino}")


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtefactError(f"cannot be read: {error.strerror}") from None
