"""Bodies on their way to routers: large, slow, broken off and over the limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from anabranch.router.gateway import http_router
from anabranch.router.gateway.forwarded_body import AT_HAND
from anabranch.router.limits import RequestLimits
from tests.router.gateway.scripted import (
    LIMITS,
    MIB,
    Asked,
    Peer,
    come,
    head,
    message,
    ok,
    read_body,
    routed,
    run,
    under_way,
)
from tests.waiting import eventually


@pytest.mark.parametrize("is_chunked", [False, True])
def test_large_bodies_pass_both_ways(is_chunked: bool) -> None:
    size = 8 * MIB

    async def pieces() -> AsyncIterator[bytes]:
        for index in range(size // 50_000 + 1):
            yield bytes([index % 251]) * 50_000

    async def script(asked: Asked, peer: Peer) -> None:
        if is_chunked:
            peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            peer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(asked.body), asked.body))
        else:
            await peer.reply(asked.body)

    async def main() -> None:
        async with routed(script, script) as (control, client, routers):
            content = b"".join([piece async for piece in pieces()])
            for one in routers:
                await control.know(demo=(one.address,))
                reply = await client.post(pieces() if is_chunked else content)
                assert reply.content == content
                assert ("content-length" in reply.headers) is not is_chunked
                assert bool(one.asked[0].values("content-length")) is not is_chunked

    run(main())


def test_the_rest_of_a_large_body_is_read_as_the_router_takes_it() -> None:
    """Most of a body stays with its client while the router takes nothing."""
    go = asyncio.Event()

    async def script(asked: Asked, peer: Peer) -> None:
        await go.wait()
        await peer.reply(str(len(await read_body(asked, peer.reader))).encode())

    async def main() -> None:
        sent = 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 48 * MIB:
                sent += MIB
                yield b"x" * MIB

        async with routed(script, early=True) as (_, client, routers):
            answer = asyncio.create_task(client.post(pieces()))
            await eventually(lambda: bool(routers[0].asked))
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 32 * MIB
            go.set()
            assert (await answer).text == str(48 * MIB)

    run(main())


def test_a_client_is_told_to_continue() -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, _routers):
            peer = await client.connect()
            peer.write(
                head("POST", "content-length: 2", "expect: 100-continue", "connection: close")
            )
            async with asyncio.timeout(60):
                assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                peer.write(b"{}")
                assert (await peer.reader.read()).endswith(b"\r\n\r\n{}")
            peer.die()

    run(main())


def test_a_client_that_leaves_amid_its_body_ends_its_request_at_the_router() -> None:
    ended = asyncio.Semaphore(0)

    async def script(asked: Asked, peer: Peer) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await read_body(asked, peer.reader)
            raise AssertionError("the body is complete")
        ended.release()

    async def main() -> None:
        async with routed(script, early=True) as (_, client, routers):
            peer = await client.connect()
            peer.write(head("POST", f"content-length: {MIB}"))
            peer.write(b"x" * (MIB // 2))
            await eventually(lambda: bool(routers[0].asked))
            peer.die()
            await come(ended)
            await eventually(lambda: not under_way(client))

    run(main())


def test_a_router_that_dies_amid_the_body() -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reader.readexactly(AT_HAND)
        peer.die()
        await peer.until_closed()

    async def main() -> None:
        async with routed(script, early=True) as (_, client, routers):
            message(await client.post(b"x" * 16 * MIB), 503)
            assert len(routers[0].asked) == 1

    run(main())


def test_a_router_that_answers_before_it_has_the_body_is_heard() -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reply(b'{"error": "no"}', "413 Content Too Large", "connection: close")
        peer.writer.write_eof()
        await peer.until_closed()

    async def main() -> None:
        async with routed(script, early=True) as (_, client, _routers):
            assert message(await client.post(b"x" * 3 * MIB), 413) == "no"

    run(main())


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused(is_chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 50_000

    async def main() -> None:
        async with routed(ok, limits=LIMITS) as (_, client, routers):
            reply = await client.post(pieces() if is_chunked else b"x" * 200_001)
            assert message(reply, 413) == "the body is over the limit of 200000 bytes"
            assert routers[0].asked == []
            assert (await client.post(b"x" * 200_000)).status_code == 200

    run(main())


@pytest.mark.parametrize("sent", [0, 3, 100_000])
def test_a_body_that_does_not_come_is_not_waited_for(sent: int) -> None:
    limits = RequestLimits(body_timeout=0.3, body_grace=0.3)

    async def main() -> None:
        async with routed(ok, limits=limits) as (_, client, routers):
            peer = await client.connect()
            peer.write(head("POST", "content-length: 150000"))
            peer.write(b"x" * sent)
            async with asyncio.timeout(60):
                assert (await peer.reader.readline()).startswith(b"HTTP/1.1 408 ")
            peer.die()
            assert routers[0].asked == []
            await eventually(lambda: not under_way(client))

    run(main())


def test_what_bodies_hold_on_their_way_is_bounded_and_let_go() -> None:
    async def main() -> None:
        async with routed(ok, limits=RequestLimits(max_arriving=30_000)) as (_, client, _routers):
            message(await client.post(b"x" * 30_001), 503)
            assert client.forwarder._rule.arriving.held == 0
            assert (await client.post(b"x" * 30_000)).status_code == 200

    run(main())


def test_a_router_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(http_router._TIMES, "write", 0.2)

    async def script(asked: Asked, peer: Peer) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with routed(script, early=True) as (_, client, routers):
            message(await client.post(b"x" * 48 * MIB), 503)
            assert len(routers[0].asked) == 1
            assert not under_way(client)

    run(main())
