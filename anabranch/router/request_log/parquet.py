"""Files of JSON lines as Parquet: an event a row, its attributes as columns, its data as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from anabranch.components.extras import require
from anabranch.router.request_log.events import VERSION, timestamp

JSONL, PARQUET = ".jsonl", ".parquet"
_GROUP = 2**22
"""Bytes of the lines that make one row group, about: what a conversion holds in memory."""


class _Summary(msgspec.Struct):
    """The fields of an event's data that have a column of their own."""

    graph: str
    revision: int
    endpoint: str
    protocol: str
    seconds: float
    error: dict[str, Any] | None = None


class _Line(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    data: msgspec.Raw
    traceparent: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_summary = msgspec.json.Decoder(_Summary).decode


def library() -> Any:
    """The module ``pyarrow``; CannotLoad says how to get it."""
    return require("pyarrow", "parquet")


def schema() -> Any:
    """The columns: those of the event, then those out of its data, then all of its data."""
    pa = library()
    return pa.schema(
        [
            ("specversion", pa.string()),
            ("id", pa.string()),
            ("source", pa.string()),
            ("type", pa.string()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("traceparent", pa.string()),
            ("graph", pa.string()),
            ("revision", pa.int64()),
            ("endpoint", pa.string()),
            ("protocol", pa.string()),
            ("seconds", pa.float64()),
            ("error", pa.string()),
            ("data", pa.string()),
        ]
    )


def convert(path: Path) -> Path:
    """Make a Parquet file of a file of JSON lines, which goes; what is no event is left out.

    The new file appears whole, in one step. Returns its path.
    """
    pa, target = library(), path.with_suffix(PARQUET)
    part = target.with_name(f"{target.name}.part")
    columns = schema()
    with require("pyarrow.parquet", "parquet").ParquetWriter(
        part, columns, compression="zstd"
    ) as writer:
        for rows in _groups(path):
            writer.write_table(pa.Table.from_pylist(rows, columns))
    part.chmod(0o600)
    part.replace(target)
    path.unlink()
    return target


def _groups(path: Path) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    with path.open("rb") as lines:
        for line in lines:
            row = _row(line)
            if row is None:
                continue
            rows.append(row)
            size += len(line)
            if size >= _GROUP:
                yield rows
                rows, size = [], 0
    if rows:
        yield rows


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        event = _decode_line(line)
        if event.specversion != VERSION:
            return None
        summary = _decode_summary(event.data)
        data = bytes(event.data).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    error = None if summary.error is None else summary.error.get("class")
    return {**msgspec.structs.asdict(event), **msgspec.structs.asdict(summary)} | {
        "error": error, "data": data,
    }  # fmt: skip


def events(path: Path) -> Iterator[bytes]:
    """The events of a Parquet file, each as far as it is read again, in JSON."""
    with require("pyarrow.parquet", "parquet").ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64, columns=["id", "type", "time", "data"]):
            for row in batch.to_pylist():
                told = {"time": timestamp(row["time"]), "data": msgspec.Raw(row["data"].encode())}
                yield msgspec.json.encode(row | told)
