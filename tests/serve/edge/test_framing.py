"""Requests that two servers could read differently: refused, or framed as the edge reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import HttpRequest
from anabranch.serve.edge.routes import EdgeRoute
from anabranch.serve.sockets import unix_address, unix_listener
from tests.examples import examples
from tests.router.conftest import uvloop_running
from tests.router.http.wire import RULE
from tests.serve.edge.servers import Server, connection, edge, needs_haproxy, read_head, route

pytestmark = needs_haproxy
LINE = b"POST /v2/models/a/infer HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
HIDDEN = b"GET /v2/models/a/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Wire(Server):
    """Notes each request as it came: its head, and its body by the framing of RFC 9112, 6.3."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await read_head(reader)
        assert not {"transfer-encoding", "content-length"} <= headers.keys()
        self.seen.append(line)
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked"
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            while await reader.readline() != b"\r\n":
                pass
        else:
            await reader.readexactly(int(headers.get("content-length", 0)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


async def statuses(port: int, data: bytes) -> list[int]:
    """Send bytes, and read all answers until the edge closes the connection."""
    found = []
    async with connection(port) as client:
        client.writer.write(data)
        try:
            while True:
                found.append((await client.reply()).status)
        except (EOFError, OSError):
            return found


def outcome(data: bytes) -> tuple[list[int], list[str]]:
    async def main() -> tuple[list[int], list[str]]:
        async with edge() as site, Wire(site.folder, "r") as router:
            await site.proxy.apply({"a": route(router)})
            return await statuses(site.port, data), router.seen

    return asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [
        LINE + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello" + HIDDEN,
        LINE + b"content-length: 5, 6\r\n\r\nhello" + HIDDEN,
        LINE + b"content-length: +5\r\n\r\nhello" + HIDDEN,
        LINE + b"content-length: 5 5\r\n\r\nhello" + HIDDEN,
        LINE + b"content-length: -1\r\n\r\n" + HIDDEN,
        LINE + b"content-length: 0x5\r\n\r\nhello" + HIDDEN,
        LINE + b"content-length: \r\n\r\n" + HIDDEN,
        LINE + b"content-length : 5\r\n\r\nhello" + HIDDEN,
        LINE + b"content-length: 99999999999999999999\r\n\r\n" + HIDDEN,
        LINE + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
        LINE + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        LINE + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        LINE + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + HIDDEN,
        LINE + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        LINE + b" folded: first\r\n\r\n" + HIDDEN,
        LINE + CHUNKED + b"\r\nx\r\n0\r\n\r\n" + HIDDEN,
        LINE + CHUNKED + b"\r\n-1\r\n0\r\n\r\n" + HIDDEN,
        LINE + CHUNKED + b"\r\n0x1\r\na\r\n0\r\n\r\n" + HIDDEN,
        LINE + CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n" + HIDDEN,
        LINE + CHUNKED + b"\r\n10000000000000001\r\na\r\n0\r\n\r\n" + HIDDEN,
        LINE + b"host: y\r\n\r\n" + HIDDEN,
        LINE + b"a\0b: c\r\n\r\n" + HIDDEN,
        LINE + b"a: b\0c\r\n\r\n" + HIDDEN,
        LINE + b"a b: c\r\n\r\n" + HIDDEN,
        LINE + b": c\r\n\r\n" + HIDDEN,
        b"POST http://y/v2/models/a/infer HTTP/1.1\r\nhost: x\r\n\r\n" + HIDDEN,
        b"POST /v2/models/a/\xc3\xa4 HTTP/1.1\r\nhost: x\r\n\r\n" + HIDDEN,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    found, seen = outcome(data)
    assert found
    assert set(found) <= {400, 501}, seen
    assert not seen


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        # RFC 9112, 6.3: the chunks count, and the connection ends.
        (LINE + b"content-length: 4\r\n" + CHUNKED + b"\r\n1\r\na\r\n0\r\n\r\n" + HIDDEN, 1),
        (LINE + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello" + HIDDEN, 2),
        (LINE + b"content-length: 5, 5\r\n\r\nhello" + HIDDEN, 2),
        # RFC 9112, 5.2: a folded line is a blank to the next server.
        (LINE + b"a: b\r\n c: d\r\n\r\n" + HIDDEN, 2),
        # RFC 9112, 2.2: a bare LF may end a line, and is CRLF to the next server.
        (LINE.replace(b"\r", b"") + b"content-length: 5\n\nhello" + HIDDEN, 2),
        # RFC 9112, 7.1.1: unknown extensions are ignored.
        (LINE + CHUNKED + b"\r\n1;a=b;c\r\na\r\n0;d\r\ne: f\r\n\r\n" + HIDDEN, 2),
        (LINE + CHUNKED.upper() + b"\r\n1\r\na\r\n0\r\n\r\n" + HIDDEN, 2),
        (LINE + b"content-length: 2\r\n\r\n{}" + HIDDEN, 2),
        # Both reach the next server as HTTP/1.1 should be.
        (b"POST /v2/models/a/infer HTTP/2.0\r\nhost: x\r\n\r\n" + HIDDEN, 2),
        (b"POST  /v2/models/a/infer HTTP/1.1\r\nhost: x\r\n\r\n" + HIDDEN, 2),
    ],
)
def test_what_has_one_meaning_reaches_the_router_with_it(data: bytes, answers: int) -> None:
    found, seen = outcome(data)
    assert found == [200] * answers
    assert [line.split()[1] for line in seen] == [
        "/v2/models/a/infer",
        "/v2/models/a/ready",
    ][:answers]


class Router(NamedTuple):
    """A lean socket behind an edge; ``seen`` are the requests that have come as a whole there."""

    run: Callable[..., Any]
    port: int
    seen: list[Any]


@pytest.fixture(scope="module")
def behind() -> Iterator[Router]:
    seen: list[Any] = []

    async def answer(request: HttpRequest) -> Any:
        body = await request.body(RULE)
        seen.append([request.path, body.decode("latin-1")])
        return json_reply(seen[-1])

    with uvloop_running() as run:
        stack = AsyncExitStack()

        async def enter() -> Router:
            site = await stack.enter_async_context(edge())
            path = site.folder / "lean.sock"
            server = LeanServer(HttpApp(answer))
            await server.listen(unix_listener(path))
            stack.push_async_callback(server.close, 0)
            await site.proxy.apply({"a": EdgeRoute((unix_address(path),), False)})
            return Router(run, site.port, seen)

        try:
            yield run(enter())
        finally:
            run(stack.aclose())


FRAMING = [
    *[b"content-length: %d" % size for size in (0, 1, 5, 12, len(HIDDEN))],
    *[b"content-length: " + text for text in (b"+5", b"5, 5", b"5, 6", b"0x5", b"05", b"-1", b"")],
    *[b"transfer-encoding: " + text for text in (b"chunked", b"identity", b"gzip, chunked")],
    *(b"Transfer-Encoding:chunked", b"transfer-encoding:\tchunked", b"transfer-encoding : chunked"),
    *(b"transfer_encoding: chunked", b"content_length: 5", b"x: a\r\n transfer-encoding: chunked"),
    *(b"expect: 100-continue", b"connection: content-length", b"upgrade: h2c", b"host: y"),
]
PARTS = [
    *(
        b"hello",
        b"{}",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\nb: c\r\n\r\n",
    ),
    *(b"5\nhello\n0\n\n", b"05\r\nhello\r\n", b"5 \r\nhello\r\n", b"\r\n", b"%x\r\n" % len(HIDDEN)),
    HIDDEN.replace(b"connection: close\r\n", b""),
]
odd = st.builds(
    lambda lines, parts, end: end.join([LINE[:-2], *lines, b"", b""]) + b"".join(parts),
    st.lists(st.sampled_from(FRAMING), max_size=3),
    st.lists(st.sampled_from(PARTS), max_size=3),
    st.sampled_from([b"\r\n"] * 5 + [b"\n"]),
)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(odd, min_size=1, max_size=3))
def test_whatever_is_sent_a_router_sees_the_requests_that_the_edge_sees(
    behind: Router, messages: list[bytes]
) -> None:
    """A request that only the router saw would have an answer that the edge did not wait for."""

    async def answered() -> list[Any]:
        found = []
        async with connection(behind.port) as client:
            # What a body lacks is in the requests behind it, of which the last ends the connection.
            client.writer.write(b"".join(messages) + HIDDEN * 3)
            try:
                while True:
                    reply = await client.reply()
                    if reply.status == 200:
                        found.append(reply.document)
            except (EOFError, OSError):
                return found

    behind.seen.clear()
    assert behind.run(answered()) == behind.seen
