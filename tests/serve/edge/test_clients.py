"""What routers hear of clients, and what clients cannot say of themselves, by a real HAProxy."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from anabranch.router.http.headers import CLIENT_ADDRESS, CLIENT_NAME
from anabranch.serve.edge.routes import FRONT, GATEWAY
from tests.certificates import Authority, client
from tests.serve.edge import http2
from tests.serve.edge.routers import FakeRouter
from tests.serve.edge.servers import (
    Connection,
    Server,
    edge,
    needs_haproxy,
    read_head,
    refusals,
    request,
    route,
    shut,
)
from tests.serve.edge.tls.sites import Secured, secured

pytestmark = needs_haproxy
FORGED = [
    ("anabranch-client-name", "root"),
    ("anabranch-client-address", "10.0.0.1"),
    ("anabranch-anything", "1"),
]
CALL = http2.framed(b"\x0a\x01a")
"""A call of ModelInfer for the graph ``a``."""


class Heads(Server):
    """Keeps the headers of requests."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.heads: list[dict[str, str]] = []

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        _, headers = await read_head(reader)
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.heads.append(headers)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
        await writer.drain()

    def told(self) -> dict[str, str]:
        """The headers of the edge in the last request."""
        return {name: one for name, one in self.heads[-1].items() if name.startswith("anabranch-")}


