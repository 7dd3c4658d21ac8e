"""Requests of the V1 protocol as tensors, and as TensorFlow Serving reads them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.http.doors.v1.requests import V1Request, decode_v1
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits
from tests.router.http.doors.v1 import json_tensor
from tests.router.oip.test_fuzz import JSON

TAG = TensorMetadata("tag", "BYTES", (-1,))
SIGNAL = TensorMetadata("signal", "FP32", (-1, -1))
SENSOR = TensorMetadata("sensor", "FP32", (-1, -1, -1))
COLUMN = TensorMetadata("c", "INT32", (-1, 1))


def decode(document: Any, *inputs: TensorMetadata, **limits: Any) -> V1Request:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    metadata = ModelMetadata("demo", ("1",), "anabranch", inputs, ())
    return decode_v1(body, metadata, RequestLimits(**limits))


def lists(found: V1Request) -> dict[str, Any]:
    return {name: array.tolist() for name, array in found.request.inputs.items()}


ROWS = [
    {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
    {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def test_the_two_formats_of_the_documentation() -> None:
    by_row = decode({"instances": ROWS, "signature_name": "serving_default"}, TAG, SIGNAL, SENSOR)
    by_column = decode({"inputs": COLUMNS, "signature_name": ""}, TAG, SIGNAL, SENSOR)
    assert lists(by_row) == lists(by_column) == COLUMNS
    assert (by_row.is_by_row, by_column.is_by_row) == (True, False)
    assert by_row.request.endpoint == "predict"


@pytest.mark.parametrize(
    ("document", "tensor", "expected"),
    [
        ({"instances": ["foo", "bar", "baz"]}, TAG, ["foo", "bar", "baz"]),
        ({"instances": [[1, 2], [3, 4]]}, SIGNAL, [[1, 2], [3, 4]]),
        ({"instances": [[[1, 2]], [[3, 4]]]}, SENSOR, [[[1, 2]], [[3, 4]]]),
        ({"instances": [{"tag": "foo"}]}, TAG, ["foo"]),
        ({"instances": [1, 2]}, COLUMN, [[1], [2]]),
        ({"inputs": [1, 2]}, COLUMN, [[1], [2]]),
        ({"inputs": 3}, COLUMN, [[3]]),
        ({"inputs": {"c": 3}}, COLUMN, [[3]]),
        ({"instances": [{"b64": "/wA="}, {"b64": "YQ=="}]}, TAG, [b"\xff\0", b"a"]),
        ({"instances": [{"tag": {"b64": "/wA="}}]}, TAG, [b"\xff\0"]),
        ({"inputs": {"b64": "/wA="}}, TAG, [b"\xff\0"]),
        ({"inputs": ["a", {"b64": "/w=="}]}, TAG, [b"a", b"\xff"]),
        ({"instances": [], "more": 1}, TAG, []),
    ],
)
def test_values_of_an_only_input(document: Any, tensor: TensorMetadata, expected: Any) -> None:
    assert lists(decode(document, tensor)) == {tensor.name: expected}


def test_an_input_that_is_called_b64() -> None:
    tensor = TensorMetadata("b64", "INT32", (-1,))
    assert lists(decode({"instances": [{"b64": 1}]}, tensor)) == {"b64": [1]}
    assert lists(decode({"inputs": {"b64": [1]}}, tensor)) == {"b64": [1]}


def test_parameters() -> None:
    found = decode({"instances": ["a"], "parameters": {"timeout": 5}, "id": "x"}, TAG)
    assert (found.request.parameters, found.request.id) == ({"timeout": 5}, None)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "the body is not JSON"),
        (b"[1]", "the body: Expected `object`, got `array`"),
        (b'{"instances": [NaN]}', "the body is not JSON"),
        ({}, "'instances' or 'inputs', this one has neither"),
        ({"instance": ["a"]}, "this one has neither"),
        ({"instances": ["a"], "inputs": ["a"]}, "this one has both"),
        ({"instances": "a"}, "'instances' must be a list"),
        ({"instances": {"tag": ["a"]}}, "'instances' must be a list"),
        (b'{"instances": {"tag": "%b"}}' % ("語" * 30).encode(), "must be a list"),
        (b'{"instances": {"\xee": "a"}}', "must be a list"),
        ({"instances": [{"tag": "a"}, "b"]}, "'instances': Expected `object`, got `str`"),
        ({"instances": ["b", {"tag": "a"}]}, "input 'tag'"),
        ({"instances": [{"tag": "a"}, {"tag": ["a"]}]}, "input 'tag'"),
        ({"instances": [{"teg": "a"}]}, r"there is no input 'teg' \(did you mean 'tag'"),
        ({"instances": [{"tag": "a"}, {}]}, r"instances\[1\] has no value of 'tag'"),
        ({"instances": [{"tag": "a"}, {"tag": "a", "x": 1}]}, "there is no input 'x'"),
        ({"inputs": {"teg": ["a"]}}, "there is no input 'teg'"),
        ({"inputs": [{"tag": "a"}]}, "input 'tag'"),
        ({"inputs": None}, "input 'tag'"),
        ({"instances": [{"b64": "*"}]}, r"input 'tag': '\*' is not Base64"),
        ({"instances": ["a"], "signature_name": "x"}, "there is no signature 'x'.*serving_default"),
        ({"instances": ["a"], "signature_name": 1}, "'signature_name'"),
        ({"instances": ["a"], "parameters": []}, "'parameters'"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(document: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        decode(document, TAG)


@pytest.mark.parametrize("field", ["instances", "inputs"])
def test_several_inputs_have_names(field: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"\(tag, c\), so '{field}' must be .*object"):
        decode({field: ["a"]}, TAG, COLUMN)


def test_limits_hold() -> None:
    with pytest.raises(TooLarge, match="limit of 8 elements"):
        decode({"instances": ["a"] * 9}, TAG, max_elements=8)
    with pytest.raises(TooLarge, match="'instances' hold more than 262144 objects"):
        decode(b'{"instances":[' + b"{}," * 2**18 + b"{}]}", TAG)
    with pytest.raises(TooLarge, match="parameters"):
        decode({"instances": ["a"], "parameters": {"a": 1, "b": 2}}, TAG, max_parameters=1)


elements = {
    "BYTES": st.text(max_size=3) | st.binary(max_size=3).map(
        lambda data: {"b64": json_tensor.base64.b64encode(data).decode()}
    ),
    "INT32": st.integers(-9, 9),
    "BOOL": st.booleans(),
    "FP32": st.integers(-9, 9) | st.sampled_from([0.5, -2.25, 1e30]),
}  # fmt: skip


@st.composite
def values(draw: st.DrawFn, dtype: str, rank: int) -> Any:
    """A value of that rank, mostly nested regularly."""
    shape = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    if draw(st.integers(0, 29)) == 7:
        dtype = draw(st.sampled_from([*elements]))

    def made(sizes: list[int]) -> Any:
        if not sizes:
            return draw(elements[dtype])
        return [made(sizes[1:]) for _ in range(sizes[0] + (draw(st.integers(0, 39)) == 7))]

    return made(shape)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, dict[str, tuple[str, int]]]:
    """A request, and the datatype and rank of each input."""
    names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True))
    inputs = {name: (draw(st.sampled_from([*elements])), draw(st.integers(1, 3))) for name in names}
    if draw(st.booleans()):
        named = {name: draw(values(dtype, rank)) for name, (dtype, rank) in inputs.items()}
        return {
            "inputs": named if len(names) > 1 or draw(st.booleans()) else named[names[0]]
        }, inputs
    rows = [
        {name: draw(values(dtype, rank - 1)) for name, (dtype, rank) in inputs.items()}
        for _ in range(draw(st.integers(1, 3)))
    ]
    plain = len(names) == 1 and draw(st.booleans())
    return {"instances": [row[names[0]] for row in rows] if plain else rows}, inputs


@given(cases())
def test_tensors_are_those_of_tensorflow_serving(case: Any) -> None:
    """What it takes is taken, and becomes the same; what it refuses is refused.

    But 1.0 is an integer here, as in all JSON that is taken.
    """
    document, inputs = case
    types = [TensorMetadata(name, dtype, (-1,) * rank) for name, (dtype, rank) in inputs.items()]
    try:
        expected = json_tensor.request(document, {name: one[0] for name, one in inputs.items()})
    except json_tensor.InvalidArgument:
        expected = None
    try:
        found = decode(document, *types).request.inputs
    except InvalidRequest:
        assert expected is None
        return
    assert expected is not None
    for name, (shape, flat) in expected.items():
        assert list(found[name].shape) == shape
        ours = found[name].ravel().tolist()
        if any(isinstance(one, bytes) for one in ours):
            flat = [json_tensor.raw(one) for one in flat]
        assert ours == [np.float32(one) if inputs[name][0] == "FP32" else one for one in flat]


documents = st.builds(
    lambda field, value: {field: value}, st.sampled_from(["instances", "inputs"]), JSON
)


@given(documents)
def test_any_document_is_a_request_or_is_refused(document: Any) -> None:
    for inputs in ((TAG,), (SIGNAL,), (TAG, COLUMN)):
        try:
            decode(document, *inputs)
        except (InvalidRequest, TooLarge):
            continue
