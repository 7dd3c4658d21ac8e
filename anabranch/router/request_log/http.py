"""The request log over HTTP: CloudEvents in batches.

Source: ``bindings/http-protocol-binding.md`` of https://github.com/cloudevents/spec, 3.3, the
batched content mode. A batch arrived if the answer is a 2xx; redirects are not followed, for they
would lead away from where the engine may call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import httpx

from anabranch.errors import Unavailable

MAX_EVENT = 8 * 2**20
TIMEOUT_S = 5.0
"""Longest time for one request as a whole."""
RETRY_S = 0.5
"""Pause before the second and last try of a batch that the server could not take just now."""
BATCH = 2**20
"""Bytes of events that go in one request, about."""
_BUSY = (408, 425, 429)
_HEADERS = {
    "content-type": "application/cloudevents-batch+json; charset=UTF-8",
    "user-agent": "anabranch",
    "accept-encoding": "identity",
}


class _Refused(Exception):
    """The server does not want this batch; another one may be fine."""


class HttpSink:
    """Posts to a URL, over a connection that it keeps; a ``Sink``."""

    most = MAX_EVENT

    def __init__(self, url: str, timeout: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout = timeout
        # The library's own timeouts are for single reads, and a server that sends a byte at a time
        # would pass them for ever. On a loop the whole can be given a time.
        self._loop = asyncio.new_event_loop()
        self._client = httpx.AsyncClient(
            timeout=timeout, follow_redirects=False, trust_env=False, headers=_HEADERS
        )

    def send(self, events: Iterable[bytes]) -> int:
        """Post events; TimeoutError or Unavailable if none arrived."""
        return self._loop.run_until_complete(self._send(events))

    def close(self) -> None:
        """Close the connection."""
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()

    async def _send(self, events: Iterable[bytes]) -> int:
        arrived = 0
        problem: Exception | None = None
        for batch in _batches(events):
            try:
                await self._post_twice(b"[" + b",".join(batch) + b"]")
                arrived += len(batch)
            except _Refused as error:
                problem = Unavailable(str(error))
            except (TimeoutError, Unavailable) as error:
                problem = error
                break
        if problem is not None and not arrived:
            raise problem
        return arrived

    async def _post_twice(self, body: bytes) -> None:
        try:
            await self._post(body)
        except Unavailable:
            await asyncio.sleep(RETRY_S)
            await self._post(body)

    async def _post(self, body: bytes) -> None:
        try:
            async with (
                asyncio.timeout(self._timeout),
                # What the answer says is not read.
                self._client.stream("POST", self._url, content=body) as response,
            ):
                status = response.status_code
        except (TimeoutError, httpx.TimeoutException):
            raise TimeoutError(f"no answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise Unavailable(f"unreachable: {error or type(error).__name__}") from None
        if status >= 500 or status in _BUSY:
            raise Unavailable(f"status {status}")
        if not 200 <= status < 300:
            raise _Refused(f"status {status}")


def _batches(events: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for event in events:
        if batch and size + len(event) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event)
    if batch:
        yield batch
