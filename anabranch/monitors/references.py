"""Reads references of monitors from files: .npy, .npz or .csv, never unpickled."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from anabranch.components.artefacts.sample_files import reading
from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import inside
from anabranch.monitors.table import Array
from anabranch.specs.excerpts import hint, listing


def check_format(data: str) -> None:
    """Raise CannotLoad for a file of an unknown format."""
    if PurePosixPath(data).suffix not in _READERS:
        raise CannotLoad(f"{data!r} is none of {listing(_READERS)}")


def read(data: str, root: Path, watches: Sequence[str]) -> dict[str, Array]:
    """Read the sample in ``data``, a path in ``root``: each of the watched tensors [rows, ...].

    A .npy holds the only one; a .npz one array for each, by its name; a .csv numbers or texts, the
    columns of a tensor by its name or those of its features, such as ``age`` or ``pixels[3]``; if
    only one is watched, and no column is called so, all columns are its features.

    Raises CannotLoad where the file is missing, too large, or no such sample.
    """
    check_format(data)
    path = inside(data, root)
    with reading(path, f"reference {data!r}"):
        return _READERS[path.suffix](path, watches)


def _npy(path: Path, watches: Sequence[str]) -> dict[str, Array]:
    if len(watches) != 1:
        raise CannotLoad(f"it holds one array, and {listing(watches)} are watched; write a .npz")
    # Mapped first, so that a header cannot ask for more memory than the file is long.
    return {watches[0]: np.array(np.load(path, "r", allow_pickle=False))}


def _npz(path: Path, watches: Sequence[str]) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as arrays:
        for name in watches:
            if name not in arrays:
                raise CannotLoad(f"it has no array {name!r}{hint(name, arrays.files)}")
        return {name: arrays[name] for name in watches}


def _csv(path: Path, watches: Sequence[str]) -> dict[str, Array]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = [row for row in csv.reader(file) if row]
    if not lines:
        raise CannotLoad("it is empty")
    if len({len(line) for line in lines}) > 1:
        raise CannotLoad("its lines have different numbers of fields")
    header, *rows = lines
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name.strip().partition("[")[0], []).append(place)
    if len(watches) == 1 and watches[0] not in places:
        places = {watches[0]: list(range(len(header)))}
    for name in watches:
        if name not in places:
            raise CannotLoad(f"it has no column of {name!r}{hint(name, places)}")
    return {name: _tensor([[row[i] for i in places[name]] for row in rows]) for name in watches}


def _tensor(texts: list[list[str]]) -> Array:
    """Return numbers, else texts, [rows, columns], or [rows] of one column; empty is missing."""
    found: Array
    try:
        found = np.array([[_number(text) for text in row] for row in texts])
    except ValueError:
        found = np.array(texts, np.str_)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def _number(text: str) -> float:
    return float(text) if text.strip() else np.nan


_READERS: dict[str, Callable[[Path, Sequence[str]], dict[str, Array]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}
