"""Calls that no library of gRPC would send: told so or cut off, and no lean socket sees them."""

from __future__ import annotations

import asyncio
import struct

import psutil
import pytest
from grpc import StatusCode

from anabranch.router.grpc.messages import path
from anabranch.serve.edge import grpc_frontend
from tests.router.conftest import make_arms
from tests.router.grpc.conftest import infer_request
from tests.serve.edge import http2
from tests.serve.edge.http2 import Reply, call_headers, connected, frame, framed
from tests.serve.edge.routers import GrpcSite, served_graphs
from tests.serve.edge.servers import needs_haproxy, pid_of

pytestmark = needs_haproxy
MESSAGE = infer_request().SerializeToString()
GOOD = framed(MESSAGE)
INTERNAL, OK = StatusCode.INTERNAL.value[0], StatusCode.OK.value[0]
FRAMES = 20_000
HTTP1 = b"GET /v2/models/demo HTTP/1.1\r\nhost: x\r\n\r\n"


def outcome(body: bytes, *metadata: tuple[str, str]) -> tuple[Reply, list[str]]:
    """The end of a call, and what the lean socket has seen; a good call passes afterwards."""

    async def main() -> tuple[Reply, list[str]]:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            async with connected(at.site.grpc) as client:
                found = await client.call(body, *metadata)
            seen = list(routers["demo"].seen)
            await still_serves(at)
            return found, seen

    return asyncio.run(main())


async def still_serves(at: GrpcSite) -> None:
    assert (await at.stub("ModelInfer", infer_request())).model_name == "demo"


@pytest.mark.parametrize(
    ("body", "code"),
    {
        "no message": (b"", INTERNAL),
        "half a prefix": (GOOD[:3], INTERNAL),
        "half a message": (GOOD[:-3], INTERNAL),
        "a prefix alone": (framed(b"", size=10), INTERNAL),
        "a compressed message that is not said to be": (framed(MESSAGE, flag=1), INTERNAL),
        "a flag that there is not": (framed(MESSAGE, flag=5), None),
        "a message of 4 GiB": (
            framed(MESSAGE, size=2**32 - 1),
            StatusCode.RESOURCE_EXHAUSTED.value[0],
        ),
        # The first counts, as with every server of gRPC's own.
        "two messages": (GOOD * 2, OK),
        "more behind a message": (GOOD + b"x", OK),
        "HTTP/1.1 behind a message": (GOOD + HTTP1, OK),
    }.values(),
)
def test_a_body_that_is_not_one_message(body: bytes, code: int | None) -> None:
    found, seen = outcome(body)
    assert found.code is not None
    assert code in (None, found.code)
    assert seen == []


@pytest.mark.parametrize(
    "header",
    [
        (":method", "GET"),
        (":method", "PUT"),
        (":path", path("ModelInfer") + "?x=1"),
        (":path", path("ModelInfer") + "/"),
        (":path", "/" + path("ModelInfer")),
        (":path", "/v2/models/demo/infer"),
        ("content-type", "text/plain"),
        ("content-type", "application/json"),
        ("content-type", "application/grpc+json"),
        ("content-encoding", "gzip"),
        ("grpc-encoding", "gzip"),
        ("grpc-encoding", "nonsense"),
        ("grpc-timeout", "nonsense"),
        ("grpc-timeout", "-1S"),
        ("grpc-timeout", "1s"),
        ("grpc-timeout", "100000000S"),
        ("grpc-timeout", ""),
        ("content-length", "5"),
        ("content-length", "nonsense"),
        ("content-length", str(len(GOOD) + 1)),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\nc"),
        ("x-a", "b\0c"),
        ("x-a\r\nx-b", "c"),
        ("x a", "c"),
        ("X-A", "c"),
        ("", "c"),
        (":x", "c"),
        ("x-a", "b" * 9000),
    ],
    ids=str,
)
def test_a_head_that_is_unusual(header: tuple[str, str]) -> None:
    found, seen = outcome(GOOD, header)
    assert found.code is not None or found.reset is not None or found.closed
    # These are no errors: one has no meaning here, and a message need not be packed as it may be.
    is_usual = header in (("content-encoding", "gzip"), ("grpc-encoding", "gzip"))
    assert seen == ([path("ModelInfer")] if is_usual else [])


def test_half_a_body_and_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_frontend, "MESSAGE_S", 1)

    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            async with connected(at.site.grpc) as client:
                for sent in (b"", GOOD[:7]):
                    stream = client.begin(call_headers())
                    client.send(stream, sent, flags=0)
                    found = await client.reply(stream)
                    assert found.code == StatusCode.DEADLINE_EXCEEDED.value[0]
                    assert found.details == "the message did not arrive within 1s"
                assert (await client.call(GOOD)).code == OK
            assert len(routers["demo"].seen) == 1

    asyncio.run(main())


