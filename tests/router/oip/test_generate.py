"""The generate extension's JSON: requests to tensors, answers to JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace

from anabranch.components.tensors.datatypes import to_datatype
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import (
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.generate import (
    FIELDS,
    decode_generate,
    encode_answer,
    encode_each,
    joined,
)


def metadata(*tensors: tuple[str, str, tuple[int, ...]], outputs: Any = ()) -> ModelMetadata:
    types = tuple(TensorMetadata(*tensor) for tensor in tensors)
    return ModelMetadata("demo", ("1",), "anabranch", types, tuple(outputs))


TEXT = metadata(("prompt", "BYTES", (1,)), ("top_k", "INT32", (1,)))


def decode(document: Any, model: ModelMetadata = TEXT, limits: RequestLimits | None = None) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode_generate(body, model, limits or RequestLimits())


def test_a_request_names_inputs_and_parameters() -> None:
    found = decode(
        {
            "text_input": "one",
            "top_k": 3,
            "id": "call-1",
            "parameters": {"temperature": 0.5, "stop": ["a", "b"]},
            "stream": True,
        }
    )
    assert {name: array.tolist() for name, array in found.inputs.items()} == {
        "prompt": ["one"],
        "top_k": [3],
    }
    assert found.inputs["top_k"].dtype == np.int32
    assert found.parameters == {"temperature": 0.5, "stop": ["a", "b"], "stream": True}
    assert found.id == "call-1"


@pytest.mark.parametrize(
    ("datatype", "shape", "value", "expected"),
    [
        ("BYTES", (), "a", "a"),
        ("BYTES", (-1,), "a", ["a"]),
        ("BYTES", (-1,), ["a", "[b],"], ["a", "[b],"]),
        ("BYTES", (1, -1), ["a", "b"], [["a", "b"]]),
        ("BYTES", (-1, 1), [["a"], ["b"]], [["a"], ["b"]]),
        ("FP32", (), 1.5, 1.5),
        ("FP32", (1, 1), 1.5, [[1.5]]),
        ("FP32", (-1, 2), [1, 2], [[1, 2]]),
        ("FP32", (-1, 2), [[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]]),
        ("FP32", (-1,), [], []),
        ("FP32", (-1, -1), [[], []], [[], []]),
        ("BOOL", (-1,), [True, False], [True, False]),
    ],
)
def test_values_fill_the_shape_of_the_input(
    datatype: str, shape: tuple[int, ...], value: Any, expected: Any
) -> None:
    found = decode({"x": value}, metadata(("x", datatype, shape)))
    assert found.inputs["x"].tolist() == expected


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(arrays.arrays(np.int32, shapes))
def test_nested_numbers_keep_their_shape(array: Any) -> None:
    if 0 in array.shape[:-1]:
        return  # lists without rows do not say how long those would be
    model = metadata(("x", "INT32", (-1,) * array.ndim))
    found = decode({"x": array.tolist()}, model).inputs["x"]
    assert found.shape == array.shape
    assert found.tolist() == array.tolist()


@given(arrays.arrays(object, shapes, elements=st.text(max_size=4)))
def test_nested_texts_keep_their_shape(array: Any) -> None:
    if 0 in array.shape[:-1]:
        return
    found = decode({"x": array.tolist()}, metadata(("x", "BYTES", (-1,) * array.ndim)))
    assert found.inputs["x"].shape == array.shape
    assert found.inputs["x"].tolist() == array.tolist()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@given(anything, st.sampled_from(["BYTES", "FP32", "INT8", "BOOL"]), st.integers(0, 3))
def test_any_value_is_a_tensor_or_an_invalid_request(value: Any, datatype: str, rank: int) -> None:
    try:
        found = decode({"x": value}, metadata(("x", datatype, (-1,) * rank)))
    except (InvalidRequest, TooLarge):
        return
    assert to_datatype(found.inputs["x"].dtype) == datatype


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is not JSON"),
        (b"[1]", "the body: Expected `object`, got `array`"),
        (b'{"prompt": "a"', "the body is not JSON"),
        (b'{"prompt": 1}', "input 'prompt'"),
        (b'{"prompt": "\xff"}', "input 'prompt' is not JSON"),
        (b'{"prompt": ["a", ["b"]]}', "input 'prompt'"),
        (b'{"top_k": 1.5}', "input 'top_k' is INT32"),
        (b'{"top_k": [[1], [2, 3]]}', "'top_k'"),
        (b'{"top_k": null}', "'top_k'"),
        (b'{"prompts": ["a"], "x": {}}', "there is no input '(prompts|x)'"),
        (b'{"parameters": 3}', "'parameters'"),
        (b'{"parameters": {"a": null}}', "'parameters'"),
        (b'{"parameters": {"a": 1}, "a": 2}', "parameter 'a' is there twice"),
        (b'{"id": 7}', "'id'"),
        (b'{"top_k": ' + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply"),
        (b'{"x": ' + b"[" * 100_000 + b"}", "nested too deeply|not JSON"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        decode(body)


def test_a_text_input_of_that_name_is_itself() -> None:
    model = metadata(("text_input", "BYTES", (1,)), ("system", "BYTES", (1,)))
    assert set(decode({"text_input": "a", "system": "b"}, model).inputs) == {
        "text_input",
        "system",
    }


def test_limits_hold() -> None:
    with pytest.raises(TooLarge, match="limit of 8 elements"):
        decode({"x": [0] * 9}, metadata(("x", "INT32", (-1,))), RequestLimits(max_elements=8))


def response(**outputs: Any) -> InferenceResponse:
    tensors = [OutputTensor(n, to_datatype(a.dtype), a) for n, a in outputs.items()]
    return InferenceResponse("demo", "3", None, tensors, 0.5)


def text(value: str) -> Any:
    return np.array([value], object)


def answer(given: InferenceResponse | None, model: ModelMetadata = TEXT) -> Any:
    return json.loads(encode_answer(given, model))


HEADER = {"model_name": "demo", "model_version": "3"}


def test_the_only_text_goes_by_text_output() -> None:
    found = response(reply=text("hello"), score=np.array([0.5], np.float32))
    assert answer(found) == HEADER | {"text_output": "hello", "score": 0.5}
    assert answer(response(a=text("b"), c=text("d"))) == HEADER | {"a": "b", "c": "d"}
    assert answer(replace(response(reply=text("")), id="7"))["id"] == "7"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[1, 2], [3, 4]], np.int64), [[1, 2], [3, 4]]),
        (np.array([1.5, np.nan], np.float32), [1.5, None]),
        (np.array(np.inf), None),
        (np.array([[True]]), True),
        (np.array([1.5, 2.5], ml_dtypes.bfloat16), [1.5, 2.5]),
        (np.array([0.5, 1.5], np.float16), [0.5, 1.5]),
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.arange(6, dtype=np.int32).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.zeros((0, 2), np.float32), []),
    ],
)
def test_tensors_are_scalars_or_nested_lists(array: Any, expected: Any) -> None:
    assert answer(response(y=array))["y"] == expected


def test_texts_are_nested_too() -> None:
    many = np.array([["a", b"b"], ["c", "d"]], object)
    assert answer(response(y=many), TEXT)["text_output"] == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("item", [b"\xff", "\ud800", 7, None])
def test_what_is_no_text_cannot_be_answered(item: object) -> None:
    array = np.empty(1, object)
    array[0] = item
    with pytest.raises(UnencodableOutput, match="output 'y' holds what is not text"):
        answer(InferenceResponse("demo", "3", None, [OutputTensor("y", "BYTES", array)]))


async def streamed(*responses: InferenceResponse) -> AsyncGenerator[InferenceResponse, None]:
    for one in responses:
        yield one


def join(*responses: InferenceResponse, most: int = 1000) -> Any:
    return asyncio.run(joined(streamed(*responses), most))


def test_texts_are_joined() -> None:
    first = response(y=text("a"), score=np.array([1, 2]))
    assert answer(join(first, response(y=text("b")), response(y=text("")))) == HEADER | {
        "text_output": "ab",
        "score": [1, 2],
    }
    assert join() is None
    assert join(first) is first
    assert answer(None) == {"model_name": "demo", "model_version": "1"}


@pytest.mark.parametrize(
    "pieces",
    [
        [np.array([1]), np.array([2])],
        [np.array(["a", "b"], object), np.array(["c", "d"], object)],
        [np.array(["a", "b"], object), text("c")],
    ],
)
def test_other_streams_cannot_be_joined(pieces: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"output 'y' streams .* ask generate_stream"):
        join(*(response(y=piece) for piece in pieces))


def test_what_is_joined_is_bounded() -> None:
    with pytest.raises(InvalidRequest, match="the text is over 1000 bytes"):
        join(*(response(y=text("")) for _ in range(1000)))


def test_each_piece_is_an_answer_and_the_last_says_so() -> None:
    async def collect() -> list[Any]:
        pieces = streamed(response(y=text("a")), response(y=text("b")))
        return [json.loads(one) async for one in encode_each(pieces, TEXT)]

    assert asyncio.run(collect()) == [
        HEADER | {"text_output": "a", "done": False},
        HEADER | {"text_output": "b", "done": False},
        HEADER | {"text_output": "", "done": True},
    ]


def test_outputs_with_names_of_other_fields_stand_by_themselves() -> None:
    async def collect() -> list[Any]:
        given = {name: np.float32([0.5]) for name in sorted(FIELDS)}
        pieces = streamed(response(y=np.float32([1.0]), **given))
        return [json.loads(one) async for one in encode_each(pieces, TEXT)]

    first, last = asyncio.run(collect())
    assert first == HEADER | {"y": 1.0, "outputs": dict.fromkeys(FIELDS, 0.5), "done": False}
    assert last == HEADER | {"done": True}
