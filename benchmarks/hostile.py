"""Hostile clients, one a process: ``python -m benchmarks.hostile NAME HTTP_PORT GRPC_PORT GRAPH``.

Each comes from an address of its own, prints a line once it is at work, and goes on until it is
killed. It must not win by taking the processors of the machine that it shares with the engine: so
its rates are bounded, as the constants say, and it runs at the lowest priority.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from benchmarks.grpc_client import METHOD, OPTIONS

HOST, SOURCE = "127.0.0.1", "127.0.0.2"
CONNECTIONS = 4096
"""Idle ones; slow senders are a quarter of that, each sends a byte a second."""
SENDERS = 4
"""Of bombs, parameters and bodies without an end; each sends one a second at most."""
ELEMENTS, PARAMETERS = 2**24, 10**6
ENDLESS_RATE = 8 * 2**20
"""Bytes a second of a body that never ends."""
OPENED_RATE, RESET_RATE = 500, 2000
"""Connections, and streams of HTTP/2, a second that are opened and given up."""
MESSAGES, MESSAGE = 16, 60 * 2**20
"""Large messages or bodies at a time, once a second at most, and the bytes of each."""
_HEADERS, _RST_STREAM, _SETTINGS = 1, 3, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TICK_S = 0.05


class Target(NamedTuple):
    """The graph that is asked, and the engine's ports."""

    http: int
    grpc: int
    graph: str

    def head(self, *headers: str) -> bytes:
        """The head of a request for inference."""
        lines = [f"POST /v2/models/{self.graph}/infer HTTP/1.1", "Host: x", *headers, "", ""]
        return "\r\n".join(lines).encode()


