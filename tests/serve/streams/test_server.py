"""Servers: how they end, and whom they talk to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest

from anabranch.serve.sockets import tcp_listener
from anabranch.serve.streams import frames, session
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.frames import PREFIX, frame
from anabranch.serve.streams.greeting import Challenge, decoded, encoded, prove
from anabranch.serve.streams.lost import CallLost
from anabranch.serve.streams.messages import credit, message
from anabranch.serve.streams.server import CallServer
from tests.serve.streams.ends import (
    NAME,
    SECRET,
    Methods,
    linked,
    raw_peer,
    run,
    serving,
    socket_path,
)
from tests.waiting import eventually

CALL = message(frames.CALL, 1, "wait", (), 999)


def test_close_finishes_the_calls_that_are_under_way() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            waiting = [asyncio.ensure_future(link.call("wait", n)) for n in range(9)]
            await eventually(lambda: methods.begun == 9)
            closing = asyncio.ensure_future(server.close(50))
            await eventually(lambda: link.going_away)
            with pytest.raises(CallLost, match="going away") as raised:
                await link.call("echo")
            assert not raised.value.may_have_run
            assert not closing.done()
            methods.go.set()
            assert await asyncio.gather(*waiting) == list(range(9))
            await closing
            assert link.closed
            assert methods.cancelled == 0

    run(main())


def test_close_cancels_the_calls_that_take_too_long() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            call = asyncio.ensure_future(link.call("wait"))
            await eventually(lambda: methods.begun)
            await server.close(0.01)
            assert (server.under_way, methods.cancelled) == (0, 1)
            with pytest.raises(CallLost) as raised:
                await call
            assert raised.value.may_have_run

    run(main())


def test_close_under_load_loses_no_call() -> None:
    """Each call is answered, or was not begun and may go elsewhere."""

    async def main() -> None:
        ran = 0

        async def work(number: int) -> int:
            nonlocal ran
            ran += 1
            if number % 2:
                await asyncio.sleep(0)
            return number

        server = Methods().server(work=work)
        async with serving(server) as address:
            links = [await connect(address, NAME, SECRET) for _ in range(4)]
            answered = refused = 0

            async def caller(number: int) -> None:
                nonlocal answered, refused
                link = links[number % 4]
                while True:
                    try:
                        assert await link.call("work", number) == number
                    except CallLost as error:
                        assert not error.may_have_run
                        refused += 1
                        return
                    answered += 1

            callers = [asyncio.ensure_future(caller(number)) for number in range(40)]
            await eventually(lambda: answered > 500)
            await server.close(50)
            await asyncio.gather(*callers)
            assert (refused, ran) == (40, answered)

    run(main())


def test_a_call_that_crosses_with_going_away_is_refused() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with serving(server) as address, AsyncExitStack() as stack:
            peer = await (await stack.enter_async_context(raw_peer(address))).greet()
            closing = asyncio.ensure_future(server.close(50))
            assert (await peer.read())[0] == frames.GOING_AWAY
            peer.send(CALL)
            kind, call, _ = await peer.read()
            assert (kind, call, methods.begun) == (frames.REFUSED, 1, 0)
            peer.writer.close()
            await closing

    run(main())


def test_calls_of_a_peer_that_vanishes_are_cancelled() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with serving(server) as address, AsyncExitStack() as stack:
            peer = await (await stack.enter_async_context(raw_peer(address))).greet()
            peer.send(CALL)
            peer.send(message(frames.CALL, 2, "echo", (np.zeros(2**20),), 2**30)[:1])
            await eventually(lambda: methods.begun)
            peer.writer.transport.abort()
            await eventually(lambda: methods.cancelled and not server.under_way)

    run(main())


BAD = {
    "noise": [b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"],
    "a kind that replicas send": frame(frames.ANSWER, 1),
    "an unknown kind": frame(99, 1),
    "a second greeting": frame(frames.PROOF, 0),
    "no message": frame(frames.CALL, 1, b"\xc1"),
    "a list that is too long": frame(frames.CALL, 1, b"\xdd\xff\xff\xff\xff"),
    "lists in lists": frame(frames.CALL, 1, b"\x91" * 900),
    "three values": frame(frames.CALL, 1, b"\x93\x01\x02\x03"),
    "no method": message(frames.CALL, 1, 5, (), 999),
    "no arguments": message(frames.CALL, 1, "wait", None, 999),
    "a number twice": [*CALL, *CALL],
    "an unknown tag": frame(frames.CALL, 1, b"\x92\xa4wait\x91\x63"),
    "no credit": frame(frames.CREDIT, 1),
    "credit below 1": credit(1, 0, frames.CREDIT),
    "too much credit": credit(1, 2**40, frames.CREDIT),
    "credit of the next stream": [
        *message(frames.STREAM, 1, "count", (9**9,), 999),
        *credit(1, 4, frames.CREDIT),
    ],
    "too long": [PREFIX.pack(2**40, 9, frames.CALL, 1)],
    "a header that is longer than its body": [PREFIX.pack(9, 99, frames.CALL, 1)],
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_peer_that_breaks_the_rules_is_cut_off(
    bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link, AsyncExitStack() as stack:
            (ours,) = server._sessions
            address = ours._transport.get_extra_info("sockname")  # type: ignore[union-attr]
            peer = await (await stack.enter_async_context(raw_peer(address))).greet()
            peer.send(bad)
            assert await peer.is_cut_off()
            assert await link.call("echo", 1) == [1]
            await eventually(lambda: server.under_way == 0 and len(server._sessions) == 1)

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "a connection ends: " in caplog.text


ARRAYS = {
    "objects": ["O", 0, 1],
    "objects by another name": ["|O8", 0, 1],
    "a record": ["i4,f4", 0, 1],
    "nothing known": ["f4; import os", 0, 1],
    "more than there is": ["FP32", 0, 3],
    "before the start": ["FP32", -64, 1],
    "not aligned": ["FP32", 4, 1],
    "behind the end": ["FP32", 64, 1],
    "a negative shape": ["FP32", 0, -1],
    "a huge shape": ["FP32", 0, 2**62, 2**62],
    "no shape": ["FP32", 0, "x"],
    "no place": ["FP32", None, 1],
    "no name": [None, 0, 1],
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_no_array_is_made_of_memory_that_is_not_its_own(array: list[Any]) -> None:
    import msgspec

    async def main() -> None:
        server = Methods().server()
        async with serving(server) as address, AsyncExitStack() as stack:
            peer = await (await stack.enter_async_context(raw_peer(address))).greet()
            parts = frames.Parts()
            parts.add(bytes(8))
            header = msgspec.msgpack.encode(["echo", [1, [5, *array]]])
            peer.send(frame(frames.CALL, 1, header, parts))
            assert await peer.is_cut_off()

    run(main())


@pytest.mark.parametrize("secret", [b"another", b""])
def test_a_caller_without_the_secret_is_cut_off(
    secret: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(Methods().server()) as address:
            with pytest.raises(CallLost, match="before it knew the caller") as raised:
                await connect(address, NAME, secret)
            assert not raised.value.may_have_run

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "the peer does not know the secret" in caplog.text


def test_a_greeting_cannot_be_used_twice() -> None:
    async def main() -> None:
        async with serving(Methods().server()) as address, AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(raw_peer(address)) for _ in range(2)]
            _, _, header = await first.read()
            proof = prove(decoded(memoryview(header), Challenge), SECRET, 2**30)
            second.send(frame(frames.PROOF, 0, encoded(proof)))
            assert await second.is_cut_off()

    run(main())


def test_a_call_before_the_greeting_is_not_heard() -> None:
    async def main() -> None:
        methods = Methods()
        async with serving(methods.server()) as address, AsyncExitStack() as stack:
            peer = await stack.enter_async_context(raw_peer(address))
            peer.send(CALL)
            assert await peer.is_cut_off()
            large = await stack.enter_async_context(raw_peer(address))
            large.send([PREFIX.pack(2**20, 9, frames.PROOF, 1)])
            assert await large.is_cut_off()
            assert methods.begun == 0

    run(main())


def test_a_peer_that_never_greets_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GREETING_S", 0.01)

    async def main() -> None:
        async with serving(Methods().server()) as address, AsyncExitStack() as stack:
            peer = await stack.enter_async_context(raw_peer(address))
            assert await peer.is_cut_off()

    run(main())


def test_a_caller_that_reads_nothing_is_not_read_from_either() -> None:
    async def main() -> None:
        made = 0

        async def make() -> Any:
            nonlocal made
            made += 1
            return np.zeros(2**20, np.uint8)

        server = Methods().server(make=make)
        async with serving(server) as address, AsyncExitStack() as stack:
            peer = await (await stack.enter_async_context(raw_peer(address))).greet()
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            (ours,) = server._sessions
            for sent in range(1, 20):
                peer.send(message(frames.CALL, sent, "make", (), 999))
                await eventually(lambda sent=sent: made == sent or not ours._writable.is_set())
                if not ours._writable.is_set():
                    break
            assert not ours._transport.is_reading()  # type: ignore[union-attr]
            for number in range(sent + 1, sent + 6):
                peer.send(message(frames.CALL, number, "make", (), 999))
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(sent + 5):
                assert (await peer.read())[0] == frames.ANSWER
            assert made == sent + 5

    run(main())


def test_a_stream_to_a_caller_that_reads_nothing_waits() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with serving(server) as address, AsyncExitStack() as stack:
            peer = await (await stack.enter_async_context(raw_peer(address))).greet()
            peer.send(message(frames.STREAM, 1, "count", (10**9,), 999))
            for _ in range(4):
                assert (await peer.read())[0] == frames.PIECE
            peer.send(message(frames.CALL, 2, "echo", (), 999))
            assert (await peer.read())[:2] == (frames.ANSWER, 2)
            assert methods.made == 4
            peer.send(credit(1, 1, frames.CREDIT))
            assert (await peer.read())[0] == frames.PIECE
            peer.send(frame(frames.CANCEL, 1))
            await eventually(lambda: methods.ended == 1 and server.under_way == 0)

    run(main())


CHILD = """
import asyncio, sys, uvloop
from anabranch.serve.sockets import unix_listener
from anabranch.serve.streams.server import CallServer
from pathlib import Path

