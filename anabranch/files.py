"""Files that are replaced in one step, and what a folder that takes no file is said to be."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from anabranch.errors import StorageError

DRAFT = ".new"
"""End of the names of files that are being written."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def replace_file(
    path: Path, content: bytes | str, *, mode: int = 0o600, durable: bool = True
) -> None:
    """Put ``content`` (text as UTF-8) in the place of the file ``path``, whole or not at all.

    StorageError where the folder takes no such file; what was there before stays then. A new file
    has ``mode``, less the bits of the umask. With ``durable`` the file survives a loss of power as
    soon as this returns.
    """
    data = content.encode() if isinstance(content, str) else content
    with disk_errors(path, len(data)), replacing(path, mode=mode, durable=durable) as draft:
        draft.write(data)


@contextmanager
def replacing(path: Path, *, mode: int = 0o600, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file to write to, which takes the place of ``path`` if nothing is raised.

    It lies in the same folder meanwhile, and is removed where anything is raised. OSError as it
    comes.
    """
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}{DRAFT}")
    handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "w+b") as draft:
            yield draft
            draft.flush()
            if durable:
                os.fsync(draft.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a loss of power, as far as its file system can."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # not every file system has this for folders
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an OSError from making ``path``, of ``needed`` bytes, into a StorageError."""
    try:
        yield
    except OSError as error:
        raise _storage_error(path, error, needed) from error


def _storage_error(path: Path, error: OSError, needed: int | None) -> StorageError:
    said = f"{path.parent} does not take {path.name}: {error.strerror or error}"
    if error.errno in _FULL:
        wanted = "" if needed is None else f"{needed:,} bytes are needed, "
        said += f"; {wanted}{free_bytes(path.parent):,} are free"
    return StorageError(said)


def require_room(folder: Path, needed: int) -> None:
    """Raise StorageError unless ``folder`` can be written to and has ``needed`` bytes free."""
    there = _existing(folder)
    if not os.access(there, os.W_OK):
        raise StorageError(f"{there} cannot be written to: it is read-only, or another user's")
    if (free := free_bytes(there)) < needed:
        raise StorageError(
            f"{folder} is too full: {needed:,} bytes are needed, {free:,} are free;"
            " nothing was changed"
        )


def free_bytes(folder: Path) -> int:
    """Bytes that the file system of ``folder``, which need not be there yet, can still take."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.is_dir())
