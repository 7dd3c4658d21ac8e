"""Connecting to replicas that are not there, or are something else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest

from anabranch.router.between_nodes import NODE_TLS, of_client, server_tls
from anabranch.serve.sockets import tcp_listener, unix_address, unix_listener
from anabranch.serve.streams import frames, greeting
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.frames import frame
from anabranch.serve.streams.greeting import Challenge, Welcome, encoded
from anabranch.serve.streams.lost import CallLost
from tests.nodes import EngineCertificates
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
        runner.run(asyncio.wait_for(main(), 60))


@asynccontextmanager
async def far(methods: Methods | None = None) -> AsyncIterator[str]:
    """A server for other nodes, with its address."""
    server = (methods or Methods()).server()
    listener = tcp_listener("127.0.0.1")
    port = listener.getsockname()[1]
    await server.listen(listener, server_tls())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.close(0)


@pytest.mark.parametrize("size", [0, 1, 2**14 - 1, 2**16, 2**20 + 3, 2**25])
def test_the_same_bytes_arrive_with_certificates(
    size: int, certificates: EngineCertificates
) -> None:
    async def main() -> None:
        async with far() as address:
            link = await connect(address, NAME, SECRET)
            sent = np.random.default_rng(size).integers(0, 256, size, np.uint8)
            kept = sent.copy()
            calls = [asyncio.ensure_future(link.call("echo", sent, number)) for number in range(3)]
            await asyncio.sleep(0)
            sent.fill(0)  # what was given may change at once
            for number, call in enumerate(calls):
                found, same = await call
                assert same == number
                assert np.array_equal(found, kept)
            link.close()

    run(main())


def test_a_stream_with_certificates_gives_each_value_as_it_was(
    certificates: EngineCertificates,
) -> None:
    async def main() -> None:
        async with far() as address:
            link = await connect(address, NAME, SECRET)
            made = [one async for one in link.stream("fill", 2**22)]
            assert [set(one.tolist()[:: 2**16]) for one in made] == [{7}, {8}, {9}, {10}]
            link.close()

    run(main())


@pytest.mark.parametrize("who", ["another engine", "nobody", "without a certificate"])
def test_who_lacks_the_engines_certificate_gets_no_greeting(
    who: str, certificates: EngineCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with far() as address:
            if who == "without a certificate":
                host, _, port = address.rpartition(":")
                bare = ssl.create_default_context()
                bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
                reader, writer = await asyncio.open_connection(host, int(port), ssl=bare)
                with suppress(OSError):  # of TLS or of TCP, if it is more than the end
                    assert await reader.read() == b""
                writer.close()
                return
            if who == "nobody":
                monkeypatch.delenv(NODE_TLS)
            else:
                certificates.use("other")
            await refused(address, "it c", 5)

    run(main())


def test_a_server_of_another_engine_is_not_told_anything(certificates: EngineCertificates) -> None:
    heard = bytearray()

    async def main() -> None:
        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.extend(await reader.read())

        certificates.use("other")
        tls = server_tls()
        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=tls)
        certificates.use()
        port = server.sockets[0].getsockname()[1]
        await refused(f"127.0.0.1:{port}", "it cannot be reached: .*certificate verify failed")
        server.close()

    run(main())
    assert not heard
    assert of_client()["server_hostname"] == "node.anabranch"
