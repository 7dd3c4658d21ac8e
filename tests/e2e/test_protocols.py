"""Protocols that an engine turns on for all its graphs, asked for through its edge."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec
from tests.importers.kserve.manifests import imported, inference_graph
from tests.importers.kserve.manifests import node as node_of_graph
from tests.json_services import json_services
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = "class Double:\n    def transform(self, x):\n        return x * {factor}\n"
TWICE, THRICE = CODE.format(factor=2), CODE.format(factor=3)
ROWS = {"rows": [{"x": [1, 2]}, {"x": [3, 4]}]}
INSTANCES = {"instances": [[1, 2], [3, 4]]}


@pytest.mark.parametrize("name", ["plain", "team/plain"])
def test_graphs_answer_without_naming_the_protocols(given: Given, name: str) -> None:
    given.deployed(spec(name, double=node("Double")), TWICE)
    with httpx.Client(base_url=given.engine.url, timeout=60) as client:
        reply = client.post(f"/v2/models/{name}/predict", json=ROWS)
        assert reply.json() == {"rows": [{"y": [2.0, 4.0]}, {"y": [6.0, 8.0]}]}
        assert reply.headers["anabranch-revision"] == "1"
        form = client.post(f"/v2/models/{name}/predict", files={"x": b"[1, 2]"})
        assert form.json() == {"y": [[2.0, 4.0]]}
        for version in ("", "/versions/1"):
            reply = client.post(f"/v1/models/{name}{version}:predict", json=INSTANCES)
            assert reply.json() == {"predictions": [[2.0, 4.0], [6.0, 8.0]]}
        state = client.get(f"/v1/models/{name}").json()
        assert (state["name"], state["ready"]) == (name, True)
        assert name in client.get("/v1/models").json()["models"]
        paths = client.get(f"/v2/models/{name}/openapi.json").json()["paths"]
        assert {f"/v2/models/{name}/predict", f"/v1/models/{name}:predict"} <= paths.keys()
        reply = client.post(f"/seldon/{name}/api/v1.0/predictions", json={"data": {}})
        assert (reply.status_code, reply.json()["status"]["status"]) == (404, "FAILURE")
        foreign = {"sec-fetch-site": "cross-site"}
        told = client.post(f"/v2/models/{name}/predict", json=ROWS, headers=foreign)
        assert told.status_code == 403 and "another origin" in told.json()["error"]


def test_an_inference_graph_of_kserve_answers_documents(given: Given) -> None:
    with json_services() as services, httpx.Client(base_url=given.engine.url, timeout=60) as client:
        first = services.add("/first", lambda body: (200, {"got": json.loads(body)}))
        second = services.add("/second", lambda body: (418, {"error": "no coffee"}))
        switch = node_of_graph(
            "Switch",
            {"serviceUrl": first, "condition": "a.#(b==1)"},
            {"serviceUrl": second, "condition": "tea"},
        )
        manifest = inference_graph({"root": switch}, "documents")
        manifest["metadata"]["namespace"] = "team"
        (graph,) = imported(manifest)
        given.deployed(dict(graph.spec), "")
        path = "/v2/models/team/documents/document"
        for body, status, answer in (
            (b'{"a": [{"b": 1}]}', 200, {"got": {"a": [{"b": 1}]}}),
            (b'{"tea": null}', 418, {"error": "no coffee"}),
            (b'{"a": 1}', 404, "no rule holds"),
            (b"no json", 404, "no rule holds"),
        ):
            reply = client.post(path, content=body)
            assert reply.status_code == status, reply.text
            found = reply.json()
            assert found == answer if isinstance(answer, dict) else answer in found["error"]


def test_canaries_answer_their_share(given: Given) -> None:
    given.deployed(spec("shared", double=node("Double")), TWICE)
    given.beside(spec("shared", double=node("Double")), THRICE, "--canary", "50")
    with httpx.Client(base_url=given.engine.url, timeout=60) as client:
        found = set()
        for _ in range(60):
            reply = client.post("/v1/models/shared:predict", json=INSTANCES)
            found.add((reply.headers["anabranch-revision"], reply.json()["predictions"][0][0]))
    assert found == {("1", 2.0), ("2", 3.0)}


def test_a_graph_that_sleeps_is_ready_and_woken_by_a_request(given: Given) -> None:
    dozing = spec("dozing", double=node("Double"))
    dozing["spec"]["scaling"] = {"min": 0, "max": 1, "downscale_delay": "500ms"}
    given.deployed(dozing, TWICE)
    engine = given.engine
    until(lambda: engine.graph("dozing")["state"] == "asleep")
    with httpx.Client(base_url=engine.url, timeout=60) as client:
        state = client.get("/v1/models/dozing").json()
        assert (state["ready"], state["model_version_status"][0]["version"]) == (True, "1")
        assert engine.graph("dozing")["state"] == "asleep"
        reply = client.post("/v2/models/dozing/predict", json={"x": [1, 2]})
        assert reply.json() == {"y": [[2.0, 4.0]]}
