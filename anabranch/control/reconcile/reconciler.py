"""The loop that makes Serve what the store says: observe, decide, act, for every graph.

Each graph is acted on by one task at a time, and graphs do not wait for each other. Nothing is
remembered that a restart may not lose: what runs is read from Serve, what should run from the
store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from anabranch.control.lifecycle import operations, warm
from anabranch.control.lifecycle.decide import (
    Action,
    App,
    Arrive,
    Delete,
    Desired,
    Fail,
    MarkDeleted,
    Start,
    Wait,
    decide,
)
from anabranch.control.lifecycle.operations import GONE, Change, Moment, Situation
from anabranch.control.lifecycle.warm import WarmBounds
from anabranch.control.models.checks import ModelUsed
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.observe.memory import RevisionMemory
from anabranch.control.reconcile import serving
from anabranch.control.reconcile.fleet import Fleet
from anabranch.control.reconcile.outages import Outages
from anabranch.control.reconcile.pools import Pools
from anabranch.control.reconcile.waiting import UnplacedReplicas
from anabranch.control.release.release import Release
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.tasks import WokenLoop
from anabranch.control.traffic.tables import Catalogue
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.errors import AnabranchError, NotFound
from anabranch.router.limits import RequestLimits
from anabranch.router.table import app_name, router_app
from anabranch.serve.pools.entries import pool_app

logger = logging.getLogger("anabranch.control")

_BUSY_PAUSE = 0.1
_IDLE_PAUSE = 5.0
_SHORT_PAUSE = 1.0
"""While a segment is down."""
_RETRY_PAUSE = 2.0
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 60.0
_START_S = 30.0
"""How long a router that starts is waited for before another revision's takes its place."""
_MOST_LAUNCHES = 8
"""Revisions that are started at a time: each may install for minutes, and must leave threads to
those who use the store.
"""


