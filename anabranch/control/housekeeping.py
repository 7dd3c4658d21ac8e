"""What a controller does now and then, so that what the engine keeps stays bounded and in one file.

Nothing waits for it, and what fails is tried again the next time.
"""

from __future__ import annotations

import asyncio
import logging

from anabranch.control.store.store import Store
from anabranch.errors import AnabranchError

logger = logging.getLogger("anabranch.control")

PERIOD_S = 60.0
"""Time between two rounds, in seconds: what a copy of the store's file alone may lack."""


class Housekeeping:
    """Rounds over the store of the controller that acts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Make a round each minute, for ever."""
        while True:
            try:
                await asyncio.to_thread(self.round)
            except AnabranchError as error:
                logger.warning("the housekeeping has to wait: %s", error)
            await asyncio.sleep(PERIOD_S)

    def round(self) -> None:
        """Bring the write-ahead log of the store into its file."""
        self._store.database.checkpoint()
