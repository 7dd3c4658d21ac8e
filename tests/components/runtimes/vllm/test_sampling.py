"""Request parameters as those of vLLM."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest

from anabranch.components.runtimes.vllm.sampling import sampling_fields, structure
from anabranch.errors import InvalidRequest

GIVEN = {
    "temperature": 0.5, "top_p": 0.9, "seed": 3, "max_tokens": 7, "stop": '["a", "b"]',
    "logit_bias": '{"5": -1}', "presence_penalty": 0.25, "frequency_penalty": 0.5,
    "user": "me", "timeout": 100, "model": "x",
}  # fmt: skip
FIELDS = {
    "temperature": 0.5, "top_p": 0.9, "seed": 3, "max_tokens": 7, "stop": ["a", "b"],
    "logit_bias": {5: -1.0}, "presence_penalty": 0.25, "frequency_penalty": 0.5,
}  # fmt: skip
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_parameters_become_fields_and_others_do_not() -> None:
    assert sampling_fields(GIVEN, 100) == FIELDS


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
@pytest.mark.gpu
def test_vllm_takes_the_fields() -> None:
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    assert SamplingParams(**sampling_fields(GIVEN, 100)).max_tokens == 7
    form = structure({"response_format": json.dumps({"type": "json_object"})})
    assert StructuredOutputsParams(**(form or {})).json_object


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ({}, 100),
        ({"max_tokens": 500}, 100),
        ({"max_completion_tokens": 5, "max_tokens": 9}, 5),
        ({"max_tokens": None}, 100),
    ],
)
def test_the_node_bounds_the_tokens(given: dict[str, Any], tokens: int) -> None:
    assert sampling_fields(given, 100) == {"max_tokens": tokens}


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"json_object": True}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}, {"json": SCHEMA}),
    ],
)
def test_formats_become_structures(form: Any, fields: Any) -> None:
    given = {} if form is None else {"response_format": json.dumps(form)}
    assert structure(given) == fields


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 2}, "one answer to a request"),
        ({"max_tokens": 0}, "at least 1"),
        ({"max_tokens": True}, "at least 1"),
        ({"stop": "[1"}, "'stop' is no JSON"),
        ({"logit_bias": "[1]"}, "object of token: number"),
        ({"logit_bias": '{"a": 1}'}, "object of token: number"),
    ],
)
def test_a_parameter_that_is_wrong_is_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        sampling_fields(given, 100)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("{", "no JSON"),
        ("[]", "type None; use text"),
        ('{"type": "xml"}', "'xml'; use text"),
        ('{"type": "json_schema"}', "needs json_schema.schema"),
    ],
)
def test_a_format_that_is_wrong_is_told(form: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        structure({"response_format": form})
