"""JSON lines by chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anabranch.client.batch.formats.contract import OutputColumn
from anabranch.client.batch.formats.jsonl import JsonLines, json_line
from anabranch.client.batch.rows import chunked
from tests.examples import examples

VALUE = st.one_of(st.integers(-9, 9), st.text(max_size=4), st.lists(st.floats(0, 1), max_size=3))


@given(
    rows=st.lists(st.fixed_dictionaries({"x": VALUE}), max_size=12),
    ends=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    size=st.integers(1, 5),
)
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_chunks_have_all_rows_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], ends: bytes, size: int
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    path.write_bytes(ends.join(map(orjson.dumps, rows)))
    with path.open("rb") as file:
        chunks = chunked(list(JsonLines().spans(file, 0, size)), size)
    read = [JsonLines().read(str(path), chunk.span, ["x"], ["x"]) for chunk in chunks]
    assert [value for one in read for value in one.columns["x"]] == [row["x"] for row in rows]
    assert sum(chunk.rows for chunk in chunks) == len(rows)


def test_columns_are_those_of_the_first_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n[]\n{"b": 2, "a": 3}\n')
    with (tmp_path / "rows.jsonl").open("rb") as file:
        assert list(JsonLines().columns(file)) == ["a", "b"]


def test_lines_that_are_no_objects_are_broken_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a":\n[1]\n{}\n')
    with path.open("rb") as file:
        (span,) = JsonLines().spans(file, 0, 10)
    rows = JsonLines().read(str(path), span, ["a"], ["a"])
    assert (rows.count, set(rows.broken)) == (4, {1, 2})
    assert "the line is no JSON" in rows.broken[1]
    assert "the line is no object but [1]" in rows.broken[2]
    assert list(rows.columns["a"]) == [1, None, None, None]


def test_values_that_json_does_not_have_are_written_as_what_it_has() -> None:
    columns = [OutputColumn(name, "FP32") for name in ("y", "z")]
    values = {"y": np.array([1.5, np.nan], np.float16), "z": ["é", b"\xff"]}
    lines = JsonLines().encode(columns, values).splitlines()
    assert [orjson.loads(line) for line in lines] == [
        {"y": 1.5, "z": "é"},
        {"y": None, "z": "\\xff"},
    ]
    assert orjson.loads(json_line({"x": np.arange(2), "y": {1}})) == {"x": [0, 1], "y": "{1}"}
