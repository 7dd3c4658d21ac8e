"""The lean server on real sockets, and beside uvicorn."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.router.between_nodes import client_tls, server_tls
from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.headers import CLIENT_NAME
from anabranch.router.http.listening import MANY_HANDLES, LeanServer
from anabranch.router.http.request import HttpRequest
from anabranch.router.limits import RequestLimits
from tests.examples import examples
from tests.nodes import EngineCertificates
from tests.router.conftest import BODY, SERVERS, make_arms
from tests.router.http.test_lean import BAD
from tests.router.http.wire import RULE, Echo, Reply, ask, replies
from tests.waiting import eventually

GRAPH = "/v2/models/demo"
PATHS = [
    "/infer",
    "/infer/",
    "",
    "/ready",
    "/nowhere",
    "/versions/3/infer",
    "/versions/9",
    "/%69nfer",
]
JSON = json.dumps(BODY).encode()
BODIES = [JSON, b"", b"{}", b"[" * 99, b"\xff", JSON.replace(b"FP32", b"FP99"), b"x" * 5000]


@st.composite
def good(draw: st.DrawFn, **more: str) -> bytes:
    """A request that both servers read, whatever the application says to it."""
    method = draw(st.sampled_from(["POST", "GET", "PUT", "DELETE", "OPTIONS"]))
    path = GRAPH + draw(st.sampled_from(PATHS)) + draw(st.sampled_from(["", "?", "?a=b&c=%20"]))
    body = draw(st.sampled_from(BODIES))
    headers = draw(
        st.dictionaries(
            st.sampled_from(["x-one", "X-Two", "accept-encoding", "traceparent", "cookie"]),
            st.text("abc=;, é", max_size=9).map(str.strip),
        )
    )
    return ask(path, body, method, **headers, **more)


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, tuple[str, int]]]:
    """Where each server serves the same application."""
    with ExitStack() as stack:
        found = {}
        for name, serving in SERVERS.items():
            app = GraphApp(make_arms(limits=RequestLimits(max_body=4000)))
            at = urlsplit(stack.enter_context(serving(app)))
            found[name] = str(at.hostname), int(at.port or 0)
        yield found


def exchange(address: tuple[str, int], data: bytes) -> list[Reply]:
    """The replies on a connection of its own, until the server ends it."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(data)
        return replies(b"".join(iter(lambda: connection.recv(2**16), b"")))


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(good(), max_size=3), good(connection="close"))
def test_both_servers_give_the_same_replies(
    addresses: dict[str, tuple[str, int]], requests: list[bytes], last: bytes
) -> None:
    data = b"".join([*requests, last])
    lean, other = (exchange(addresses[name], data) for name in ("lean", "uvicorn"))
    assert lean == other
    assert len(lean) == len(requests) + 1


@pytest.mark.parametrize("case", sorted(BAD))
def test_both_servers_refuse_what_is_malformed(
    addresses: dict[str, tuple[str, int]], case: str
) -> None:
    (reply,) = exchange(addresses["lean"], BAD[case])
    assert reply.status == 400
    if case not in ("a version to come", "a version long gone", "chunks in HTTP/1.0"):
        assert [one.status for one in exchange(addresses["uvicorn"], BAD[case])] == [400]


def test_a_large_refused_head_can_be_read(addresses: dict[str, tuple[str, int]]) -> None:
    data = ask("/", **{f"x-{number}": "a" * 1000 for number in range(1000)})
    with socket.create_connection(addresses["lean"], timeout=30) as connection:
        connection.sendall(data)
        (reply,) = replies(connection.recv(2**16))
        assert reply.status == 431
        assert connection.recv(1) == b""


def test_large_bodies_both_ways() -> None:
    async def double(request: HttpRequest) -> Any:
        body = await request.body(RULE)
        return json_reply(None)._replace(body=body * 2)

    size = 20 * 2**20
    with SERVERS["lean"](HttpApp(double)) as url:
        at = urlsplit(url)
        address = str(at.hostname), int(at.port or 0)
        (reply,) = exchange(address, ask("/", b"x" * size, connection="close"))
    assert len(reply.body) == 2 * size


class Clients:
    """Clients that ask one after the other until nobody listens, some on connections they keep."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.answered = 0
        self.cut = 0
        """Replies that began and did not end."""
        self.tasks = [asyncio.create_task(self._ask(bool(n % 2))) for n in range(16)]

    async def _ask(self, keeps: bool) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except (ConnectionError, FileNotFoundError):
                return
            try:
                while await self._once(reader, writer) and keeps:
                    pass
            finally:
                writer.close()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask once; whether the connection may be used again."""
        try:
            writer.write(ask("/wait", b"x" * 100))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            self.cut += bool(error.partial)
            return False
        except ConnectionError:
            return False
        self.answered += 1
        return b"connection: close" not in head


