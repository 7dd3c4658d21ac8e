"""Requests that two servers could read differently: refused, or framed as the edge reads them."""

from __future__ import annotations

import asyncio

import pytest

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
