"""The runtime ``v1`` against real servers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.runtimes.remote.v1 import _instances, _predictions
from anabranch.errors import LoadError, NodeError, SpecError, Unavailable
from anabranch.specs.models import InferenceGraph
from tests.components.runtimes.remote.servers import answering


def load_graph(document: Any) -> Graph:
    return Graph.from_spec(InferenceGraph.model_validate(document))


def graph(url: str, inputs: dict[str, Any], outputs: list[str], **args: Any) -> Graph:
    node = {
        "type": "predictor",
        "runtime": "v1",
        "args": {"url": url, "model": "prices", **args},
        "inputs": {name: name for name in inputs},
    }
    sources = {"y": "far"} if outputs == ["output"] else {name: f"far.{name}" for name in outputs}
    spec = {"inputs": inputs, "nodes": {"far": node}, "outputs": sources}
    document = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "g"}}
    return load_graph({**document, "spec": spec})


X = {"x": {"datatype": "FP32", "shape": [-1, 2]}}


def test_rows_are_the_instances() -> None:
    def twice(path: str, body: Any) -> Any:
        return {"predictions": [[2 * one for one in row] for row in body["instances"]]}

    with answering(twice) as server, graph(server.url, X, ["output"]) as made:
        answer = made.run({"x": np.array([[1, 2], [3, 4]], np.float32)})
    assert answer["y"].tolist() == [[2, 4], [6, 8]]
    assert server.asked == [
        ("/v1/models/prices:predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]}),
    ]


def test_several_inputs_are_objects_and_so_are_several_outputs() -> None:
    inputs = {
        "size": {"datatype": "INT64", "shape": [-1]},
        "town": {"datatype": "BYTES", "shape": [-1]},
    }

    def priced(path: str, body: Any) -> Any:
        return {
            "predictions": [
                {"price": row["size"] * 2, "label": row["town"].upper()}
                for row in body["instances"]
            ]
        }

    with (
        answering(priced) as server,
        graph(server.url, inputs, ["price", "label"], signature="both") as made,
    ):
        answer = made.run({"size": np.array([1, 2]), "town": np.array(["a", "b"], object)})
    assert answer["price"].tolist() == [2, 4]
    assert answer["label"].tolist() == ["A", "B"]
    assert server.asked[0][1]["signature_name"] == "both"


def test_a_model_that_is_not_there_fails_to_load() -> None:
    with (
        answering(lambda path, body: {}, get=404) as server,
        pytest.raises(LoadError, match="404"),
        graph(server.url, X, ["output"]) as made,
    ):
        made.run({"x": np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (503, {"error": "busy"}, Unavailable, "overloaded: busy"),
        (400, {"error": "shape"}, NodeError, "answered 400: shape"),
        (200, {"predictions": 3}, NodeError, "no list of predictions"),
        (200, {}, NodeError, "no list of predictions"),
        (200, b"not json", NodeError, "no JSON"),
        (200, [1], NodeError, "no JSON object"),
        (200, {"predictions": [{"a": 1}, {"b": 2}]}, NodeError, "different names"),
        (200, {"predictions": [[1, 2], [3]]}, NodeError, "far"),
    ],
)
def test_what_servers_say_wrongly(status: int, answer: Any, error: Any, said: str) -> None:
    with (
        answering(lambda path, body: answer, status) as server,
        graph(server.url, X, ["output"]) as made,
        pytest.raises(error, match=said),
    ):
        made.run({"x": np.zeros((1, 2), np.float32)})


def test_nan_is_refused_before_it_is_sent() -> None:
    with (
        answering(lambda path, body: {}) as server,
        graph(server.url, X, ["output"]) as made,
        pytest.raises(NodeError, match="NaN or infinity"),
    ):
        made.run({"x": np.full((1, 2), np.nan, np.float32)})
    assert server.asked == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"args": {"url": "ftp://x", "model": "m"}}, r"http\(s\)"),
        ({"model": "m.onnx"}, "takes args"),
        ({"method": "predict"}, "method"),
    ],
)
def test_mistakes_in_the_node(change: dict[str, Any], said: str) -> None:
    node = {
        "type": "predictor",
        "runtime": "v1",
        "args": {"url": "http://a", "model": "m"},
        "inputs": {"x": "x"},
        **change,
    }
    document = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {"inputs": X, "nodes": {"far": node}, "outputs": {"y": "far"}},
    }
    with pytest.raises(SpecError, match=said):
        load_graph(document).plan()


def test_inputs_need_as_many_rows() -> None:
    with pytest.raises(ValueError, match="2, 3 rows"):
        _instances({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(ValueError, match="no rows"):
        _instances({"a": np.array(1.0)})


def test_bytes_that_are_no_text_go_as_base64() -> None:
    assert _instances({"a": np.array([b"\xff", b"b", "c"], object)}) == [{"b64": "/w=="}, "b", "c"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=8,
    )
)
def test_any_answer_is_predictions_or_a_bad_answer(found: Any) -> None:
    try:
        answer = _predictions({"predictions": found})
    except BadAnswer:
        return
    assert isinstance(answer, list | dict)
