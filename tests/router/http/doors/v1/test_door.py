"""The endpoints of the V1 protocol of a graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.graph.plan.plan import ExplainerTerms
from anabranch.router.limits import RequestLimits
from anabranch.telemetry.definitions import REQUESTS
from anabranch.telemetry.registry import REGISTRY
from tests.router.http.doors.door_graphs import DoorGraph, echo_graph, shop_graph
from tests.router.oip.test_fuzz import EXAMPLES, JSON, LEAK, PIECES

ROOT = "/v1/models/demo"
ROWS = [{"size": 1, "age": 2, "word": "a"}, {"size": 2, "age": 3, "word": "b"}]


def test_predictions_of_instances() -> None:
    reply = shop_graph().post(f"{ROOT}:predict", {"instances": ROWS})
    assert reply.document == {
        "predictions": [{"price": [4.0], "label": "a!"}, {"price": [7.0], "label": "b!"}]
    }
    assert reply.headers["anabranch-revision"] == "3"


def test_outputs_of_inputs() -> None:
    inputs = {"size": [1, 2], "age": [2, 3], "word": ["a", "b"]}
    reply = shop_graph().post(f"{ROOT}:predict", {"inputs": inputs})
    assert reply.document == {"outputs": {"price": [[4.0], [7.0]], "label": ["a!", "b!"]}}


def test_an_only_output_has_no_name() -> None:
    graph = echo_graph({"x": ("FP64", (-1, -1))})
    reply = graph.post(f"{ROOT}:predict", {"instances": [[1, 2], [3, 4]]})
    assert reply.document == {"predictions": [[1.0, 2.0], [3.0, 4.0]]}
    reply = graph.post(f"{ROOT}:predict", {"inputs": {"x": [[1, 2]]}})
    assert reply.document == {"outputs": [[1.0, 2.0]]}


def test_bytes() -> None:
    graph = echo_graph({"image_bytes": ("BYTES", (-1,)), "word": ("BYTES", (-1,))}, raw=("word",))
    rows = [
        {"image_bytes": {"b64": "YQ=="}, "word": {"b64": "/w=="}},
        {"image_bytes": "b", "word": "c"},
    ]
    assert graph.post(f"{ROOT}:predict", {"instances": rows}).document == {
        "predictions": [rows[0], {"image_bytes": {"b64": "Yg=="}, "word": "c"}]
    }


@pytest.mark.parametrize("version", [3, 4])
def test_a_version_by_its_number(version: int) -> None:
    graph = shop_graph()
    root = f"{ROOT}/versions/{version}"
    reply = graph.post(f"{root}:predict", {"instances": ROWS})
    assert (reply.status, reply.headers["anabranch-revision"]) == (200, str(version))
    assert graph.get(root).document["model_version_status"] == [available(str(version))]
    assert graph.get(f"{root}/metadata").document["model_spec"]["version"] == str(version)


def test_a_version_that_is_not_there() -> None:
    graph = shop_graph()
    for version in ("9", "x", "03"):
        told = graph.post(f"{ROOT}/versions/{version}:predict", {"instances": ROWS}).error(404)
        assert f"'demo' has no revision '{version}'" in told
    assert "has no path" in graph.get(f"{ROOT}/versions/3/nothing").error(404)
    assert "has no path" in graph.get(f"{ROOT}/versions/").error(404)


def available(version: str) -> dict[str, Any]:
    status = {"error_code": "OK", "error_message": ""}
    return {"version": version, "state": "AVAILABLE", "status": status}


def test_the_state_is_for_both_kinds_of_clients_and_for_those_of_openai_too() -> None:
    state = {
        "name": "demo", "ready": True, "model_version_status": [available("3"), available("4")],
    }  # fmt: skip
    assert shop_graph(protocols=("v1",)).get(ROOT).document == state
    both = shop_graph(protocols=("v1", "openai")).get(ROOT).document
    assert state.items() <= both.items()
    assert (both["id"], both["object"]) == ("demo", "model")


def test_a_graph_that_is_not_ready() -> None:
    graph = shop_graph()
    graph.head.why_not = "node 'price' is away"
    assert "'demo' is not ready: node 'price' is away" in graph.get(ROOT).error(503)


def test_the_types_are_a_signature() -> None:
    found = shop_graph().get(f"{ROOT}/metadata").document
    assert found["model_spec"] == {"name": "demo", "signature_name": "", "version": "3"}
    (signature,) = found["metadata"]["signature_def"]["signature_def"].values()
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert {name: one["dtype"] for name, one in signature["inputs"].items()} == {
        "size": "DT_FLOAT", "age": "DT_INT32", "word": "DT_STRING",
    }  # fmt: skip
    assert signature["outputs"]["price"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
            "unknown_rank": False,
        },
        "name": "price:0",
    }


def explained_graph() -> DoorGraph:
    class Explains:
        async def __call__(
            self, name: str, inputs: Mapping[str, Any], context: Context, sampled: bool
        ) -> ExplainerReply:
            rows = inputs["x"].tolist()
            return ExplainerReply("sums", json.dumps([sum(row) for row in rows]).encode(), 0.1)

    return echo_graph(
        {"x": ("FP64", (-1, 2))},
        explainers={"why": ExplainerTerms(5.0)},
        explains=lambda revision: Explains(),
    )


@pytest.mark.parametrize("root", [ROOT, f"{ROOT}/versions/4"])
@pytest.mark.parametrize("body", [{"instances": [[1, 2], [3, 4]]}, {"inputs": [[1, 2], [3, 4]]}])
def test_explanations(root: str, body: Any) -> None:
    found = explained_graph().post(f"{root}:explain", body).document
    assert found["explanations"] == [3.0, 7.0]
    assert found["model_version"] == ("3" if root == ROOT else "4")


def test_an_explanation_beside_a_prediction() -> None:
    body = {"instances": [[1, 2]], "parameters": {"explain": True}}
    found = explained_graph().post(f"{ROOT}:predict", body).document
    assert found["predictions"] == [[1.0, 2.0]]
    assert json.loads(found["parameters"]["explanation"])["explanations"] == [3.0]


def test_a_graph_without_explainers_has_no_explanations() -> None:
    told = shop_graph().post(f"{ROOT}:explain", {"instances": ROWS}).error(400)
    assert "has no explainers" in told


async def sums(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"x": inputs["x"], "total": inputs["x"].sum()}


def test_outputs_without_equally_many_rows_are_told_by_output() -> None:
    graph = DoorGraph(sums, {"x": ("FP64", (-1,))}, {"x": None, "total": None})
    told = graph.post(f"{ROOT}:predict", {"instances": [1, 2]}).error(400)
    assert told.startswith("output 'total' of shape [] cannot be told row by row; send 'inputs'")
    reply = graph.post(f"{ROOT}:predict", {"inputs": [1, 2]})
    assert reply.document == {"outputs": {"x": [1.0, 2.0], "total": 3.0}}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "words"),
    [
        ("POST", f"{ROOT}:predict", {}, 400, "missing input"),
        ("POST", f"{ROOT}:classify", {}, 404, "has no path"),
        ("GET", f"{ROOT}:predict", {}, 405, "use POST"),
        ("POST", ROOT, {}, 405, "use GET"),
        ("POST", f"{ROOT}:predict", {"origin": "http://evil", "host": "x"}, 403, "another origin"),
        ("POST", f"{ROOT}:explain", {"sec-fetch-site": "same-site"}, 403, "another origin"),
        ("GET", ROOT, {"sec-fetch-site": "cross-site"}, 200, ""),
        ("GET", f"{ROOT}/nothing", {}, 404, "has no path"),
    ],
)
def test_mistakes_are_told(
    method: str, path: str, headers: Mapping[str, str], status: int, words: str
) -> None:
    reply = shop_graph().ask(method, path, b'{"inputs": {}}', headers)
    if status == 200:
        assert reply.status == 200
    else:
        assert words in reply.error(status)


def test_the_protocol_is_off_unless_the_graph_or_the_engine_turns_it_on() -> None:
    for path in (ROOT, f"{ROOT}/versions/3", f"{ROOT}/metadata"):
        told = shop_graph(protocols=("json",)).get(path).error(404)
        assert "turns it on by `protocols: [v1]`" in told
        assert shop_graph(protocols=(), engine=("v1",)).get(path).status == 200


@pytest.mark.parametrize("version", ["", "/versions/3"])
@pytest.mark.parametrize(("verb", "code"), [("predict", "200"), ("explain", "400")])
def test_requests_are_counted_by_their_verb(version: str, verb: str, code: str) -> None:
    def counted() -> Any:
        cells = REGISTRY.snapshot().get(REQUESTS.name, {})
        return cells.get(("demo", verb, "http", code), 0)

    graph, before = shop_graph(), counted()
    graph.post(f"{ROOT}{version}:{verb}", {"instances": ROWS})
    assert counted() == before + 1


def test_a_graph_of_a_namespace() -> None:
    graph = shop_graph(name="team/shop")
    reply = graph.post("/v1/models/team/shop:predict", {"instances": ROWS})
    assert reply.status == 200
    assert graph.get("/v1/models/team/shop").document["name"] == "team/shop"
    assert graph.get("/v1/models/shop").status == 404


fuzz = settings(max_examples=EXAMPLES // 3, deadline=None)
FUZZED = echo_graph(
    {"x": ("FP32", (-1, 2)), "n": ("UINT8", (-1,)), "text": ("BYTES", (-1,))},
    limits=RequestLimits(max_body=2**16),
)
TAKEN: Mapping[str, Any] = {
    "instances": {"instances": [{"x": [1, 2], "n": 3, "text": "é"}]},
    "inputs": {"inputs": {"x": [[1, 2]], "n": [3], "text": [{"b64": "YQ=="}]}},
}


def judged(body: bytes, verb: str = "predict") -> int:
    reply = FUZZED.post(f"{ROOT}:{verb}", body)
    assert reply.status in {200, 400, 413}, reply.body
    if reply.status != 200:
        assert not LEAK.search(reply.error(reply.status))
    return reply.status


@pytest.mark.parametrize("form", TAKEN)
def test_what_is_not_mutated_is_answered(form: str) -> None:
    assert judged(json.dumps(TAKEN[form]).encode()) == 200


@pytest.mark.parametrize("form", TAKEN)
@fuzz
@given(data=st.data())
def test_mutated_bytes(form: str, data: st.DataObject) -> None:
    body = json.dumps(TAKEN[form]).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(PIECES) + body[at + data.draw(st.integers(0, 6)) :]
    judged(body)
    judged(body, "explain")


@fuzz
@given(
    st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "parameters"]), JSON)
)
def test_any_values(found: dict[str, Any]) -> None:
    judged(json.dumps(found).encode())
    judged(json.dumps(TAKEN["inputs"] | found).encode())
