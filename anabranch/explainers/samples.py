"""Samples of a model's inputs, on which explainers are fitted: .npy, .npz or .csv."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.artefacts.paths import data_path
from anabranch.components.artefacts.sample_files import reading
from anabranch.components.artefacts.uris import suffix
from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.signatures import plain
from anabranch.errors import InvalidRequest
from anabranch.explainers.model import Array
from anabranch.explainers.text_codes import TextCodes
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.models import Explainer

LABEL = "y"
NAMES = "feature_names"


@dataclass(frozen=True)
class Column:
    """A feature that is an input of the explained model."""

    input: str
    datatype: str | None
    """None where it is not known."""
    texts: tuple[str, ...] = ()
    """All texts that it may have; those of the sample if there are none."""


@dataclass(frozen=True)
class Sample:
    """The rows of a sample, with labels and names of features if it has them."""

    x: Array
    """Numbers [rows, ...]."""
    y: Array | None = None
    """True label of each row [rows]: a number or a text."""
    names: tuple[str, ...] = ()
    """Names of the features (dimension 1 of ``x``), where they are known."""
    codes: Mapping[int, TextCodes] = field(default_factory=dict)
    """The texts that a feature's numbers stand for, by index of the feature."""


def read(
    node: Explainer, root: Path, label: str | None = None, columns: Sequence[Column] = ()
) -> Sample:
    """Read the sample of a node; ``label`` is the column of a .csv that holds what is true.

    With ``columns`` the features are these, in this order, where the sample has names; other
    columns are left out. A .csv may then have texts, which become codes. Nothing in a sample is
    unpickled.

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
        return _checked(reader(path, label, columns))


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


def _npy(path: Path, label: str | None, columns: Sequence[Column]) -> Sample:
    _refuse_texts(columns)
    # Mapped first, so that a header cannot ask for more memory than the file is long.
    return Sample(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))


def _npz(path: Path, label: str | None, columns: Sequence[Column]) -> Sample:
    _refuse_texts(columns)
    with np.load(path, allow_pickle=False) as arrays:
        if "x" not in arrays:
            raise CannotLoad(f"it has no array 'x'{hint('x', arrays.files)}")
        names = arrays[NAMES].tolist() if NAMES in arrays else []
        y = arrays.get(LABEL)
        sample = _checked(Sample(arrays["x"], y, tuple(map(str, names))))
    if not columns or not sample.names:
        return sample
    chosen = _places(sample.names, columns)
    return replace(sample, x=sample.x[:, chosen], names=tuple(sample.names[i] for i in chosen))


def _csv(path: Path, label: str | None, columns: Sequence[Column]) -> Sample:
    with path.open(newline="", encoding="utf-8") as file:
        header = [name.strip() for name in next(csv.reader(file), [])]
    if label is not None and label not in header:
        raise CannotLoad(f"it has no column {label!r}{hint(label, header)}")
    features = [index for index, name in enumerate(header) if name != label]
    if not features:
        raise CannotLoad("it has no columns of features")
    y = None if label is None else _labels(_cells(path, [header.index(label)], np.str_)[:, 0])
    if not columns:
        x = _cells(path, features, np.float64)
        return Sample(x, y, tuple(header[index] for index in features))
    places = _places(header, columns)
    x, codes = _coded([_values(path, *one) for one in zip(places, columns, strict=True)], columns)
    return Sample(x, y, tuple(header[index] for index in places), codes)


def _places(names: Sequence[str], columns: Sequence[Column]) -> list[int]:
    """Return the index of each column among the names; CannotLoad names those that lack."""
    there = [plain(name) for name in names]
    missing = [column.input for column in columns if column.input not in there]
    if missing:
        raise CannotLoad(
            f"it lacks {listing(missing)}, inputs of the explained model; it has {listing(names)}"
        )
    return [there.index(column.input) for column in columns]


def _values(path: Path, index: int, column: Column) -> Array:
    """Return a column of a .csv: numbers, or texts where it may have them."""
    if column.datatype == "BYTES":
        return _cells(path, [index], np.str_)[:, 0]
    if column.datatype is not None:
        return _cells(path, [index], np.float64)[:, 0]
    texts = _cells(path, [index], np.str_)[:, 0]
    try:
        return texts.astype(np.float64)
    except ValueError:
        return texts


def _coded(
    values: Sequence[Array], columns: Sequence[Column]
) -> tuple[Array, Mapping[int, TextCodes]]:
    """Return columns as a matrix of numbers, and the codes that stand for texts in it."""
    codes = {
        index: TextCodes(column.input, column.texts or np.unique(one).tolist())
        for index, (one, column) in enumerate(zip(values, columns, strict=True))
        if one.dtype.kind == "U"
    }
    try:
        numbers = [codes[i].encode(one) if i in codes else one for i, one in enumerate(values)]
    except InvalidRequest as error:
        raise CannotLoad(str(error)) from None
    return np.column_stack(numbers), codes


def _refuse_texts(columns: Sequence[Column]) -> None:
    texts = [column.input for column in columns if column.datatype == "BYTES"]
    if texts:
        raise CannotLoad(f"it holds numbers, but {listing(texts)} are BYTES: take a .csv")


def _cells(path: Path, columns: list[int], dtype: Any) -> Array:
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


_READERS: dict[str, Callable[[Path, str | None, Sequence[Column]], Sample]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}