class Calls(FakeRouter):
    """Keeps the headers of calls."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.heads: list[dict[str, str]] = []

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        text = await reader.readuntil(b"\r\n\r\n")
        again = StreamReader()
        again.feed_data(text)
        self.heads.append((await read_head(again))[1])
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
        message = http2.framed(self.name.encode())
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
        writer.write(
            head
            + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\ngrpc-status: 0\r\n\r\n"
            % (len(message), message)
        )
        await writer.drain()

    told = Heads.told


@asynccontextmanager
async def spoken(port: int, context: ssl.SSLContext | None) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield Connection(reader, writer)
    finally:
        await shut(writer)


@asynccontextmanager
async def called(port: int, context: ssl.SSLContext | None) -> AsyncIterator[http2.Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield http2.Connection(reader, writer)
    finally:
        await shut(writer)


def test_no_client_says_who_it_is() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Heads(site.folder, "gw") as gateway,
            Heads(site.folder, "r") as router,
            Calls(site.folder, "c") as calls,
        ):
            await site.proxy.apply(
                {GATEWAY: route(gateway), "demo": route(router), "a": route(calls)}
            )
            headers = [f"{name.title()}: {value}" for name, value in FORGED]
            async with spoken(site.port, None) as one:
                for path, server in {"/v2/models/demo/infer": router, "/x": gateway}.items():
                    reply = await one.talk(request(path, "POST", b"{}", *headers))
                    assert reply.status == 200
                    assert server.told() == {CLIENT_ADDRESS: "127.0.0.1"}
            async with called(site.grpc, None) as two:
                assert (await two.call(CALL, *FORGED)).code == 0
            assert calls.told() == {CLIENT_ADDRESS: "127.0.0.1"}

    asyncio.run(main())


class Noted(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Has no method; keeps what it is told of calls."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []

    def service(self, details: grpc.HandlerCallDetails) -> None:
        self.heads.append(dict(details.invocation_metadata))

    told = Heads.told


def test_the_front_is_told_likewise() -> None:
    async def main() -> None:
        async with edge() as site:
            noted = Noted()
            front = grpc.aio.server(handlers=[noted])
            front.add_insecure_port(f"unix:{site.folder / 'f.sock'}")
            await front.start()
            await site.proxy.apply({FRONT: route(Server(site.folder, "f"))})
            async with called(site.grpc, None) as one:
                assert (await one.call(CALL, *FORGED)).code == 12
            await front.stop(0)
            assert noted.told() == {CLIENT_ADDRESS: "127.0.0.1"}

    asyncio.run(main())


async def told_of(at: Secured, own: Authority | None, name: str | None) -> dict[str, str]:
    """What routers are told over HTTP and over gRPC of a client with a certificate, or without."""
    found = []
    files = None if own is None else own.issue(name, file="client")
    async with Heads(at.site.folder, "r") as router, Calls(at.site.folder, "c") as calls:
        await at.site.proxy.apply({"demo": route(router), "a": route(calls)})
        async with spoken(at.site.port, client(at.authority, files)) as one:
            reply = await one.talk(request("/v2/models/demo/infer"))
            assert reply.status == 200, reply
        found.append(router.told())
        async with called(at.site.grpc, client(at.authority, files, "h2")) as two:
            assert (await two.call(CALL, *FORGED)).code == 0
        found.append(calls.told())
    assert found[0] == found[1]
    return found[0]


def test_the_name_in_a_certificate_is_passed_on(tmp_path: Path) -> None:
    async def main() -> None:
        clients = Authority(tmp_path, "clients")
        async with secured(tmp_path, client_ca=clients) as at:
            assert await told_of(at, None, None) == {CLIENT_ADDRESS: "127.0.0.1"}
            name = 'Ann, of "Sales" <ann@example.com>; 100%'
            assert await told_of(at, clients, name) == {
                CLIENT_ADDRESS: "127.0.0.1",
                CLIENT_NAME: name,
            }

    asyncio.run(main())


@pytest.mark.parametrize("name", [None, "Zoë", "tab\there", " ann", "ann ", "ann\r\nx: y"])
def test_a_certificate_without_a_name_to_pass_on(tmp_path: Path, name: str | None) -> None:
    async def main() -> None:
        clients = Authority(tmp_path, "clients")
        async with secured(tmp_path, client_ca=clients) as at:
            files = clients.issue(name, file="client")
            async with spoken(at.site.port, client(at.authority, files)) as one:
                reply = await one.talk(request("/v2/models/demo/infer"))
                assert reply.status == 403
                assert "common name" in reply.document["error"]
            async with called(at.site.grpc, client(at.authority, files, "h2")) as two:
                answer = await two.call(CALL)
                assert answer.code == 7
                assert "common name" in answer.details
            assert await refusals(at.site) == {("http", "forbidden"): 1, ("grpc", "forbidden"): 1}

    asyncio.run(main())


def test_a_certificate_of_another_authority(tmp_path: Path) -> None:
    async def main() -> None:
        clients, others = Authority(tmp_path, "clients"), Authority(tmp_path, "others")
        async with secured(tmp_path, client_ca=clients) as at:
            files = others.issue("ann", file="client")
            for port, alpn in ((at.site.port, "http/1.1"), (at.site.grpc, "h2")):
                with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                    async with spoken(port, client(at.authority, files, alpn)) as one:
                        await one.talk(request("/"))

    asyncio.run(main())


def test_without_a_client_ca_a_certificate_says_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        clients = Authority(tmp_path, "clients")
        async with secured(tmp_path) as at:
            assert await told_of(at, clients, "ann") == {CLIENT_ADDRESS: "127.0.0.1"}

    asyncio.run(main())


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_outlives_the_client_ca_that_it_began_with(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async def main() -> None:
        clients, others = Authority(tmp_path, "clients"), Authority(tmp_path, "others")
        async with secured(tmp_path, client_ca=clients) as at:
            context = client(at.authority, clients.issue("ann", file="client"))
            context.maximum_version = version
            session, _ = await asyncio.to_thread(at.talk, context, None)
            _, is_resumed = await asyncio.to_thread(at.talk, context, session)
            assert not is_resumed
            assert at.files.client_ca is not None
            at.files.client_ca.write_text(others.file.read_text())
            await at.until_taken()
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await asyncio.to_thread(at.talk, context, session)

    asyncio.run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_that_know_no_client_are_resumed(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            context = client(at.authority)
            context.maximum_version = version
            session, _ = await asyncio.to_thread(at.talk, context, None)
            _, is_resumed = await asyncio.to_thread(at.talk, context, session)
            assert is_resumed

    asyncio.run(main())
