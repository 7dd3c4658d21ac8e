"""Connecting to replicas that are not there, or are something else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anabranch.serve.sockets import tcp_listener, unix_address, unix_listener
from anabranch.serve.streams import frames, greeting
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.frames import frame
from anabranch.serve.streams.greeting import Challenge, Welcome, encoded
from anabranch.serve.streams.lost import CallLost
from tests.serve.streams.ends import NAME, SECRET, Methods, run, serving, socket_path


async def refused(address: str, reason: str, timeout: float = 10) -> None:
    with pytest.raises(CallLost, match=f"segment 'forest' cannot answer now: {reason}") as raised:
        await connect(address, NAME, SECRET, timeout=timeout)
    assert not raised.value.may_have_run


def test_nobody_is_there() -> None:
    async def main() -> None:
        with socket_path() as path:
            await refused(unix_address(path), "it cannot be reached")
            unix_listener(path).close()
            await refused(unix_address(path), "it cannot be reached: .*refused")
        listener = tcp_listener("127.0.0.1")
        port = listener.getsockname()[1]
        listener.close()
        await refused(f"127.0.0.1:{port}", "it cannot be reached")

    run(main())


def test_somebody_who_says_nothing() -> None:
    async def main() -> None:
        with socket_path() as path, unix_listener(path):
            await refused(unix_address(path), "it cannot be reached: it does not answer", 0.05)

    run(main())


def test_cancelling_leaves_no_connection() -> None:
    async def main() -> None:
        with socket_path() as path, unix_listener(path) as listener:
            connecting = asyncio.ensure_future(connect(unix_address(path), NAME, SECRET))
            taken, _ = await asyncio.to_thread(listener.accept)
            connecting.cancel()
            await asyncio.wait([connecting])
            assert connecting.cancelled()
            with taken:
                assert await asyncio.to_thread(taken.recv, 1) == b""

    run(main())


IMPOSTORS = {
    "another protocol": [b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"],
    "another version": frame(frames.CHALLENGE, 0, encoded(Challenge(99, b"x" * 32))),
    "no challenge": frame(frames.WELCOME, 0, encoded(Welcome(b"x" * 32, 1, 1, 0))),
    "no secret": [
        *frame(frames.CHALLENGE, 0, encoded(Challenge(greeting.VERSION, b"x" * 32))),
        *frame(frames.WELCOME, 0, encoded(Welcome(b"x" * 32, 2**30, 99, 0))),
    ],
}


@pytest.mark.parametrize("sent", IMPOSTORS.values(), ids=IMPOSTORS)
def test_somebody_who_is_no_replica_of_ours(sent: Any) -> None:
    async def main() -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"".join(sent))
            writers.append(writer)

        writers: list[asyncio.StreamWriter] = []
        with socket_path() as path:
            server = await asyncio.start_unix_server(accept, path)
            await refused(unix_address(path), "it closed the connection")
            for writer in writers:
                writer.close()
            server.close()

    run(main())


def test_the_loop_need_not_be_uvloop() -> None:
    async def main() -> None:
        async with serving(Methods().server()) as address:
            link = await connect(address, NAME, SECRET)
            assert (await link.call("echo", 1, b"x" * 2**21))[0] == 1
            assert [one async for one in link.stream("count", 9)] == list(range(9))
            link.close()

    with asyncio.Runner() as runner:
        runner.run(asyncio.wait_for(main(), 20))
