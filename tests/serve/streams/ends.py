"""Both ends of a connection, and peers that break its rules."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import uvloop

from anabranch.errors import AnabranchError
from anabranch.serve.sockets import unix_address, unix_listener
from anabranch.serve.streams import frames
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.frames import frame
from anabranch.serve.streams.greeting import Challenge, Welcome, decoded, encoded, prove
from anabranch.serve.streams.limits import CallLimits
from anabranch.serve.streams.link import Link
from anabranch.serve.streams.server import CallServer

SECRET = b"a secret of both ends"
NAME = "forest"
DEADLINE_S = 60.0


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, with a deadline."""
    uvloop.run(asyncio.wait_for(main, DEADLINE_S))


@contextmanager
def socket_path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ab-") as folder:
        yield Path(folder) / "replica.sock"


class Methods:
    """Methods of a replica, with what they have seen."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.cancelled = 0
        self.made = 0
        self.go = asyncio.Event()

    async def echo(self, *args: Any) -> Any:
        return list(args)

    async def wait(self, value: Any = None) -> Any:
        """Return the value once ``go`` is set."""
        self.begun += 1
        try:
            await self.go.wait()
            return value
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended += 1

    async def fail(self, error: BaseException) -> None:
        raise error

    async def count(self, number: int, error: AnabranchError | None = None) -> AsyncGenerator[Any]:
        try:
            for made in range(number):
                self.made += 1
                yield made
            if error is not None:
                raise error
        finally:
            self.ended += 1

    async def fill(self, size: int) -> AsyncGenerator[Any]:
        """Yield one array again and again, each time with other numbers in it."""
        buffer = np.empty(size, np.uint8)
        for number in range(7, 11):
            buffer.fill(number)
            yield buffer

    def server(self, limits: CallLimits | None = None, **more: Any) -> CallServer:
        methods = {"echo": self.echo, "wait": self.wait, "fail": self.fail, **more}
        streams = {"count": self.count, "fill": self.fill}
        return CallServer(methods, streams, SECRET, limits)


@asynccontextmanager
async def serving(server: CallServer) -> AsyncIterator[str]:
    """Have a server listen; with its address."""
    with socket_path() as path:
        await server.listen(unix_listener(path))
        try:
            yield unix_address(path)
        finally:
            await server.close(0)


@asynccontextmanager
async def linked(server: CallServer, limits: CallLimits | None = None) -> AsyncIterator[Link]:
    """A link to a server that listens."""
    async with serving(server) as address:
        link = await connect(address, NAME, SECRET, limits)
        try:
            yield link
        finally:
            link.close()


class RawPeer:
    """A caller that sends whatever bytes it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def greet(self) -> RawPeer:
        """Prove to know the secret."""
        _, _, header = await self.read()
        proof = prove(decoded(memoryview(header), Challenge), SECRET, 2**30)
        self.send(frame(frames.PROOF, 0, encoded(proof)))
        kind, _, header = await self.read()
        assert kind == frames.WELCOME
        decoded(memoryview(header), Welcome)
        return self

    def send(self, chunks: Any) -> None:
        self.writer.write(b"".join(chunks))

    async def read(self) -> tuple[int, int, bytes]:
        """Return kind, call and header of the next frame."""
        prefix = await self.reader.readexactly(frames.PREFIX.size)
        size, header, kind, call = frames.PREFIX.unpack(prefix)
        return kind, call, (await self.reader.readexactly(size))[:header]

    async def is_cut_off(self) -> bool:
        """Return True at the end of what the server sends."""
        try:
            while await self.reader.read(2**16):
                pass
        except ConnectionError:
            pass
        return True


@asynccontextmanager
async def raw_peer(address: str) -> AsyncIterator[RawPeer]:
    """A caller that has connected and not greeted."""
    peer = RawPeer(*await asyncio.open_unix_connection(address.removeprefix("unix@")))
    try:
        yield peer
    finally:
        peer.writer.close()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at some places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def read(pieces: list[bytes], most: int = 2**30) -> list[tuple[int, int, bytes, bytes]]:
    """Return the frames in pieces of a stream."""
    found: list[tuple[int, int, bytes, bytes]] = []

    def take(kind: int, call: int, header: memoryview, rest: memoryview) -> None:
        found.append((kind, call, bytes(header), bytes(rest)))

    reader = frames.FrameReader(take, most)
    for piece in pieces:
        while piece:
            room = reader.room()
            assert len(room)
            size = min(len(room), len(piece))
            room[:size] = piece[:size]
            piece = piece[size:]
            reader.wrote(size)
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in every respect, with all types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        alike = one.dtype == other.dtype and one.shape == other.shape
        if one.dtype.kind == "O":
            return alike and same(one.ravel().tolist(), other.ravel().tolist())
        return alike and one.tobytes() == other.tobytes()
    if isinstance(one, float) and not isinstance(one, np.generic):
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