async def work(x):
    return x

async def wait():
    await asyncio.Event().wait()

async def main():
    server = CallServer({"work": work, "wait": wait}, {}, sys.argv[2].encode())
    await server.listen(unix_listener(Path(sys.argv[1])))
    print("listens", flush=True)
    await asyncio.Event().wait()

uvloop.run(main())
"""


def test_a_replica_that_is_killed_amid_frames_loses_its_calls_only() -> None:
    async def main() -> None:
        with socket_path() as path:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CHILD, str(path), SECRET.decode()),
                stdout=asyncio.subprocess.PIPE,
            )
            assert child.stdout is not None
            assert await child.stdout.readline() == b"listens\n"
            link = await connect(f"unix@{path}", NAME, SECRET)
            large = np.arange(2**21)
            assert (await link.call("work", large))[-1] == 2**21 - 1
            calls = [asyncio.ensure_future(link.call("work", large)) for _ in range(8)]
            calls.append(asyncio.ensure_future(link.call("wait")))
            await calls[0]
            os.kill(child.pid, signal.SIGKILL)
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(found[-1], CallLost)
            assert all(isinstance(one, CallLost | np.ndarray) for one in found)
            with pytest.raises(CallLost) as raised:
                await connect(f"unix@{path}", NAME, SECRET)
            assert not raised.value.may_have_run
            await child.wait()

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_calls_over_tcp(host: str) -> None:
    async def main() -> None:
        try:
            listener = tcp_listener(host)
        except OSError:
            pytest.skip("no IPv6 here")
        port = listener.getsockname()[1]
        server = Methods().server()
        await server.listen(listener)
        link = await connect(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", NAME, SECRET)
        large = np.arange(2**20)
        (found,) = await link.call("echo", large)
        assert np.array_equal(found, large)
        (ours,) = server._sessions
        for end in (ours, link):
            tuned = end._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert tuned.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert tuned.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        link.close()
        await server.close(1)

    run(main())


def test_a_server_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="need a secret"):
        CallServer({}, {}, b"")
