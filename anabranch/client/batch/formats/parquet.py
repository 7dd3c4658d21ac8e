"""Parquet, through pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from threading import Lock
from typing import IO, Any

import numpy as np

from anabranch.client.batch import files
from anabranch.client.batch.formats.contract import ArrowTypes, ColumnValues, OutputColumn, Values
from anabranch.client.batch.formats.lines import objects
from anabranch.client.batch.rows import InputRows, RowSpan
from anabranch.components.extras import require
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import JobError


class ParquetFiles:
    """Files of Parquet. The row group that was read last is kept, for its other chunks."""

    def __init__(self) -> None:
        self._pa = require("pyarrow", "parquet")
        self._parquet = require("pyarrow.parquet", "parquet")
        self._lock = Lock()
        self._group = lru_cache(1)(self._read_group)

    def columns(self, file: IO[bytes]) -> ArrowTypes:
        """Return the columns of the file's schema."""
        schema = self._parquet.ParquetFile(file).schema_arrow
        return {one.name: one.type for one in schema}

    def spans(self, file: IO[bytes], number: int, rows: int) -> Iterator[RowSpan]:
        """Divide each row group of a file."""
        metadata = self._parquet.ParquetFile(file).metadata
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            for at in range(0, count, rows):
                end = min(count, at + rows)
                yield RowSpan(number, group, end - at, at, end)

    def read(
        self, url: str, span: RowSpan, columns: Sequence[str], header: Sequence[str]
    ) -> InputRows:
        """Return columns of a span."""
        with self._lock:
            group = self._group(url, span.group, tuple(columns))
        table = group.slice(span.at, span.rows)
        return InputRows(0, table.num_rows, {name: _array(table[name]) for name in columns})

    def _read_group(self, url: str, group: int, columns: Sequence[str]) -> Any:
        with files.reading(url) as file:
            return self._parquet.ParquetFile(file).read_row_group(group, list(columns))

    def encode(self, columns: Sequence[OutputColumn], values: Values) -> bytes:
        """Return a file of one row group."""
        arrays = [self._encoded(column, values[column.name]) for column in columns]
        table = self._pa.Table.from_arrays(arrays, [column.name for column in columns])
        sink = self._pa.BufferOutputStream()
        self._parquet.write_table(table, sink)
        return bytes(sink.getvalue())

    def join(
        self, columns: Sequence[OutputColumn], parts: Sequence[str], target: IO[bytes]
    ) -> None:
        """Write a row group for each part that has rows, in the types of all parts together."""
        schema = self._schema(columns, parts)
        with self._parquet.ParquetWriter(target, schema) as writer:
            for part in parts:
                table = self._table(part)
                if table.num_rows:
                    cast = [self._cast(table[one.name], one) for one in schema]
                    writer.write_table(self._pa.Table.from_arrays(cast, schema=schema))

    def _schema(self, columns: Sequence[OutputColumn], parts: Sequence[str]) -> Any:
        """Return the types of all parts together; only a column of unknown type needs a look."""
        types = [self._type(column) for column in columns]
        if all(one is not None for one in types) or not parts:
            names = [column.name for column in columns]
            known = [self._pa.null() if one is None else one for one in types]
            return self._pa.schema(zip(names, known, strict=True))
        schemas = [self._part_schema(part) for part in parts]
        return self._pa.schema(
            [self._common(list(fields)) for fields in zip(*schemas, strict=True)]
        )

    def _common(self, fields: list[Any]) -> Any:
        """Return a column of all parts together: text where their types have nothing in common."""
        try:
            schemas = [self._pa.schema([field]) for field in fields]
            return self._pa.unify_schemas(schemas, promote_options="permissive").field(0)
        except self._pa.ArrowException:
            return self._pa.field(fields[0].name, self._pa.string())

    def _cast(self, column: Any, field: Any) -> Any:
        """Return a column of a part in the type of all parts."""
        if field.type == self._pa.string() != column.type:
            return self._as_text(column.to_pylist())
        try:
            return column.cast(field.type)
        except self._pa.ArrowException as error:
            raise JobError(
                f"column {field.name!r} has values of several types, and not all fit "
                f"{field.type}: {error}; write .jsonl or .csv, or make it one type"
            ) from None

    def _part_schema(self, part: str) -> Any:
        with files.reading(part) as file:
            return self._parquet.read_schema(file)

    def _table(self, part: str) -> Any:
        with files.reading(part) as file:
            return self._parquet.ParquetFile(file).read()

    def _type(self, column: OutputColumn) -> Any:
        """Return the Arrow type of a column; None where only its values tell."""
        if column.datatype is None:
            return column.arrow
        element = to_dtype(column.datatype)
        if element.kind == "O":
            found = self._pa.string()
        else:
            narrow = np.dtype(np.float32) if element.kind == "V" else element
            found = self._pa.from_numpy_dtype(narrow)
        for _ in range(column.depth):
            found = self._pa.list_(found)
        return found

    def _encoded(self, column: OutputColumn, values: ColumnValues) -> Any:
        type_ = self._type(column)
        if isinstance(values, np.ndarray) and values.dtype.kind == "V":
            values = values.astype(np.float32)
        if isinstance(values, np.ndarray) and values.ndim > 1 and values.dtype.kind != "O":
            return self._nested(values).cast(type_)
        if isinstance(values, np.ndarray) and values.dtype.kind != "O":
            return self._pa.array(values, type_)
        found = _texts(values.tolist() if isinstance(values, np.ndarray) else list(values))
        try:
            return self._pa.array(found, type_)
        except self._pa.ArrowException:  # copied values of several types
            return self._as_text(found)

    def _as_text(self, values: list[Any]) -> Any:
        texts = [None if one is None else str(one) for one in values]
        return self._pa.array(texts, self._pa.string())

    def _nested(self, values: Array) -> Any:
        """Return an array of any shape as lists, without making objects of its elements."""
        found = self._pa.array(np.ascontiguousarray(values).reshape(-1))
        for size in reversed(values.shape[1:]):
            count = len(found) // size if size else len(values)
            offsets = np.arange(count + 1, dtype=np.int32) * size
            found = self._pa.ListArray.from_arrays(offsets, found)
        return found


def _array(column: Any) -> Array:
    """Return a column of a table as an array: numbers without nulls as they are, else objects."""
    types = require("pyarrow.types", "parquet")
    is_number = types.is_floating(column.type) or types.is_integer(column.type)
    if is_number and not column.null_count:
        return column.to_numpy()  # type: ignore[no-any-return]
    if types.is_fixed_size_list(column.type) and not column.null_count:
        flat = column.combine_chunks().flatten()
        if types.is_floating(flat.type) or types.is_integer(flat.type):
            return flat.to_numpy().reshape(len(column), -1)  # type: ignore[no-any-return]
    return objects(column.to_pylist())


def _texts(values: Any) -> Any:
    """Return values with texts in place of bytes, in lists too."""
    if isinstance(values, list):
        return [_texts(value) for value in values]
    return values.decode("utf-8", "backslashreplace") if isinstance(values, bytes) else values
