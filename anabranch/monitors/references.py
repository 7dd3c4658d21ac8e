"""Samples in files that monitors compare with: .npy, .npz or .csv. Nothing in them is unpickled."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.components.hints import hint, listing
from anabranch.components.loading import inside
from anabranch.monitors.table import Array, Table, Unfit, table_of

MAX_BYTES = 256 * 2**20
"""Largest file, unpacked."""


def check_format(data: str) -> None:
    """CannotLoad where a file is of no format that is read."""
    kind = PurePosixPath(data).suffix
    if kind not in _READERS:
        raise CannotLoad(f"{data!r} is none of {listing(_READERS)}")


def read(data: str, root: Path, watches: Mapping[str, str]) -> Table:
    """Read the sample in ``data``, a path in ``root``, of what is watched.

    ``watches`` are the watched sources, each with another name that it goes by. A .npy holds the
    only one [rows, ...]; a .npz an array for each, by its name; a .csv a column for each feature,
    such as ``age`` or ``pixels[3]``, by its name, or where none has such a name, in order.

    Raises CannotLoad where the file is missing, too large, or no such sample.
    """
    check_format(data)
    path = inside(data, root)
    try:
        _check_size(path)
        return _READERS[path.suffix](path, watches)
    except (CannotLoad, Unfit) as error:
        raise CannotLoad(f"reference {data!r}: {error}") from None
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, csv.Error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CannotLoad(f"reference {data!r} cannot be read: {reason}") from None


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise CannotLoad(f"it has {size} bytes, at most {MAX_BYTES} are read: take a sample of it")


def _npy(path: Path, watches: Mapping[str, str]) -> Table:
    if len(watches) != 1:
        raise CannotLoad(f"it holds one array, and {listing(watches)} are watched; write a .npz")
    # Mapped first, so that a header cannot ask for more memory than the file is long.
    return table_of({next(iter(watches)): np.array(np.load(path, "r", allow_pickle=False))})


def _npz(path: Path, watches: Mapping[str, str]) -> Table:
    with np.load(path, allow_pickle=False) as arrays:
        found: dict[str, Array] = {}
        for name, other in watches.items():
            key = name if name in arrays else other
            if key not in arrays:
                raise CannotLoad(f"it has no array {name!r}{hint(name, arrays.files)}")
            found[name] = arrays[key]
    return table_of(found)


def _csv(path: Path, watches: Mapping[str, str]) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    header = [name.strip() for name in header]
    if len(set(map(len, [header, *rows]))) > 1:
        raise CannotLoad("its lines have different numbers of fields")
    tensors = {name.partition("[")[0] for name in header}
    wanted = [name for name in header if name.partition("[")[0] in watches]
    if not tensors & watches.keys():
        wanted = header
    columns = {name: _column([row[header.index(name)] for row in rows]) for name in wanted}
    if not columns:
        raise CannotLoad("it has no columns")
    values = tuple(columns.values())
    return Table(tuple(columns), values, tuple(one.dtype.kind == "U" for one in values))


def _column(texts: list[str]) -> Array:
    """Numbers where all are that, or empty; else texts."""
    try:
        return np.array([float(text) if text.strip() else np.nan for text in texts])
    except ValueError:
        return np.array(texts, np.str_)


_READERS: dict[str, Callable[[Path, Mapping[str, str]], Table]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}
