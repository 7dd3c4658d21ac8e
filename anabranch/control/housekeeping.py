"""What a controller does now and then, so that what the engine keeps stays bounded and in one file.

Nothing waits for it, and what fails is tried again the next time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from anabranch.control.observe.log_bounds import keep_within
from anabranch.control.release.bundles import BundleStore
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.errors import AnabranchError

logger = logging.getLogger("anabranch.control")

PERIOD_S = 60.0
"""Time between two rounds, in seconds: what a copy of the store's file alone may lack."""


class Housekeeping:
    """Rounds over the store, the bundles and the logs of the controller that acts.

    A bundle that no revision uses is kept for a while: its deploy may be under way. ``logs`` gives
    the folder of all logs of this machine.
    """

    def __init__(self, settings: Settings, store: Store, logs: Callable[[], Path]) -> None:
        self._store, self._logs = store, logs
        self._bundles = BundleStore(settings.bundles)
        self._bundle_age, self._bounds = settings.bundle_age, settings.logs

    async def run(self) -> None:
        """Make a round each minute, for ever."""
        while True:
            await asyncio.to_thread(self.round)
            await asyncio.sleep(PERIOD_S)

    def round(self) -> None:
        """Remove what nobody needs, and bring the store's write-ahead log into its file.

        What makes room on a full disk comes first; what fails is logged, and keeps nothing else.
        """
        for work in (self._bound_logs, self._collect_bundles, self._store.database.checkpoint):
            try:
                work()
            except (AnabranchError, OSError) as error:
                logger.warning("the housekeeping has to wait: %s", error)

    def _bound_logs(self) -> None:
        keep_within(self._logs(), self._bounds)

    def _collect_bundles(self) -> None:
        before = time.time() - self._bundle_age
        gone = self._bundles.collect(self._store.digests(), before)
        if gone:
            logger.info("removed %d bundles that no revision uses", len(gone))
