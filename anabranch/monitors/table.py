"""The watched tensors of a monitor as rows and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anabranch.components.tensors.datatypes import kind_of

Array = np.ndarray[Any, Any]

MAX_FEATURES = 1024
"""Most features of one monitor."""
_MAX_TEXT = 256
"""Longer texts are categories by this many characters."""


class Unfit(ValueError):
    """The reason why a method cannot take rows."""


@dataclass(frozen=True)
class Table:
    """Rows by feature. Numbers are 64-bit floats; texts and truth values are categories."""

    names: tuple[str, ...]
    columns: tuple[Array, ...]
    """One vector [rows] for each name: floats, or texts."""
    categorical: tuple[bool, ...]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.columns[0]) if self.columns else 0

    def numbers(self, method: str) -> Array:
        """Return all columns as a matrix [rows, features]; raise Unfit for a column of texts."""
        for name, column in zip(self.names, self.columns, strict=True):
            if column.dtype.kind == "U":
                raise Unfit(f"{name} holds texts, and {method} is for numbers; watch another")
        return np.column_stack(self.columns)

    def only(self, features: Sequence[int]) -> Table:
        """Return the features at some places."""
        return Table(
            tuple(self.names[i] for i in features),
            tuple(self.columns[i] for i in features),
            tuple(self.categorical[i] for i in features),
        )

    def part(self, rows: Array) -> Table:
        """Return the rows of a mask or at some places."""
        return Table(self.names, tuple(column[rows] for column in self.columns), self.categorical)


def table_of(tensors: Mapping[str, Array]) -> Table:
    """Return tensors [rows, ...] by name as a table; Unfit where they are none.

    The feature of ``age`` [rows] is ``age``, those of ``pixels`` [rows, 64] are ``pixels[0]`` to
    ``pixels[63]``.
    """
    names: list[str] = []
    columns: list[Array] = []
    categorical: list[bool] = []
    for name, tensor in tensors.items():
        if tensor.ndim == 0:
            raise Unfit(f"{name} is a single value; a monitor looks at rows")
        inner = tensor.shape[1:]
        names += [_feature(name, at) for at in np.ndindex(inner)]
        if not 0 < len(names) <= MAX_FEATURES:
            raise Unfit(f"{name} makes {len(names)} features; a monitor takes 1 to {MAX_FEATURES}")
        kind = kind_of(tensor.dtype)
        flat = tensor.reshape(len(tensor), -1)
        flat = flat.astype(np.float64) if kind in "biuf" else as_texts(flat)
        columns += list(flat.T)
        categorical += [kind not in "iuf"] * flat.shape[1]
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{name} {len(tensor)}" for name, tensor in tensors.items())
        raise Unfit(f"the tensors have different numbers of rows: {sizes}")
    return Table(tuple(names), tuple(columns), tuple(categorical))


def _feature(name: str, at: tuple[int, ...]) -> str:
    return f"{name}[{','.join(map(str, at))}]" if at else name


def as_texts(values: Array) -> Array:
    """Return texts or bytes as NumPy's texts, cut to the longest length of a category.

    NumPy's texts have no NUL at their end, so categories that differ in such alone are one.
    """
    texts = [
        one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)
        for one in values.ravel().tolist()
    ]
    return np.array([text[:_MAX_TEXT] for text in texts], np.str_).reshape(values.shape)
