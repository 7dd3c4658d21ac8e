"""The file of a portable bundle: an OCI image layout in a tar file of which there is one form only.

The members come in this order, each with the header that ``_header`` makes, padded with zeros to
blocks of 512 bytes, and two blocks of zeros end the file::

    oci-layout, index.json, blobs/sha256/<digest> in the order of the digests

So every byte of the file follows from the contents of its blobs, and whoever reads it finds out if
one was changed: in a blob by its digest, anywhere else by comparison.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from anabranch.client.portable.formats import (
    LAYOUT,
    Descriptor,
    ImageManifest,
    index,
    listed,
)
from anabranch.client.registry.references import MAX_MANIFEST
from anabranch.errors import InvalidRequest
from anabranch.files import disk_errors, replacing

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20
_BLOBS = "blobs/sha256/"
_MOST_BLOBS = 10_000
_END = bytes(2 * _BLOCK)
FIRST = b"oci-layout\0"
"""First bytes of the file."""


@dataclass(frozen=True)
class ByteRange:
    """Where the content of a member is in the file, in bytes."""

    start: int
    size: int


@dataclass(frozen=True)
class Region:
    """A part of a file, such as a blob in a bundle."""

    path: Path
    span: ByteRange


Source: TypeAlias = bytes | Path | Region
"""The content of a blob: in memory, a file, or a part of one."""
ReadBlob: TypeAlias = "Callable[[ByteRange], bytes]"


@dataclass(frozen=True)
class Contents:
    """Manifests of a bundle and its referrers, and where in the file each blob is, by digest."""

    bundle: ImageManifest
    referrers: Sequence[ImageManifest]
    spans: Mapping[str, ByteRange]


def write(
    target: Path,
    bundle: ImageManifest,
    referrers: Sequence[ImageManifest],
    blobs: Mapping[str, Source],
) -> None:
    """Write a bundle in one step; ``blobs`` have what the manifests need, by digest.

    StorageError where the folder does not take it; InvalidRequest for a blob that is another.
    """
    manifests = [bundle, *referrers]
    needed = {one.digest: one for manifest in manifests for one in manifest.blobs()}
    contents: dict[str, Source] = {one.digest: one.content for one in manifests}
    contents |= {digest: blobs[digest] for digest in needed}
    with disk_errors(target), replacing(target, mode=0o644) as file:
        _member(file, "oci-layout", LAYOUT)
        _member(file, "index.json", index(bundle, referrers))
        for digest in sorted(contents):
            _member(file, _BLOBS + digest.removeprefix("sha256:"), contents[digest])
        file.write(_END)


def _member(file: IO[bytes], name: str, content: Source) -> None:
    size = size_of(content)
    file.write(_header(name, size))
    start = file.tell()
    with pieces_of(content) as pieces:
        file.writelines(pieces)
    if file.tell() != start + size:
        raise InvalidRequest(f"what is to be {name!r} was changed while it was being packed")
    file.write(_padding(size))


def size_of(content: Source) -> int:
    """Return the bytes of a blob."""
    if isinstance(content, Region):
        return content.span.size
    return len(content) if isinstance(content, bytes) else content.stat().st_size


@contextmanager
def pieces_of(content: Source) -> Iterator[Iterator[bytes]]:
    """Yield the content of a blob in pieces."""
    if isinstance(content, bytes):
        yield iter([content])
        return
    path = content.path if isinstance(content, Region) else content
    with path.open("rb") as file:
        if isinstance(content, Region):
            file.seek(content.span.start)
        yield _pieces(file, size_of(content))


def content_of(blob: Source) -> bytes:
    """Return the content of a blob."""
    with pieces_of(blob) as pieces:
        return b"".join(pieces)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def read(path: Path) -> Contents:
    """Read and verify all of a bundle's file: every byte of it is looked at.

    InvalidRequest names the file and what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file).contents()
    except OSError as error:
        raise InvalidRequest(f"cannot read {str(path)!r}: {error.strerror}") from None
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{path} is no portable bundle, or was changed or damaged: {error}"
        ) from None


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        piece = file.read(min(size, _CHUNK))
        if not piece:
            raise InvalidRequest("it ends early")
        size -= len(piece)
        yield piece


