"""Layers of an image: tar files of which there is one form only, compressed by gzip.

Members are in the order of their paths, belong to root and have no times, so the same files give
the same digest. Media types are those of the OCI Image Format Specification 1.1
(https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md).
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

from anabranch.client.portable.formats import Descriptor

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_LEVEL = 6
_CHUNK = 2**20


@dataclass(frozen=True)
class SymbolicLink:
    """A symbolic link to ``target``, as it stands there."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder with a mode of its own; those that files need are made by themselves."""

    mode: int = 0o755


Content: TypeAlias = bytes | Path | SymbolicLink | Folder
Entries: TypeAlias = Mapping[str, Content]
"""Contents by path in the image, such as ``opt/anabranch/bin/python``, without a leading slash."""


@dataclass(frozen=True)
class ImageLayer:
    """A layer: its blob, and the digest of the tar file in it, by which a config names it."""

    blob: Descriptor
    diff_id: str
    about: str
    """Words for the history of the image."""


class _Digesting(io.RawIOBase):
    """A file that is written once, and its digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self.size = file, sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._digest.hexdigest()}"


def write_layer(blobs: Path, entries: Entries, about: str) -> ImageLayer:
    """Write a layer into the folder ``blobs``, under its digest; OSError where it cannot be."""
    return _written(blobs, lambda target: write_tar(target, entries), about)


def write_tar_layer(blobs: Path, tar: IO[bytes], about: str) -> ImageLayer:
    """Write a tar file as a layer, likewise."""
    return _written(blobs, lambda target: shutil.copyfileobj(tar, target, _CHUNK), about)


def _written(blobs: Path, write: Callable[[Any], None], about: str) -> ImageLayer:
    draft = blobs / "layer.new"
    with draft.open("wb") as file:
        packed = _Digesting(file)
        with gzip.GzipFile("", "wb", _LEVEL, packed, mtime=0) as stream:
            plain = _Digesting(stream)  # type: ignore[arg-type]
            write(plain)
    draft.replace(blobs / packed.digest.removeprefix("sha256:"))
    return ImageLayer(Descriptor(LAYER_TYPE, packed.digest, packed.size), plain.digest, about)


def write_tar(target: Any, entries: Entries) -> None:
    """Write a tar file with these members to a file that takes bytes."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path, content in sorted({**_parents(entries), **entries}.items()):
            _add(tar, path, content)


def _parents(entries: Iterable[str]) -> dict[str, Content]:
    folders = {str(folder) for path in entries for folder in PurePosixPath(path).parents}
    return dict.fromkeys(folders - {"."}, Folder())


def _add(tar: tarfile.TarFile, path: str, content: Content) -> None:
    info = tarfile.TarInfo(path)
    if isinstance(content, Folder):
        info.type, info.mode = tarfile.DIRTYPE, content.mode
        tar.addfile(info)
    elif isinstance(content, SymbolicLink):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, content.target, 0o777
        tar.addfile(info)
    elif isinstance(content, bytes):
        info.size, info.mode = len(content), 0o755 if content.startswith(b"#!") else 0o644
        tar.addfile(info, io.BytesIO(content))
    else:
        with content.open("rb") as file:
            found = os.fstat(file.fileno())
            info.size = found.st_size
            info.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            tar.addfile(info, file)


def entries_of(folder: Path, at: str) -> dict[str, Content]:
    """Return all below a folder, as it is to stand at a path in the image; links stay links."""
    found: dict[str, Content] = {}
    for place, folders, files in os.walk(folder):
        here = PurePosixPath(at) / Path(place).relative_to(folder).as_posix()
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                found[str(here / name)] = SymbolicLink(str(path.readlink()))
            elif path.is_dir():
                found[str(here / name)] = Folder(stat.S_IMODE(path.stat().st_mode))
            elif path.is_file():
                found[str(here / name)] = path
    return found
