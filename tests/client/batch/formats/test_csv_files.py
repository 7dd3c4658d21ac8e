"""CSV by chunks: all rows once, whatever stands between quotes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anabranch.client.batch.formats.contract import OutputColumn
from anabranch.client.batch.formats.csv_files import CsvFiles
from anabranch.client.batch.rows import chunked
from anabranch.errors import JobError
from tests.examples import examples

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6)
ROWS = st.lists(st.tuples(CELL, CELL), max_size=12)


@given(rows=ROWS, size=st.integers(1, 5), marked=st.booleans())
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_chunks_have_all_rows_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int, marked: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", newline="", encoding="utf-8-sig" if marked else "utf-8") as file:
        csv.writer(file).writerows([("a", "b"), *rows])
    format = CsvFiles()
    with path.open("rb") as file:
        assert list(format.columns(file)) == ["a", "b"]
        chunks = chunked(list(format.spans(file, 0, size)), size)
    assert [chunk.rows for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    read = [format.read(str(path), chunk.span, ["b", "a"], ["a", "b"]) for chunk in chunks]
    found = [
        (a, b) for one in read for a, b in zip(one.columns["a"], one.columns["b"], strict=True)
    ]
    assert found == rows
    assert not any(one.broken for one in read)


def test_a_row_of_another_length_is_broken_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n1,2\n\n3\r\n4,5,6\n7,8")
    with path.open("rb") as file:
        (span,) = CsvFiles().spans(file, 0, 10)
    rows = CsvFiles().read(str(path), span, ["a"], ["a", "b"])
    assert rows.count == span.rows == 4
    assert rows.broken == {
        1: "the row has 1 values, and the header 2",
        2: "the row has 3 values, and the header 2",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"a,a\n1,2\n", "the column 'a' twice")],
)
def test_headers_that_name_no_columns_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with (tmp_path / "rows.csv").open("rb") as file, pytest.raises(JobError, match=message):
        CsvFiles().columns(file)


def test_quotes_that_no_rule_covers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n5" pipe,1\n6" pipe,2\n7,3\n')
    with path.open("rb") as file:
        (span,) = CsvFiles().spans(file, 0, 10)
    with pytest.raises(JobError, match="a value with a quote in it stands between quotes"):
        CsvFiles().read(str(path), span, ["a"], ["a", "b"])


def test_outputs_of_fixed_width_have_a_column_for_each_element(tmp_path: Path) -> None:
    columns = [
        OutputColumn("id", is_copied=True),
        OutputColumn("label", "BYTES"),
        OutputColumn("p", "FP32", 1, 2),
        OutputColumn("tags", "BYTES", 1),
        OutputColumn("good", "BOOL"),
    ]
    values = {
        "id": ["1", "2"],
        "label": ["a,b", b"\xff"],
        "p": [[0.5, 1.5], None],
        "tags": [["x"], []],
        "good": np.array([True, False]),
    }
    format = CsvFiles("\t")
    part = tmp_path / "part.tsv"
    part.write_bytes(format.encode(columns, values))
    with (tmp_path / "all.tsv").open("w+b") as target:
        format.join(columns, [str(part), str(part)], target)
        target.seek(0)
        lines = target.read().decode().splitlines()
    assert lines[0] == "id\tlabel\tp_0\tp_1\ttags\tgood"
    assert lines[1:] == ['1\ta,b\t0.5\t1.5\t"[""x""]"\ttrue', "2\t\\xff\t\t\t[]\tfalse"] * 2
