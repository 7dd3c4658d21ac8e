"""Traces: one connected tree per request, whatever processes it goes through."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from anabranch.router.grpc.messages import InferResponse, path
from tests.e2e.conftest import Given, node, spec
from tests.e2e.test_grpc import Client, asking
from tests.engines import BODY, Engine
from tests.telemetry.collector import Collector, Received
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import time


class Half:
    async def transform(self, x):
        return x / 2


class Sum:
    async def combine(self, inputs):
        return sum(inputs)


class Broken:
    async def transform(self, x):
        raise ValueError("no more apples")


class Slow:
    def predict(self, x):
        time.sleep(0.25)
        return x * 2
"""
AWAY = {"placement": {"isolate": True}}
ROUTE = "POST /v2/models/{model}/infer"
BELOW = {
    "arm r1": ["hop left", "hop right", "node both", "node half"],
    "hop left": ["segment left"],
    "hop right": ["segment right"],
    "segment left": ["node left"],
    "segment right": ["node right"],
}


class Asked:
    """A client's own span, and the headers by which it passes it on."""

    def __init__(self, show: bool = False, sampled: bool = True) -> None:
        self.trace, self.span = os.urandom(16).hex(), os.urandom(8).hex()
        state = "vendor=1,anabranch=show" if show else "vendor=1"
        parent = f"00-{self.trace}-{self.span}-0{int(sampled)}"
        self.headers = {"traceparent": parent, "tracestate": state}


@pytest.fixture(scope="module")
def three(given_once: Given) -> str:
    """A graph of three processes: the head, and one each for both that read its node."""
    graph = spec(
        "traced-three",
        half=node("Half"),
        left=node("Half", "half", **AWAY),
        right=node("Half", "half", **AWAY),
        both={"type": "combiner", "component": "components.py:Sum", "inputs": ["left", "right"]},
    )
    return given_once.deployed(graph, CODE)


def spans_of(collector: Collector, asked: Asked, count: int) -> dict[str, Received]:
    """The spans of a request, once all have come."""
    until(lambda: len(collector.trace(asked.trace)) >= count)
    found = collector.trace(asked.trace)
    assert len(found) == count, sorted(span.name for span in found.values())
    return found


def tree(spans: dict[str, Received], asked: Asked) -> dict[str, list[str]]:
    """The names of children by that of their parent; each is within its parent's time."""
    children: dict[str, list[str]] = {}
    for span in spans.values():
        assert span.start < span.end
        name = "client"
        if span.parent_id != asked.span:
            above = spans[span.parent_id]
            assert above.start <= span.start and span.end <= above.end, (above, span)
            name = above.name
        children.setdefault(name, []).append(span.name)
    return {name: sorted(names) for name, names in children.items()}


def named(spans: dict[str, Received], name: str) -> Received:
    (found,) = (span for span in spans.values() if span.name == name)
    return found


def test_a_request_through_three_processes_is_one_trace(
    engine: Engine, collector: Collector, three: str
) -> None:
    asked = Asked()
    reply = engine.infer(three, headers={**asked.headers, "x-request-id": "seven"})
    assert reply.json()["outputs"][0]["data"] == [0.5, 1.0]
    spans = spans_of(collector, asked, 10)
    assert tree(spans, asked) == {"client": [ROUTE], ROUTE: ["arm r1"], **BELOW}
    request = named(spans, ROUTE)
    assert reply.headers["traceresponse"] == f"00-{asked.trace}-{request.span_id}-01"
    assert request.kind == "server" and request.state == "vendor=1"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/v2/models/{model}/infer"
    assert request.attributes["anabranch.request.id"] == "seven"
    left = named(spans, "node left")
    assert left.attributes["anabranch.node"] == "left"
    assert left.resource["service.name"] == "anabranch"
    processes = {name: named(spans, f"node {name}").process for name in ("half", "left", "right")}
    assert len(set(processes.values())) == 3
    assert processes["half"] == request.process == named(spans, "hop left").process
    kinds = {name: named(spans, name).kind for name in ("hop left", "segment left", "node left")}
    assert kinds == {"hop left": "client", "segment left": "server", "node left": "internal"}


def test_a_call_over_grpc_is_one_trace(engine: Engine, collector: Collector, three: str) -> None:
    asked = Asked()
    client = Client(engine.ports.grpc)
    with client.channel as channel:
        answer, call = channel.unary_unary(
            path("ModelInfer"),
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=InferResponse.FromString,
        ).with_call(asking(three), timeout=20, metadata=tuple(asked.headers.items()))
        told = dict(call.trailing_metadata())["traceresponse"]
    assert answer.model_name == three
    spans = spans_of(collector, asked, 10)
    method = "inference.GRPCInferenceService/ModelInfer"
    assert tree(spans, asked) == {"client": [method], method: ["arm r1"], **BELOW}
    span = named(spans, method)
    assert told == f"00-{asked.trace}-{span.span_id}-01"
    assert (span.attributes["rpc.system"], span.attributes["rpc.grpc.status_code"]) == ("grpc", 0)


