from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.api import ControlApi
from anabranch.control.bundles import pack, write_files
from anabranch.control.reconciler import Reconciler
from anabranch.control.releases import Releases
from anabranch.control.settings import Settings
from anabranch.control.store import Store

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    one: {type: transformer, component: parts.py:One, inputs: {x: x}}
    two: {type: predictor, component: parts.py:Two, inputs: {x: one}, placement: {isolate: true}}
  outputs: {y: two}
"""


class Engine:
    """The control API over a store of its own; nothing is reconciled, so nothing needs Ray."""

    def __init__(self, folder: Path) -> None:
        settings = Settings.from_env({"ANABRANCH_HOME": str(folder / "home")})
        self.folder = folder
        self.store = Store.open(settings.store)
        releases = Releases(settings)
        reconciler = Reconciler(settings, self.store, releases)
        self.api = ControlApi(settings, self.store, releases, reconciler)

    def raw(
        self, method: str, path: str, query: str = "", body: bytes = b""
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        status, headers, answer = asyncio.run(self.api.handle(method, path, query, body))
        return status, dict(headers), answer

    def call(self, method: str, path: str, query: str = "", body: bytes = b"") -> tuple[int, Any]:
        status, headers, answer = self.raw(method, path, query, body)
        assert headers[b"content-type"] == b"application/json"
        return status, json.loads(answer)

    def bundle(self, name: str = "digits", spec: str = SPEC) -> bytes:
        files = {"graph.yaml": spec.replace("NAME", name).encode(), "parts.py": b""}
        write_files(files, self.folder / "source")
        return pack(self.folder / "source" / "graph.yaml", 2**20).data

    def deploy(self, name: str = "digits", query: str = "", spec: str = SPEC) -> tuple[int, Any]:
        body = self.bundle(name, spec)
        return self.call("POST", f"/graphs/{name}/revisions", query, body)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def test_an_empty_engine(engine: Engine) -> None:
    assert engine.call("GET", "/graphs") == (200, {"graphs": []})
    assert engine.call("GET", "/events") == (200, {"events": []})
    assert asyncio.run(engine.api.states()) == {}


def test_a_deploy_makes_a_revision(engine: Engine) -> None:
    assert engine.deploy(query="author=ada&message=first%20one") == (
        202,
        {"graph": "digits", "revision": 1, "state": "pending"},
    )
    status, revision = engine.call("GET", "/graphs/digits/revisions/1")
    assert status == 200
    assert (revision["author"], revision["message"]) == ("ada", "first one")
    assert (revision["state"], revision["reason"]) == ("pending", "")
    assert "name: digits" in revision["spec"]


def test_the_same_bundle_makes_another_revision(engine: Engine) -> None:
    engine.deploy()
    assert engine.deploy()[1]["revision"] == 2
    first, second = engine.store.revisions("digits")
    assert first.digest == second.digest


def test_a_graph_shows_its_revisions_and_segments(engine: Engine) -> None:
    engine.deploy()
    engine.store.promote("digits", 1)
    engine.deploy()
    engine.store.fail("digits", 2, "node 'two': no file")
    status, graph = engine.call("GET", "/graphs/digits")
    assert status == 200
    assert (graph["graph"], graph["live"]) == ("digits", 1)
    assert graph["url"] == "http://127.0.0.1:8000/v2/models/digits"
    assert [(r["revision"], r["state"], r["reason"]) for r in graph["revisions"]] == [
        (2, "failed", "node 'two': no file"),
        (1, "live", ""),
    ]
    assert graph["segments"] == [
        {"name": "head", "nodes": ["one"], "replicas": 1, "running": 0},
        {"name": "two", "nodes": ["two"], "replicas": 1, "running": 0},
    ]


def test_states_of_graphs_for_the_gateway(engine: Engine) -> None:
    engine.deploy("first")
    engine.deploy("second")
    engine.store.promote("second", 1)
    engine.deploy("third")
    engine.store.fail("third", 1, "no")
    assert asyncio.run(engine.api.states()) == {
        "first": {
            "revision": 1,
            "live": False,
            "ready": False,
            "reason": "revision 1 is being deployed",
        },
        "second": {
            "revision": 1,
            "live": True,
            "ready": False,
            "reason": "revision 1 is being brought back",
        },
    }


def test_a_deleted_graph_is_deleting_and_then_gone(engine: Engine) -> None:
    engine.deploy()
    assert engine.call("DELETE", "/graphs/digits") == (
        202,
        {"graph": "digits", "state": "deleting"},
    )
    assert engine.call("GET", "/graphs/digits")[1]["state"] == "deleting"
    engine.store.mark_deleted("digits")
    for method, path in (
        ("GET", "/graphs/digits"),
        ("GET", "/graphs/digits/revisions/1"),
        ("GET", "/graphs/digits/logs"),
        ("DELETE", "/graphs/digits"),
    ):
        status, answer = engine.call(method, path)
        assert status == 404 and "'digits' was deleted" in answer["error"]


def test_events_can_be_followed(engine: Engine) -> None:
    engine.deploy("a")
    engine.deploy("b")
    _, all_events = engine.call("GET", "/events")
    assert [(e["graph"], e["kind"]) for e in all_events["events"]] == [
        ("a", "revision_created"),
        ("b", "revision_created"),
    ]
    after = all_events["events"][0]["id"]
    _, rest = engine.call("GET", "/events", f"after={after}&graph=b&limit=5")
    assert [event["graph"] for event in rest["events"]] == ["b"]


def test_a_spec_with_mistakes_is_refused_with_all_of_them(engine: Engine) -> None:
    spec = SPEC.replace("inputs: {x: one}", "inputs: {x: noe}").replace("y: two", "y: tow")
    status, answer = engine.deploy(spec=spec)
    assert status == 400
    first, second = answer["error"].splitlines()
    assert first.startswith("graph.yaml:9:") and "'noe'" in first
    assert second.startswith("graph.yaml:10:") and "'tow'" in second
    assert engine.call("GET", "/graphs")[1] == {"graphs": []}


def test_what_is_not_supported_yet_is_refused(engine: Engine) -> None:
    spec = SPEC.replace("placement: {isolate: true}", "batching: {max_size: 8}")
    status, answer = engine.deploy(spec=spec)
    assert status == 501
    assert "graph.yaml" in answer["error"] and "not supported yet" in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "words"),
    [
        ("GET", "/", "", 404, "no path '/'"),
        ("GET", "/graphs/a/b/c", "", 404, "/graphs/<graph>/revisions"),
        ("PUT", "/graphs", "", 405, "use GET"),
        ("POST", "/graphs/digits", "", 405, "use DELETE, GET"),
        ("GET", "/graphs/digit", "", 404, "no graph 'digit'; there are: digits"),
        ("GET", "/graphs/digits/revisions/9", "", 404, "no revision 9; it has 1 to 1"),
        ("GET", "/graphs/digits/revisions/x", "", 404, "no path"),
        ("GET", "/events", "after=x", 400, "after='x' is not a whole number"),
        ("GET", "/events", "limit=1001", 400, "from 0 to 1000"),
        ("GET", "/events", "after=\u0663", 400, "not a whole number"),
        ("GET", "/events", "a=1&" * 40, 400, "more than 32 fields"),
        ("GET", "/graphs/digits/logs", "tail=-1", 400, "tail='-1'"),
        ("POST", "/graphs/iris/revisions", "", 400, "not a zip file"),
    ],
)
def test_errors_name_the_offender(
    engine: Engine, method: str, path: str, query: str, status: int, words: str
) -> None:
    engine.deploy()
    found, answer = engine.call(method, path, query)
    assert (found, words in answer["error"]) == (status, True), answer


def test_a_bundle_for_another_graph_is_refused(engine: Engine) -> None:
    status, answer = engine.call("POST", "/graphs/iris/revisions", body=engine.bundle("digits"))
    assert status == 400
    assert answer["error"] == "the spec in the bundle is for graph 'digits', not 'iris'"


def test_405_says_what_is_allowed(engine: Engine) -> None:
    _, headers, _ = engine.raw("PUT", "/graphs")
    assert headers[b"allow"] == b"GET"
