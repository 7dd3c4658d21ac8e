"""Asks the controller for the keys that an issuer of JWTs has now, by one call at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

WAIT_S = 5.0
"""Longest time that a request waits for keys."""

logger = logging.getLogger("anabranch.access")

RenewKeys: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Returns once the keys that an issuer has now are in force, or those there are have this name."""


class KeyRenewal:
    """Renews keys by ``call``; without one there is nobody to ask."""

    def __init__(self, call: RenewKeys | None) -> None:
        self._call = call
        self._running: dict[str, asyncio.Task[None]] = {}
        """By issuer."""

    async def renew(self, issuer: str, kid: str) -> None:
        """Return once an issuer has been asked, after now, or that takes too long or fails."""
        if self._call is None:
            return
        ends = time.monotonic() + WAIT_S
        if issuer in self._running:  # it may have begun before there was such a key
            await asyncio.wait([self._running[issuer]], timeout=WAIT_S)
        # No `asyncio.timeout`: requests begin outside of tasks.
        running = self._running.get(issuer) or self._start(issuer, kid)
        await asyncio.wait([running], timeout=max(ends - time.monotonic(), 0.0))

    def _start(self, issuer: str, kid: str) -> asyncio.Task[None]:
        task = self._running[issuer] = asyncio.create_task(self._run(issuer, kid))
        return task

    async def _run(self, issuer: str, kid: str) -> None:
        assert self._call is not None
        try:
            await self._call(issuer, kid)
        except Exception as error:
            logger.warning("cannot ask for the keys of issuer %r: %s", issuer, error)
        finally:
            del self._running[issuer]
