"""What a controller does now and then, so that what the engine keeps stays bounded and in one file.

Nothing waits for it, and what fails is tried again the next time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anabranch.control.jobs.book import JobBook
from anabranch.control.observe.log_bounds import keep_within, kept_in
from anabranch.control.release.bundles import REQUIREMENTS, BundleStore
from anabranch.control.release.environments import Environments
from anabranch.control.release.machine_caches import Needed
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.store.version_tags import VersionTagStore
from anabranch.control.traffic.signing_keys import SigningKeys
from anabranch.errors import AnabranchError, NotFound

logger = logging.getLogger("anabranch.control")

SPARED_S = 600.0
"""Age below which no bundle or environment goes for its size alone, in seconds: its deploy may be
under way.
"""
UNDER_WAY_S = 10.0
"""Age below which no bundle or model goes, whatever age is set: the revision that needs it may be
about to be put on record.
"""
PERIOD_S = 60.0
"""Time between two rounds, in seconds: what a copy of the store's file alone may lack."""


@dataclass(frozen=True)
class KeptItems:
    """How much of one kind is kept, and how much may be; None and infinity are no bounds."""

    what: str
    count: int
    bytes: int | None
    oldest: float | None
    """Unix time of the oldest; None where there is none."""
    most: int | None
    most_bytes: float | None
    age: float
    """Longest time for which one is kept that nothing needs, in seconds."""


class Housekeeping:
    """Rounds over store, keys, bundles, environments and logs of the controller that acts.

    A bundle that no revision uses is kept for a while: its deploy may be under way. ``logs`` gives
    the folder of all logs of this machine that are the engine's alone, and ``machines`` has the
    machines of a cluster keep what they need, of bundles with these digests.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        keys: SigningKeys,
        logs: Callable[[], Path],
        machines: Callable[[Needed, frozenset[str]], None] | None = None,
    ) -> None:
        self._machines = machines
        self._store, self._keys, self._logs = store, keys, logs
        self._settings = settings
        self._bundles = BundleStore(settings.bundles, settings.bundle_store)
        self._environments = Environments(settings.environments, settings.install_timeout)

    async def run(self) -> None:
        """Make a round each minute, for ever."""
        while True:
            await asyncio.to_thread(self.round)
            await asyncio.sleep(PERIOD_S)

    def round(self) -> None:
        """Remove what nobody needs, and bring the store's write-ahead log into its file.

        What makes room on a full disk comes first; what fails is logged, and keeps nothing else.
        """
        for work in (
            self._bound_logs,
            self._bound_store,
            self._collect_bundles,
            self._collect_blobs,
            self._collect_environments,
            self._keys.renew,
            self._store.database.checkpoint,
            self._collect_on_machines,
        ):
            try:
                work()
            except (AnabranchError, OSError) as error:
                logger.warning("the housekeeping has to wait: %s", error)

    def kept(self) -> list[KeptItems]:
        """Return what is kept now, and how much of it may be. Takes as long as to list all files;
        OSError where that cannot be done.
        """
        bounds, records = self._settings, self._store.kept()
        events, revisions = records["events"], records["revisions"]
        logs, bundles = kept_in(self._logs()), self._bundles.kept()
        environments = self._environments.kept()
        return [
            KeptItems("events", *_without_bytes(events), bounds.max_events, None, bounds.event_age),
            KeptItems("revisions", *_without_bytes(revisions), None, None, bounds.revision_age),
            KeptItems("bundles", *bundles, None, bounds.bundle_total, bounds.bundle_age),
            KeptItems("models", *self._bundles.blobs.kept(), None, None, bounds.bundle_age),
            KeptItems(
                "environments", *environments, None, bounds.environment_total,
                bounds.environment_age,
            ),
            KeptItems("logs", *logs, bounds.logs.files, bounds.logs.total, bounds.logs.age),
        ]  # fmt: skip

    def _bound_logs(self) -> None:
        keep_within(self._logs(), self._settings.logs)

    def _bound_store(self) -> None:
        kept = self._settings
        self._store.forget_events(time.time() - kept.event_age, kept.max_events)
        gone = self._store.forget_revisions(kept.max_revisions, time.time() - kept.revision_age)
        JobBook(self._store.database).forget(time.time() - kept.event_age)
        VersionTagStore(self._store.database).forget(time.time() - kept.revision_age)
        if gone:
            logger.info("removed %d revisions that do not run, the oldest of their graphs", gone)

    def _collect_environments(self) -> None:
        needed = self._needed()
        gone = self._environments.collect(
            needed.environments(), needed.before, needed.most, needed.spared
        )
        if gone:
            logger.info("removed %d environments that no running revision uses", gone)

    def _collect_on_machines(self) -> None:
        if self._machines is not None:
            needed = self._needed()
            self._machines(needed, needed.bundles)

    def _needed(self) -> Needed:
        running = {}
        for digest in self._store.digests(running=True):
            with suppress(NotFound):
                requirements = self._bundles.read(digest, REQUIREMENTS)
                if requirements is not None:
                    running[digest] = requirements
        now, kept = time.time(), self._settings
        return Needed(
            self._bundles.digests(), running, now - kept.environment_age, kept.environment_total,
            now - SPARED_S,
        )  # fmt: skip

    def _collect_blobs(self) -> None:
        """Remove models that no bundle pins which is here, or used."""
        blobs = self._bundles.blobs
        if blobs.digests():
            used = self._bundles.pinned({*self._bundles.digests(), *self._store.digests()})
            gone = blobs.collect(used, self._unused_since(time.time()))
            if gone:
                logger.info("removed %d models that no bundle pins", len(gone))

    def _collect_bundles(self) -> None:
        now, most = time.time(), self._settings.bundle_total
        gone = self._bundles.collect(
            self._store.digests(), self._unused_since(now), most, now - SPARED_S
        )
        if gone:
            logger.info("removed %d bundles that no revision uses", len(gone))

    def _unused_since(self, now: float) -> float:
        """Return when a bundle was sent last that goes now if nothing uses it."""
        return now - max(self._settings.bundle_age, UNDER_WAY_S)


def _without_bytes(record: tuple[int, float | None]) -> tuple[int, None, float | None]:
    count, oldest = record
    return count, None, oldest