@pytest.mark.parametrize("pause", [0.0, 0.005])
def test_a_close_under_load_answers_each_request_that_began(tmp_path: Path, pause: float) -> None:
    begun = 0

    async def answer(request: HttpRequest) -> Any:
        nonlocal begun
        body = await request.body(RULE)
        begun += 1
        if pause:
            await asyncio.sleep(pause)
        return json_reply(len(body))

    async def main() -> None:
        path = str(tmp_path / "s")
        server = LeanServer(HttpApp(answer))
        await server.listen(bound(path))
        clients = Clients(path)
        await eventually(lambda: clients.answered >= 200)
        await server.close(30)
        assert server.under_way == 0
        async with asyncio.timeout(30):
            await asyncio.gather(*clients.tasks)
        assert (clients.cut, clients.answered) == (0, begun)

    uvloop.run(main())


def bound(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    return sock


def test_requests_that_outlast_the_close_are_given_up(tmp_path: Path) -> None:
    ended: list[BaseException] = []

    async def hang(request: HttpRequest) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ended.append(error)
            raise

    async def main() -> None:
        path = str(tmp_path / "s")
        server = LeanServer(HttpApp(hang))
        await server.listen(bound(path))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(ask())
        await eventually(lambda: server.under_way)
        await server.close(0.01)
        assert (server.under_way, len(ended)) == (0, 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    uvloop.run(main())


def test_one_server_listens_on_several_sockets(tmp_path: Path) -> None:
    async def answer(request: HttpRequest) -> Any:
        return json_reply(request.scope["path"])

    async def main() -> None:
        server = LeanServer(HttpApp(answer))
        tcp = socket.create_server(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        await server.listen(tcp)
        await server.listen(bound(str(tmp_path / "s")))
        for opening in (
            asyncio.open_unix_connection(str(tmp_path / "s")),
            asyncio.open_connection("127.0.0.1", port),
        ):
            reader, writer = await opening
            writer.write(ask("/a", connection="close"))
            (reply,) = replies(await reader.read())
            assert reply.json() == "/a"
            writer.close()
        await server.close(5)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)

    uvloop.run(main())


def test_many_connections_are_accepted_at_a_time() -> None:
    """In few turns of the loop, of which each may take long; and none once it has closed."""
    count = 64

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=count)
        address = listener.getsockname()
        server = LeanServer(GraphApp(make_arms()), MANY_HANDLES)
        await server.listen(listener)
        with ExitStack() as clients:
            for _ in range(count):
                clients.enter_context(socket.create_connection(address))
            turns = 0
            while len(server._connections) < count:
                await asyncio.sleep(0)
                turns += 1
            assert turns <= count / 4
        await server.close(5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    uvloop.run(main())


@pytest.mark.parametrize("is_unix", [True, False])
def test_who_the_client_is_comes_by_unix_sockets_only(tmp_path: Path, is_unix: bool) -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        path = tmp_path / "lean.sock"
        sock = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        sock.bind(str(path) if is_unix else ("127.0.0.1", 0))
        await server.listen(sock)
        if is_unix:
            reader, writer = await asyncio.open_unix_connection(path)
        else:
            reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(ask("/", **{CLIENT_NAME: "ann"}))
        data = await reader.readuntil(b"]")
        writer.close()
        assert (CLIENT_NAME.encode() in data) is is_unix
        await server.close(0)

    asyncio.run(main())


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_nodes_of_the_engine_are_believed_and_others_are_not_served(
    loop: Any, certificates: EngineCertificates
) -> None:
    async def main() -> None:
        server = LeanServer(Echo().app, handles=2)
        sock = socket.create_server(("127.0.0.1", 0))
        host, port = sock.getsockname()
        await server.listen(sock, server_tls())
        try:
            async with asyncio.timeout(60):
                await asked(host, port)
        finally:
            await server.close(0)

    async def asked(host: str, port: int) -> None:
        tls = client_tls()
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname="node.anabranch"
        )
        for _ in range(2):
            writer.write(ask("/", b"x" * 2**20, **{CLIENT_NAME: "ann"}))
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert [CLIENT_NAME, "ann"] in json.loads(await reader.readexactly(size))[3]
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400")
        writer.close()
        certificates.use("other")
        for foreign in (client_tls(), None):
            name = None if foreign is None else "node.anabranch"
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=foreign, server_hostname=name
                )
                writer.write(ask("/"))
                assert await reader.read() == b""
            writer.close()

    loop(main())
