"""The loop that makes Serve what the store says: observe, decide, act, for every graph.

Each graph is acted on by one task at a time, and graphs do not wait for each other. Nothing is
remembered that a restart may not lose: what runs is read from Serve, what should run from the
store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from anabranch.control import serving
from anabranch.control.reconcile import (
    Action,
    App,
    Delete,
    Desired,
    Fail,
    MarkDeleted,
    Promote,
    Start,
    Wait,
    decide,
)
from anabranch.control.releases import Releases
from anabranch.control.settings import Settings
from anabranch.control.store import Revision, Store
from anabranch.errors import AnabranchError
from anabranch.router.limits import Limits

logger = logging.getLogger("anabranch.control")

_BUSY_PAUSE = 0.1
_IDLE_PAUSE = 2.0
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 60.0


class Reconciler:
    """Runs until it is cancelled; ``wake`` makes it look at once."""

    def __init__(self, settings: Settings, store: Store, releases: Releases) -> None:
        self._store = store
        self._releases = releases
        self._limits = Limits(max_body=settings.max_body)
        self._deploy_timeout = settings.deploy_timeout
        self._woken = asyncio.Event()
        self._acting: dict[str, asyncio.Task[None]] = {}
        self._since: dict[tuple[str, int], float] = {}
        """When each revision on its way was started, on the monotonic clock."""
        self._rolled: dict[str, int] = {}
        """The revision that each router was last rolled to: Serve shows it a moment late."""
        self._retries: dict[str, tuple[float, float]] = {}
        """Per graph, when to try again and how long to wait after that."""
        self.applications: Mapping[str, Any] = {}
        """What Serve last said of its applications."""
        self.settled = asyncio.Event()
        """Set while nothing is left to do."""

    def wake(self) -> None:
        """Look at the store now; something was written to it."""
        self.settled.clear()
        self._woken.set()

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            self._woken.clear()
            try:
                busy = await self._tick()
            except Exception:
                logger.exception("cannot reconcile; trying again in %gs", _IDLE_PAUSE)
                await asyncio.sleep(_IDLE_PAUSE)
                continue
            if busy:
                self.settled.clear()
            elif not self._woken.is_set():
                self.settled.set()
            await self._pause(_BUSY_PAUSE if busy else _IDLE_PAUSE)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    async def _tick(self) -> bool:
        """Look once and start what is to be done; says whether something still is."""
        self.applications = await asyncio.to_thread(serving.details)
        observed = serving.observe(self.applications)
        wanted = await asyncio.to_thread(self._wanted)
        for graph in observed.keys() - wanted.keys():
            wanted[graph] = Desired(graph, deleted=True)
        busy = False
        for graph, desired in wanted.items():
            if graph in self._acting:
                busy = True
                continue
            actions = [
                action
                for action in decide(desired, self._with_rolled(graph, observed.get(graph, {})))
                if not self._postponed(graph, action)
            ]
            busy = busy or bool(actions)
            if any(not isinstance(action, Wait) for action in actions):
                self._begin(desired, actions)
        return busy

    def _with_rolled(self, graph: str, apps: Mapping[str, App]) -> Mapping[str, App]:
        """What runs, with the router's revision as last asked for while Serve is on its way."""
        router, rolled = apps.get(graph), self._rolled.get(graph)
        if router is None or router.status != "deploying" or rolled is None:
            return apps
        return {**apps, graph: replace(router, revision=rolled)}

    def _postponed(self, graph: str, action: Action) -> bool:
        """Whether an action would repeat too soon what just failed."""
        due, _ = self._retries.get(graph, (0.0, 0.0))
        return isinstance(action, Start) and time.monotonic() < due

    def _wanted(self) -> dict[str, Desired]:
        found = {
            graph.name: Desired(graph.name, deleted=True)
            for graph in self._store.graphs()
            if graph.state == "deleting"
        }
        return found | {
            graph: self._desired(graph, revisions)
            for graph, revisions in self._store.unsettled().items()
        }

    def _desired(self, graph: str, revisions: list[Revision]) -> Desired:
        live = [revision.number for revision in revisions if revision.state == "live"]
        coming = [revision.number for revision in revisions if revision.state != "live"]
        number = coming[-1] if coming else None
        since = self._since.get((graph, number or 0), time.monotonic())
        return Desired(
            graph,
            live=live[0] if live else None,
            next=number,
            superseded=tuple(coming[:-1]),
            remote=frozenset(r.number for r in revisions if self._has_segments(r)),
            overdue=time.monotonic() - since > self._deploy_timeout,
        )

    def _has_segments(self, revision: Revision) -> bool:
        try:
            return len(self._releases.plan(revision).segments) > 1
        except AnabranchError:
            return False  # starting it will say why

    def _begin(self, desired: Desired, actions: list[Action]) -> None:
        task = asyncio.create_task(self._act(desired, actions))
        self._acting[desired.graph] = task
        task.add_done_callback(lambda _: self._ended(desired.graph))

    def _ended(self, graph: str) -> None:
        del self._acting[graph]
        self._woken.set()

    async def _act(self, desired: Desired, actions: list[Action]) -> None:
        for action in actions:
            try:
                await self._apply(desired, action)
            except Exception as error:
                await self._failed(desired, action, error)
                return

    async def _apply(self, desired: Desired, action: Action) -> None:
        graph = desired.graph
        match action:
            case Start():
                await self._start(desired, action)
            case Delete(app):
                await asyncio.to_thread(serving.delete, app)
            case Promote(number):
                await asyncio.to_thread(self._store.promote, graph, number)
                self._forget(graph, number)
            case Fail(number, reason):
                await asyncio.to_thread(self._give_up, graph, number, reason)
                self._forget(graph, number)
            case MarkDeleted():
                await asyncio.to_thread(self._store.mark_deleted, graph)
            case Wait():
                pass

    def _give_up(self, graph: str, number: int, reason: str) -> None:
        """Fail a revision; where only its segment is known, the reason names its nodes too."""
        with suppress(AnabranchError):
            plan = self._releases.plan(self._store.revision(graph, number))
            for segment in plan.segments:
                named = f"segment {segment.name!r} (nodes {', '.join(segment.nodes)}):"
                reason = reason.replace(f"segment {segment.name!r}:", named)
        self._store.fail(graph, number, reason)

    def _forget(self, graph: str, number: int) -> None:
        self._since.pop((graph, number), None)
        self._retries.pop(graph, None)

    async def _start(self, desired: Desired, action: Start) -> None:
        graph, number = desired.graph, action.revision
        if action.retry:
            self._back_off(graph)
        if number == desired.next:
            await asyncio.to_thread(self._store.start, graph, number)
        await asyncio.to_thread(self._launch, action, graph, number == desired.next)
        if action.part == "router":
            self._rolled[graph] = number
        self._since.setdefault((graph, number), time.monotonic())

    def _launch(self, action: Start, graph: str, is_new: bool) -> None:
        release = self._releases.release(self._store.revision(graph, action.revision))
        missing = serving.lacking(release.plan) if is_new else ""
        if missing:
            raise AnabranchError(missing)
        serving.start(action.part, release, self._limits)

    async def _failed(self, desired: Desired, action: Action, error: Exception) -> None:
        """A revision on its way that cannot be started has failed; all else is tried again."""
        logger.warning("%s: %s: %s", desired.graph, action, error)
        known = isinstance(error, AnabranchError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        if isinstance(action, Start) and action.revision == desired.next:
            await asyncio.to_thread(self._store.fail, desired.graph, action.revision, reason)
        elif isinstance(action, Start):
            self._back_off(desired.graph)
            await asyncio.to_thread(
                self._store.log, desired.graph, action.revision, "start_failed", reason
            )

    def _back_off(self, graph: str) -> None:
        _, pause = self._retries.get(graph, (0.0, _FIRST_RETRY))
        self._retries[graph] = (time.monotonic() + pause, min(pause * 2, _LONGEST_RETRY))
