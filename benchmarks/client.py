"""Our own load generator: arguments are URL CONNECTIONS SECONDS PATIENCE BODY_FILE [HEADER...].

Keeps one request in flight on every connection. The bytes go straight through asyncio's transports
(uvloop's where it is there), since a full HTTP client costs more than the servers it is to
measure. A header is ``Name: value``. Prints one line of JSON, as ``load.Load`` has it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

try:
    from uvloop import run
except ImportError:
    from asyncio import run  # type: ignore[assignment]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_IN_CHUNKS = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_END = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"


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
        self._head = b""
        self._missing: int | None = None
        """Bytes of the reply's body that are still to come; None until its head is there."""
        self._tail: bytes | None = None
        """Last bytes of a reply that comes in chunks; None for one of a known length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take a part of a reply, mostly all of it. Bodies are counted and not kept."""
        if self._missing is None:
            self._begin(data)
        elif self._tail is not None:
            self._take_chunks(data)
        else:
            self._missing -= len(data)
        if self._missing is not None and self._missing <= 0:
            self._answered()

    def _begin(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(_END)
        if end < 0:
            return
        length = _LENGTH.search(self._head, 0, end)
        if length is not None:
            self._missing = end + len(_END) + int(length[1]) - len(self._head)
        elif _IN_CHUNKS.search(self._head, 0, end) is not None:
            self._take_chunks(self._head[end + len(_END) :])
        else:
            self._transport.close()

    def _take_chunks(self, data: bytes) -> None:
        self._tail = ((self._tail or b"") + data)[-len(_LAST_CHUNK) :]
        self._missing = 0 if self._tail == _LAST_CHUNK else 1

    def _answered(self) -> None:
        if self._head.startswith(b"HTTP/1.1 200"):
            self._tally.latencies.append(time.perf_counter() - self._sent)
        else:
            self._tally.failed += 1
        self._head, self._missing, self._tail = b"", None, None
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


def message(url: str, body: bytes, more: Mapping[str, str] = {}) -> tuple[str, int, bytes]:
    """Host, port, and the bytes of a request with ``more`` headers."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    headers = {
        "Host": f"{host}:{port}",
        "Content-Type": "application/json",
        "X-User": "ada",
        "Content-Length": str(len(body)),
        **more,
    }
    lines = [f"POST {parts.path or '/'} HTTP/1.1", *map(": ".join, headers.items())]
    return host, port, "\r\n".join(lines).encode() + _END + body


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of sorted values lie; 0 for none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def described(tally: Tally, took: float) -> str:
    """What happened in ``took`` seconds, as a line of JSON."""
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


async def ask(
    url: str, connections: int, seconds: float, patience: float, body: bytes, *headers: str
) -> str:
    """Load ``url`` and describe the result."""
    more = dict(header.split(": ", 1) for header in headers)
    host, port, request = message(url, body, more)
    start = time.perf_counter()
    tally = Tally(seconds)
    asking = (keep_asking(host, port, request, tally, patience) for _ in range(connections))
    await asyncio.gather(*asking)
    return described(tally, time.perf_counter() - start)


if __name__ == "__main__":
    url, connections, seconds, patience, path, *headers = sys.argv[1:]
    body = Path(path).read_bytes()
    print(run(ask(url, int(connections), float(seconds), float(patience), body, *headers)))
