"""Which columns of the input are which inputs of a graph, and tensors made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np

from anabranch.client.batch.formats.contract import ArrowTypes, OutputColumn
from anabranch.client.batch.formats.lines import objects
from anabranch.client.batch.rows import InputRows
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.components.tensors.given import from_column
from anabranch.errors import InvalidRequest, JobError
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import TensorSpec

ROW = "row"
"""Column of the output with the number of each row, where the user names no other to tell it."""
_WORDS = {"true": True, "1": True, "false": False, "0": False}
_SHOWN = 12


@dataclass(frozen=True)
class GraphTypes:
    """The inputs and outputs of a graph."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @property
    def takes_rows(self) -> bool:
        """Return whether dimension 0 of all tensors is the rows, so that a request may have any."""
        tensors = [*self.inputs.values(), *self.outputs.values()]
        return all(one.shape and one.shape[0] == -1 for one in tensors)


@dataclass(frozen=True)
class ColumnMapping:
    """Columns of each input, and the columns that are copied to the output."""

    graph: GraphTypes
    columns: Mapping[str, tuple[str, ...]]
    kept: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """The inputs that have no column."""
        return [name for name in self.graph.inputs if name not in self.columns]

    @property
    def read(self) -> list[str]:
        """The columns that are read."""
        mapped = (name for columns in self.columns.values() for name in columns)
        return list(dict.fromkeys((*self.kept, *mapped)))

    def tensors(self, rows: InputRows) -> dict[str, Array]:
        """Return the graph's inputs; InvalidRequest for a row that has no such value.

        Numbers become the input's datatype by the rules of the protocol's JSON, and so do texts
        that are numbers. A missing number is NaN where the input is of floats.
        """
        return {name: self._tensor(name, rows) for name in self.columns}

    def _tensor(self, name: str, rows: InputRows) -> Array:
        columns, spec = self.columns[name], self.graph.inputs[name]
        values = [_dense(name, rows.columns[one], spec) for one in columns]
        array = values[0] if len(columns) == 1 else np.stack(values, axis=1)
        if self.graph.takes_rows:
            return from_column(name, _by_row(name, array, spec), spec)
        return from_column(name, array.reshape(array.shape[1:]), spec)  # of one row


