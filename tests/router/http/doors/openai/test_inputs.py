from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from anabranch.errors import InvalidRequest, NotFound, TooLarge
from anabranch.router.http.doors.openai.fields import BodyFields
from anabranch.router.http.doors.openai.inputs import (
    decode_chat,
    decode_completion,
    decode_embedding,
)
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits

LIMITS = RequestLimits()
USER = [{"role": "user", "content": "Hi"}]


def metadata(**inputs: tuple[str, tuple[int, ...]]) -> ModelMetadata:
    tensors = tuple(TensorMetadata(name, kind, shape) for name, (kind, shape) in inputs.items())
    return ModelMetadata("demo", ("1",), "anabranch", tensors, (), is_complete=False)


def fields(**body: Any) -> BodyFields:
    return BodyFields(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((), [()]),
        ((1,), [(1,)]),
        ((-1,), [(1,)]),
        ((1, 1), [(1, 1)]),
        ((-1, 3), [(1, 1)]),
    ],
)
def test_messages_take_the_rank_of_their_input(shape: Any, made: Any) -> None:
    found = decode_chat(fields(messages=USER), metadata(messages=("BYTES", shape)), LIMITS)
    arrays = [one.inputs["messages"] for one in found.requests]
    assert [one.shape for one in arrays] == made
    assert json.loads(arrays[0].item()) == USER


@pytest.mark.parametrize(
    ("kind", "shape", "given", "made"),
    [
        ("BYTES", (-1,), ["a", "b"], [["a", "b"]]),
        ("BYTES", (2,), ["a", "b"], [["a", "b"]]),
        ("BYTES", (1,), ["a", "b"], [["a"], ["b"]]),
        ("BYTES", (), ["a", "b"], ["a", "b"]),
        ("BYTES", (-1, 1), ["a", "b"], [[["a"], ["b"]]]),
        ("INT64", (-1,), [1, 2], [[1, 2]]),
        ("INT64", (-1,), [[1, 2], [3]], [[1, 2], [3]]),
        ("INT32", (-1, -1), [1, 2], [[[1, 2]]]),
        ("INT32", (-1, -1), [[1, 2], [3, 4]], [[[1, 2], [3, 4]]]),
        ("INT32", (-1, -1), [[1, 2], [3]], [[[1, 2]], [[3]]]),
        ("INT32", (1, -1), [[1, 2], [3, 4]], [[[1, 2]], [[3, 4]]]),
    ],
)
def test_texts_are_one_evaluation_where_they_fit(
    kind: str, shape: Any, given: Any, made: Any
) -> None:
    found = decode_embedding(fields(input=given), metadata(input=(kind, shape)), LIMITS)
    assert [one.inputs["input"].tolist() for one in found.requests] == made
    assert found.count == (1 if given == [1, 2] else 2)
    if kind != "BYTES":
        assert {one.inputs["input"].dtype for one in found.requests} == {np.dtype(kind.lower())}


def test_the_only_text_stands_for_the_prompt() -> None:
    for made, wanted in (
        (metadata(question=("BYTES", (1,)), top=("INT64", (1,))), "question"),
        (metadata(prompt=("BYTES", (1,)), other=("BYTES", (1,))), "prompt"),
    ):
        body = fields(prompt="Hi", top=3, other="x")
        (request,) = decode_completion(body, made, LIMITS).requests
        assert request.inputs[wanted].tolist() == ["Hi"]
    with pytest.raises(NotFound, match="not one input of BYTES alone"):
        decode_completion(
            fields(prompt="Hi"), metadata(a=("BYTES", (1,)), b=("BYTES", (1,))), LIMITS
        )


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("BYTES", [1, 2], "must be text"),
        ("BYTES", [["a"]], "must be text"),
        ("BYTES", [], "length >= 1"),
        ("BYTES", 3, "Expected `array`"),
        ("BYTES", ["a", 3], "Expected `str`"),
        ("INT64", "a", "must be tokens"),
        ("INT64", [[]], "length >= 1"),
        ("INT64", [1.5], "Expected `int`"),
        ("INT64", [-1], ">= 0"),
        ("INT64", [2**40], "< 2147483648|<= 2147483647"),
        ("BYTES", ["a"] * 2049, "length <= 2048"),
        ("BYTES", ["a"] * 129, "asks for 129 evaluations"),
    ],
)
def test_texts_of_the_wrong_kind_are_refused(kind: str, given: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        decode_embedding(fields(input=given), metadata(input=(kind, (1,))), LIMITS)


def test_evaluations_share_nothing_that_they_might_change() -> None:
    found = decode_chat(fields(messages=USER, n=2), metadata(messages=("BYTES", (1,))), LIMITS)
    one, other = (request.inputs["messages"] for request in found.requests)
    assert one is not other and not np.shares_memory(one, other)


def test_seeds_stay_in_their_range() -> None:
    body = fields(messages=USER, n=2, seed=2**63 - 1)
    found = decode_chat(body, metadata(messages=("BYTES", (1,))), LIMITS)
    assert [one.parameters["seed"] for one in found.requests] == [2**63 - 1, -(2**63)]


def test_parameters_are_bounded() -> None:
    body = fields(messages=USER, tools=[{"text": "x" * LIMITS.max_parameter_bytes}])
    with pytest.raises(TooLarge, match="parameters have"):
        decode_chat(body, metadata(messages=("BYTES", (1,))), LIMITS)


def test_prompts_times_n_are_bounded() -> None:
    with pytest.raises(InvalidRequest, match="asks for 130 evaluations"):
        decode_completion(fields(prompt=["a"] * 65, n=2), metadata(prompt=("BYTES", (1,))), LIMITS)
