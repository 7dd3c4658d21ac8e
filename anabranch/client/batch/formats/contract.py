"""The contract of a format of files, and the columns that are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeAlias

from anabranch.client.batch.rows import InputRows, RowSpan
from anabranch.components.tensors.arrays import Array

ArrowTypes: TypeAlias = Mapping[str, Any]
"""The Arrow type of each column; None for a column of unknown type."""


@dataclass(frozen=True)
class OutputColumn:
    """A column of the output.

    ``datatype`` is that of the Open Inference Protocol; None for values of any type, whose Arrow
    type is ``arrow`` if it is known. ``depth`` counts the lists around an element; ``width`` is the
    length of that list, if it is one, and always as long. What ``is_copied`` comes with the rows,
    all else from the graph.
    """

    name: str
    datatype: str | None = None
    depth: int = 0
    width: int | None = None
    arrow: Any = None
    is_copied: bool = False


ColumnValues: TypeAlias = Array | list[Any]
"""Values of a column: an array, or a list with None for what is absent."""
Values: TypeAlias = Mapping[str, ColumnValues]


class RowFormat(Protocol):
    """Reads chunks of files, and writes parts and puts them together."""

    def columns(self, file: IO[bytes]) -> ArrowTypes:
        """Return the columns of a file, in their order."""

    def spans(self, file: IO[bytes], number: int, rows: int) -> Iterator[RowSpan]:
        """Divide the file of that number into spans of so many rows; the last has fewer."""

    def read(
        self, url: str, span: RowSpan, columns: Sequence[str], header: Sequence[str]
    ) -> InputRows:
        """Return the columns of a span; ``header`` are all columns of the file."""

    def encode(self, columns: Sequence[OutputColumn], values: Values) -> bytes:
        """Return a file with these columns."""

    def join(
        self, columns: Sequence[OutputColumn], parts: Sequence[str], target: IO[bytes]
    ) -> None:
        """Write the rows of files, by their URLs and in this order, as one file."""
