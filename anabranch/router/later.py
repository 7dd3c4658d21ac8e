"""Asynchronous requests, as routers hand them to the controller: RFC 7240, ``respond-async``.

The controller keeps a request in the store, has a router of the graph answer it when there is time,
and keeps the reply for those who ask for it by the request's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from anabranch.errors import RequestError, Unavailable

MAX_BODY = 16 * 2**20
"""Largest body of an asynchronous request, and of its reply, in bytes."""
AsyncPhase: TypeAlias = Literal["waiting", "running", "done", "cancelled", "lost"]
Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Headers, names in lower case."""


@dataclass(frozen=True)
class AsyncRequest:
    """A request that is to be answered later."""

    path: str
    """The path that answers it at once."""
    headers: Pairs
    body: bytes
    owner: str
    """Who asks; only they may ask for the reply, beside those who operate the graph."""
    idempotent: bool
    """Whether it may be evaluated again, where nobody knows how an evaluation ended."""
    webhook: str = ""
    """URL that is called once it is over; empty for none."""


@dataclass(frozen=True)
class AsyncState:
    """What became of an asynchronous request; the last three are of its reply, once it is done."""

    id: str
    phase: AsyncPhase
    status: int = 0
    headers: Pairs = ()
    body: bytes = b""


AsyncAnswer: TypeAlias = AsyncState | RequestError | Unavailable
"""Errors are returned, so that they cross processes as they are."""


class AsyncStore(Protocol):
    """Keeps the asynchronous requests of one graph; calls may raise while it is away."""

    async def submit(self, request: AsyncRequest) -> AsyncAnswer:
        """Keep a request, to be answered later."""

    async def look(self, id: str, owner: str | None) -> AsyncAnswer:
        """Return what became of a request of ``owner``; of anybody's, where that is None."""

    async def withdraw(self, id: str, owner: str | None) -> AsyncAnswer:
        """Cancel a request that is not over, or forget the reply of one that is."""
