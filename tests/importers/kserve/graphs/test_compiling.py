"""Imported InferenceGraphs against KServe's router: the same answers, statuses and calls."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabranch.errors import AnabranchError
from anabranch.router.errors import status_of
from anabranch.router.http.doors.document_door import document_error
from tests.examples import examples
from tests.importers.kserve.manifests import imported, inference_graph, node, running
from tests.importers.kserve.router_model import Failed, answer
from tests.json_services import json_services

REQUEST = {"instances": [[6.8, 2.8], [6.0, 3.4]], "kind": "cat", "none": None}
STATUSES = {"a": 200, "b": 200, "c": 201, "bad": 400, "lost": 404, "wrong": 500, "busy": 503}


@pytest.fixture(scope="module")
def services():
    """Services that answer with their name, what they got, and the status of their name."""
    with json_services() as found:
        for name, status in STATUSES.items():
            found.add(f"/{name}", answering(name, status))
        found.add("/predictions", (200, {"predictions": [[1], [2]], "model": "m"}))
        found.add("/text", (200, b"no json"))
        found.add("/list", (200, [1, 2]))
        yield found


def answering(name, status):
    def service(body):
        try:
            got = json.loads(body)
        except ValueError:
            got = body.decode()
        return status, {"by": name, "got": got, "failed": status >= 400}

    return service


def posted(url: str, body: bytes) -> tuple[bytes, int]:
    try:
        found = httpx.post(url, content=body)
    except httpx.TransportError as error:
        raise Failed(500, str(error)) from None
    return found.content, found.status_code


def compared(services: Any, nodes: Any, request: Any = REQUEST, draw: int = 0) -> Any:
    """Return the answer that the imported graph and the model of KServe agree on.

    It is a document, or the status of a failure. Both agree on the body of a service's error, too.
    Calls are compared where the answer is a success.
    """
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    expected: Any
    try:
        document, status = answer(_at(services.new_era(), nodes), body, posted, draw)
        expected = json.loads(document) if 200 <= status <= 299 else status
    except Failed as failure:
        expected = ("failed", failure.status)
    calls = Counter(services.paths())
    found: Any
    with running(imported(inference_graph(_at(services.new_era(), nodes)))) as graph:
        try:
            found = graph.run({"request": [body.decode()]})["response"][0]
            found = json.loads(found)
        except AnabranchError as error:
            reply = document_error(error, "id")
            found = reply.status
            if not isinstance(expected, tuple):
                assert reply.body == document
    if isinstance(expected, tuple):
        assert found == expected[1]
        return found
    assert found == expected
    if not isinstance(found, int):
        assert Counter(services.paths()) == calls
    return found


def _at(url: str, nodes: Any) -> Any:
    return json.loads(json.dumps(nodes).replace("URL", url))


def step(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"serviceUrl": f"URL/{name}", **fields}


def to(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"nodeName": name, **fields}


RESPONSE = {"data": "$response"}
HARD, SOFT = {"dependency": "Hard"}, {"dependency": "Soft"}

GRAPHS: dict[str, tuple[Any, Any]] = {
    "a chain of responses": (
        {"root": node("Sequence", step("a"), step("b", **RESPONSE), step("c", **RESPONSE))},
        {"by": "c", "got": {"by": "b", "got": {"by": "a", "got": REQUEST}}},
    ),
    "a chain that sends the request to each": (
        {"root": node("Sequence", step("a"), step("b", data="$request"), step("c"))},
        {"by": "c", "got": REQUEST},
    ),
    "a failing soft step goes on with its body": (
        {"root": node("Sequence", step("bad"), step("a", **RESPONSE))},
        {"by": "a", "got": {"by": "bad", "failed": True}},
    ),
    "a failing hard step ends the chain": (
        {"root": node("Sequence", step("a"), step("lost", **HARD), step("b"))},
        404,
    ),
    "a failing last step is the answer": (
        {"root": node("Sequence", step("a"), step("bad", **SOFT, **RESPONSE))},
        400,
    ),
    "a condition that is met": (
        {"root": node("Sequence", step("a"), step("b", condition="got.kind", **RESPONSE))},
        {"by": "b"},
    ),
    "a condition on null is met": (
        {"root": node("Sequence", step("a"), step("b", condition="got.none"))},
        {"by": "b"},
    ),
    "a condition that is not met ends the chain with 200": (
        {"root": node("Sequence", step("bad"), step("b", condition="got.other"), step("c"))},
        {"by": "bad"},
    ),
    "predictions become instances": (
        {
            "root": node(
                "Sequence",
                step("predictions"),
                step("a", mapPredictionsToInstances=True, **RESPONSE),
                step("b", mapPredictionsToInstances=True, **RESPONSE),
            )
        },
        {"by": "b", "got": {"by": "a", "got": {"instances": [[1], [2]]}}},
    ),
    "a switch takes the first that exists": (
        {
            "root": node(
                "Switch",
                step("a", condition="missing"),
                step("b", condition="none"),
                step("c", condition="kind"),
            )
        },
        {"by": "b"},
    ),
    "a switch over an array query": (
        {"root": node("Switch", step("a", condition="[@this].#(kind==cat)"))},
        {"by": "a"},
    ),
    "a switch without a match": ({"root": node("Switch", step("a", condition="x"))}, 404),
    "a nested switch without a match": (
        {"root": node("Sequence", to("s")), "s": node("Switch", step("a", condition="x"))},
        500,
    ),
    "a soft step whose switch has no match": (
        {
            "root": node("Ensemble", step("a"), to("s", **SOFT)),
            "s": node("Switch", step("b", condition="x")),
        },
        500,
    ),
    "an ensemble by name and by place": (
        {"root": node("Ensemble", step("a", name="first-one"), step("c"))},
        {"first-one": {"by": "a"}, "1": {"by": "c"}},
    ),
    "an ensemble takes failures of soft steps": (
        {"root": node("Ensemble", step("a", name="a"), step("wrong", name="w", **SOFT))},
        {"a": {"by": "a"}, "w": {"by": "wrong", "failed": True}},
    ),
    "an ensemble fails with its only hard step": (
        {"root": node("Ensemble", step("bad"), step("lost", **HARD), step("a"))},
        404,
    ),
    "an ensemble fails with the first hard step in order": (
        {"root": node("Ensemble", step("a", **HARD), step("lost", **HARD), step("bad", **HARD))},
        404,
    ),
    "hard steps that succeed": (
        {"root": node("Ensemble", step("a", **HARD), step("b", **HARD), step("bad"))},
        {"0": {"by": "a"}, "1": {"by": "b"}, "2": {"by": "bad"}},
    ),
    "a splitter of one": ({"root": node("Splitter", step("a", weight=100))}, {"by": "a"}),
    "a splitter answers what its step does": (
        {"root": node("Splitter", step("a", weight=0), step("bad", weight=100, **SOFT))},
        400,
    ),
    "nodes within nodes": (
        {
            "root": node("Sequence", to("both"), to("either", **RESPONSE)),
            "both": node("Ensemble", step("a", name="x"), to("one", name="y")),
            "one": node("Splitter", step("b", weight=100)),
            "either": node("Switch", step("c", condition="z"), step("a", condition="y.by")),
        },
        {"by": "a", "got": {"x": {"by": "a"}, "y": {"by": "b"}}},
    ),
    "a node that two steps lead to": (
        {
            "root": node("Sequence", to("one"), to("one", **RESPONSE)),
            "one": node("Ensemble", step("a")),
        },
        {"0": {"by": "a", "got": {"0": {"by": "a", "got": REQUEST}}}},
    ),
    "a soft node with a hard step that fails": (
        {
            "root": node("Ensemble", to("chain", name="chain"), step("a", name="a")),
            "chain": node("Sequence", step("lost", **HARD), step("b")),
        },
        {"chain": {"by": "lost"}, "a": {"by": "a"}},
    ),
    "a soft node whose ensemble has a hard step that fails": (
        {
            "root": node("Sequence", to("both"), step("a", **RESPONSE)),
            "both": node("Ensemble", step("b"), step("lost", **HARD)),
        },
        {"by": "a", "got": {"by": "lost"}},
    ),
    "a hard node that a condition ends with 200": (
        {
            "root": node("Ensemble", to("chain", name="x", **HARD), step("b", **HARD, name="b")),
            "chain": node("Sequence", step("bad"), step("a", condition="none")),
        },
        {"x": {"by": "bad"}, "b": {"by": "b"}},
    ),
    "a hard node whose ensemble takes failures": (
        {
            "root": node("Ensemble", to("soft", **HARD), step("a", **HARD)),
            "soft": node("Ensemble", step("bad"), step("wrong")),
        },
        {"0": {"0": {"by": "bad"}, "1": {"by": "wrong"}}, "1": {"by": "a"}},
    ),
    "a service that is overloaded": ({"root": node("Sequence", step("busy"))}, 503),
}


def includes(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return all(includes(found[key], value) for key, value in expected.items())
    return bool(found == expected)


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(services: Any, name: str) -> None:
    nodes, expected = GRAPHS[name]
    assert includes(compared(services, nodes), expected)


@pytest.mark.parametrize("request_", [b"", b"no json", b"[1, 2]", b'"text"', b"null"])
def test_any_body_is_handed_on(services: Any, request_: bytes) -> None:
    compared(services, {"root": node("Sequence", step("a"), step("b"))}, request_)
    compared(services, {"root": node("Switch", step("a", condition="@this"))}, request_)


def test_an_ensemble_needs_json(services: Any) -> None:
    nodes = {"root": node("Ensemble", step("text"), step("a"))}
    nodes = json.loads(json.dumps(nodes).replace("URL", services.url))
    with running(imported(inference_graph(nodes))) as graph:
        with pytest.raises(AnabranchError, match="'0' is no JSON document") as raised:
            graph.run({"request": ["{}"]})
        assert status_of(raised.value) == 500


def test_an_ensemble_joins_any_json_where_kserve_fails(services: Any) -> None:
    nodes = {"root": node("Ensemble", step("list"), step("a"))}
    nodes = json.loads(json.dumps(nodes).replace("URL", services.url))
    with pytest.raises(Failed):
        answer(nodes, b"{}", posted)
    with running(imported(inference_graph(nodes))) as graph:
        found = json.loads(graph.run({"request": ["{}"]})["response"][0])
    assert found["0"] == [1, 2]


def test_a_splitter_draws_by_its_weights(services: Any) -> None:
    nodes = {"root": node("Splitter", step("a", weight=20), step("b", weight=80))}
    nodes = json.loads(json.dumps(nodes).replace("URL", services.url))
    with running(imported(inference_graph(nodes))) as graph:
        found = Counter(
            json.loads(graph.run({"request": ["{}"]})["response"][0])["by"] for _ in range(400)
        )
    # By chance alone, one time in ten million.
    assert 40 < found["a"] < 125


def test_a_service_that_is_away() -> None:
    nodes = {"root": node("Sequence", {"serviceUrl": "http://127.0.0.1:9/"})}
    with running(imported(inference_graph(nodes))) as graph:
        with pytest.raises(AnabranchError, match="cannot be reached") as raised:
            graph.run({"request": ["{}"]})
        assert status_of(raised.value) == 503


SERVICES = st.sampled_from([*sorted(STATUSES), "predictions"])
CONDITIONS = st.sampled_from(
    ["by", "got.kind", "got.none", "0", "0.by", "got.0", "kind", "instances.#", "x", "predictions"]
)
DEPENDENCIES = st.sampled_from([{}, HARD, SOFT])


@st.composite
def graphs(draw: Any) -> Any:
    """Nodes that lead to later ones only, so that there is no cycle."""
    count = draw(st.integers(1, 4))
    names = ["root", *[f"n{index}" for index in range(1, count)]]
    nodes = {}
    for index, name in enumerate(names):
        kind = draw(st.sampled_from(["Sequence", "Switch", "Ensemble", "Splitter"]))
        later = names[index + 1 :]
        size = draw(st.integers(1, 3))
        steps = [draw_step(draw, kind, place, size, later) for place in range(size)]
        nodes[name] = node(kind, *steps)
    return nodes


def draw_step(draw: Any, kind: str, place: int, size: int, later: list[str]) -> dict[str, Any]:
    targets = SERVICES.map(step)
    if later:
        targets |= st.sampled_from(later).map(to)
    made = {**draw(targets), **draw(DEPENDENCIES)}
    if kind == "Switch" or (kind == "Sequence" and place and draw(st.booleans())):
        made["condition"] = draw(CONDITIONS)
    if kind == "Sequence":
        made["data"] = draw(st.sampled_from(["$request", "$response"]))
        made["mapPredictionsToInstances"] = draw(st.booleans())
    if kind == "Splitter":
        made["weight"] = 100 if place == size - 1 else 0
    if draw(st.booleans()):
        made["name"] = f"s-{place}"
    return made


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graphs())
def test_any_graph(services: Any, nodes: Any) -> None:
    compared(services, nodes)