class Reconciler(WokenLoop[str]):
    """Runs until it is cancelled; ``wake`` makes it look at once."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        releases: Releases,
        catalogue: Catalogue,
        writer: TrafficWriter,
        may_act: Callable[[], bool],
        pools: Pools,
        memory: RevisionMemory,
        outages: Outages,
        waiting: UnplacedReplicas,
        models: SharedModels,
    ) -> None:
        super().__init__()
        self._store = store
        self._releases = releases
        self._catalogue = catalogue
        self._writer = writer
        self._may_act = may_act
        self._pools = pools
        self._limits = RequestLimits.for_body(settings.max_body)
        self._deploy_timeout = settings.deploy_timeout
        self._warm = WarmBounds(settings.max_warm, settings.max_warm_memory)
        self._memory = memory
        self._models = models
        self.waiting = waiting
        """What replicas wait for."""
        self._launches = asyncio.Semaphore(_MOST_LAUNCHES)
        self._since: dict[tuple[str, int], float] = {}
        """When each revision on its way was started, on the monotonic clock."""
        self._rolled: dict[str, int] = {}
        """The revision that each router was last rolled to: Serve shows it a moment late."""
        self._starting: dict[str, float] = {}
        """Since when routers start, on the monotonic clock."""
        self._retries: dict[tuple[str, int | None], tuple[float, float]] = {}
        """Per application and revision, when to try again and how long to wait after that."""
        self._next_expiry = float("inf")
        """Unix time at which the next warm revision is to go."""
        self.applications: Mapping[str, Any] = {}
        """Serve's applications by name, with the details that it last gave."""
        self._fleet = Fleet()
        self.outages = outages
        """The segments that are down."""
        self.starting: Collection[str] | None = None
        """The graphs on which there is something to do but to wait for machines; None before the
        first look.
        """
        self.settled = asyncio.Event()
        """Set while nothing is left to do but to wait until warm revisions expire."""
        writer.watch(self.wake)
        pools.watch(self.look)

    def wake(self) -> None:
        """Look at the store now; something was written to it."""
        self.settled.clear()
        self._woken.set()

    def look(self) -> None:
        """Look at Serve now; replicas have come or gone."""
        self._woken.set()

    async def _round(self) -> float:
        try:
            busy = await self._tick()
        except Exception:
            logger.exception("cannot reconcile; trying again in %gs", _RETRY_PAUSE)
            await asyncio.sleep(_RETRY_PAUSE)
            return 0.0
        if busy:
            self.settled.clear()
        elif not self._woken.is_set():
            self.settled.set()
        return _BUSY_PAUSE if busy else self._idle()

    def _idle(self) -> float:
        pause = _SHORT_PAUSE if self.outages.now else _IDLE_PAUSE
        return max(0.0, min(pause, self._next_expiry - self._writer.clock()))

    async def _tick(self) -> bool:
        """Look once and start what is to be done; says whether something still is."""
        if not self._may_act():
            return False
        acting = set(self._tasks)  # what is observed of these may be older than what they did
        found = await asyncio.to_thread(serving.details)
        await asyncio.to_thread(self.waiting.see, found)
        self._pools.see(found)
        wanted = await self._wanted()
        homes = {graph: desired.pool for graph, desired in wanted.items()}
        self.applications = self._pools.applications(found, homes.get)
        self._fleet.see(self.applications, self.waiting.counts)
        up = {(graph, number) for graph, desired in wanted.items() for number in desired.up}
        await asyncio.to_thread(self.outages.see, self.applications, up)
        observed = serving.observe(self.applications)
        self._forgive(observed)
        for graph in observed.keys() - wanted.keys():
            wanted[graph] = Desired(graph, deleted=True)
        busy = self._keep_pools(found, acting)
        waiting, starting = {graph for graph, *_ in self.waiting.counts}, set[str]()
        for graph, desired in wanted.items():
            self._leave_former_homes(desired, found, observed.get(graph, {}))
            unknown = not self._pools.is_known(desired.pool)
            if unknown or graph in acting or graph in self._tasks:
                busy = True
                starting.add(graph)
                continue
            actions = [
                action
                for action in decide(desired, self._as_known(graph, observed.get(graph, {})))
                if not self._postponed(graph, action)
            ]
            busy = busy or bool(actions)
            acts = any(not isinstance(action, Wait) for action in actions)
            if acts:
                self._start(graph, self._act(desired, actions))
            if acts or (actions and graph not in waiting):
                starting.add(graph)
        self.starting = starting
        return busy

    def _keep_pools(self, found: Mapping[str, Any], acting: set[str]) -> bool:
        """Start the pools that carry something, and end the others; says whether there are such."""
        works = {
            **{
                pool_app(one): partial(serving.start_pool, one) for one in self._pools.wanted(found)
            },
            **{one: partial(serving.delete, one) for one in self._pools.idle(found)},
        }
        for name, work in works.items():
            if name not in acting and name not in self._tasks:
                self._start(name, asyncio.to_thread(work))
        return bool(works)

    def _leave_former_homes(
        self, desired: Desired, found: Mapping[str, Any], apps: Mapping[str, App]
    ) -> None:
        """End the routers that a graph has beside those that are to stay, once these answer."""
        graph, app = desired.graph, router_app(desired.graph)
        router, homes = apps.get(app), self._pools.homes(graph)
        is_elsewhere = desired.pool in homes and app in found
        if router is None or router.status != "running" or desired.deleted:
            return
        if router.revision != desired.stable:
            return
        if any(home != desired.pool for home in homes) and (desired.pool or app in found):
            self._pools.remove(graph, but=desired.pool)
        if is_elsewhere and graph not in self._tasks:
            self._start(graph, asyncio.to_thread(serving.delete, app))

    def _as_known(self, graph: str, apps: Mapping[str, App]) -> Mapping[str, App]:
        """Return the applications, with what is known of the router's beyond what Serve shows.

        While it deploys, its revision is the one last asked for, which Serve shows a moment late.
        One that starts for long is not waited for: it may hang.
        """
        app, now = router_app(graph), time.monotonic()
        since, router = self._starting.pop(graph, now), apps.get(app)
        if router is None:
            return apps
        if router.is_starting:
            self._starting[graph] = since
        is_starting = router.is_starting and now - since < _START_S
        rolled = self._rolled.get(graph) if router.status == "deploying" else None
        revision = router.revision if rolled is None else rolled
        return {**apps, app: replace(router, revision=revision, is_starting=is_starting)}

    def _forgive(self, observed: Mapping[str, Mapping[str, App]]) -> None:
        """Drop retries of running applications, so that their pauses start anew, and old ones."""
        for apps in observed.values():
            for name, app in apps.items():
                if app.status == "running":
                    self._retries.pop((name, app.revision), None)
        long_ago = time.monotonic() - 2 * _LONGEST_RETRY  # nobody wants these any more
        self._retries = {
            target: retry for target, retry in self._retries.items() if retry[0] > long_ago
        }

    def _postponed(self, graph: str, action: Action) -> bool:
        """Return whether an action would repeat too soon what just failed."""
        if not isinstance(action, Start):
            return False
        due, _ = self._retries.get(_target(graph, action), (0.0, 0.0))
        return time.monotonic() < due

    async def _wanted(self) -> dict[str, Desired]:
        """Return the desired state of every graph, after expired warm revisions were retired."""
        now = self._writer.clock()
        found: list[Situation] = []
        held = await asyncio.to_thread(self._models.pinned)
        for stored in await asyncio.to_thread(self._store.situations):
            await self._writer.catch_up(stored)
            situation = stored.situation
            if _next_expiry(situation, held) <= now:
                situation = (await self._writer.change(situation.graph, self._expired)).situation
            found.append(situation)
        found = await self._bounded(found, now, held)
        expiries = (_next_expiry(one, held) for one in found)
        self._next_expiry = min(expiries, default=float("inf"))
        wanted = await asyncio.to_thread(lambda: {one.graph: self._desired(one) for one in found})
        await self._note_waits(found)
        coming = {(graph, one) for graph, desired in wanted.items() for one in desired.coming}
        self._since = {key: since for key, since in self._since.items() if key in coming}
        return wanted

    def _expired(self, now: Situation, moment: Moment) -> Change:
        """Retire warm revisions whose time is over, but for those that other graphs name."""
        return operations.expired(now, moment, self._models.pinned().get(now.graph, frozenset()))

    async def _note_waits(self, found: list[Situation]) -> None:
        """Put on record what revisions on their way wait for, where that has changed."""
        for now in found:
            for number in now.coming:
                said = self.waiting.told(now.graph, number)
                if said != now.members[number].reason:
                    operation = partial(operations.waits, number=number, reason=said)
                    await self._writer.change(now.graph, operation)

    async def _bounded(
        self, found: list[Situation], now: float, held: Mapping[str, frozenset[int]]
    ) -> list[Situation]:
        """Let the oldest warm revisions go that are beyond the bounds; the situations then."""
        changed: dict[str, Situation] = {}
        is_any = any(one.state == "warm" for each in found for one in each.members.values())
        memory = await asyncio.to_thread(self._memory.taken) if is_any else {}
        for graph, number, why in warm.beyond(found, self._warm, now, memory, held):
            hastened = partial(warm.hastened, number=number, why=why)
            changed[graph] = (await self._writer.change(graph, hastened)).situation
        return [changed.get(one.graph, one) for one in found]

    def _desired(self, now: Situation) -> Desired:
        if now.state in GONE:
            return Desired(now.graph, deleted=True)
        if now.state == "unloaded":
            return Desired(now.graph)
        find = self._catalogue.of(now.graph)
        return Desired(
            now.graph,
            stable=now.stable,
            arms=frozenset(number for number, weight in now.weights.items() if weight > 0),
            up=now.up,
            coming=now.coming,
            pool=self._pool_of(now),
            remote=frozenset(
                number
                for number in (*now.up, *now.coming)
                # One that does not compile is started all the same: that will say why.
                if (outline := find(number)) is not None and outline.remote
            ),
            overdue=frozenset(number for number in now.coming if self._is_overdue(now, number)),
        )

    def _pool_of(self, now: Situation) -> str | None:
        """Return the pool of the revision that routers are to carry."""
        number = now.stable if now.stable is not None else next(iter(now.coming), None)
        outline = None if number is None else self._catalogue.of(now.graph)(number)
        return None if outline is None else outline.pool

    def _is_overdue(self, now: Situation, number: int) -> bool:
        """Return whether a revision has had its time; what it takes to start it does not count, nor
        does the time until there are machines for it.
        """
        if now.members[number].state != "deploying" or now.graph in self._tasks:
            return False
        if self.waiting.told(now.graph, number) and self.waiting.may_grow:
            self._since.pop((now.graph, number), None)
            return False
        since = self._since.setdefault((now.graph, number), time.monotonic())
        return time.monotonic() - since > self._deploy_timeout

    async def _act(self, desired: Desired, actions: list[Action]) -> None:
        for action in actions:
            if not self._may_act():
                return
            try:
                await self._apply(desired, action)
            except Exception as error:
                await self._failed(desired, action, error)

    async def _apply(self, desired: Desired, action: Action) -> None:
        graph = desired.graph
        match action:
            case Start():
                await self._bring_up(desired, action)
            case Delete(app):
                if app == router_app(graph):
                    self._pools.remove(graph)
                await asyncio.to_thread(serving.delete, app)
            case Arrive(number):
                await self._arrive(graph, number)
            case Fail(number, reason):
                await self._give_up(graph, number, reason)
            case MarkDeleted():
                await self._gone(graph)
            case Wait():
                pass

    async def _arrive(self, graph: str, number: int) -> None:
        try:
            await self._writer.change(graph, partial(operations.arrived, number=number))
        except ModelUsed as error:
            await self._give_up(graph, number, str(error))

    async def _give_up(self, graph: str, number: int, reason: str) -> None:
        waits = self.waiting.told(graph, number)
        reason = f"{reason}; it {waits}" if waits else reason
        named = await asyncio.to_thread(self._with_nodes, graph, number, reason)
        await self._writer.change(graph, partial(operations.failed, number=number, reason=named))

    def _with_nodes(self, graph: str, number: int, reason: str) -> str:
        """A reason in which segments come with the names of their nodes."""
        with suppress(AnabranchError):
            plan = self._releases.plan(self._store.revision(graph, number))
            for segment in plan.segments:
                named = f"segment {segment.name!r} (nodes {', '.join(segment.nodes)}):"
                reason = reason.replace(f"segment {segment.name!r}:", named)
        return reason

    async def _gone(self, graph: str) -> None:
        """Nothing of a graph runs; one that the store never had is none of its business."""
        with suppress(NotFound):
            await self._writer.change(graph, operations.gone)
        self._rolled.pop(graph, None)

    async def _bring_up(self, desired: Desired, action: Start) -> None:
        graph, number = desired.graph, action.revision
        if action.retry:
            self._back_off(graph, action)
        if number in desired.coming:
            await self._writer.change(graph, partial(operations.started, number=number))
        async with self._launches:
            await self._launch(action, graph, number in desired.coming)
        if action.part == "router":
            self._rolled[graph] = number
            self._starting.pop(graph, None)

    async def _launch(self, action: Start, graph: str, is_new: bool) -> None:
        release = await asyncio.to_thread(self._release, graph, action.revision, is_new)
        if action.part == "router" and release.plan.pool is not None:
            self._pools.assign(release.plan.pool, release, self._limits)
        else:
            await asyncio.to_thread(serving.start, action.part, release, self._limits)

    def _release(self, graph: str, number: int, is_new: bool) -> Release:
        release = self._releases.release(self._store.revision(graph, number))
        missing = serving.lacking(release.plan, self.waiting.look()) if is_new else ""
        if missing:
            raise AnabranchError(missing)
        return release

    async def _failed(self, desired: Desired, action: Action, error: Exception) -> None:
        """A revision on its way that cannot be started has failed; all else is tried again."""
        logger.warning("%s: %s: %s", desired.graph, action, error)
        known = isinstance(error, AnabranchError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        if not isinstance(action, Start):
            return
        if action.revision in desired.coming:
            await self._give_up(desired.graph, action.revision, reason)
            return
        self._back_off(desired.graph, action)
        await asyncio.to_thread(
            self._store.log, desired.graph, action.revision, "start_failed", reason
        )

    def _back_off(self, graph: str, action: Start) -> None:
        target = _target(graph, action)
        _, pause = self._retries.get(target, (0.0, _FIRST_RETRY))
        self._retries[target] = (time.monotonic() + pause, min(pause * 2, _LONGEST_RETRY))


def _target(graph: str, action: Start) -> tuple[str, int]:
    return app_name(graph, action.part, action.revision), action.revision


def _next_expiry(now: Situation, held: Mapping[str, frozenset[int]]) -> float:
    """Unix time at which the next warm revision of a graph is to go; those that are held do not."""
    kept = held.get(now.graph, frozenset())
    warm = (one for n, one in now.members.items() if one.state == "warm" and n not in kept)
    return min((one.expires_at or 0.0 for one in warm), default=float("inf"))
