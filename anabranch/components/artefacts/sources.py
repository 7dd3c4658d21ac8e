"""Sources of artefacts: files with sizes and marks, and the way to read them.

Each scheme has an opener in ``MODULES``, imported when it is asked for. A *mark* changes whenever
the file does (an ETag, a time of change); a file without one cannot be told from its successor, so
it is neither resumed nor kept for long.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

from anabranch.components.artefacts.digests import MAX_FILES
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.uris import is_inner, scheme
from anabranch.errors import ArtefactError

CHUNK = 2**20
"""Bytes that are read at a time."""
_HERE = __name__.rpartition(".")[0]
MODULES: dict[str, str] = {
    **dict.fromkeys(("http", "https"), f"{_HERE}.http"),
    **dict.fromkeys(("s3", "gs", "az", "abfs", "abfss", "hf"), f"{_HERE}.filesystems"),
    **dict.fromkeys(("models", "runs", "mlflow-artifacts"), f"{_HERE}.mlflow.files"),
    "file": f"{_HERE}.local",
}
"""Scheme: the module whose ``open_source`` takes it."""


class TransferInterrupted(Exception):
    """A transfer broke off for a reason that may pass; it is tried again."""


class Stream(NamedTuple):
    """Bytes of a file from ``start`` on, which is 0 where the store cannot start elsewhere."""

    start: int
    chunks: Iterator[bytes]


class RemoteFile(NamedTuple):
    """A file in a store; ``path`` is relative to the folder, or the name of the only file."""

    path: str
    size: int | None = None
    mark: str | None = None


Read: TypeAlias = Callable[[RemoteFile, int], AbstractContextManager[Stream]]
"""Open a file at an offset. Raises Interrupted, or ArtefactError for what no retry mends."""


@dataclass(frozen=True)
class ArtefactSource:
    """The files that a reference stands for now."""

    files: Sequence[RemoteFile]
    read: Read
    is_folder: bool = False
    local: Path | None = None
    """Where the only file is on this machine, if it is and never changes."""

    @property
    def size(self) -> int | None:
        """Bytes in all; None where one of the files does not say."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def fingerprint(self) -> str | None:
        """Changes when any file does; None where that cannot be told."""
        if any(file.mark is None for file in self.files):
            return None
        listed = sorted((file.path, file.size, file.mark) for file in self.files)
        return sha256(json.dumps(listed).encode()).hexdigest()


def renamed(source: ArtefactSource, path: str) -> ArtefactSource:
    """Return a source of one file with another name for it."""
    (only,) = source.files
    file = only._replace(path=path)
    return replace(source, files=[file], read=lambda _, start: source.read(only, start))


def open_source(uri: str, settings: ArtefactSettings) -> ArtefactSource:
    """List what ``uri`` means. Raises Interrupted, or ArtefactError naming what is wrong."""
    module = importlib.import_module(MODULES[scheme(uri)])
    source: ArtefactSource = module.open_source(uri, settings)
    _check(source, settings)
    return source


def _check(source: ArtefactSource, settings: ArtefactSettings) -> None:
    if not source.files:
        raise ArtefactError("there is no file or folder at that path")
    if len(source.files) > MAX_FILES:
        raise ArtefactError(f"the folder holds over {MAX_FILES} files")
    for file in source.files:
        if not is_inner(file.path):
            raise ArtefactError(
                f"the store lists a file {file.path[:200]!r}, which leads out of the folder"
            )
    if source.size is not None:
        check_size(source.size, settings)


def check_size(size: int, settings: ArtefactSettings) -> None:
    """Refuse what is over the limit."""
    if size > settings.max_size:
        raise ArtefactError(
            f"it has {shown_size(size)}, the limit is {shown_size(settings.max_size)} "
            "(ANABRANCH_MAX_ARTEFACT)"
        )


def shown_size(size: float) -> str:
    """Return a size for people, such as ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield what is left of a file in chunks."""
    while chunk := stream.read(CHUNK):
        yield chunk
