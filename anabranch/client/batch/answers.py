"""Answers to the rows of a chunk, gathered in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from anabranch.client.batch.formats.contract import ColumnValues, OutputColumn, Values
from anabranch.client.batch.rows import Chunk, InputRows
from anabranch.components.tensors.arrays import Array
from anabranch.errors import JobError


class GraphReply(NamedTuple):
    """The outputs of a request, and the revision that answered."""

    outputs: Mapping[str, Array]
    revision: int


class AnsweredRows(NamedTuple):
    """Rows, and the graph's reply to them."""

    rows: InputRows
    reply: GraphReply


class FailedRow(NamedTuple):
    """A row without an answer: its number in the whole input, the reason, and its values."""

    row: int
    error: str
    values: Mapping[str, Any]


class ChunkAnswers:
    """The answers to one chunk so far."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self._answered: list[AnsweredRows] = []
        self._failed: list[FailedRow] = []
        self._count = 0

    @property
    def is_complete(self) -> bool:
        """Whether each row has its answer, or an error."""
        return self._count == self.chunk.rows

    def add(self, answered: Sequence[AnsweredRows], failed: Sequence[FailedRow]) -> None:
        """Take what came of some rows."""
        self._answered += answered
        self._failed += failed
        self._count += sum(one.rows.count for one in answered) + len(failed)

    @property
    def counts(self) -> tuple[int, int, Counter[int]]:
        """The number of rows, of those that failed, and of the others by revision."""
        revisions: Counter[int] = Counter()
        for one in self._answered:
            revisions[one.reply.revision] += one.rows.count
        return self.chunk.rows, len(self._failed), revisions

    @property
    def failed(self) -> list[FailedRow]:
        """The rows that failed, in their order."""
        return sorted(self._failed)

    def values(self, columns: Sequence[OutputColumn]) -> Values:
        """Return the columns of the rows that were answered, in their order."""
        answered = sorted(self._answered, key=lambda one: one.rows.start)
        _check_known(columns, answered)
        return {column.name: _column(column, answered) for column in columns}


def _check_known(columns: Sequence[OutputColumn], answered: Sequence[AnsweredRows]) -> None:
    """Raise JobError for an output whose type was not known when the job began."""
    known = {column.name for column in columns}
    for one in answered:
        unknown = next((name for name in one.reply.outputs if name not in known), None)
        if unknown is not None:
            raise JobError(
                f"the graph answers with output {unknown!r}, whose type was not known when the job "
                "began, since the first rows had failed: begin anew with --restart"
            )


def _column(column: OutputColumn, answered: Sequence[AnsweredRows]) -> ColumnValues:
    if column.is_copied:
        return _joined([one.rows.columns[column.name] for one in answered])
    return _joined([_by_row(column, one) for one in answered])


def _by_row(column: OutputColumn, answered: AnsweredRows) -> ColumnValues:
    """Return an output as one value a row; None for each where it is absent."""
    array, count = answered.reply.outputs.get(column.name), answered.rows.count
    if array is None:
        return [None] * count
    if count == 1 and array.ndim == column.depth:
        array = array[np.newaxis]
    if column.depth == 0 and array.size == count:
        return array.reshape(count)
    if array.ndim != column.depth + 1 or array.shape[0] != count:
        raise JobError(
            f"output {column.name!r} has shape {list(array.shape)} for {count} rows, so its first "
            "dimension is not the rows: ask for one row at a time by --rows 1"
        )
    return array


def _joined(parts: Sequence[ColumnValues]) -> ColumnValues:
    """Return values one after the other: an array where all are arrays of one kind."""
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    kinds = {(array.dtype, array.shape[1:]) for array in arrays}
    if len(arrays) == len(parts) and len(kinds) == 1:
        return np.concatenate(arrays)
    return [value for part in parts for value in _listed(part)]


def _listed(part: ColumnValues) -> list[Any]:
    return part if isinstance(part, list) else list(part.tolist())


def failed_row(rows: InputRows, error: Exception | str) -> FailedRow:
    """Return the only row of ``rows`` as one that has failed."""
    values = {name: value for name, value in rows.row(0).items() if name not in rows.made}
    return FailedRow(rows.start, str(error), values)
