"""The runtime ``seldon`` against real servers that speak as Seldon Core's Python wrapper does."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.runtimes.remote.seldon import _annotate, _payload
from anabranch.errors import LoadError, NodeError, SpecError, Unavailable
from anabranch.specs.models import InferenceGraph
from tests.components.runtimes.remote.servers import answering

X = {"x": {"datatype": "FP64", "shape": [-1, 2]}}


def load_graph(document: Any) -> Graph:
    return Graph.from_spec(InferenceGraph.model_validate(document))


def graph(url: str, **more: Any) -> Graph:
    node = {
        "type": "predictor",
        "runtime": "seldon",
        "args": {"url": url},
        "inputs": {"x": "x"},
        **more,
    }
    return load_graph(
        {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": "g"},
            "spec": {"inputs": X, "nodes": {"far": node}, "outputs": {"y": "far"}},
        }
    )


def asked(answer: Any, status: int = 200, **more: Any) -> tuple[Any, list[Any]]:
    with answering(lambda path, body: answer, status) as server, graph(server.url, **more) as made:
        found = made.run({"x": np.array([[1.0, 2.0]])})["y"]
    return found, server.asked


def test_a_payload_goes_and_comes_as_an_array() -> None:
    found, seen = asked({"data": {"names": ["t:0"], "ndarray": [[0.25, 0.75]]}})
    assert found.tolist() == [[0.25, 0.75]]
    ((path, message),) = seen
    assert path == "/predict"
    assert message["data"] == {"names": [], "ndarray": [[1.0, 2.0]]}


@pytest.mark.parametrize(
    ("method", "path"),
    [("transform_input", "/transform-input"), ("transform_output", "/transform-output")],
)
def test_methods_have_their_paths(method: str, path: str) -> None:
    _, seen = asked({"data": {"ndarray": [[1]]}}, method=method)
    assert [one for one, _ in seen] == [path]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"data": {"tensor": {"shape": [2, 1], "values": [1, 2]}}}, [[1.0], [2.0]]),
        ({"data": {"ndarray": ["a", "b"]}}, ["a", "b"]),
        ({"strData": "hello"}, "hello"),
        ({"jsonData": {"a": [1]}}, '{"a":[1]}'),
        ({"binData": base64.b64encode(b"\xff").decode()}, b"\xff"),
    ],
)
def test_every_payload_of_an_answer(answer: Any, expected: Any) -> None:
    assert asked(answer)[0].tolist() == expected


@pytest.mark.parametrize(
    ("content", "raw", "message"),
    [
        ("hello", False, {"strData": "hello"}),
        ('{"a": 1}', False, {"jsonData": {"a": 1}}),
        (b"\xff", True, {"binData": "/w=="}),
    ],
)
def test_a_text_alone_is_no_array(content: Any, raw: bool, message: dict[str, Any]) -> None:
    kind = {"datatype": "BYTES", "shape": [], **({"content": "raw"} if raw else {})}
    spec = graph("http://a").spec.to_dict()
    spec["spec"]["inputs"] = {"x": kind}
    with answering(lambda path, body: {"strData": "x"}) as server:
        spec["spec"]["nodes"]["far"]["args"]["url"] = server.url
        with load_graph(spec) as made:
            made.run({"x": np.array(content, object)})
    ((_, seen),) = server.asked
    assert {key: value for key, value in seen.items() if key != "meta"} == message


@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (503, {}, Unavailable, "overloaded"),
        (400, {"status": {"info": "no"}}, NodeError, "answered 400"),
        (200, {}, NodeError, "none of data"),
        (200, {"data": {}}, NodeError, "neither ndarray nor tensor"),
        (200, {"data": {"tensor": {"shape": [3], "values": [1]}}}, NodeError, "malformed"),
        (200, {"binData": "§"}, NodeError, "base64"),
        (200, {"meta": {"tags": {"a": [1]}}, "strData": "x"}, NodeError, "meta"),
        (200, {"meta": {"metrics": [{"type": "GAUGE"}]}, "strData": "x"}, NodeError, "meta"),
    ],
)
def test_what_services_say_wrongly(status: int, answer: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        asked(answer, status)


def test_a_wrapper_without_a_ping_is_asked_all_the_same() -> None:
    with (
        answering(lambda path, body: {"data": {"ndarray": [[1]]}}, get=404) as server,
        graph(server.url) as made,
    ):
        assert made.run({"x": np.zeros((1, 2))})["y"].tolist() == [[1]]


def test_a_service_that_is_away_fails_to_load() -> None:
    with pytest.raises(LoadError, match="cannot be reached"), graph("http://127.0.0.1:9") as made:
        made.run({"x": np.zeros((1, 2))})


def test_meta_becomes_the_request_s() -> None:
    context = Context()
    metrics = [
        {"key": "calls", "value": 1},
        {"key": "heat", "type": "GAUGE", "value": 100.5},
        {"key": "took", "type": "TIMER", "value": 20.0},
    ]
    _annotate(context, {"tags": {"mode": "a", "n": 3}, "metrics": metrics})
    assert dict(context.tags) == {"mode": "a", "n": 3}
    measures = [(one.kind, one.name, one.value) for one in context.annotations.measures]
    assert measures == [("counter", "calls", 1), ("gauge", "heat", 100.5), ("timer", "took", 0.02)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"args": {"url": "http://user@x"}}, r"http\(s\)"),
        ({"method": "route"}, "no method"),
        ({"inputs": {"a": "x", "b": "x"}}, "one input"),
    ],
)
def test_mistakes_in_the_node(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        graph("http://a", **change).plan()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["data", "strData", "jsonData", "binData"]),
        _JSON | st.fixed_dictionaries({}, optional={"ndarray": _JSON, "tensor": _JSON}),
    )
)
def test_any_answer_is_a_payload_or_a_bad_answer(answer: Any) -> None:
    try:
        _payload(answer)
    except BadAnswer:
        return


@given(_JSON | st.fixed_dictionaries({}, optional={"tags": _JSON, "metrics": _JSON}))
def test_any_meta_is_taken_or_a_bad_answer(meta: Any) -> None:
    try:
        _annotate(Context(), meta)
    except BadAnswer:
        return
