"""Archives, unpacked as what a stranger made: ``.zip``, ``.tar`` and compressed ``.tar``.

Only plain files and folders come out, each by our own writing below the target: no links, no
devices, no absolute path and no ``..``, no owner and no mode. Count, size and the ratio of
unpacking are bounded, and so is what a header may make a library hold in memory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, Self

from anabranch.components.artefacts.digests import MAX_FILES
from anabranch.components.artefacts.sources import shown_size
from anabranch.components.artefacts.uris import is_inner
from anabranch.errors import ArtefactError

MOST_RATIO = 100
"""Most bytes that come out for one of the archive's, above the first ``FREE``."""
FREE = 256 * 2**20
_CHUNK = 256 * 2**10
_STEP = 64 * 2**20
"""Bytes for which room is made at a time."""
_MOST_HEADER = 2**20
_HEADERS = 64 * 2**20
"""Bytes of a tar file that may be headers and padding."""
_MOST_INDEX = 16 * 2**20
_MOST_DICTIONARY = 256 * 2**20
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
UNREADABLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    NotImplementedError, RuntimeError, ValueError, IndexError, OverflowError,
)  # fmt: skip
"""What the libraries raise for archives that they cannot read."""


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Member(NamedTuple):
    name: str
    is_folder: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, target: Path, most: int, room: Callable[[int], None]) -> None:
    """Unpack ``archive`` into the new folder ``target``, at most ``most`` bytes.

    ``room`` is told of bytes before they are written. ArtefactError names the member that may
    not be, or says that the archive cannot be read.
    """
    budget = _Budget(archive, most, room)
    members = _zip if archive.name.lower().endswith(".zip") else _tar
    try:
        target.mkdir()
        for member in members(archive, budget):
            _write(member, target, budget)
    except UNREADABLE as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        raise ArtefactError(f"the archive cannot be unpacked: {text}") from None


class _Budget:
    """The bytes and members that may still come out of an archive."""

    def __init__(self, archive: Path, most: int, room: Callable[[int], None]) -> None:
        self.most = min(most, FREE + MOST_RATIO * archive.stat().st_size)
        self._taken = self._room_for = self._count = 0
        self._room = room

    def member(self) -> None:
        """Count a member."""
        self._count += 1
        if self._count > MAX_FILES:
            raise ArtefactError(f"the archive holds over {MAX_FILES} files and folders")

    def take(self, size: int) -> None:
        """Count bytes that are written next."""
        self._taken += size
        if self._taken > self.most:
            raise ArtefactError(
                f"the archive unpacks to over {shown_size(self.most)}, which is the limit for it"
            )
        if self._taken > self._room_for:
            self._room(_STEP)
            self._room_for = self._taken + _STEP


def _write(member: _Member, target: Path, budget: _Budget) -> None:
    budget.member()
    name = member.name.rstrip("/") if member.is_folder else member.name
    name = name.removeprefix("./")
    if name in ("", ".") and member.is_folder:
        return
    if not is_inner(name) or ":" in name.partition("/")[0]:
        raise ArtefactError(f"{member.name[:200]!r} in the archive is not a path below it")
    path = target / name
    folder = path if member.is_folder else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not member.is_folder:
            _copy(member, path, budget)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ArtefactError(
            f"{name[:200]!r} is in the archive twice, or as file and folder"
        ) from None


def _copy(member: _Member, path: Path, budget: _Budget) -> None:
    with path.open("xb") as file, member.open() as stream:
        while chunk := stream.read(_CHUNK):
            budget.take(len(chunk))
            file.write(chunk)


def _zip(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with _Careful(archive) as file, zipfile.ZipFile(file) as opened:
        for entry in opened.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArtefactError(_special(entry.filename))
            if entry.flag_bits & 0x1 or entry.compress_type not in _ZIP_METHODS:
                raise ArtefactError(f"{entry.filename[:200]!r} is encrypted, or packed unusually")
            yield _Member(entry.filename, entry.is_dir(), partial(opened.open, entry))


class _Careful(FileIO):
    """A file that refuses to be read in one piece where that piece is an enormous index."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else size
        if wanted > _MOST_INDEX:
            raise ArtefactError(f"the archive's index is over {shown_size(_MOST_INDEX)}")
        return super().read(wanted) or b""


def _tar(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with closing(_opened(archive)) as stream:
        counted: Any = _Counted(stream, budget.most + _HEADERS)
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_CarefulInfo) as opened:
            for entry in opened:
                if not (entry.isreg() or entry.isdir()) or entry.issparse():
                    raise ArtefactError(_special(entry.name))
                yield _Member(entry.name, entry.isdir(), partial(_extracted, opened, entry))


def _extracted(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    found = opened.extractfile(entry)
    assert found is not None, "a regular file"
    return found


class _Counted:
    """A stream of which only so much is read, whatever the headers in it ask for."""

    def __init__(self, stream: _Reads, most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int) -> bytes:
        """Read some bytes; ArtefactError once there were too many."""
        found = self._stream.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise ArtefactError("the archive holds more than its files")
        return found


class _CarefulInfo(tarfile.TarInfo):
    """Refuses what would be held in memory whole: enormous headers, and maps of sparse files."""

    def _proc_member(self, opened: tarfile.TarFile) -> Self:
        """Refuse sparse members and enormous headers, before tarfile reads their content."""
        is_file = self.isreg() or self.isdir() or self.islnk() or self.issym() or self.isdev()
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise ArtefactError(_special(self.name))
        if not is_file and self.size > _MOST_HEADER:
            raise ArtefactError(f"a header in the archive is over {shown_size(_MOST_HEADER)}")
        found: Self = super()._proc_member(opened)  # type: ignore[misc]
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise ArtefactError(_special(self.name))


def _opened(archive: Path) -> _Reads:
    """Open a tar file as what its bytes say, whatever its name is."""
    with archive.open("rb") as file:
        start = file.read(6)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            return opener(archive)
    return archive.open("rb")


class _Xz:
    """An ``.xz`` stream whose dictionary may not take all memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_DICTIONARY)

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes; none at the end."""
        while not self._unpacker.eof:
            packed = self._file.read(_CHUNK) if self._unpacker.needs_input else b""
            if self._unpacker.needs_input and not packed:
                raise EOFError("it ends early")
            if found := self._unpacker.decompress(packed, size):
                return found
        return b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


_COMPRESSED: dict[bytes, Callable[[Path], _Reads]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": _Xz,
}
"""First bytes of a compressed file: how to read it."""


def _special(name: str) -> str:
    return f"{name[:200]!r} in the archive is a link or a special file"
