"""The JSON Schema of the language."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from anabranch.specs.schema import json_schema
from tests.strategies import graph_data

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_committed_copy_is_fresh() -> None:
    committed = files("anabranch.specs").joinpath("schema.json").read_text("utf-8")
    assert committed == json.dumps(SCHEMA, indent=2) + "\n"


def test_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in SCHEMA


@given(graph_data())
def test_accepts_every_valid_graph(data: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(data)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Graph"},
        {"extra": 1},
        {"metadata": {"name": "Upper"}},
        {
            "spec": {
                "inputs": {"x y": {"datatype": "FP32", "shape": []}},
                "nodes": {},
                "outputs": {},
            }
        },
        {"spec": {"timeout": 5}},
    ],
)
def test_refuses(change: dict[str, Any]) -> None:
    node = {"type": "transformer", "method": "softmax", "inputs": {"x": "x"}}
    good = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1]}},
            "nodes": {"a": node},
            "outputs": {"y": "a"},
        },
    }
    assert VALIDATOR.is_valid(good)
    assert not VALIDATOR.is_valid(good | change)


def test_every_field_of_a_node_says_what_it_is() -> None:
    predictor = SCHEMA["$defs"]["Predictor"]["properties"]
    for name in ("runtime", "model", "sha256", "inputs", "retries", "timeout"):
        assert predictor[name].get("description"), name
