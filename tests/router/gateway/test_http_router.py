"""Answers as routers give them: whole, in pieces, broken off, and never begun."""

from __future__ import annotations

import asyncio
import gzip
import logging

import httpx
import pytest

from anabranch.router.gateway.forwarded_body import AT_HAND
from tests.nodes import EngineCertificates
from tests.router.gateway.scripted import (
    INFER,
    Asked,
    HeldBytes,
    Peer,
    ScriptedRouter,
    come,
    head,
    message,
    ok,
    routed,
    run,
    under_way,
)
from tests.waiting import eventually


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_request_and_its_answer_pass_as_they_are(kind: str) -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reply(b"\x00\xffanswer", "418 I'm a teapot", "x-more: 1", "X-More: 2")

    async def main() -> None:
        async with routed(script, script) as (control, client, routers):
            one = routers[kind == "tcp"]
            await control.know(demo=(one.address,))
            target = f"{INFER}/a%2Fb%20c;d=%C3%A4/../x?q=1&q=%26&empty"
            request = client.http.build_request("PUT", INFER, content=b"\xff\x00body")
            request.headers["x-request-id"] = "id-7"
            request.extensions["target"] = target.encode()
            reply = await client.http.send(request)
            (asked,) = one.asked
            assert (asked.method, asked.target, asked.body) == ("PUT", target, b"\xff\x00body")
            assert asked.values("x-request-id") == ["id-7"]
            assert asked.values("host") == [request.headers["host"]]
            assert asked.values("content-length") == ["6"]
            assert (reply.status_code, reply.content) == (418, b"\x00\xffanswer")
            assert reply.headers.get_list("x-more") == ["1", "2"]
            assert reply.headers.get_list("x-request-id") == ["id-7"]
            assert reply.headers["content-length"] == "8"

    run(main())


@pytest.mark.parametrize("accept", ["gzip", "identity"])
def test_an_answer_stays_in_its_coding(accept: str) -> None:
    packed = gzip.compress(b"long answer " * 1000)

    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reply(packed, "200 OK", "content-encoding: gzip", "vary: accept-encoding")

    async def main() -> None:
        async with routed(script) as (_, client, routers):
            asking = head("GET", f"Accept-Encoding: {accept}", "Connection: close")
            found = await client.raw(asking)
            assert found.endswith(b"\r\n\r\n" + packed)
            assert found.lower().count(b"vary") == 1
            assert routers[0].asked[0].values("accept-encoding") == [accept]

    run(main())


def test_a_long_answer_that_a_router_did_not_pack_is_not_packed_here() -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, _routers):
            reply = await client.post(b"x" * 5000, headers={"accept-encoding": "gzip"})
            assert "content-encoding" not in reply.headers
            assert reply.headers["content-length"] == "5000"

    run(main())


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", ["200 OK", "content-length: 1234"]),
        ("HEAD", ["200 OK", "transfer-encoding: chunked"]),
        ("GET", ["204 No Content"]),
        ("GET", ["304 Not Modified", "etag: x"]),
        ("POST", ["200 OK", "content-length: 0"]),
    ],
)
def test_answers_without_a_body(method: str, head: list[str]) -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        peer.write("\r\n".join([f"HTTP/1.1 {head[0]}", *head[1:], "", ""]).encode())

    async def main() -> None:
        async with routed(script) as (_, client, routers):
            for _ in range(2):
                reply = await client.http.request(method, INFER)
                assert (reply.status_code, reply.content) == (int(head[0][:3]), b"")
            if "1234" in head[-1]:
                assert reply.headers["content-length"] == "1234"
            assert routers[0].connections == 1

    run(main())


def test_events_pass_one_by_one() -> None:
    go = asyncio.Event()

    async def script(asked: Asked, peer: Peer) -> None:
        peer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\n"
            b"transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
        )
        await go.wait()
        peer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async def main() -> None:
        async with (
            routed(script) as (_, client, _routers),
            client.http.stream("POST", INFER, content=b"{}") as reply,
        ):
            assert reply.headers["content-type"] == "text/event-stream"
            assert reply.headers["x-accel-buffering"] == "no"
            events = reply.aiter_raw()
            async with asyncio.timeout(60):
                assert await anext(events) == b"data: 1\n\n"
            go.set()
            assert [piece async for piece in events] == [b"data: 2\n\n"]

    run(main())


