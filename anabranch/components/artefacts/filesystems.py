"""Files and folders in object stores, through fsspec's implementation for each.

Credentials, endpoints and regions come from the environment as each library reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    ArtefactSource,
    RemoteFile,
    Stream,
    TransferInterrupted,
    chunks_of,
)
from anabranch.components.artefacts.uris import SCHEMES, filename, redacted, scheme
from anabranch.errors import ArtefactError

_MARKS = ("ETag", "etag", "e_tag", "blob_id", "md5Hash", "LastModified", "last_modified", "mtime")
"""Entries of a file's description that change with it, as the implementations name them."""
_PASSING = (OSError, TimeoutError)
_MOST_TEXT = 300


def open_source(uri: str, settings: ArtefactSettings) -> ArtefactSource:
    """List the file, or all files below the folder, that a URI means."""
    with opened(uri) as (system, place):
        described = system.info(place)
        if described["type"] != "directory":
            file = _described(filename(uri), described)
            return ArtefactSource([file], _reader(system, uri, {file.path: place}))
        found = system.find(place, detail=True)
    top = place.rstrip("/") + "/"
    places = {one.removeprefix(top): one for one in found if not one.endswith("/")}
    files = [_described(path, found[one]) for path, one in places.items()]
    return ArtefactSource(files, _reader(system, uri, places), is_folder=True)


@contextmanager
def opened(uri: str) -> Iterator[tuple[Any, str]]:
    """Yield the filesystem of a URI, and the path in it; raises what ``open_source`` does."""
    with _mapped(uri):
        yield _system(uri)


def _system(uri: str) -> tuple[Any, str]:
    """Return the filesystem of a URI, and the path in it."""
    from fsspec.core import url_to_fs

    extra = SCHEMES.get(scheme(uri), "")
    try:
        system, place = url_to_fs(uri)
    except ImportError as error:
        raise ArtefactError(
            f"the library for {scheme(uri)}: is missing ({error}): pip install 'anabranch[{extra}]'"
        ) from None
    system.invalidate_cache()  # listings are kept for the life of the process
    return system, place


def _described(path: str, entry: Any) -> RemoteFile:
    mark = next((str(entry[name]) for name in _MARKS if entry.get(name)), None)
    return RemoteFile(path, entry.get("size"), mark)


def _reader(system: Any, uri: str, places: dict[str, str]) -> Any:
    @contextmanager
    def read(file: RemoteFile, start: int) -> Iterator[Stream]:
        with _mapped(uri), system.open(places[file.path], "rb", cache_type="readahead") as stream:
            if start:
                stream.seek(start)
            yield Stream(start, chunks_of(stream))

    return read


@contextmanager
def _mapped(uri: str) -> Iterator[None]:
    """Turn what the libraries raise into ours; their texts may quote requests with signatures."""
    try:
        yield
    except (ArtefactError, TransferInterrupted):
        raise
    except FileNotFoundError:
        raise ArtefactError("there is no such file or folder") from None
    except PermissionError as error:
        raise ArtefactError(f"access is denied: {_text(error)}") from None
    except _PASSING as error:
        raise TransferInterrupted(_text(error)) from None
    except Exception as error:
        raise ArtefactError(_text(error)) from None


def _text(error: Exception) -> str:
    text = redacted(" ".join(str(error).split()))[:_MOST_TEXT]
    return f"{type(error).__name__}: {text}"