Ready = Callable[[], None]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[Stream]:
    """A connection from the hostile address."""
    reader, writer = await asyncio.open_connection(HOST, port, local_addr=(SOURCE, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def again(act: Callable[[], Awaitable[object]], pause: float = 1.0) -> None:
    """Act again and again, at most once in ``pause`` seconds, whatever comes of it."""
    while True:
        began = time.monotonic()
        with suppress(OSError, EOFError):
            await act()
        await asyncio.sleep(max(0.0, began + pause - time.monotonic()))


async def paced(rate: int, act: Callable[[], Awaitable[object]]) -> None:
    """Act ``rate`` times a second, in small groups."""
    for _ in range(round(rate * _TICK_S)):
        with suppress(OSError):
            await act()
    await asyncio.sleep(_TICK_S)


async def many(count: int, act: Callable[[], Awaitable[object]], ready: Ready) -> None:
    """Have so many clients act again and again; two hundred more begin each ``_TICK_S``."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(again(act)))
        if number % 200 == 199:
            await asyncio.sleep(_TICK_S)
    await asyncio.sleep(1)
    ready()
    await asyncio.gather(*tasks)


async def idle(target: Target, ready: Ready) -> None:
    """Ask once on each connection, then keep it; one that is closed is not opened again."""
    request = f"GET /v2/models/{target.graph} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    async def ask() -> None:
        async with opened(target.http) as (_, writer):
            writer.write(request)
            await asyncio.Event().wait()

    await many(CONNECTIONS, ask, ready)


async def drip(target: Target, start: bytes) -> None:
    """Send a start, then a byte a second until the connection is closed."""
    async with opened(target.http) as (reader, writer):
        writer.write(start)
        while not reader.at_eof() and not writer.is_closing():
            writer.write(b"x")
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    if not await reader.read(1000):
                        return


async def slow_heads(target: Target, ready: Ready) -> None:
    """Heads of requests that come byte by byte."""
    start = target.head()[:-2] + b"x-"
    await many(CONNECTIONS // 4, lambda: drip(target, start), ready)


async def slow_bodies(target: Target, ready: Ready) -> None:
    """Bodies that come byte by byte."""
    start = target.head("Content-Length: 1000000")
    await many(CONNECTIONS // 4, lambda: drip(target, start), ready)


async def ask(target: Target, request: bytes) -> None:
    """Send a request, and read what comes until the connection ends."""
    async with opened(target.http) as (reader, writer):
        writer.write(request)
        while await reader.read(2**20):
            pass


async def bombs(target: Target, ready: Ready) -> None:
    """31 KB of gzip that are 16 million numbers, as many as the limit allows."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [ELEMENTS // 4, 4], "data": []}
    text = json.dumps({"inputs": [tensor]}).replace("[]", f"[{'0,' * (ELEMENTS - 1)}0]")
    body = gzip.compress(text.encode())
    await sent(target, body, ready, "Content-Encoding: gzip")


async def parameters(target: Target, ready: Ready) -> None:
    """A million parameters."""
    body = json.dumps({"inputs": [], "parameters": {str(i): 0 for i in range(PARAMETERS)}})
    await sent(target, body.encode(), ready)


async def sent(target: Target, body: bytes, ready: Ready, *headers: str) -> None:
    """Have all senders send a body."""
    head = target.head(f"Content-Length: {len(body)}", "Connection: close", *headers)
    await many(SENDERS, lambda: ask(target, head + body), ready)


async def endless(target: Target, ready: Ready) -> None:
    """Bodies without an end, at a bounded rate, also behind their refusal."""
    piece = b"10000\r\n" + b" " * 2**16 + b"\r\n"
    pause = SENDERS * len(piece) / ENDLESS_RATE

    async def send() -> None:
        async with opened(target.http) as (reader, writer):
            writer.write(target.head("Transfer-Encoding: chunked"))
            while not reader.at_eof():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

    await many(SENDERS, send, ready)


async def opening(target: Target, ready: Ready) -> None:
    """Connections that are opened, and closed without a word."""

    async def open_and_close() -> None:
        async with opened(target.http):
            pass

    ready()
    while True:
        await paced(OPENED_RATE, open_and_close)


async def resets(target: Target, ready: Ready) -> None:
    """Calls of gRPC that are begun and reset at once (CVE-2023-44487)."""

    async def connection() -> None:
        async with opened(target.grpc) as (reader, writer):
            reading = asyncio.create_task(_discard(reader))
            writer.write(_PREFACE + frame(_SETTINGS, 0, 0))
            stream = 1
            while not reader.at_eof() and stream < 2**31:
                for _ in range(round(RESET_RATE * _TICK_S)):
                    writer.write(frame(_HEADERS, 4, stream, _CALL))
                    writer.write(frame(_RST_STREAM, 0, stream, struct.pack(">I", 8)))
                    stream += 2
                await writer.drain()
                await asyncio.sleep(_TICK_S)
            reading.cancel()

    ready()
    await again(connection, _TICK_S)


async def _discard(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(2**16):
            pass


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data


def literal(name: str, value: str) -> bytes:
    """A field of HPACK that nobody keeps (RFC 7541, 6.2.2); texts of less than 127 bytes."""
    texts = name.encode(), value.encode()
    return b"\0" + b"".join(bytes((len(text),)) + text for text in texts)


_CALL = b"".join(
    literal(name, value)
    for name, value in (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
)


async def messages(target: Target, ready: Ready) -> None:
    """The largest messages, many at a time, each on a connection of its own."""
    await called(target, ready)


async def packed(target: Target, ready: Ready) -> None:
    """The same messages, each 60 KB of gzip."""
    await called(target, ready, grpc.Compression.Gzip)


async def called(target: Target, ready: Ready, compression: Any = None) -> None:
    """Have many clients send the largest message."""
    # A ModelInferRequest of a name, field 1, and raw contents, field 7, which a graph refuses.
    name = target.graph.encode()
    message = b"\x0a" + bytes((len(name),)) + name + b"\x3a" + varint(MESSAGE) + bytes(MESSAGE)

    async def send() -> None:
        async with grpc.aio.insecure_channel(f"{HOST}:{target.grpc}", options=OPTIONS) as channel:
            with suppress(grpc.aio.AioRpcError):
                await channel.unary_unary(METHOD)(message, timeout=60, compression=compression)

    await many(MESSAGES, send, ready)


async def bodies(target: Target, ready: Ready) -> None:
    """The largest bodies of binary tensors, many at a time, each on a connection of its own."""
    tensor = {
        "name": "x", "datatype": "FP32", "shape": [MESSAGE // 16, 4],
        "parameters": {"binary_data_size": MESSAGE},
    }  # fmt: skip
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = f"Content-Length: {len(text) + MESSAGE}"
    binary = f"Inference-Header-Content-Length: {len(text)}"
    request = target.head(length, binary, "Connection: close") + text + bytes(MESSAGE)
    await many(MESSAGES, lambda: ask(target, request), ready)


def varint(number: int) -> bytes:
    """A number in seven bits a byte, as Protocol Buffers have it."""
    found = bytearray()
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes((*found, number))


HOSTILE: dict[str, Callable[[Target, Ready], Awaitable[None]]] = {
    "idle": idle,
    "slow_heads": slow_heads,
    "slow_bodies": slow_bodies,
    "bombs": bombs,
    "parameters": parameters,
    "endless": endless,
    "opening": opening,
    "resets": resets,
    "messages": messages,
    "packed": packed,
    "bodies": bodies,
}
"""The hostile clients, by name."""


def main() -> None:
    """Be the hostile client of the arguments."""
    name, http, grpc_port, graph = sys.argv[1:]
    os.nice(19)
    with suppress(OSError):  # Linux may share processors by sessions first
        os.setsid()
        Path("/proc/self/autogroup").write_text("19")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    target = Target(int(http), int(grpc_port), graph)
    run = HOSTILE[name](target, lambda: print("at work", flush=True))
    asyncio.run(asyncio.wait_for(run, None))


if __name__ == "__main__":
    main()