class _Reader:
    """One look at the whole of a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def contents(self) -> Contents:
        if self._small("oci-layout") != LAYOUT:
            raise InvalidRequest("`oci-layout` is not that of an OCI image layout 1.0.0")
        listing = self._small("index.json")
        spans = dict(self._blobs())
        if self._file.read(1):
            raise InvalidRequest("something follows its end")
        return _checked(listing, spans, self._content)

    def _small(self, name: str) -> bytes:
        """Read a member that must come next."""
        found, size = self._next()
        if found != name or size > MAX_MANIFEST:
            raise InvalidRequest(f"it has {found!r} of {size} bytes in the place of {name!r}")
        content = b"".join(_pieces(self._file, size))
        self._pad(size)
        return content

    def _next(self) -> tuple[str, int]:
        """Read a header, which must be the one that ``write`` makes; no name at the end."""
        block = self._file.read(_BLOCK)
        if not block.strip(b"\0"):
            if block + self._file.read(_BLOCK) != _END:
                raise InvalidRequest("its end is missing")
            return "", 0
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            is_known = _header(info.name, info.size) == block
        except (tarfile.TarError, ValueError) as error:
            raise InvalidRequest(f"a header is damaged: {error}") from None
        if not is_known:
            raise InvalidRequest(f"the header of {info.name[:100]!r} is not as it must be")
        return info.name, info.size

    def _pad(self, size: int) -> None:
        padding = _padding(size)
        if self._file.read(len(padding)) != padding:
            raise InvalidRequest("there is something between its members")

    def _blobs(self) -> Iterator[tuple[str, ByteRange]]:
        last = ""
        for _ in range(_MOST_BLOBS):
            name, size = self._next()
            if not name:
                return
            if not name.startswith(_BLOBS) or name <= last:
                raise InvalidRequest(f"{name[:100]!r} is not where it must be")
            last, start, total = name, self._file.tell(), hashlib.sha256()
            for piece in _pieces(self._file, size):
                total.update(piece)
            if total.hexdigest() != name.removeprefix(_BLOBS):
                raise InvalidRequest(f"the digest of {name} is sha256:{total.hexdigest()}")
            self._pad(size)
            yield f"sha256:{total.hexdigest()}", ByteRange(start, size)
        raise InvalidRequest(f"it has over {_MOST_BLOBS} blobs")

    def _content(self, span: ByteRange) -> bytes:
        self._file.seek(span.start)
        return b"".join(_pieces(self._file, span.size))


def _checked(listing: bytes, spans: Mapping[str, ByteRange], read: ReadBlob) -> Contents:
    """Return the contents, in which every blob is needed, there, and of the size that is said."""
    digests = [str(one["digest"]) for one in listed(listing)]
    manifests = [ImageManifest.read(_small(digest, spans, read)) for digest in digests]
    if not manifests or manifests[0].subject is not None:
        raise InvalidRequest("its index does not begin with a bundle")
    bundle, *referrers = manifests
    if index(bundle, referrers) != listing:
        raise InvalidRequest("its index is not the one of its manifests")
    needed = {one.digest: one for manifest in manifests for one in manifest.blobs()}
    needed |= {one.digest: one.descriptor for one in manifests}
    _match(needed, spans)
    for one in referrers:
        if one.subject is None or one.subject.digest != bundle.digest:
            raise InvalidRequest(f"{one.digest} does not refer to its bundle")
    return Contents(bundle, referrers, spans)


def _match(needed: Mapping[str, Descriptor], spans: Mapping[str, ByteRange]) -> None:
    for digest, one in needed.items():
        if digest not in spans or spans[digest].size != one.size:
            raise InvalidRequest(f"it lacks {digest} of {one.size} bytes")
    for digest in spans:
        if digest not in needed:
            raise InvalidRequest(f"nothing refers to {digest}")


def _small(digest: str, spans: Mapping[str, ByteRange], read: ReadBlob) -> bytes:
    span = spans.get(digest)
    if span is None or span.size > MAX_MANIFEST:
        raise InvalidRequest(f"the manifest {digest} is missing, or over {MAX_MANIFEST} bytes")
    return read(span)