def test_what_is_not_sampled_leaves_no_span(
    engine: Engine, collector: Collector, three: str
) -> None:
    unsampled, sampled = Asked(sampled=False), Asked()
    reply = engine.infer(three, headers=unsampled.headers)
    assert "traceresponse" not in reply.headers
    assert "traceresponse" not in engine.infer(three).headers
    engine.infer(three, headers=sampled.headers)
    spans_of(collector, sampled, 10)
    assert not collector.trace(unsampled.trace)


def test_the_engine_keeps_what_is_to_be_shown(
    engine: Engine, collector: Collector, three: str
) -> None:
    asked = Asked(show=True, sampled=False)
    missing = engine.api("GET", f"/traces/{asked.trace}")
    assert missing.status_code == 404 and "anabranch=show" in missing.json()["error"]
    assert engine.infer(three, headers=asked.headers).status_code == 200

    def shown() -> list[dict[str, Any]]:
        reply = engine.api("GET", f"/traces/{asked.trace}")
        found: list[dict[str, Any]] = reply.json().get("spans", [])
        return found

    until(lambda: len(shown()) == 10)
    spans = shown()
    assert spans[0]["name"] == ROUTE and spans[0]["parent_id"] == asked.span
    ids = {span["span_id"] for span in spans}
    assert all(span["parent_id"] in ids for span in spans[1:])
    assert all(0 < span["seconds"] <= spans[0]["seconds"] for span in spans)
    assert {span["status"] for span in spans} == {"ok"}


def test_errors_and_batches_and_mirrors(engine: Engine, collector: Collector, given: Given) -> None:
    batched = {"type": "predictor", "component": "components.py:Slow", "inputs": {"x": "x"}}
    one = spec("traced-more", slow={**batched, "batching": {"max_size": 8}})
    one["spec"]["telemetry"] = {"trace": "100%"}
    name = given.deployed(one, CODE)
    check_share(engine, collector, name)
    other = spec("traced-more", bad=node("Broken"))
    given.beside(other, CODE, "--mirror", "100")
    check_batch(engine, collector, name)
    check_error(engine, collector, name)


def check_share(engine: Engine, collector: Collector, name: str) -> None:
    """All requests are traced, as the spec says, unless their callers decide otherwise."""
    begun = engine.infer(name).headers["traceresponse"].split("-")[1]
    until(lambda: any(not span.parent_id for span in collector.trace(begun).values()))
    assert "traceresponse" not in engine.infer(name, headers=Asked(sampled=False).headers).headers


def check_batch(engine: Engine, collector: Collector, name: str) -> None:
    """Requests that come while the component is busy go together, and their traces say so."""
    until(lambda: max(batches_of(engine, collector, name)) > 1)


def batches_of(engine: Engine, collector: Collector, name: str) -> list[int]:
    """Ask four times at once; return how many requests each batch had, by their traces."""
    asked = [Asked() for _ in range(4)]
    together(engine, name, asked)
    for one in asked:  # a copy may end before its request
        until(lambda one=one: {s.name for s in trace_of(collector, one)} >= {ROUTE, "mirror r2"})
    spans = {span.span_id: span for one in asked for span in trace_of(collector, one)}
    nodes = {span.span_id: span for span in spans.values() if span.name == "node slow"}
    batches = [span for span in spans.values() if span.name == "batch slow"]
    assert sorted(link for batch in batches for link in batch.links) == sorted(nodes)
    for batch in batches:
        assert batch.parent_id == batch.links[0]
        assert all(batch.span_id in nodes[link].links for link in batch.links)
    queued = [span for span in spans.values() if span.name == "queue slow"]
    assert len(queued) == len(nodes) and {span.parent_id for span in queued} == nodes.keys()
    mirrored = [span for span in spans.values() if span.name == "mirror r2"]
    roots = {span.span_id for span in spans.values() if span.name == ROUTE}
    assert {span.parent_id for span in mirrored} == roots
    assert {span.attributes["anabranch.mirror"] for span in mirrored} == {True}
    return [batch.attributes["anabranch.batch.requests"] for batch in batches]


def check_error(engine: Engine, collector: Collector, name: str) -> None:
    """A node that fails says how, and so does all that it fails."""
    asked = Asked()
    url = f"{engine.graph_url(name)}/versions/2/infer"
    reply = httpx.post(url, json=BODY, headers=asked.headers, timeout=60)
    assert reply.status_code == 500
    spans = spans_of(collector, asked, 5)
    assert {span.status for span in spans.values()} == {"error"}
    bad = named(spans, "node bad")
    assert bad.attributes["error.type"] == "ValueError" and bad.events == ("exception",)
    (root,) = (span for span in spans.values() if span.parent_id == asked.span)
    assert root.name == "POST /v2/models/{model}/versions/{version}/infer"
    assert root.attributes["error.type"] == "500"


def trace_of(collector: Collector, asked: Asked) -> Iterable[Received]:
    return collector.trace(asked.trace).values()


def together(engine: Engine, name: str, asked: list[Asked]) -> None:
    """Send all at once."""
    threads = [
        threading.Thread(target=engine.infer, args=(name,), kwargs={"headers": one.headers})
        for one in asked
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