def read_map(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return columns by input from texts such as ``x=a,b,c``; JobError for others."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, columns = text.partition("=")
        listed = tuple(part.strip() for part in columns.split(",") if part.strip())
        if not equals or not name.strip() or not listed:
            raise JobError(f"{text!r} maps no columns: write input=column, or input=a,b,c")
        if name.strip() in found:
            raise JobError(f"the input {name.strip()!r} is mapped twice")
        found[name.strip()] = listed
    return found


def mapped(
    graph: GraphTypes,
    columns: Sequence[str],
    given: Mapping[str, Sequence[str]],
    kept: Sequence[str],
) -> ColumnMapping:
    """Map columns to the inputs of a graph; JobError says what is missing, and what there is.

    An input has the column of its name, unless ``given`` names others, where ``*`` and ``?`` stand
    for any characters. An input that is a graph's only one, and has no such column, has all columns
    but those ``kept``. Other inputs without a column are left out: optional ones may be.
    """
    unknown = next((name for name in given if name not in graph.inputs), None)
    if unknown is not None:
        raise JobError(
            f"graph {graph.name!r} has no input {unknown!r}{hint(unknown, graph.inputs)}; it has "
            f"{', '.join(graph.inputs)}"
        )
    copied = _matching(kept, columns, "--id and --keep")
    found: dict[str, tuple[str, ...]] = {}
    for name in graph.inputs:
        if name in given:
            found[name] = _matching(given[name], columns, f"input {name!r}")
        elif name in columns:
            found[name] = (name,)
        elif len(graph.inputs) == 1:
            found[name] = tuple(column for column in columns if column not in copied)
    if not found:
        raise JobError(
            f"no column has the name of an input of graph {graph.name!r}, which takes "
            f"{', '.join(graph.inputs)}: there are {_listed(columns)}; --map 'input=column' maps "
            "them"
        )
    _check_widths(graph, found)
    return ColumnMapping(graph, found, copied)


def _matching(patterns: Sequence[str], columns: Sequence[str], whose: str) -> tuple[str, ...]:
    """Return the columns of patterns, each once; JobError for a pattern of none."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [pattern] if pattern in columns else _glob(pattern, columns)
        if not matches:
            raise JobError(f"{whose}: there is no column {pattern!r}{hint(pattern, columns)}")
        found |= dict.fromkeys(matches)
    return tuple(found)


def _glob(pattern: str, columns: Sequence[str]) -> list[str]:
    return [name for name in columns if fnmatchcase(name, pattern)]


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return ", ".join(map(repr, columns[:_SHOWN])) + more


def _check_widths(graph: GraphTypes, columns: Mapping[str, Sequence[str]]) -> None:
    """Refuse columns that together cannot be a row of an input; one column may hold lists."""
    for name, listed in columns.items():
        size = row_size(graph, graph.inputs[name])
        if not listed or (len(listed) > 1 and size is not None and size != len(listed)):
            raise JobError(
                f"input {name!r} of graph {graph.name!r} is {graph.inputs[name]}, a row of "
                f"which has {size or 'some'} elements, and {len(listed)} columns are mapped to it: "
                f"{_listed(listed)}"
            )


def row_size(graph: GraphTypes, spec: TensorSpec) -> int | None:
    """Return how many elements a row of a tensor has; None for any number."""
    sizes = spec.shape[1:] if graph.takes_rows else spec.shape
    return None if -1 in sizes else prod(sizes)


def output_columns(mapping: ColumnMapping, types: ArrowTypes) -> list[OutputColumn]:
    """Return the columns of the output that are known: those that are copied, and the outputs.

    JobError where an output has the name of a column that is copied.
    """
    copied = [OutputColumn(name, arrow=types.get(name), is_copied=True) for name in mapping.kept]
    copied = copied or [OutputColumn(ROW, "INT64", is_copied=True)]
    outputs = [_output(mapping.graph, *item) for item in mapping.graph.outputs.items()]
    names = {column.name for column in copied}
    twice = next((one.name for one in outputs if one.name in names), None)
    if twice is not None:
        raise JobError(
            f"graph {mapping.graph.name!r} has the output {twice!r}, and a column that is copied "
            "has this name, too: name others by --id and --keep"
        )
    return copied + outputs


def _output(graph: GraphTypes, name: str, spec: TensorSpec) -> OutputColumn:
    """Return the column of an output: an element a row where it has one, else lists."""
    sizes = spec.shape[1:] if graph.takes_rows else spec.shape
    if prod(sizes) == 1:
        return OutputColumn(name, spec.datatype)
    width = sizes[0] if len(sizes) == 1 and sizes[0] > 0 else None
    return OutputColumn(name, spec.datatype, len(sizes), width)


def _dense(name: str, column: Array, spec: TensorSpec) -> Array:
    """Return a column with numbers in place of their texts, and lists as further dimensions."""
    if column.dtype.kind != "O":
        return column
    values = [_with_nan(one, spec) for one in column]
    if any(isinstance(one, list) for one in values):
        return _stacked(name, values)
    if spec.datatype != "BYTES":
        values = [_number(name, one, spec) if isinstance(one, str) else one for one in values]
    return objects(values)


def _with_nan(value: Any, spec: TensorSpec) -> Any:
    is_float = spec.datatype in ("FP16", "BF16", "FP32", "FP64")
    if is_float and (value is None or value == ""):
        return np.nan
    return value


def numbered(rows: InputRows, start: int) -> InputRows:
    """Return rows with their numbers in the whole input, the first of which is ``start``."""
    numbers = np.arange(start, start + rows.count)
    if ROW in rows.columns:
        return replace(rows, start=start)
    return replace(rows, start=start, columns={ROW: numbers, **rows.columns}, made=(ROW,))


def _number(name: str, text: str, spec: TensorSpec) -> Any:
    try:
        return _reader(spec.datatype)(text.strip())
    except (ValueError, KeyError):
        raise InvalidRequest(
            f"input {name!r} is {spec.datatype}, and {shown(text)} is no such value"
        ) from None


def _reader(datatype: str) -> Callable[[str], Any]:
    kind = to_dtype(datatype).kind
    if kind == "b":
        return lambda text: _WORDS[text.lower()]
    return float if kind not in "iu" else _whole


def _whole(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)  # 1.0 is a whole number, too


def _stacked(name: str, values: list[Any]) -> Array:
    """Return lists of one length as an array; InvalidRequest for ragged ones."""
    found = objects(values)
    try:
        array = np.array(values)
    except ValueError:
        raise InvalidRequest(f"input {name!r}: the lists do not all have the same length") from None
    if array.dtype.kind in "biuf":
        return array
    flat = np.array(values, object)
    if flat.ndim < 2:
        raise InvalidRequest(f"input {name!r}: {shown(found[0])} is no list like those beside it")
    return flat


def _by_row(name: str, array: Array, spec: TensorSpec) -> Array:
    """Return an array with the dimensions that the input declares; InvalidRequest where it has
    another number of elements.
    """
    sizes = [1 if size == -1 else size for size in spec.shape[1:]]
    if array.ndim == 1 + len(sizes):
        return array
    if (count := prod(array.shape[1:])) != prod(sizes):
        raise InvalidRequest(
            f"input {name!r} is {spec}, and its columns hold "
            f"{count} {'element' if count == 1 else 'elements'} a row"
        )
    return array.reshape(len(array), *sizes)
