"""JSON lines: an object a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
import orjson

from anabranch.client.batch import files
from anabranch.client.batch.formats.contract import ArrowTypes, OutputColumn, Values
from anabranch.client.batch.formats.lines import is_blank, line_spans, objects
from anabranch.client.batch.rows import InputRows, RowSpan
from anabranch.components.tensors.arrays import Array
from anabranch.specs.excerpts import shown

_LOOKED_AT = 100
"""Lines whose fields are taken for the columns of a file."""


class JsonLines:
    """Files of JSON lines."""

    def __init__(self) -> None:
        self._spans = files.SpanReader()

    def columns(self, file: IO[bytes]) -> ArrowTypes:
        """Return the fields of the first lines; a row may lack any of them."""
        names: dict[str, None] = {}
        for line, _ in zip(file, range(_LOOKED_AT), strict=False):
            found = _object(line)
            names |= dict.fromkeys(found if isinstance(found, dict) else ())
        return names

    def spans(self, file: IO[bytes], number: int, rows: int) -> Iterator[RowSpan]:
        """Divide a file; an empty line is no row."""
        return line_spans(file, number, rows)

    def read(
        self, url: str, span: RowSpan, columns: Sequence[str], header: Sequence[str]
    ) -> InputRows:
        """Return fields of a span; a row without a field has None."""
        lines = self._spans.read(url, span.at, span.end).split(b"\n")
        found = [_object(line) for line in lines if not is_blank(line)]
        broken = {at: one for at, one in enumerate(found) if isinstance(one, str)}
        rows = [{} if isinstance(one, str) else one for one in found]
        values = {name: objects([row.get(name) for row in rows]) for name in columns}
        return InputRows(0, len(rows), values, broken)

    def encode(self, columns: Sequence[OutputColumn], values: Values) -> bytes:
        """Return lines; NaN and the infinities are null."""
        names = [column.name for column in columns]
        listed = [plain(values[name]) for name in names]
        return b"".join(
            json_line(dict(zip(names, row, strict=True))) for row in zip(*listed, strict=True)
        )

    def join(
        self, columns: Sequence[OutputColumn], parts: Sequence[str], target: IO[bytes]
    ) -> None:
        """Write lines one after the other."""
        for part in parts:
            files.copy_into(part, target)


def json_line(row: dict[str, Any]) -> bytes:
    """Return a line with a row of any values."""
    return orjson.dumps(
        row, default=_other, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    )


def plain(values: Iterable[Any]) -> list[Any]:
    """Return a column as values of Python."""
    if not isinstance(values, np.ndarray):
        return list(values)
    return (values.astype(np.float32) if _is_narrow(values) else values).tolist()  # type: ignore[no-any-return]


def _is_narrow(array: Array) -> bool:
    return bool(array.dtype.kind == "V" or array.dtype == np.float16)


def _other(value: Any) -> Any:
    """Return what JSON does not have as what it has."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _object(line: bytes) -> dict[str, Any] | str:
    """Return the object of a line, or what is wrong with it."""
    try:
        found = orjson.loads(line)
    except ValueError as error:
        return f"the line is no JSON: {error}"
    return found if isinstance(found, dict) else f"the line is no object but {shown(found)}"
