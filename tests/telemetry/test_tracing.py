"""Spans from where they are recorded to a real collector, over both of its protocols."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from anabranch.errors import EngineError
from anabranch.telemetry import tracing
from anabranch.telemetry.definitions import (
    OUTLET_DROPPED,
    OUTLET_SELECTED,
    OUTLET_SENT,
    OUTLET_WAITING,
)
from anabranch.telemetry.registry import REGISTRY
from anabranch.telemetry.span import Span, SpanFailure
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.trace_settings import TraceSettings
from anabranch.telemetry.tracing import SpanRecording, Traces
from tests.control import web
from tests.telemetry.collector import Collector, collecting
from tests.waiting import until

ROOT = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


def traces(
    monkeypatch: pytest.MonkeyPatch, url: str, protocol: str, graph: str, patience_s: int = 60
) -> Traces:
    """The ways out of this process, to a collector; OpenTelemetry reads the same variables."""
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=vision",
        "OTEL_EXPORTER_OTLP_TIMEOUT": str(patience_s),
        "OTEL_SERVICE_NAME": "models",
        "ANABRANCH_GRAPH": graph,
    }
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    found = Traces()
    monkeypatch.setattr(tracing, "TRACES", found)
    return found


def delivered(found: Traces) -> None:
    """Close the ways out once all is through: the first span waits for imports of libraries."""
    for outlet in (found._exported, found._shown):
        if outlet is not None:
            assert outlet.close(60)
    found.close()


def counts(graph: str, outlet: str = "traces") -> dict[str, float]:
    read = REGISTRY.number
    return {
        "selected": read(OUTLET_SELECTED, graph, outlet).value,
        "sent": read(OUTLET_SENT, graph, outlet).value,
        "failed": read(OUTLET_DROPPED, graph, outlet, "failed").value,
        "closed": read(OUTLET_DROPPED, graph, outlet, "closed").value,
    }


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_spans_reach_a_collector(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, protocol: str
) -> None:
    graph = f"otlp-{protocol}"
    found = traces(monkeypatch, collector.url(protocol), protocol, graph)
    with (
        pytest.raises(ZeroDivisionError),
        SpanRecording(ROOT, "request", {"n": 1, "ok": True}, "server") as above,
        SpanRecording(above.trace, "node a", {"anabranch.node": "a"}, links=[above.trace]),
    ):
        raise ZeroDivisionError("by nought")
    delivered(found)
    assert counts(graph) == {"selected": 2, "sent": 2, "failed": 0, "closed": 0}
    node, request = collector.spans
    assert (request.trace_id, request.parent_id) == (ROOT.trace_id, "")
    assert (node.parent_id, node.links) == (request.span_id, (request.span_id,))
    assert request.start <= node.start <= node.end <= request.end
    assert request.attributes == {"n": 1, "ok": True, "error.type": "ZeroDivisionError"}
    assert (node.status, node.events) == ("error", ("exception",))
    assert (request.kind, node.kind) == ("server", "internal")
    assert request.resource["service.name"] == "models" and request.process == os.getpid()
    assert request.resource["host.name"] == socket.gethostname()
    assert collector.headers[0]["x-team"] == "vision"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("mood", ["refuses", "hangs"])
def test_what_a_collector_does_not_take_is_counted(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, protocol: str, mood: str
) -> None:
    graph = f"otlp-{mood}-{protocol}"
    found = traces(monkeypatch, collector.url(protocol), protocol, graph, patience_s=1)
    setattr(collector, mood, True)
    for _ in range(1000):
        SpanRecording(ROOT, "request", {}).end()
    found.close()
    # What is under way while the process ends is neither yet.
    until(lambda: REGISTRY.number(OUTLET_WAITING, graph, "traces").value == 0)
    counted = counts(graph)
    assert counted["selected"] == 1000 and counted["sent"] == 0 < counted["failed"]
    assert counted["failed"] + counted["closed"] == 1000


@pytest.mark.parametrize("status", [302, 307])
def test_a_collector_leads_spans_nowhere_else(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with web.running() as server:
        elsewhere = {"location": f"{server.url}/else"}
        server.answer = lambda asked: web.Answer(status, headers=elsewhere)
        found = traces(monkeypatch, server.url, "http/protobuf", f"otlp-{status}")
        SpanRecording(ROOT, "request", {}).end()
        delivered(found)
        assert {asked.path for asked in server.asked} == {"/v1/traces"}


def test_spans_that_are_to_be_shown_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Span] = []
    found = Traces({"ANABRANCH_GRAPH": "shown"})
    monkeypatch.setattr(tracing, "TRACES", found)
    found.show(told.extend)
    with SpanRecording(Trace(ROOT.trace_id, "", "anabranch=show"), "request", {}) as recording:
        recording.waited("queue a", {})
        recording.fail(SpanFailure("503"))
    SpanRecording(ROOT, "request", {}).end()
    delivered(found)
    assert [span.name for span in told] == ["queue a", "request"]
    queue, request = (span.view() for span in told)
    assert queue["parent_id"] == request["span_id"] and request["parent_id"] is None
    assert (request["status"], request["error"]) == ("error", "503")
    assert 0 < queue["seconds"] <= request["seconds"]
    assert queue["attributes"] == request["attributes"] == {"host.name": socket.gethostname()}
    assert counts("shown", "traces-shown")["sent"] == 2
    assert counts("shown")["selected"] == 0


def test_the_environment_says_where_traces_go() -> None:
    assert TraceSettings.from_env({}) == TraceSettings(0.0, "", "http/protobuf")
    env = {
        "ANABRANCH_TRACE_RATIO": "0.25",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all:4317",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    assert TraceSettings.from_env(env) == TraceSettings(0.25, "https://traces:4317", "grpc")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ANABRANCH_TRACE_RATIO", "2"),
        ("ANABRANCH_TRACE_RATIO", "nan"),
        ("ANABRANCH_TRACE_RATIO", "many"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
    ],
)
def test_what_is_wrong_there_is_named(name: str, text: str) -> None:
    with pytest.raises(EngineError, match=f"{name}='{text}'"):
        TraceSettings.from_env({name: text})
