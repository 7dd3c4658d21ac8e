"""Requests as HTML forms: fields and files as tensors."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.http.doors.form_body import FormPart
from anabranch.router.http.doors.plain_json.form_requests import decode_form
from anabranch.router.http.doors.plain_json.json_requests import PlainRequest
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits

X = TensorMetadata("x", "FP32", (-1, 2))
N = TensorMetadata("n", "INT64", (-1, 1))
TEXT = TensorMetadata("text", "BYTES", (-1,))
SCALAR = TensorMetadata("one", "BYTES", ())
RAW = TensorMetadata("scan", "BYTES", (-1, 1), content="raw")
ALL = (X, N, TEXT, SCALAR, RAW)


def decode(*parts: tuple[str, bytes], inputs: Any = ALL, **limits: Any) -> PlainRequest:
    metadata = ModelMetadata("demo", ("1",), "anabranch", inputs, ())
    return decode_form([FormPart(*part) for part in parts], metadata, RequestLimits(**limits))


def test_fields_and_files_by_input() -> None:
    found = decode(
        ("x", b"[1, 2]"),
        ("n", b"7"),
        ("text", b'"as it is"'),
        ("one", "é".encode()),
        ("scan", b"\x89PNG\r\n"),
        ("id", b"5"),
        ("outputs", b"y"),
        ("outputs", b"z"),
        ("parameters", b'{"timeout": 1}'),
    )
    assert {name: array.tolist() for name, array in found.request.inputs.items()} == {
        "x": [[1, 2]], "n": [[7]], "text": ['"as it is"'], "one": "é", "scan": [[b"\x89PNG\r\n"]],
    }  # fmt: skip
    request = found.request
    assert (request.id, request.outputs, request.parameters) == ("5", ("y", "z"), {"timeout": 1})
    assert found.form == "values"


def test_several_fields_of_a_name_are_rows() -> None:
    found = decode(
        ("x", b"[1, 2]"), ("x", b"[3, 4]"), ("n", b"1"), ("n", b"2"), ("text", b"a"),
        ("text", b"b"), ("scan", b"1"), ("scan", b"2"),
    )  # fmt: skip
    assert {name: array.tolist() for name, array in found.request.inputs.items()} == {
        "x": [[1, 2], [3, 4]], "n": [[1], [2]], "text": ["a", "b"], "scan": [[b"1"], [b"2"]],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["id", "outputs", "parameters"])
def test_a_field_of_the_name_of_an_input_is_that_input(name: str) -> None:
    found = decode((name, b"a"), inputs=(TensorMetadata(name, "BYTES", ()),))
    assert found.request.inputs[name].tolist() == "a"
    assert (found.request.id, found.request.outputs, found.request.parameters) == (None, (), {})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("y", b"1")], "there is no field 'y'"),
        ([("rows", b"[]")], "there is no field 'rows'"),
        ([("x", b"")], "field 'x' is not JSON"),
        ([("x", b"[1, 2")], "field 'x' is not JSON"),
        ([("x", b"[1, NaN]")], "field 'x' is not JSON"),
        ([("x", b"\xff")], "field 'x' is not JSON"),
        ([("x", b"on")], "field 'x' is not JSON"),
        ([("x", b'"1"')], "input 'x'"),
        ([("n", b"1"), ("n", b"[1, 2]")], "input 'n'"),
        ([("text", b"\xff")], "field 'text' is not text in UTF-8; only an input with"),
        ([("id", b"1"), ("id", b"2")], "the form has 2 fields 'id', and takes one"),
        ([("id", b"\xff")], "field 'id' is not text"),
        ([("parameters", b"[]")], "'parameters'"),
        ([("parameters", b"{")], "'parameters' is not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(parts: list[tuple[str, bytes]], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        decode(*parts)


def test_limits_hold() -> None:
    with pytest.raises(TooLarge, match="limit of 3 elements"):
        decode(("x", b"[1, 2, 3, 4]"), max_elements=3)
    with pytest.raises(TooLarge, match="parameters"):
        decode(("parameters", b'{"a": 1, "b": 2}'), max_parameters=1)
