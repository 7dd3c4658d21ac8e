"""A body that is refused before it has all come: its connection ends, whatever the client sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

import httpx
import pytest

from anabranch.router.http import lean
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.serve.edge import configuration
from tests.router.conftest import BODY, lean_serving, make_arms
from tests.serve.edge.servers import needs_haproxy
from tests.serve.edge.test_limits import in_front_of

pytestmark = needs_haproxy
MOST = 256 * 2**20
"""More than all buffers on the way hold, and less than a client of ours may send."""
LENGTH, CHUNKED = "content-length: 1000000000000", "transfer-encoding: chunked"


class Told(NamedTuple):
    sent: int
    reply: bytes


@pytest.fixture(scope="module", params=["router", "edge"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A router's lean server, alone and behind an edge."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(lean, "LINGER_S", 0.2)
        patch.setattr(configuration, "REQUEST_S", 2)
        app = GraphApp(make_arms(limits=RequestLimits(max_body=10**6)))
        found = stack.enter_context(lean_serving(app))
        if request.param == "edge":
            found = stack.enter_context(in_front_of(int(found.rpartition(":")[2])))
        yield found


def endless(url: str, path: str, framing: str) -> Told:
    """Send a body as long as the connection takes it, and read what is answered."""
    where = httpx.URL(url)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n".encode()
    piece = b"10000\r\n" + b"x" * 2**16 + b"\r\n" if framing == CHUNKED else b"x" * 2**16
    sent, reply = 0, b""
    with socket.create_connection((where.host, where.port), timeout=30) as connection:
        connection.sendall(head)
        with suppress(ConnectionError):
            while sent < MOST:
                connection.sendall(piece)
                sent += len(piece)
        with suppress(ConnectionError):
            reply = b"".join(iter(lambda: connection.recv(2**16), b""))
    return Told(sent, reply)


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
@pytest.mark.parametrize(
    "path", ["/v2/models/demo/infer", "/v2/models/demo/feedback", "/v2/models/demo/nothing"]
)
def test_an_endless_body_ends_with_its_refusal(url: str, path: str, framing: str) -> None:
    told = endless(url, path, framing)
    assert told.sent < MOST
    # The system may drop what has come where the connection is reset.
    assert not told.reply or told.reply.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 413 "))
    assert httpx.post(f"{url}/v2/models/demo/infer", json=BODY).status_code == 200


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_who_stops_sending_reads_the_refusal(url: str, framing: str) -> None:
    where = httpx.URL(url)
    start = b"200000\r\n" if framing == CHUNKED else b""
    with socket.create_connection((where.host, where.port), timeout=30) as connection:
        head = f"POST /v2/models/demo/infer HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n".encode()
        connection.sendall(head + start + b"x" * 2 * 10**6)
        reply = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"over the limit of 1000000 bytes" in reply