def test_cookies_are_not_kept_nor_redirects_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reply(b"", "307 Temporary Redirect", "location: /x", "set-cookie: a=b")

    async def main() -> None:
        async with routed(script, script) as (_, client, routers):
            for _ in range(4):
                client.http.cookies.clear()
                reply = await client.post()
                assert (reply.status_code, reply.headers["location"]) == (307, "/x")
                assert reply.headers["set-cookie"] == "a=b"
            for one in routers:
                assert [asked.values("cookie") for asked in one.asked] == [[], []]

    run(main())


@pytest.mark.parametrize("is_large", [False, True])
def test_a_client_that_leaves_ends_its_request_at_the_router(is_large: bool) -> None:
    held = HeldBytes()

    async def main() -> None:
        async with routed(held) as (_, client, routers):
            peer = await client.connect()
            size = 4 * AT_HAND if is_large else 2
            peer.write(head("POST", f"content-length: {size}"))
            peer.write(b"x" * size)
            await come(held.come)
            peer.die()
            await come(held.gone)
            assert len(routers[0].asked) == 1
            await eventually(lambda: not under_way(client))

    run(main())


def test_a_client_that_leaves_amid_events_ends_them() -> None:
    ended = asyncio.Semaphore(0)

    async def script(asked: Asked, peer: Peer) -> None:
        peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        await peer.until_closed()
        ended.release()

    async def main() -> None:
        async with routed(script) as (_, client, _routers):
            async with client.http.stream("POST", INFER, content=b"{}") as reply:
                assert await anext(reply.aiter_raw()) == b"data: 1\n\n"
            await come(ended)
            await eventually(lambda: not under_way(client))

    run(main())


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"SMTP says hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_never_begins_is_an_error(start: bytes) -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        peer.write(start)
        await peer.writer.drain()
        peer.writer.write_eof()
        await peer.until_closed()

    async def main() -> None:
        async with routed(script) as (_, client, routers):
            told = message(await client.post(), 503)
            assert told == "the router ended before it answered; try again"
            assert len(routers[0].asked) == 1

    run(main())


@pytest.mark.parametrize("head", ["content-length: 1000000", "transfer-encoding: chunked"])
def test_an_answer_that_is_broken_off_never_looks_complete(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        peer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        peer.write(b"8\r\n12345678\r\n")
        await peer.writer.drain()
        await sent.wait()
        peer.writer.transport.abort()
        await peer.until_closed()

    sent = asyncio.Event()

    async def main() -> None:
        async with routed(script) as (_, client, routers):
            with pytest.raises(httpx.RemoteProtocolError):
                async with client.http.stream("GET", INFER) as reply:
                    async for _ in reply.aiter_raw():
                        sent.set()
            assert len(routers[0].asked) == 1

    with caplog.at_level(logging.CRITICAL):
        run(main())


def test_connections_are_kept() -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, routers):
            for _ in range(5):
                await client.post()
            assert routers[0].connections == 1

    run(main())


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reply(b"bye")
        peer.die()
        closed.release()
        await peer.until_closed()

    closed = asyncio.Semaphore(0)

    async def main() -> None:
        async with routed(script) as (_, client, routers):
            for _ in range(5):
                assert (await client.post()).text == "bye"
                await come(closed)
            assert routers[0].connections == 5

    run(main())


def test_routers_on_other_nodes_are_asked_with_the_engines_certificates_and_no_others_are(
    certificates: EngineCertificates,
) -> None:
    async def main() -> None:
        async with routed(ok, ok) as (control, client, (near, far)):
            await control.know(demo=(far.address,))
            for _ in range(2):
                assert (await client.post(b"body")).text == "body"
            assert far.connections == 1
            certificates.use("other")
            async with ScriptedRouter(ok) as foreign:
                certificates.use()
                await control.know(demo=(foreign.address, near.address))
                for _ in range(4):
                    assert (await client.post(b"body")).text == "body"
                assert not foreign.asked
                assert len(near.asked) == 4

    run(main())
