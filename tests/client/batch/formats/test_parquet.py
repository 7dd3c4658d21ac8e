"""Parquet by chunks, and its types from the input through the output."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from anabranch.client.batch.formats.contract import OutputColumn
from anabranch.client.batch.manifest import BatchJob
from anabranch.client.batch.rows import chunked
from anabranch.errors import JobError
from tests.client.batch.graphs import Doubling, run

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from anabranch.client.batch.formats.parquet import ParquetFiles  # noqa: E402


@pytest.mark.parametrize(("group", "size"), [(7, 3), (3, 7), (5, 5), (100, 4)])
def test_chunks_have_all_rows_in_their_order(tmp_path: Path, group: int, size: int) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": range(23), "b": range(23)}), path, row_group_size=group)
    format = ParquetFiles()
    with path.open("rb") as file:
        assert list(format.columns(file)) == ["a", "b"]
        chunks = chunked(list(format.spans(file, 0, size)), size)
    read = [format.read(str(path), chunk.span, ["b"], ["a", "b"]) for chunk in chunks]
    assert [value for one in read for value in one.columns["b"]] == list(range(23))
    assert [chunk.start for chunk in chunks] == list(np.cumsum([0, *map(len_of, chunks)][:-1]))


def len_of(chunk: object) -> int:
    return chunk.rows  # type: ignore[attr-defined, no-any-return]


def test_columns_become_arrays_where_they_can(tmp_path: Path) -> None:
    table = pa.table(
        {
            "number": pa.array([1.5, 2.5]),
            "missing": pa.array([1, None]),
            "fixed": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)),
            "list": pa.array([[1], [2, 3]]),
            "text": pa.array(["a", "b"]),
            "flag": pa.array([True, False]),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    format = ParquetFiles()
    with (tmp_path / "rows.parquet").open("rb") as file:
        (span,) = format.spans(file, 0, 10)
    columns = format.read(str(tmp_path / "rows.parquet"), span, table.column_names, []).columns
    assert columns["number"].dtype == np.float64
    assert columns["missing"].tolist() == [1, None]
    assert columns["fixed"].tolist() == [[1, 2], [3, 4]]
    assert columns["list"].tolist() == [[1], [2, 3]]
    assert columns["text"].tolist() == ["a", "b"]
    assert columns["flag"].tolist() == [True, False]


def test_types_are_those_of_the_input_and_of_the_graph(tmp_path: Path) -> None:
    day = pa.date32()
    columns = [
        OutputColumn("day", arrow=day, is_copied=True),
        OutputColumn("any", is_copied=True),
        OutputColumn("y", "FP16"),
        OutputColumn("p", "FP32", 2),
        OutputColumn("label", "BYTES"),
    ]
    first = {
        "day": [datetime.date(2026, 1, 2), None],
        "any": [None, None],
        "y": np.array([1, 2], np.float16),
        "p": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
        "label": ["a", b"b"],
    }
    second = {"day": [None], "any": ["x"], "y": [None], "p": [[[1.0]]], "label": [None]}
    empty = {name: [] for name in first}
    parts = []
    for at, values in enumerate((first, empty, second)):
        parts.append(str(tmp_path / f"{at}.parquet"))
        Path(parts[-1]).write_bytes(ParquetFiles().encode(columns, values))
    with (tmp_path / "all.parquet").open("w+b") as target:
        ParquetFiles().join(columns, parts, target)
    found = pq.read_table(tmp_path / "all.parquet")
    assert found.schema.field("day").type == day
    assert found.schema.field("any").type == pa.string()
    assert found.schema.field("y").type == pa.float16()
    assert found.to_pydict() == {
        "day": [datetime.date(2026, 1, 2), None, None],
        "any": [None, None, "x"],
        "y": [1.0, 2.0, None],
        "p": [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[1]]],
        "label": ["a", "b", None],
    }


def joined(tmp_path: Path, *values: object) -> list[object]:
    """A copied column of one file, whose values were parts of their own."""
    column = OutputColumn("id", is_copied=True)
    parts = [str(tmp_path / f"{at}.parquet") for at in range(len(values))]
    for part, value in zip(parts, values, strict=True):
        Path(part).write_bytes(ParquetFiles().encode([column], {"id": [value]}))
    with (tmp_path / "all.parquet").open("w+b") as target:
        ParquetFiles().join([column], parts, target)
    return pq.read_table(tmp_path / "all.parquet")["id"].to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((1, "b", None), ["1", "b", None]),
        ((1, [2]), ["1", "[2]"]),
        ((True, 1), ["True", "1"]),
        ((1, 2.5), [1.0, 2.5]),
        ((b"a", 1), ["a", "1"]),
    ],
)
def test_values_of_types_with_nothing_in_common_become_text(
    tmp_path: Path, values: tuple[object, ...], found: list[object]
) -> None:
    assert joined(tmp_path, *values) == found


def test_a_number_that_the_others_type_cannot_hold_is_not_rounded(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"column 'id' has values of several types.*double.*\.csv"):
        joined(tmp_path, 2**60 + 1, 0.5)


def test_no_rows_are_a_file_with_the_columns(tmp_path: Path) -> None:
    columns = [OutputColumn("any", is_copied=True), OutputColumn("y", "FP32")]
    with (tmp_path / "all.parquet").open("w+b") as target:
        ParquetFiles().join(columns, [], target)
    assert pq.read_schema(tmp_path / "all.parquet").names == ["any", "y"]


@pytest.mark.parametrize("damage", ["footer", "rows", "empty"])
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(1).random(5000)}), path)
    data = path.read_bytes()
    broken = {"footer": data[:-9] + b"?" + data[-8:-4] + b"PAR?", "empty": b"",
              "rows": data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :]}  # fmt: skip
    path.write_bytes(broken[damage])
    with pytest.raises(JobError, match=r"^\S*rows\.parquet is damaged: .+"):
        run(BatchJob("doubling", str(path), str(tmp_path / "answers.csv")), Doubling())
    assert not (tmp_path / "answers.csv.parts").exists()
