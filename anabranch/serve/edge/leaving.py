"""The end of an edge whose machine goes, while others take its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from anabranch.errors import EngineError
from anabranch.serve.edge.proxy import EdgeProxy

QUIET_S = 3.0
"""Time without a request after which connections that are kept may be closed, in seconds."""


class Leaving:
    """Has an edge accept no connection, and knows when it may end.

    ``longest`` says how long a request may take now, in seconds.
    """

    def __init__(self, proxy: EdgeProxy, longest: Callable[[], float]) -> None:
        self._proxy = proxy
        self._longest = longest
        self._began = self._busy = time.monotonic()
        self._accepts = True
        self._lock = asyncio.Lock()

    async def is_over(self) -> bool:
        """Return whether nothing has been under way for a while, or for longer than may be."""
        async with self._lock:
            try:
                if self._accepts:
                    await self._proxy.stop_accepting()
                    self._accepts = False
                is_busy = await self._proxy.under_way() > 0
            except EngineError:
                return True  # HAProxy has ended, and all that was under way with it
        now = time.monotonic()
        self._busy = now if is_busy else self._busy
        return now - self._busy > QUIET_S or now - self._began > self._longest()
