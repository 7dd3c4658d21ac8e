"""HTTP calls that the controller makes on others' behalf: bounded in time and size, no redirects.

Where they go is checked by ``destinations``; a redirect would lead away from there, so it is an
answer like any other that is no success. A name that is allowed may be looked up anew to lead to
where clouds tell machines their secrets: nothing of such an answer is read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from anabranch.components.peers import metadata_problem, problem_of

TIMEOUT = 5.0
"""Longest time that one call may take as a whole, in seconds."""


@dataclass(frozen=True)
class OutgoingReply:
    """Reply to an outgoing call; without one ``status`` is None, and ``error`` gives the reason."""

    status: int | None
    body: bytes = b""
    cut: bool = False
    """Whether the body was longer than what was read."""
    error: str = ""
    cache_control: str = ""
    """The header of that name."""

    @property
    def ok(self) -> bool:
        """Whether the answer is a 2xx."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        if self.status is None:
            return self.error
        text = self.body.decode("utf-8", "replace").strip()
        return f"status {self.status}: {text[:200]}" if text else f"status {self.status}"


class Caller:
    """Makes calls over connections that it keeps; for one event loop."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._http: httpx.AsyncClient | None = None

    async def call(self, method: str, url: str, most: int, **request: Any) -> OutgoingReply:
        """Call, and read at most ``most`` bytes of the answer. Never raises for what goes wrong."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._call(method, url, most, request)
        except TimeoutError:
            return OutgoingReply(None, error=f"no answer within {self._timeout:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return OutgoingReply(None, error=f"unreachable: {error or type(error).__name__}")

    async def close(self) -> None:
        """Close all connections; a call after that opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _call(
        self, method: str, url: str, most: int, request: dict[str, Any]
    ) -> OutgoingReply:
        async with self._client().stream(method, url, **request) as response:
            host = response.request.url.host
            wrong = problem_of(response, host, judge=metadata_problem)
            if wrong is not None:
                return OutgoingReply(None, error=wrong)
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > most:
                    break
            return OutgoingReply(
                response.status_code, body[:most], len(body) > most,
                cache_control=response.headers.get("cache-control", ""),
            )  # fmt: skip

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:  # made late: it takes a while, and most graphs call nobody
            self._http = httpx.AsyncClient(
                timeout=self._timeout,
                follow_redirects=False,
                trust_env=False,
                headers={"user-agent": "anabranch", "accept-encoding": "identity"},
            )
        return self._http
