"""Bound on the size of sample files (.npy, .npz, .csv), and the error that their readers share."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anabranch.components.contract import CannotLoad
from anabranch.errors import in_one_line

MAX_BYTES = 256 * 2**20
"""Largest sample, unpacked."""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Read a sample within: CannotLoad, naming ``what``, if it is too large or cannot be read."""
    try:
        _check_size(path)
        yield
    except CannotLoad as error:
        raise CannotLoad(f"{what}: {error}") from None
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, csv.Error) as error:
        raise CannotLoad(f"{what} cannot be read: {in_one_line(error)}") from None


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise CannotLoad(f"it has {size} bytes, at most {MAX_BYTES} are read: take a sample of it")
