"""Our own load generator: ``python client.py URL CONNECTIONS SECONDS PATIENCE BODY_FILE``.

Keeps one request in flight on every connection. The bytes go straight through asyncio's transports
(uvloop's where it is there), since a full HTTP client costs more than the servers it is to
measure. Prints one line of JSON, as ``load.Load`` has it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

try:
    from uvloop import run
except ImportError:
    from asyncio import run  # type: ignore[assignment]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


class Tally:
    """What happened so far, and until when new requests are sent."""

    def __init__(self, seconds: float) -> None:
        self.latencies: list[float] = []
        self.failed = 0
        self.end = time.perf_counter() + seconds

    def is_over(self) -> bool:
        """Whether no more requests are to be sent."""
        return time.perf_counter() >= self.end


class Connection(asyncio.Protocol):
    """One connection: sends the next request when the reply to the last one is complete."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._request = request
        self._tally = tally
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take a part of a reply, mostly all of it."""
        self._buffer += data
        head = self._buffer.find(_END)
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head)
        if length is None:
            self._transport.close()
        elif len(self._buffer) >= head + len(_END) + int(length[1]):
            self._answered()

    def _answered(self) -> None:
        if self._buffer.startswith(b"HTTP/1.1 200"):
            self._tally.latencies.append(time.perf_counter() - self._sent)
        else:
            self._tally.failed += 1
        self._buffer = b""
        if not self._tally.is_over():
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Count the request that was under way as failed."""
        if not self.done.done():
            self._tally.failed += 1
            self.done.set_result(None)


async def keep_asking(host: str, port: int, request: bytes, tally: Tally, patience: float) -> None:
    """Ask over one connection until the time is over, connecting anew when it is lost."""
    loop = asyncio.get_running_loop()
    while not tally.is_over():
        try:
            transport, connection = await loop.create_connection(
                lambda: Connection(request, tally), host, port
            )
        except OSError:
            tally.failed += 1
            await asyncio.sleep(0.01)
            continue
        try:
            async with asyncio.timeout(tally.end - time.perf_counter() + patience):
                await connection.done
        except TimeoutError:
            tally.failed += 1
        transport.close()


def message(url: str, body: bytes) -> tuple[str, int, bytes]:
    """Host, port, and the bytes of a request."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nX-User: ada\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return host, port, head.encode() + body


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of sorted values lie; 0 for none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


async def ask(url: str, connections: int, seconds: float, patience: float, body: bytes) -> str:
    """Load ``url`` and describe the result."""
    host, port, request = message(url, body)
    start = time.perf_counter()
    tally = Tally(seconds)
    asking = (keep_asking(host, port, request, tally, patience) for _ in range(connections))
    await asyncio.gather(*asking)
    took = time.perf_counter() - start
    ordered = sorted(tally.latencies)
    return json.dumps(
        {
            "p50": percentile(ordered, 0.5) * 1e3,
            "p99": percentile(ordered, 0.99) * 1e3,
            "rate": len(ordered) / took,
            "answered": len(ordered),
            "failed": tally.failed,
        }
    )


if __name__ == "__main__":
    url, connections, seconds, patience, path = sys.argv[1:]
    body = Path(path).read_bytes()
    print(run(ask(url, int(connections), float(seconds), float(patience), body)))
