"""Tables in files: Parquet or CSV, written in parts, by Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from anabranch.client.features.logged_rows import LogColumn
from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.errors import InvalidRequest
from anabranch.files import disk_errors, replacing

PARQUET, CSV = ".parquet", ".csv"
_TYPES = {
    "BOOL": "bool_", "BYTES": "string", "FP16": "float32", "BF16": "float32", "FP32": "float32",
    "FP64": "float64",
}  # fmt: skip
"""Arrow's types of datatypes; those of whole numbers have the same name in lower case."""


def arrow_module(name: str = "pyarrow") -> Any:
    """Return a module of Arrow; InvalidRequest says how to get it."""
    try:
        return require(name, "parquet")
    except CannotLoad as error:
        raise InvalidRequest(str(error)) from None


def check_format(file: Path) -> None:
    """Raise InvalidRequest for a file of neither format."""
    if file.suffix not in (PARQUET, CSV):
        raise InvalidRequest(f"{str(file)!r} must end in {PARQUET} or {CSV}")


def arrow_type(column: LogColumn) -> Any:
    """Return the type of a column's elements: a list for each dimension that an element has."""
    arrow = arrow_module()
    datatype = column.spec.datatype
    found = getattr(arrow, _TYPES.get(datatype, datatype.lower()))()
    for _ in range(column.rank):
        found = arrow.list_(found)
    return found


class TableFile:
    """A table that is being written; ``write`` takes rows as maps by column."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; InvalidRequest for a value that the column cannot hold."""
        arrow = arrow_module()
        try:
            table = arrow.Table.from_pylist(list(rows), self._schema)
        except (arrow.ArrowException, OverflowError) as error:
            raise InvalidRequest(f"a row does not fit its column: {error}") from None
        self._writer.write_table(table)


@contextmanager
def written(file: Path, schema: Any) -> Iterator[TableFile]:
    """Write a table, which is in its place once all of it is written; StorageError if it cannot."""
    with (
        disk_errors(file),
        replacing(file, mode=0o666) as part,
        _writer(part, file.suffix, schema) as writer,
    ):
        yield TableFile(writer, schema)


def _writer(part: IO[bytes], suffix: str, schema: Any) -> Any:
    if suffix == CSV:
        nested = [one.name for one in schema if str(one.type).startswith("list")]
        if nested:
            raise InvalidRequest(f"CSV has no lists, and {nested[0]!r} holds some: use {PARQUET}")
        return arrow_module("pyarrow.csv").CSVWriter(part, schema)
    return arrow_module("pyarrow.parquet").ParquetWriter(part, schema, compression="zstd")


def read_labels(file: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Return the schema of the labels in a file, and the labels of each request by its ``id``.

    InvalidRequest for a file without a column ``id``, or with an id twice.
    """
    check_format(file)
    arrow = arrow_module()
    try:
        if file.suffix == CSV:
            kept = arrow_module("pyarrow.csv")
            options = kept.ConvertOptions(column_types={"id": arrow.string()})
            table = kept.read_csv(file, convert_options=options)
        else:
            table = arrow_module("pyarrow.parquet").read_table(file)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{str(file)!r} cannot be read: {error}") from None
    if "id" not in table.column_names:
        names = ", ".join(table.column_names)
        raise InvalidRequest(f"{str(file)!r} has no column 'id' of requests (it has: {names})")
    return table.drop_columns(["id"]).schema, _by_id(table.to_pylist(), file)


def _by_id(rows: Iterable[Mapping[str, Any]], file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = str(row["id"])
        if name in found:
            raise InvalidRequest(f"{str(file)!r} has the request {name!r} twice")
        found[name] = {key: value for key, value in row.items() if key != "id"}
    return found
