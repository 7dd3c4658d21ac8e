"""Requests in plain JSON: values, records and columns as tensors."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.http.doors.plain_json import json_requests
from anabranch.router.http.doors.plain_json.json_requests import PlainRequest, decode_json
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip import plain_inputs
from tests.router.oip.test_fuzz import JSON

X = TensorMetadata("x", "FP32", (-1, 2))
N = TensorMetadata("n", "INT64", (-1,))
COLUMN = TensorMetadata("c", "FP32", (-1, 1))
TEXT = TensorMetadata("text", "BYTES", (-1,))
RAW = TensorMetadata("scan", "BYTES", (-1,), content="raw")


def decode(document: Any, *inputs: TensorMetadata, **limits: Any) -> PlainRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    metadata = ModelMetadata("demo", ("1",), "anabranch", inputs, ())
    return decode_json(body, metadata, RequestLimits(**limits))


def lists(found: PlainRequest) -> dict[str, Any]:
    return {name: array.tolist() for name, array in found.request.inputs.items()}


def test_values_by_input() -> None:
    found = decode(
        {
            "x": [1, 2],
            "n": 3,
            "text": ["a", "b"],
            "id": "7",
            "parameters": {"timeout": 5, "stop": ["a"]},
            "outputs": ["y", "z", "y"],
        },
        X, N, TEXT,
    )  # fmt: skip
    assert lists(found) == {"x": [[1, 2]], "n": [3], "text": ["a", "b"]}
    assert found.form == "values"
    request = found.request
    assert (request.id, request.outputs) == ("7", ("y", "z"))
    assert request.parameters == {"timeout": 5, "stop": ["a"]}
    assert request.endpoint == "predict"


def test_records_are_rows_of_all_inputs() -> None:
    rows = [
        {"x": [1, 2], "n": 3, "c": 0.5, "text": "a,b"},
        {"text": "[c]", "c": 1.5, "n": 4, "x": [3, 4]},
    ]
    found = decode({"rows": rows}, X, N, COLUMN, TEXT)
    assert lists(found) == {
        "x": [[1, 2], [3, 4]], "n": [3, 4], "c": [[0.5], [1.5]], "text": ["a,b", "[c]"],
    }  # fmt: skip
    assert (found.form, found.rows) == ("rows", 2)
    assert found.request.inputs["c"].dtype == np.float32


def test_columns_have_an_element_for_each_row() -> None:
    columns = {"x": [[1, 2], [3, 4]], "n": [3, 4], "c": [0.5, 1.5], "text": ["a", "b"]}
    found = decode({"columns": columns}, X, N, COLUMN, TEXT)
    assert lists(found) == columns | {"c": [[0.5], [1.5]]}
    assert found.form == "columns"


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_no_row_at_all(form: str) -> None:
    given = [] if form == "rows" else {"x": [], "n": [], "text": []}
    found = decode({form: given}, X, N, TEXT)
    assert {name: array.shape for name, array in found.request.inputs.items()} == {
        "x": (0, 2), "n": (0,), "text": (0,),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["rows", "columns", "outputs", "id", "parameters"])
def test_a_field_of_the_name_of_an_input_is_that_input(name: str) -> None:
    assert lists(decode({name: [1, 2]}, TensorMetadata(name, "INT64", (-1,)))) == {name: [1, 2]}


FORMS = {
    "plain": lambda data: base64.b64encode(data).decode(),
    "unpadded": lambda data: base64.b64encode(data).decode().rstrip("="),
    "url": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    "object": lambda data: {"b64": base64.b64encode(data).decode()},
}


@pytest.mark.parametrize("form", FORMS)
@given(data=st.lists(st.binary(max_size=20), min_size=1, max_size=3))
def test_raw_bytes_come_in_base64(form: str, data: list[bytes]) -> None:
    given = [FORMS[form](one) for one in data]
    for document in (
        {"scan": given}, {"columns": {"scan": given}}, {"rows": [{"scan": one} for one in given]}
    ):  # fmt: skip
        assert lists(decode(document, RAW)) == {"scan": data}
    assert lists(decode({"scan": given[0]}, RAW)) == {"scan": data[:1]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "the body is not JSON"),
        (b"[1]", "the body: Expected `object`, got `array`"),
        ({"y": 1}, "there is no field 'y'"),
        ({"txt": "a"}, r"there is no field 'txt' \(did you mean 'text'\?"),
        ({"row": []}, r"there is no field 'row' \(did you mean 'rows'\?"),
        ({"rows": {"n": 1}}, "'rows': Expected `array`, got `object`"),
        ({"rows": [1]}, "'rows': Expected `object`, got `int`"),
        ({"rows": [{"n": 1}], "n": 2}, "beside 'rows' there is 'n'"),
        ({"rows": [{"n": 1}], "columns": {}}, "beside 'rows' there is 'columns'"),
        ({"rows": [{"n": 1}, {"nn": 2}]}, r"there is no input 'nn' \(did you mean 'n'"),
        ({"rows": [{"n": 1, "text": "a"}, {"n": 1}]}, r"rows\[1\] has no value of 'text'"),
        ({"rows": [{"n": 1}, {"n": 1, "text": "a"}]}, r"rows\[1\] has a value of 'text', rows"),
        ({"rows": [{"n": 1}, {"n": [2, 3]}]}, "input 'n'"),
        ({"rows": [{"n": {}}]}, "input 'n'"),
        ({"columns": []}, "'columns': Expected `object`, got `array`"),
        ({"columns": {"n": 1}}, "the column of input 'n' must be a list"),
        ({"columns": {"n": [1], "text": ["a", "b"]}}, "column 'text' has 2 rows, column 'n' has 1"),
        ({"columns": {"m": [1]}}, "there is no input 'm'"),
        ({"n": None}, "input 'n'"),
        ({"n": {"b64": "YQ=="}}, "input 'n'"),
        ({"text": {"b64": "YQ=="}}, "input 'text'"),
        ({"scan": "*"}, r"input 'scan': '\*' is not Base64"),
        ({"scan": "YQ==YQ=="}, "is not Base64"),
        ({"scan": "data:text/plain,hello"}, "is not Base64"),
        ({"scan": {"b64": 1}}, "input 'scan'"),
        ({"scan": {"b64": "YQ==", "x": 1}}, "input 'scan'"),
        ({"outputs": "y"}, "'outputs': Expected `array | null`"),
        ({"id": 1}, "'id'"),
        ({"parameters": []}, "'parameters'"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(document: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        decode(document, N, TEXT, RAW)


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="limit of 8 elements"):
        decode({"rows": [{"n": 1}] * 9}, N, max_elements=8)
    with pytest.raises(TooLarge, match="limit of 8 elements"):
        decode({"scan": ["YQ=="] * 9}, RAW, max_elements=8)
    with pytest.raises(TooLarge, match="'rows' hold more than 262144 objects; send columns"):
        decode(b'{"rows":[' + b"{}," * 2**18 + b"{}]}", N)
    monkeypatch.setattr(plain_inputs, "MAX_RECORDS", 10_000)
    monkeypatch.setattr(json_requests, "MAX_RECORDS", 10_000)
    with pytest.raises(TooLarge, match="more than 10000 names"):
        decode({"rows": [{"n": 1}] * 10_001}, N)


def test_null_is_no_value_of_an_optional_input() -> None:
    n = TensorMetadata("n", "INT64", (-1,), optional=True)
    for document in (
        {"text": "a", "n": None},
        {"rows": [{"text": "a", "n": None}]},
        {"columns": {"text": ["a"], "n": None}},
    ):
        assert lists(decode(document, n, TEXT)) == {"text": ["a"]}
    with pytest.raises(InvalidRequest, match="input 'n'"):
        decode({"rows": [{"n": 1}, {"n": None}]}, n)


values = st.sampled_from([1, 2.5, True, "a", "YQ==", None, [], [1], [[1, 2]], {"b64": "YQ=="}])
names = st.sampled_from(["x", "n", "c", "text", "scan", "rows", "columns", "id", "y"])
records = st.dictionaries(names, values | JSON, max_size=4)
documents = (
    records
    | st.builds(lambda rows: {"rows": rows}, st.lists(records, max_size=3) | JSON)
    | st.builds(lambda columns: {"columns": columns}, records | JSON)
)


@given(documents)
def test_any_document_is_a_request_or_is_refused(document: Any) -> None:
    try:
        found = decode(document, X, N, COLUMN, TEXT, RAW)
    except (InvalidRequest, TooLarge):
        return
    for array in found.request.inputs.values():
        assert array.dtype in (np.float32, np.int64, object)


tables = st.integers(0, 5).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "n": st.lists(st.integers(-9, 9), min_size=rows, max_size=rows),
            "text": st.lists(st.text(max_size=4), min_size=rows, max_size=rows),
            "x": st.lists(
                st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=rows, max_size=rows
            ),
        }
    )
)


@given(tables)
def test_records_and_columns_are_the_same_tensors(table: dict[str, list[Any]]) -> None:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    by_column, by_row = (decode(one, N, TEXT, X) for one in ({"columns": table}, {"rows": rows}))
    assert lists(by_column) == lists(by_row) == table
    assert by_row.rows == len(table["n"])
