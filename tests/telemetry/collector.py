"""A real OpenTelemetry collector's receiver, over gRPC and HTTP, on free ports of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.handlers import QuietHandler


@dataclass(frozen=True)
class Received:
    """A span as it arrived; times in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    state: str
    start: int
    end: int
    status: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    events: tuple[str, ...]
    resource: dict[str, Any]

    @property
    def process(self) -> int:
        return int(self.resource["process.pid"])


@dataclass
class Collector:
    """What came in; ``refuses``, ``hangs`` and ``slow``, in seconds, may be set at any time."""

    spans: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuses: bool = False
    hangs: bool = False
    slow: float = 0.0
    closing: threading.Event = field(default_factory=threading.Event)
    grpc_url: str = ""
    http_url: str = ""

    def url(self, protocol: str) -> str:
        """Where it takes spans by a protocol, as OpenTelemetry names them."""
        return self.grpc_url if protocol == "grpc" else self.http_url

    def take(self, request: Any, headers: dict[str, str]) -> bool:
        """Keep what a request carries; False if it is refused."""
        hung = self.hangs
        while self.hangs and not self.closing.wait(0.05):
            pass
        if self.refuses or hung:
            return False
        if self.slow:
            self.closing.wait(self.slow)
        self.headers.append(headers)
        for group in request.resource_spans:
            resource = _attributes(group.resource.attributes)
            self.spans += [_span(one, resource) for s in group.scope_spans for one in s.spans]
        return True

    def trace(self, trace_id: str) -> dict[str, Received]:
        """The spans of one trace by their ids."""
        return {span.span_id: span for span in list(self.spans) if span.trace_id == trace_id}


def _span(span: Any, resource: dict[str, Any]) -> Received:
    kinds = {1: "internal", 2: "server", 3: "client"}
    return Received(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
        kinds[span.kind], span.trace_state, span.start_time_unix_nano, span.end_time_unix_nano,
        {0: "unset", 1: "ok", 2: "error"}[span.status.code], _attributes(span.attributes),
        tuple(link.span_id.hex() for link in span.links),
        tuple(event.name for event in span.events), resource,
    )  # fmt: skip


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class _Servicer(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        headers = dict(context.invocation_metadata())
        if not self._collector.take(request, headers):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")
        return trace_service_pb2.ExportTraceServiceResponse()


def _handler(collector: Collector) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            assert self.path == "/v1/traces"
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(200 if collector.take(request, headers) else 400)
            self.send_header("content-length", "0")
            self.end_headers()

    return Handler


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens for both protocols until the end."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Servicer(collector), server)
    collector.grpc_url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(collector)) as web:
        collector.http_url = f"http://127.0.0.1:{web.server_address[1]}"
        thread = threading.Thread(target=web.serve_forever, args=(0.01,), name="collector")
        thread.start()
        try:
            yield collector
        finally:
            collector.closing.set()
            web.shutdown()
            thread.join()
            server.stop(None).wait()
