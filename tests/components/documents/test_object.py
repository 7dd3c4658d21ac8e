from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.tensors.types import TypeConflict
from anabranch.specs.models import TensorSpec
from tests.json_services import graph_of_spec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def document(text):
    return np.array([text], object)


def combine(node, documents, **args):
    inputs = {name: name for name in documents}
    made = node(type="combiner", strategy="object", inputs=inputs, args=args)
    return bind("n", made, Path()).call(**{name: document(one) for name, one in documents.items()})


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_documents_become_fields_in_their_order(node, values):
    documents = {f"step_{index}": json.dumps(value) for index, value in enumerate(values)}
    result = combine(node, documents)
    assert result.shape == (1,)
    found = json.loads(result[0])
    assert found == {name: json.loads(text) for name, text in documents.items()}
    assert list(found) == list(documents)


def test_a_document_is_taken_as_it_is_written(node):
    result = combine(node, {"a": "12345678901234567890.10", "b": b"[1.0]"}, keys={"b": "the b"})
    assert result[0] == '{"a":12345678901234567890.10,"the b":[1.0]}'


@pytest.mark.parametrize("text", ["", "{", "[1] 2", b"\xff"])
def test_what_is_no_json_is_named(node, text):
    with pytest.raises(ValueError, match="'a' is no JSON document"):
        combine(node, {"a": text})


@pytest.mark.parametrize("array", [np.array([1.0]), np.array(["1", "2"], object)])
def test_what_is_no_document_is_named(node, array):
    made = node(type="combiner", strategy="object", inputs={"a": "a"})
    with pytest.raises(ValueError, match="'a' must be one document"):
        bind("n", made, Path()).call(a=array)


def test_types():
    kind = registry.get("combiner", "object")
    one, many = TensorSpec(datatype="BYTES", shape=(1,)), TensorSpec(datatype="BYTES", shape=(2,))
    assert kind.infer({"a": one, "b": None}, {}) == {"output": one}
    for wrong in (many, TensorSpec(datatype="FP32", shape=(1,))):
        with pytest.raises(TypeConflict, match="'a' must be one document"):
            kind.infer({"a": wrong}, {})


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"inputs": ["a"]}, ("inputs",), "needs a map of inputs"),
        ({"inputs": {"a": "a"}, "quorum": 1}, ("quorum",), "cannot skip inputs"),
        ({"inputs": {"a": "a"}, "args": {"keys": {"b": "c"}}}, ("args", "keys", "b"), "no such"),
        ({"inputs": {"a": "a", "b": "b"}, "args": {"keys": {"a": "b"}}}, ("args", "keys"), "'b'"),
    ],
)
def test_mistakes(node, fields, path, message):
    ((found, said),) = registry.problems(node(type="combiner", strategy="object", **fields))
    assert found == path
    assert message in said


def test_in_a_graph():
    spec = {
        "inputs": {name: {"datatype": "BYTES", "shape": [1]} for name in ("a", "b")},
        "nodes": {
            "both": {
                "type": "combiner",
                "strategy": "object",
                "inputs": {"first": "a", "second": "b"},
            }
        },
        "outputs": {"both": "both"},
    }
    with closing(graph_of_spec(spec)) as graph:
        found = graph.run({"a": ["[1]"], "b": ['{"c": 2}']})
    assert json.loads(found["both"][0]) == {"first": [1], "second": {"c": 2}}
