"""Compressed files, by the ends of their names: gzip, and Zstandard through pyarrow.

Several members or frames one after the other, as parallel tools write them, are one file. They are
read forward; to go back is to begin anew.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.errors import JobError

GZIP, ZSTD = ".gz", ".zst"
ENDS = (GZIP, ZSTD)
_PIECE = 2**20
"""Bytes that are compressed together at least, where there are as many."""


def compression_of(name: str) -> str:
    """Return the end of a file's name that tells how it is compressed; empty where it is not."""
    end = PurePosixPath(name.partition("?")[0]).suffix.lower()
    return end if end in ENDS else ""


def compress(name: str, content: bytes) -> bytes:
    """Return the content of a file with this name; JobError where the library for it is missing."""
    match compression_of(name):
        case ".gz":
            return gzip.compress(content, 6, mtime=0)
        case ".zst":
            return _arrow().compress(content, "zstd", asbytes=True)  # type: ignore[no-any-return]
    return content


@contextmanager
def unpacked(name: str, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield what is in an open file with this name, to read and seek in; raises as ``compress``."""
    match compression_of(name):
        case ".gz":
            with gzip.GzipFile(fileobj=file) as content:
                yield content  # type: ignore[misc]
        case ".zst":
            yield io.BufferedReader(_ZstdFile(file), _PIECE)
        case _:
            yield file


@contextmanager
def packed(name: str, target: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield a file to write to, whose content becomes that of ``target``, which has this name."""
    if compression_of(name):
        pieces = _Pieces(name, target)
        with io.BufferedWriter(pieces, _PIECE) as content:
            yield content
        if pieces.is_empty:
            target.write(compress(name, b""))
    else:
        yield target


class _Pieces(io.RawIOBase):
    """Writes each piece as a member, or frame, of its own."""

    def __init__(self, name: str, target: IO[bytes]) -> None:
        self._name, self._target = name, target
        self.is_empty = True

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._target.write(compress(self._name, bytes(piece)))
        self.is_empty = False
        return len(piece)


class _ZstdFile(io.RawIOBase):
    """The content of an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._at = 0
        self._stream = _arrow().CompressedInputStream(_Kept(self._file), "zstd")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        found = self._stream.read(len(target))
        target[: len(found)] = found
        self._at += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._at
        if offset < self._at:
            self._begin()
        while self._at < offset and (skipped := self._stream.read(min(_PIECE, offset - self._at))):
            self._at += len(skipped)
        return self._at


class _Kept(io.RawIOBase):
    """An open file that does not end with what reads it: pyarrow's streams close theirs."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def _arrow() -> Any:
    try:
        return require("pyarrow", "parquet")
    except CannotLoad as error:
        raise JobError(f"for files that end with {ZSTD}: {error}") from None
