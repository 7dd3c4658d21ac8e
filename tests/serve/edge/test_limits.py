"""The limits and the errors of the edge, with a graph behind it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest

from anabranch.components.contract import Context
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.serve.edge import configuration
from anabranch.serve.edge.routes import GATEWAY, EdgeRoute
from tests.ports import free_ports
from tests.router.conftest import BODY, double, make_arms, serving
from tests.serve.edge.servers import edge, needs_haproxy

pytestmark = needs_haproxy
WAIT = {"seconds": 2.5}
ASK = json.dumps(BODY).encode()


async def waiting(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    await asyncio.sleep(context.parameters.get("seconds", 0))
    return await double(inputs, context)


@contextmanager
def in_front_of(server: int) -> Iterator[str]:
    """Run an edge in front of a port, as the router of a graph and as the gateway; its address."""
    started, done = threading.Event(), threading.Event()
    found: list[int] = []

    async def run() -> None:
        route = EdgeRoute((f"127.0.0.1:{server}",), idempotent=False)
        async with edge() as site:
            await site.proxy.apply({"demo": route, GATEWAY: route})
            found.append(site.port)
            started.set()
            await asyncio.to_thread(done.wait)

    def work() -> None:
        try:
            asyncio.run(run())
        finally:
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(60)
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        done.set()
        thread.join()


@contextmanager
def front(limits: RequestLimits | None = None, step: Any = double) -> Iterator[str]:
    with ExitStack() as stack:
        server = stack.enter_context(serving(GraphApp(make_arms(step, limits))))
        yield stack.enter_context(in_front_of(int(server.rpartition(":")[2])))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with front() as found:
        yield found


@pytest.fixture(scope="module")
def hasty() -> Iterator[str]:
    """An edge, and a graph, that wait for a second only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "REQUEST_S", 1)
        with front(RequestLimits(body_grace=1.0, max_ongoing=4), waiting) as found:
            yield found


def infer(url: str, **request: Any) -> httpx.Response:
    return httpx.post(f"{url}/v2/models/demo/infer", **({"json": BODY} | request), timeout=30)


def head(length: int | None, *more: str, host: str = "host: x", version: str = "1.1") -> bytes:
    lines = [f"POST /v2/models/demo/infer HTTP/{version}", host, *more]
    lines += [] if length is None else [f"content-length: {length}"]
    return "\r\n".join([*filter(None, lines), "", ""]).encode()


def talk(url: str, data: bytes) -> tuple[int, Any]:
    """Send bytes on a connection of their own; status and document of the reply."""
    at = httpx.URL(url)
    with socket.create_connection((at.host, at.port), timeout=60) as connection:
        connection.sendall(data)
        return read(connection)


def read(connection: socket.socket) -> tuple[int, Any]:
    with connection.makefile("rb") as reader:
        status = int(reader.readline().split()[1])
        length = 0
        for line in iter(reader.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
        body = reader.read(length)
        return status, json.loads(body) if body.startswith(b"{") else body.decode()


def test_a_good_request_passes(url: str) -> None:
    assert infer(url).status_code == 200
    assert talk(url, head(len(ASK)) + ASK)[0] == 200


@pytest.mark.parametrize(
    ("host", "version", "status"),
    [
        ("", "1.1", 400),
        ("host:", "1.1", 200),
        ("", "1.0", 200),
        ("host: a", "1.0", 200),
    ],
)
def test_a_missing_host(url: str, host: str, version: str, status: int) -> None:
    found, answer = talk(url, head(len(ASK), host=host, version=version) + ASK)
    assert found == status
    assert ("error" in answer) == (status == 400)


@pytest.mark.parametrize(("size", "status"), [(60, 200), (70, 431), (100, 400), (1000, 400)])
def test_large_headers(url: str, size: int, status: int) -> None:
    more = [f"x-{index}: {'a' * 1000}" for index in range(size)]
    found, answer = talk(url, head(len(ASK), *more) + ASK)
    assert found == status
    assert ("error" in answer) == (status == 431)


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\xff" * 9 + b"\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_no_http_is_refused(url: str, data: bytes) -> None:
    assert talk(url, data)[0] == 400


def test_a_body_that_is_announced_too_large_is_not_waited_for(url: str) -> None:
    status, answer = talk(url, head(64 * 2**20 + 1) + b"x" * 100_000)
    assert status == 413
    assert "67108864" in answer["error"]


def test_a_body_in_many_small_chunks(url: str) -> None:
    chunks = b"".join(b"1\r\n" + ASK[at : at + 1] + b"\r\n" for at in range(len(ASK)))
    blank = b"1\r\n \r\n" * (65_537 - len(ASK))
    data = head(None, "transfer-encoding: chunked") + chunks + blank + b"0\r\n\r\n"
    assert talk(url, data)[0] in (200, 413)
    assert infer(url).status_code == 200


def test_chunks_over_the_limit_are_refused(url: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(66):
            yield b" " * 2**20

    # It may have answered and closed before all was sent.
    with suppress(httpx.WriteError, httpx.ReadError):
        assert infer(url, json=None, content=pieces()).status_code == 413
    assert infer(url).status_code == 200


def test_who_sends_nothing_is_told_nothing(hasty: str) -> None:
    at = httpx.URL(hasty)
    with socket.create_connection((at.host, at.port), timeout=60) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "start",
    [
        b"POST /v2/models/demo/infer HT",
        head(100)[:-4] + b"\r\nx-slow: a",
        head(100) + b"{",
        head(None, "transfer-encoding: chunked") + b"1\r\n{\r\n",
    ],
)
def test_a_small_request_that_does_not_come_is_not_waited_for(hasty: str, start: bytes) -> None:
    at = httpx.URL(hasty)
    with socket.create_connection((at.host, at.port), timeout=60) as connection:
        connection.sendall(start)
        answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert (b"did not arrive within" in answer) == (b"\r\n\r\n" in start)


def test_large_bodies_that_do_not_come_hold_no_place(hasty: str) -> None:
    """More of them than there are places, each past the buffer of HAProxy."""
    at = httpx.URL(hasty)
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((at.host, at.port), timeout=60))
            for _ in range(20)
        ]
        for connection in slow:
            connection.sendall(head(10**6) + b" " * 100_000)
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda one=one: statuses.append(read(one)[0])) for one in slow
        ]
        for thread in threads:
            thread.start()
        assert infer(hasty).status_code == 200
        while any(thread.is_alive() for thread in threads):
            assert infer(hasty).status_code == 200
        # Whoever was first, the proxy or the graph.
        assert set(statuses) <= {400, 408}
        for connection in slow:
            connection.settimeout(60)
            assert connection.recv(1) == b""


@pytest.mark.nightly
def test_a_client_may_wait_long_and_keep_its_connection(hasty: str) -> None:
    with httpx.Client(timeout=30) as client:
        for _ in range(2):
            reply = client.post(f"{hasty}/v2/models/demo/infer", json={**BODY, "parameters": WAIT})
            assert reply.status_code == 200
            time.sleep(1.5)


@pytest.mark.slow
def test_no_server_is_an_error_in_json_that_says_when_to_try_again() -> None:
    with in_front_of(*free_ports(1)) as url:
        reply = infer(url)
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"
        assert "no replica" in reply.json()["error"]


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """A server that sends this to whoever sends something, and hangs up; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_ends_in_the_middle_is_an_error_in_json() -> None:
    with answering(b"") as port, in_front_of(port) as url:
        reply = infer(url)
        assert (reply.status_code, list(reply.json())) == (502, ["error"])
