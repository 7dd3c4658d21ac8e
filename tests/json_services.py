"""HTTP services on the loopback interface that answer JSON documents, for nodes that call some."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from anabranch.graph.compile.loading import load_data
from anabranch.graph.local import LocalGraph
from tests.handlers import QuietHandler

Answer = tuple[int, Any]
"""Status and body: bytes as they are, anything else as JSON."""
Service = Callable[[bytes], Answer]


@dataclass
class Call:
    """One request that a service got."""

    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def document(self) -> Any:
        return json.loads(self.body)


_ERA = re.compile(r"(?:/era-(\d+))?(.*)")


@dataclass
class JsonServices:
    """Services by path, and the requests that they got, in order."""

    url: str
    services: dict[str, Service] = field(default_factory=dict)
    pages: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    era: int = 0

    def new_era(self) -> str:
        """Forget the calls so far, and those of them that are still to come; return a URL.

        Below it are all services, for the calls from now on.
        """
        self.era += 1
        self.calls.clear()
        return f"{self.url}/era-{self.era}"

    def add(self, path: str, service: Service | Answer) -> str:
        """Let a path answer; return its URL."""
        self.services[path] = service if callable(service) else lambda body: service
        return self.url + path

    def get(self, path: str, answer: Answer) -> None:
        """Let a path answer GET."""
        self.pages[path] = answer

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]


def graph_of_spec(spec: Mapping[str, Any]) -> LocalGraph:
    """Return the graph of a ``spec``, loaded. Raise SpecError for its mistakes."""
    document = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph"}
    loaded = load_data({**document, "metadata": {"name": "g"}, "spec": spec})
    return LocalGraph(loaded.plan, Path())


@contextmanager
def json_services(tls: ssl.SSLContext | None = None) -> Iterator[JsonServices]:
    """Serve until the end of the block."""
    found = JsonServices("")

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            era, path = _ERA.fullmatch(self.path).groups()
            if era is None or int(era) == found.era:
                found.calls.append(Call(path, body, headers))
            service = found.services.get(path, lambda body: (404, {"error": "no service"}))
            self._send(*service(body))

        def do_GET(self) -> None:
            self._send(*found.pages.get(self.path, (404, {"error": "no page"})))

        def _send(self, status: int, answer: Any) -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.send_header("set-cookie", "session=of-one-caller; Path=/")
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    found.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