@pytest.mark.parametrize("start", [b"", b"PRI * HTTP/2.0\r\n", "settings"])
def test_a_connection_that_says_nothing_is_closed(
    monkeypatch: pytest.MonkeyPatch, start: bytes | str
) -> None:
    monkeypatch.setattr(grpc_frontend, "START_S", 1)
    monkeypatch.setattr(grpc_frontend, "IDLE_S", 1)

    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", at.site.grpc)
            if start == "settings":
                client = http2.Connection(reader, writer)
                assert client.gone is None
            else:
                writer.write(bytes(start, "ascii") if isinstance(start, str) else start)
            async with asyncio.timeout(60):
                while await reader.read(1000):
                    pass
            writer.close()
            await still_serves(at)

    asyncio.run(main())


@pytest.mark.parametrize("data", [HTTP1, b"\x16\x03\x01\x00\xff" * 9, b"PRI * HTTP/2.0\r\n\r\nXX"])
def test_what_is_no_http2_is_cut_off(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(grpc_frontend, "START_S", 1)

    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            reader, writer = await asyncio.open_connection("127.0.0.1", at.site.grpc)
            writer.write(data)
            async with asyncio.timeout(60):
                while await reader.read(1000):
                    pass
            writer.close()
            assert routers["demo"].seen == []

    asyncio.run(main())


@pytest.mark.parametrize("whole", [True, False])
def test_a_flood_of_calls_that_are_reset_at_once(whole: bool) -> None:
    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            async with connected(at.site.grpc) as client:
                for _ in range(3000):
                    stream = client.begin(call_headers())
                    if whole:
                        client.send(stream, GOOD)
                    client.cancel(stream)
                await client.writer.drain()
                found = await client.call(GOOD)
                assert found.code == OK or client.gone is not None
            await still_serves(at)
            if not whole:
                assert len(routers["demo"].seen) <= 2

    asyncio.run(main())


MORE_HEADERS = frame(9, 0, 1, http2.encoded([("x-more", "y" * 4000)]))
FLOODS = {
    "settings": frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 4, 2**20)),
    "pings": frame(http2.PING, 0, 0, b"12345678"),
    "windows": frame(8, 0, 0, struct.pack(">I", 1)),
    "priorities": frame(2, 0, 1, struct.pack(">IB", 0, 16)),
    "empty data": frame(http2.DATA, 0, 1),
    "endless headers": frame(http2.HEADERS, 0, 1, http2.encoded(call_headers())) + MORE_HEADERS,
}
"""Frames by which a client has a server work or remember, and asks for nothing."""


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_frames_disturbs_nobody_and_takes_no_memory(kind: str) -> None:
    first, more = FLOODS[kind], MORE_HEADERS if kind == "endless headers" else FLOODS[kind]

    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            await still_serves(at)
            proxy = psutil.Process(pid_of(at.site.folder))
            before = proxy.memory_info().rss
            async with connected(at.site.grpc) as client:
                if kind == "empty data":
                    client.begin(call_headers())
                client.writer.write(first + more * FRAMES)  # whose answers nobody reads
                for _ in range(20):
                    await still_serves(at)
                assert proxy.memory_info().rss - before < 16 * 2**20
                client.writer.transport.abort()
            await still_serves(at)
            assert len(routers["demo"].seen) <= 23

    asyncio.run(main())


def test_more_open_calls_than_a_connection_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_frontend, "MESSAGE_S", 1)

    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            async with connected(at.site.grpc) as client:
                streams = [client.begin(call_headers()) for _ in range(1500)]
                await client.writer.drain()
                ends = [await client.reply(stream) for stream in streams]
            assert {end.code for end in ends} <= {
                None,
                StatusCode.DEADLINE_EXCEEDED.value[0],
                StatusCode.RESOURCE_EXHAUSTED.value[0],
                StatusCode.UNAVAILABLE.value[0],
            }
            assert all(end.code or end.reset or end.closed for end in ends)
            assert routers["demo"].seen == []
            await still_serves(at)

    asyncio.run(main())


def test_calls_that_one_address_begins_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_frontend, "MAX_CALLS", 8)

    async def main() -> None:
        async with (
            served_graphs({"demo": make_arms()}) as (at, _),
            connected(at.site.grpc, "127.0.0.3") as client,
            connected(at.site.grpc, "127.0.0.2") as other,
        ):
            streams = [client.begin(call_headers()) for _ in range(20)]
            refused = await client.reply(streams[-1])
            assert refused.code == StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert "more than 4 calls in progress, the limit of one source" in refused.details
            assert (await other.call(GOOD)).code == OK

    asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [
        frame(http2.DATA, 1, 1, b"x"),
        frame(http2.DATA, 1, 0, b"x"),
        frame(http2.HEADERS, 5, 1, b"\xff" * 20),
        frame(http2.HEADERS, 5, 2, b""),
        frame(http2.SETTINGS, 0, 0, b"x"),
        frame(http2.RST_STREAM, 0, 7, struct.pack(">I", 8)),
        frame(9, 0, 1, b"x"),
        frame(8, 0, 0, struct.pack(">I", 0)),
        frame(http2.PING, 0, 1, b"12345678"),
    ],
)
def test_frames_that_break_the_protocol_end_their_connection(data: bytes) -> None:
    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            async with connected(at.site.grpc) as client:
                client.writer.write(data)
                found = await client.reply(client.begin(call_headers()))
                assert found.closed or found.reset is not None
                assert client.gone != 0
            assert routers["demo"].seen == []
            await still_serves(at)

    asyncio.run(main())
