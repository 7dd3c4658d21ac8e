"""A load that does not wait for answers: requests leave at a rate, whatever the server does."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from benchmarks.client import message

MOST_CONNECTIONS = 1024
_TICK_S = 0.001
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *[1-9]", re.IGNORECASE)
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: when it was asked for, what it took (both in seconds), and what it was."""

    at: float
    seconds: float
    status: int
    says_when: bool
    """Whether it has a ``Retry-After`` of at least a second."""


@dataclass
class OpenLoop:
    """Sends one request ``rate`` times a second, on whatever connection is free.

    Requests leave at even times, or with a ``seed`` at random ones (Poisson).
    """

    url: str
    body: bytes
    rate: float
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    answers: list[Answer] = field(default_factory=list)
    broken: int = 0
    """Connections that ended without an answer, and requests for which there was none."""

    async def run(self, seconds: float) -> None:
        """Send for ``seconds``, then wait for what is under way, at most ten seconds."""
        self._host, self._port, self._request = message(self.url, self.body, self.headers)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening = 0
        draw = random.Random(self.seed)
        started, due = time.perf_counter(), 0.0
        while (elapsed := time.perf_counter() - started) < seconds:
            while due <= elapsed:
                await self._send()
                due += 1 / self.rate if self.seed is None else draw.expovariate(self.rate)
            await asyncio.sleep(_TICK_S)
        ends = time.perf_counter() + 10
        while len(self._idle) < len(self._all) and time.perf_counter() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for connection in self._all:
            connection.transport.close()

    async def _send(self) -> None:
        if not self._idle:
            if len(self._all) >= MOST_CONNECTIONS:
                self.broken += 1
                return
            await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self._host, self._port
            )
        self._idle.pop().send(self._request)

    def opened(self, connection: _Connection) -> None:
        """Take note of a connection."""
        self._all.add(connection)
        self._idle.append(connection)

    def answered(self, connection: _Connection, answer: Answer) -> None:
        """Take an answer; the connection is free again."""
        self.answers.append(answer)
        self._idle.append(connection)

    def lost(self, connection: _Connection, was_asked: bool) -> None:
        """Take note that a connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self.broken += was_asked


class _Connection(asyncio.Protocol):
    def __init__(self, loop: OpenLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._loop.opened(self)

    def send(self, request: bytes) -> None:
        self._at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(_END)
        length = _LENGTH.search(self._buffer, 0, head) if head >= 0 else None
        if length is None or len(self._buffer) < head + len(_END) + int(length[1]):
            return
        assert self._at is not None
        took, status = time.perf_counter() - self._at, int(self._buffer[9:12])
        says_when = _RETRY.search(self._buffer, 0, head + 2) is not None
        answer = Answer(self._at, took, status, says_when)
        self._buffer, self._at = b"", None
        self._loop.answered(self, answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._loop.lost(self, self._at is not None)
