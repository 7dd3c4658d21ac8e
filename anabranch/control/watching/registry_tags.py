"""The loop that tells MLflow how the versions of watched models fare, as tags.

What a version is to be told is put into the store first, and what it was told after it was told: so
a registry that is away, or a controller that dies, delays a verdict and loses none. It may be told
the same twice. Where it was away for long it is told how things stand, not all that was in between.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Iterator

from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import TransferInterrupted
from anabranch.control.store.records import RevisionInfo
from anabranch.control.store.store import Store, Stored
from anabranch.control.store.version_tags import VersionTags, VersionTagStore
from anabranch.control.tasks import WokenLoop
from anabranch.control.watching.models import WatchingRevisions
from anabranch.control.watching.verdicts import (
    PREFIX,
    ModelVerdict,
    removed,
    tags_of,
    telling,
    verdict_on,
)
from anabranch.errors import ArtefactError, NotFound

logger = logging.getLogger("anabranch.control")

_REST_S, _RETRY_S = 30.0, 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses after tries of a registry that is away; each is twice the one before."""
_NEWEST = 20
"""Revisions of a graph whose versions are judged, besides those that are up."""

Wanted = dict[tuple[str, str], dict[str, str]]
"""Tags by graph and version."""


class RegistryTags(WokenLoop[str]):
    """Tells the registry until it is cancelled."""

    def __init__(
        self, store: Store, revisions: WatchingRevisions, artefacts: ArtefactSettings
    ) -> None:
        super().__init__()
        self._store = store
        self._tags = VersionTagStore(store.database)
        self._revisions = revisions
        self._artefacts = artefacts
        self._failures = 0

    async def _round(self) -> float:
        """Note and tell what is new; return the seconds until the next time."""
        try:
            untold = await asyncio.to_thread(self._note)
        except Exception:
            logger.exception("cannot note verdicts on models; trying again in %gs", _RETRY_S)
            return _RETRY_S
        for tags in untold:
            try:
                await asyncio.to_thread(self._tell, tags)
            except TransferInterrupted as error:
                return await self._pause(str(error))
        self._failures = 0
        return _REST_S

    async def _pause(self, problem: str) -> float:
        """Wait before the registry is tried again, whatever is written to the store meanwhile."""
        pause = min(_FIRST_PAUSE_S * 2.0**self._failures, _LONGEST_PAUSE_S)
        self._failures = min(self._failures + 1, 10)
        logger.info("cannot tell MLflow of verdicts, trying again in %gs: %s", pause, problem)
        await asyncio.sleep(pause)
        return 0.0

    def _note(self) -> list[VersionTags]:
        """Put into the store what versions are to be told; return what they were not told yet."""
        known = {(one.graph, one.version): one for one in self._tags.all()}
        stored = self._store.situations()
        wanted = self._wanted(stored, known)
        for (graph, version), tags in wanted.items():
            before = known.get((graph, version))
            if before is None or before.wanted != tags:
                self._tags.want(graph, version, tags)
        return [one for one in self._tags.all() if one.wanted != one.told]

    def _wanted(self, stored: list[Stored], known: dict[tuple[str, str], VersionTags]) -> Wanted:
        present = {one.situation.graph for one in stored}
        verdicts = [pair for one in stored for pair in self._verdicts(one)]
        verdicts += [
            (version, removed(graph, int(one.wanted[f"{PREFIX}revision"])))
            for (graph, version), one in known.items()
            if graph not in present
        ]
        wanted: Wanted = {}
        for version, verdict in verdicts:
            before = known.get((verdict.graph, version))
            tags = tags_of(verdict, {} if before is None else before.wanted)
            wanted[verdict.graph, version] = tags
        return wanted

    def _verdicts(self, stored: Stored) -> Iterator[tuple[str, ModelVerdict]]:
        """Yield the verdict on each version that a graph has watched lately."""
        by_version: dict[str, list[RevisionInfo]] = defaultdict(list)
        for one in self._recent(stored) if stored.seen else ():
            for version in self._versions(one):
                by_version[version].append(one)
        for version, revisions in by_version.items():
            yield version, verdict_on(stored.situation, telling(revisions))

    def _recent(self, stored: Stored) -> list[RevisionInfo]:
        now = stored.situation
        newest: list[RevisionInfo] = self._store.revisions(now.graph, _NEWEST)
        others = now.members.keys() - {one.number for one in newest}
        return [*newest, *(self._store.revision(now.graph, one) for one in sorted(others))]

    def _versions(self, one: RevisionInfo) -> set[str]:
        """Return the versions in a registry that a revision has of what it watches."""
        try:
            models = self._revisions.of(one.graph, one.number).models
        except NotFound:  # it has gone since the list was read
            return set()
        return {
            pin
            for reference, pin in one.pins.items()
            if reference in models and pin.startswith("models:/")
        }

    def _tell(self, tags: VersionTags) -> None:
        """Set all tags, as another graph may have set them too; TransferInterrupted if it cannot.

        What the registry refuses is an event, and is not tried again.
        """
        # Here, for it takes an HTTP client that most engines never need.
        from anabranch.components.artefacts.mlflow.versions import set_tag

        try:
            for key, value in tags.wanted.items():
                set_tag(tags.version, key, value, self._artefacts)
        except ArtefactError as error:
            self._log_refusal(tags, str(error))
        self._tags.told(tags)

    def _log_refusal(self, tags: VersionTags, problem: str) -> None:
        """Log first: after a crash in between there are two events rather than none."""
        revision = int(tags.wanted[f"{PREFIX}revision"])
        message = f"MLflow takes no tags of {tags.version}: {problem}"
        data = {"version": tags.version, "tags": json.dumps(dict(tags.wanted))}
        self._store.log(tags.graph, revision, "verdict_refused", message, data)
