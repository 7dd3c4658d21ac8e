"""Files of a job, at paths and at URLs that fsspec knows. A file is written whole or not at all.

Files that are compressed by their names are read and written as what is in them.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from gzip import BadGzipFile
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO, Any, NamedTuple
from weakref import finalize

from anabranch.client.batch.compression import compress, compression_of, packed, unpacked
from anabranch.components.artefacts import filesystems
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import ArtefactError, JobError, Unavailable
from anabranch.files import disk_errors, replace_file, replacing

_PATTERN = "*?["
_HIDDEN = (".", "_")
"""First characters of the names of files that are no data, as Spark and Arrow have it."""
_MARKS = ("ETag", "etag", "e_tag", "md5Hash", "LastModified", "last_modified", "mtime")


class InputFile(NamedTuple):
    """A file of the input; ``mark`` changes with its content, as far as its store tells."""

    url: str
    size: int
    mark: str


def input_files(url: str) -> list[InputFile]:
    """Return the files that a path or URL means: a file, those in a folder, or those of a pattern.

    They are in the order of their names. Hidden files, and those whose names begin with ``_``, are
    left out of folders. Raise JobError where there is none.
    """
    with _opened(url) as (system, place):
        if any(mark in place for mark in _PATTERN):
            found = system.glob(place, detail=True)
        elif system.isdir(place):
            found = system.find(place, detail=True)
            found = {name: one for name, one in found.items() if not _is_hidden(place, name)}
        else:
            found = {place: system.info(place)}
        files = [
            InputFile(system.unstrip_protocol(name), one["size"] or 0, _mark(one))
            for name, one in sorted(found.items())
            if one["type"] == "file"
        ]
    if not files:
        raise JobError(f"{redacted(url)!r} has no files")
    return files


def _is_hidden(folder: str, name: str) -> bool:
    parts = name.removeprefix(folder).split("/")
    return any(part.startswith(_HIDDEN) for part in parts)


def _mark(entry: Any) -> str:
    return next((str(entry[name]) for name in _MARKS if entry.get(name)), "")


def names_in(folder: str) -> dict[str, int]:
    """Return the names of the files in a folder, with their sizes; empty where there is none."""
    with _opened(folder) as (system, place):
        if not system.isdir(place):
            return {}
        return {
            one["name"].rstrip("/").rpartition("/")[2]: one["size"] or 0
            for one in system.ls(place, detail=True)
            if one["type"] == "file"
        }


@contextmanager
def reading(url: str) -> Iterator[IO[bytes]]:
    """Yield what is in a file, to read and seek in."""
    with (
        _opened(url) as (system, place),
        system.open(place, "rb") as file,
        reading_errors(url),
        unpacked(place, file) as content,
    ):
        yield content


class SpanReader:
    """Reads spans of files. Of a compressed file, one whose spans are read in their order is read
    once: it stays open until there is another, or nobody has the reader any more.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open = ExitStack()
        self._url = ""
        self._content: IO[bytes]
        finalize(self, self._open.close)

    def read(self, url: str, start: int, end: int) -> bytes:
        """Return what is in a file from byte ``start`` up to ``end``."""
        if not compression_of(url):
            return read(url, start, end)
        with self._lock, reading_errors(url):
            content = self._opened(url)
            content.seek(start)
            return content.read(end - start)

    def _opened(self, url: str) -> IO[bytes]:
        if url != self._url:
            self._url = ""  # until another is open
            self._open.close()
            self._content, self._url = self._open.enter_context(reading(url)), url
        return self._content


def read(url: str, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes of a file that is not compressed from ``start`` up to ``end``."""
    with _opened(url) as (system, place):
        content: bytes = system.cat_file(place, start=start, end=end)
        return content


def exists(url: str) -> bool:
    """Return whether there is such a file or folder."""
    with _opened(url) as (system, place):
        return bool(system.exists(place))


def put(url: str, content: bytes) -> None:
    """Write a file in the place of an older one, in one step; its folders are made."""
    with _opened(url) as (system, place):
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        content = compress(place, content)
        if _is_local(system):
            replace_file(Path(place), content, mode=0o666)
        else:
            system.pipe_file(place, content)


@contextmanager
def putting(url: str) -> Iterator[IO[bytes]]:
    """Yield a file to write to, which takes the place of ``url`` if nothing is raised."""
    with _opened(url) as (system, place):
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
    with _store_errors(url):
        if _is_local(system):
            with (
                disk_errors(Path(place)),
                replacing(Path(place), mode=0o666) as draft,
                packed(place, draft) as content,
            ):
                yield content
            return
        with NamedTemporaryFile() as draft:
            with packed(place, draft) as content:
                yield content
            draft.flush()
            system.put_file(draft.name, place)


@contextmanager
def local_path(url: str) -> Iterator[Path | None]:
    """Yield the path of a file or folder; None where it is not of this machine's file system.

    What is done there has the errors of files.
    """
    with _opened(url) as (system, place):
        yield Path(place) if _is_local(system) else None


def lines(url: str) -> int:
    """Return the number of lines of a file."""
    return read(url).count(b"\n")


def copy_into(url: str, target: IO[bytes]) -> None:
    """Append a file to an open one."""
    with reading(url) as file:
        shutil.copyfileobj(file, target)


def remove(url: str) -> None:
    """Remove a file or a folder, if it is there."""
    with _opened(url) as (system, place):
        if system.exists(place):
            system.rm(place, recursive=True)


def _is_local(system: Any) -> bool:
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URL and the path in it; errors of files name the URL."""
    with _store_errors(url):
        try:
            with filesystems.opened(url) as found:
                pass
            yield found
        except ValueError as error:
            raise JobError(f"{redacted(url)}: {redacted(str(error))}") from None


@contextmanager
def reading_errors(url: str) -> Iterator[None]:
    """Raise errors of a file that is read with its URL: JobError for what waiting does not mend."""
    with _store_errors(url):
        try:
            yield
        except (EOFError, ValueError, zlib.error) as error:
            raise JobError(f"{redacted(url)} is damaged: {error}") from None
        except OSError as error:
            if not _is_damage(error):
                raise
            raise JobError(f"{redacted(url)} is damaged: {error}") from None


@contextmanager
def _store_errors(url: str) -> Iterator[None]:
    """Raise errors of where a file lies with its URL, and let those of what it holds pass."""
    shown = redacted(url)
    try:
        yield
    except ArtefactError as error:
        raise JobError(f"{shown}: {error}") from None
    except FileNotFoundError:
        raise JobError(f"{shown}: there is no such file or folder") from None
    except PermissionError as error:
        raise JobError(f"{shown}: access is denied: {redacted(str(error))}") from None
    except OSError as error:
        raise Unavailable(f"{shown}: {redacted(str(error))}") from None


def _is_damage(error: OSError) -> bool:
    """Return whether an error is of what a file holds: pyarrow's have no number."""
    return isinstance(error, BadGzipFile) or (type(error) is OSError and error.errno is None)
