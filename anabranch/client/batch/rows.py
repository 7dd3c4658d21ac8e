"""Rows of a job's input, in columns; and the chunks that the input is divided into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from anabranch.components.tensors.arrays import Array

FEWEST = 1000
"""Rows of a chunk at least, unless the user says otherwise."""
MOST_CHUNKS = 1000
"""Chunks of a job at most, likewise."""


@dataclass(frozen=True)
class RowSpan:
    """Rows of one file that follow each other.

    They lie from ``at`` up to ``end``: bytes of a file of lines, else rows of a row group.
    """

    file: int
    group: int
    rows: int
    at: int
    end: int

    def precedes(self, other: RowSpan) -> bool:
        """Return whether another span begins where this one ends."""
        return (self.file, self.group, self.end) == (other.file, other.group, other.at)


@dataclass(frozen=True)
class Chunk:
    """Rows that lie together in one file of the input, and whose answers are one part.

    ``start`` is the number of the first of them in the whole input.
    """

    index: int
    start: int
    span: RowSpan

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.span.rows


@dataclass(frozen=True)
class InputRows:
    """Some rows as columns, each an array whose first dimension is the rows.

    ``start`` is the number of the first row in the whole input. ``broken`` has the reason for each
    row that could not be read, by its place here.
    """

    start: int
    count: int
    columns: Mapping[str, Array]
    broken: Mapping[int, str] = field(default_factory=dict)
    made: Sequence[str] = ()
    """Columns that are not of the input."""

    def part(self, at: int, end: int) -> InputRows:
        """Return the rows from ``at`` up to ``end``."""
        return InputRows(
            self.start + at,
            end - at,
            {name: column[at:end] for name, column in self.columns.items()},
            {place - at: text for place, text in self.broken.items() if at <= place < end},
            self.made,
        )

    def row(self, at: int) -> dict[str, Any]:
        """Return the values of one row by column."""
        return {name: column[at] for name, column in self.columns.items()}


def chunked(spans: Sequence[RowSpan], rows: int | None) -> list[Chunk]:
    """Return the chunks of an input: its spans, with some put together where ``rows`` is None.

    Those that follow each other are put together, so that a job has about ``MOST_CHUNKS``.
    """
    together = 1 if rows is not None else ceil(len(spans) / MOST_CHUNKS)
    return in_order(_joined(spans, together))


def in_order(spans: Iterable[RowSpan]) -> list[Chunk]:
    """Return spans as all chunks of an input."""
    chunks: list[Chunk] = []
    start = 0
    for span in spans:
        chunks.append(Chunk(len(chunks), start, span))
        start += span.rows
    return chunks


def _joined(spans: Sequence[RowSpan], most: int) -> list[RowSpan]:
    joined: list[RowSpan] = []
    count = 0
    for span in spans:
        if joined and count < most and joined[-1].precedes(span):
            joined[-1] = replace(joined[-1], rows=joined[-1].rows + span.rows, end=span.end)
            count += 1
        else:
            joined.append(span)
            count = 1
    return joined
