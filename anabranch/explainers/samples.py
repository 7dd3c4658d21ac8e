"""Samples of a model's inputs, on which explainers are fitted: .npy, .npz or .csv."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.artefacts import suffix
from anabranch.components.artefacts.paths import data_path
from anabranch.components.contract import CannotLoad
from anabranch.components.sample_files import reading
from anabranch.explainers.model import Array
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.models import Explainer

LABEL = "y"
NAMES = "feature_names"


@dataclass(frozen=True)
class Sample:
    """The rows of a sample, with labels and names of features if it has them."""

    x: Array
    """Numbers [rows, ...]."""
    y: Array | None = None
    """True label of each row [rows]: a number or a text."""
    names: tuple[str, ...] = ()
    """Names of the features (dimension 1 of ``x``), where they are known."""


def read(node: Explainer, root: Path, label: str | None = None) -> Sample:
    """Read the sample of a node; ``label`` is the column of a .csv that holds what is true.

    Nothing in it is unpickled.

    Raises:
        ArtefactError: the file is missing or cannot be fetched.
        CannotLoad: it is too large or no such sample.
    """
    path = data_path(node, root)
    name = Path(node.data or "").name
    kind = suffix(node.data or "")
    reader = _READERS.get(kind)
    if reader is None or path.is_dir():
        raise CannotLoad(f"data {name!r} is none of {listing(_READERS)}")
    if label is not None and kind != ".csv":
        raise CannotLoad(f"'label' names a column of a .csv, but data {name!r} is none")
    with reading(path, f"data {name!r}"):
        return _checked(reader(path, label))


def _checked(sample: Sample) -> Sample:
    x = sample.x
    if x.dtype.kind not in "fiub" or x.ndim < 2 or not len(x):
        raise CannotLoad(
            f"{x.dtype}{list(x.shape)} is no sample: numbers in rows are, with at least one row"
        )
    if sample.y is not None and sample.y.shape[:1] != x.shape[:1]:
        raise CannotLoad(f"it has {len(x)} rows, but labels {list(sample.y.shape)}")
    if sample.names and len(sample.names) != x.shape[1]:
        raise CannotLoad(f"it has {x.shape[1]} features, but {len(sample.names)} names of them")
    return sample


def _npy(path: Path, label: str | None) -> Sample:
    # Mapped first, so that a header cannot ask for more memory than the file is long.
    return Sample(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))


def _npz(path: Path, label: str | None) -> Sample:
    with np.load(path, allow_pickle=False) as arrays:
        if "x" not in arrays:
            raise CannotLoad(f"it has no array 'x'{hint('x', arrays.files)}")
        names = arrays[NAMES].tolist() if NAMES in arrays else []
        y = arrays.get(LABEL)
        return Sample(arrays["x"], y, tuple(map(str, names)))


def _csv(path: Path, label: str | None) -> Sample:
    with path.open(newline="", encoding="utf-8") as file:
        header = [name.strip() for name in next(csv.reader(file), [])]
    if label is not None and label not in header:
        raise CannotLoad(f"it has no column {label!r}{hint(label, header)}")
    features = [index for index, name in enumerate(header) if name != label]
    if not features:
        raise CannotLoad("it has no columns of features")
    y = None if label is None else _labels(_columns(path, [header.index(label)], np.str_)[:, 0])
    return Sample(_columns(path, features, np.float64), y, tuple(header[i] for i in features))


def _columns(path: Path, columns: list[int], dtype: Any) -> Array:
    found: Array = np.loadtxt(
        path,
        dtype=dtype,
        delimiter=",",
        skiprows=1,
        usecols=columns,
        ndmin=2,
        quotechar='"',
        comments=None,
        encoding="utf-8",
    )
    return found


def _labels(texts: Array) -> Array:
    """Return labels as whole numbers or numbers, where all of them are."""
    for dtype in (np.int64, np.float64):
        try:
            return texts.astype(dtype)
        except ValueError:
            continue
    return texts


_READERS: dict[str, Callable[[Path, str | None], Sample]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}
