"""CSV, with the names of the columns in the first row: RFC 4180, and tabs where the file says .tsv.

All values are texts here; ``mapping`` makes numbers of them by the datatypes of the graph's inputs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import orjson

from anabranch.client.batch import files
from anabranch.client.batch.formats.contract import ArrowTypes, OutputColumn, Values
from anabranch.client.batch.formats.jsonl import plain
from anabranch.client.batch.formats.lines import line_spans, objects
from anabranch.client.batch.rows import InputRows, RowSpan
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import JobError

csv.field_size_limit(2**24)


class CsvFiles:
    """Files of comma-separated values, or with another ``delimiter``."""

    def __init__(self, delimiter: str = ",") -> None:
        self._delimiter = delimiter
        self._spans = files.SpanReader()

    def columns(self, file: IO[bytes]) -> ArrowTypes:
        """Return the names in the first row; JobError for repeated ones."""
        names = self._header(file)[0]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise JobError(f"the header has the column {twice!r} twice")
        return dict.fromkeys(names)

    def spans(self, file: IO[bytes], number: int, rows: int) -> Iterator[RowSpan]:
        """Divide a file; a row may have line ends between quotes."""
        return line_spans(file, number, rows, self._header(file)[1], _Quotes().ends_row)

    def read(
        self, url: str, span: RowSpan, columns: Sequence[str], header: Sequence[str]
    ) -> InputRows:
        """Return columns of a span, as texts; a row of another length than the header is broken."""
        text = self._spans.read(url, span.at, span.end).decode("utf-8", "surrogateescape")
        found = self._rows(text)
        if len(found) != span.rows:
            raise JobError(
                f"{redacted(url)}: {span.rows} rows from byte {span.at} on cannot be told apart:"
                " a value with a quote in it stands between quotes, with each quote twice"
            )
        broken = {
            at: f"the row has {len(row)} values, and the header {len(header)}"
            for at, row in enumerate(found)
            if len(row) != len(header)
        }
        places = {name: header.index(name) for name in columns}
        values = {
            name: objects([row[at] if at < len(row) else None for row in found])
            for name, at in places.items()
        }
        return InputRows(0, len(found), values, broken)

    def encode(self, columns: Sequence[OutputColumn], values: Values) -> bytes:
        """Return a file with a header; an output of a fixed width has a column for each element."""
        listed = [_cells(column, plain(values[column.name])) for column in columns]
        names = [name for column in columns for name in _names(column)]
        rows = ([cell for cells in row for cell in cells] for row in zip(*listed, strict=True))
        return self._written([names, *rows])

    def join(
        self, columns: Sequence[OutputColumn], parts: Sequence[str], target: IO[bytes]
    ) -> None:
        """Write the rows of all parts below one header."""
        header = self._written([[name for column in columns for name in _names(column)]])
        target.write(header)
        for part in parts:
            target.write(files.read(part, start=len(header)))

    def _header(self, file: IO[bytes]) -> tuple[list[str], int]:
        """Return the names of the columns, and the byte at which the first row begins."""
        file.seek(0)
        span = next(line_spans(file, 0, 1, 0, _Quotes().ends_row), None)
        if span is None:
            raise JobError("the file is empty, and should begin with the names of its columns")
        file.seek(0)
        (names, *_) = self._rows(file.read(span.end).decode("utf-8-sig"))
        return names, span.end

    def _rows(self, text: str) -> list[list[str]]:
        found = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        try:
            return [row for row in found if row]
        except csv.Error as error:
            raise ValueError(str(error)) from None

    def _written(self, rows: Iterable[Sequence[Any]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode("utf-8", "surrogateescape")


class _Quotes:
    """Follows whether a line lies between quotes: so it is after an odd number of them."""

    def __init__(self) -> None:
        self._is_open = False

    def ends_row(self, line: bytes) -> bool:
        self._is_open ^= line.count(b'"') % 2 == 1
        return not self._is_open


def _names(column: OutputColumn) -> list[str]:
    if column.width is None:
        return [column.name]
    return [f"{column.name}_{at}" for at in range(column.width)]


def _cells(column: OutputColumn, values: list[Any]) -> list[list[Any]]:
    """Return the cells of each row."""
    if column.width is None:
        return [[_cell(value)] for value in values]
    absent = [None] * column.width
    return [absent if value is None else [_cell(one) for one in value] for value in values]


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return orjson.dumps(value, default=str).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
