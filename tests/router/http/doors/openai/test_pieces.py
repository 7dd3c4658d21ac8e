from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.router.errors import UnencodableOutput
from anabranch.router.http.doors.openai.pieces import pieces_of
from anabranch.router.inference.contract import InferenceResponse, OutputTensor


def response(**outputs: Any) -> InferenceResponse:
    tensors = []
    for name, value in outputs.items():
        array = np.array(value, object if isinstance(value, list | str | bytes) else None)
        datatype = "BYTES" if array.dtype == object else "INT64"
        tensors.append(OutputTensor(name, datatype, array))
    return InferenceResponse("demo", "1", None, tensors)


def test_the_only_text_needs_no_name() -> None:
    (piece,) = pieces_of(
        response(said=["Hi"], finish_reason=["length"], prompt_tokens=np.array(3)), 1
    )
    assert (piece.text, piece.finish_reason, piece.prompt_tokens) == ("Hi", "length", 3)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_text_is_one_element_of_any_shape(shape: tuple[int, ...]) -> None:
    array = np.empty(shape, object)
    array[...] = b"caf\xc3\xa9"
    found = InferenceResponse("demo", "1", None, [OutputTensor("text", "BYTES", array)])
    assert pieces_of(found, 1)[0].text == "café"


def test_several_texts_share_what_there_is_once() -> None:
    told = response(
        text=["a", "b"], finish_reason=["stop"], prompt_tokens=np.array([7]),
        completion_tokens=np.array([3, 4]), logprobs=['{"content": []}', ""],
    )  # fmt: skip
    one, other = pieces_of(told, 2)
    assert (one.text, other.text) == ("a", "b")
    assert (one.finish_reason, other.finish_reason) == ("stop", "stop")
    assert (one.prompt_tokens, other.prompt_tokens) == (7, None)
    assert (one.completion_tokens, other.completion_tokens) == (3, 4)
    assert (one.logprobs, other.logprobs) == ({"content": []}, None)


def test_calls_alone_are_a_text_that_is_empty() -> None:
    (piece,) = pieces_of(response(tool_calls=['[{"id": "a"}]']), 1)
    assert (piece.text, piece.tool_calls) == ("", [{"id": "a"}])


@pytest.mark.parametrize(
    ("outputs", "count", "said"),
    [
        ({"x": np.array([1])}, 1, "gives no text"),
        ({"a": ["1"], "b": ["2"]}, 1, "gives no text"),
        ({"text": ["a", "b"]}, 1, "has 2 texts instead of 1"),
        ({"text": ["a"]}, 2, "has 1 texts instead of 2"),
        ({"text": [b"\xff"]}, 1, "not text in UTF-8"),
        ({"text": ["\ud800"]}, 1, "not text in UTF-8"),
        ({"text": ["a"], "finish_reason": ["x", "y"]}, 1, "has 2 elements"),
        ({"text": ["a"], "tool_calls": ["{}"]}, 1, "'tool_calls' is not the JSON"),
        ({"text": ["a"], "tool_calls": ["[" * 9999]}, 1, "'tool_calls' is not the JSON"),
        ({"text": ["a"], "tool_calls": ['[{"function": 3}]']}, 1, "`function` that is no object"),
        ({"text": ["a"], "logprobs": ["no"]}, 1, "'logprobs' is not the JSON"),
        ({"text": ["a"], "prompt_tokens": np.array([-1])}, 1, "is no count: -1"),
        ({"text": ["a"], "prompt_tokens": ["3"]}, 1, "is no count: '3'"),
    ],
)
def test_what_is_no_text_is_refused(outputs: Any, count: int, said: str) -> None:
    with pytest.raises(UnencodableOutput, match=said):
        pieces_of(response(**outputs), count)
