"""The pools of the engine: which graphs each is to carry, and how these are doing.

What a pool is to carry is kept here and in its process alone. A controller that starts anew hears
of it from the process, before it wants anything else of that pool; a pool that does not run carries
nothing. For all who look at Serve's applications, a graph in a pool looks as if its router were an
application of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anabranch.control.release.release import REVISION_VARIABLE, Release
from anabranch.control.traffic.topic import Topic, first_version
from anabranch.router.limits import RequestLimits
from anabranch.router.table import ROUTER, router_app
from anabranch.serve.pools.entries import (
    POOL_PREFIX,
    PoolTable,
    TenantEntry,
    TenantState,
    pool_app,
    pool_of,
)

_STATUS = {"deploying": "DEPLOYING", "running": "RUNNING", "failed": "DEPLOY_FAILED"}
_HEALTH = {"deploying": "UPDATING", "running": "HEALTHY", "failed": "DEPLOY_FAILED"}


@dataclass
class _Pool:
    """A pool: what it is to carry, and what its process told last."""

    table: Topic[PoolTable]
    is_known: bool = False
    """Whether what it carries is known here."""
    replica: str = ""
    """The process that polled last."""
    states: Mapping[str, TenantState] = field(default_factory=dict)


class Pools:
    """All pools, by name; for one event loop. ``changed`` is called where a state has changed."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._pools: dict[str, _Pool] = {}
        self._attempts = first_version()

    def watch(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever the state of a graph has changed."""
        self._listeners.append(listener)

    async def table(self, pool: str, replica: str, version: int) -> PoolTable | None:
        """The long poll of a pool's process. None: it is not known what the pool carries."""
        one = self._pool(pool)
        one.replica = replica
        found = await one.table.next(version)
        return found if one.is_known else None

    def take(self, pool: str, replica: str, states: Mapping[str, TenantState]) -> None:
        """Take what a pool's process tells of its graphs; nothing of one that another replaces."""
        one = self._pool(pool)
        if one.replica not in ("", replica):
            return
        if not one.is_known:
            one.is_known = True
            self._put(one, {graph: state.entry for graph, state in states.items()})
        one.states = states
        self._changed()

    def assign(self, pool: str, release: Release, limits: RequestLimits) -> None:
        """Have a pool carry a release from now on. It must be known what the pool carries."""
        one = self._pool(pool, is_known=True)
        self._attempts += 1
        entry = TenantEntry(
            release.graph, release.revision, self._attempts, release.bundle, release.spec, limits
        )
        self._put(one, {**_tenants(one), release.graph: entry})
        self._changed()

    def remove(self, graph: str, but: str | None = None) -> None:
        """Have no pool carry a graph, but for the one of the name ``but``."""
        for name in self.homes(graph):
            if name != but:
                one = self._pools[name]
                self._put(one, {key: e for key, e in _tenants(one).items() if key != graph})
        self._changed()

    def see(self, applications: Mapping[str, Any]) -> None:
        """Take note of the pools that run: one that does not carries nothing, as is known then."""
        for name in filter(_is_pool, applications):
            self._pool(pool_of(name))
        for name, one in self._pools.items():
            if pool_app(name) not in applications:
                one.is_known, one.states = True, {}

    def is_known(self, pool: str | None) -> bool:
        """Return whether it is known what a pool carries; no pool is no secret."""
        return pool is None or pool not in self._pools or self._pools[pool].is_known

    def homes(self, graph: str) -> list[str]:
        """Return the pools that are to carry a graph: several while it moves."""
        return [name for name, one in self._pools.items() if graph in _tenants(one)]

    def wanted(self, applications: Mapping[str, Any]) -> Iterator[str]:
        """Yield the pools that are to carry something, and do not run."""
        for name, one in self._pools.items():
            if one.is_known and _tenants(one) and pool_app(name) not in applications:
                yield name

    def idle(self, applications: Mapping[str, Any]) -> Iterator[str]:
        """Yield the applications of pools that carry nothing, nor are to."""
        for name in applications:
            one = self._pools.get(pool_of(name)) if _is_pool(name) else None
            if one is not None and one.is_known and not _tenants(one) and not one.states:
                yield name

    def applications(
        self, found: Mapping[str, Any], wanted: Callable[[str], str | None]
    ) -> dict[str, Any]:
        """Return Serve's applications, and the routers in pools as if they were such.

        ``wanted`` names the pool that a graph is to be in. Where a graph has routers at several
        places, those are shown that are to stay.
        """
        shown = {name: app for name, app in found.items() if not _is_pool(name)}
        for name, one in self._pools.items():
            replicas = _replicas(found.get(pool_app(name), {}))
            for graph, entry in _tenants(one).items():
                router = router_app(graph)
                if router not in shown or wanted(graph) == name:
                    shown[router] = _application(entry, one.states.get(graph), replicas)
        return shown

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _pool(self, name: str, is_known: bool = False) -> _Pool:
        if name not in self._pools:
            self._pools[name] = _Pool(Topic(0, PoolTable(0, {})), is_known)
        return self._pools[name]

    def _put(self, pool: _Pool, tenants: Mapping[str, TenantEntry]) -> None:
        version = max(pool.table.version, self._attempts) + 1
        pool.table.put(version, PoolTable(version, tenants))


def _is_pool(name: str) -> bool:
    return name.startswith(POOL_PREFIX)


def _tenants(pool: _Pool) -> Mapping[str, TenantEntry]:
    return pool.table.value.tenants


def _replicas(application: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        replica
        for deployment in application.get("deployments", {}).values()
        for replica in deployment.get("replicas", ())
    ]


def _application(
    entry: TenantEntry, state: TenantState | None, replicas: list[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a graph in a pool as Serve would show its router, marked as being ``in_pool``."""
    if state is None or state.entry != entry:
        state = TenantState(entry, "deploying")
    is_lost = state.status == "running" and all(one["state"] != "RUNNING" for one in replicas)
    running = state.status == "running" and not is_lost
    return {
        "status": _STATUS["deploying" if is_lost else state.status],
        "message": state.reason,
        "in_pool": True,
        "deployments": {
            ROUTER: {
                "status": _HEALTH[state.status],
                "message": "",
                "target_num_replicas": 1,
                "replicas": [
                    {**one, "state": "RUNNING" if running else "STARTING"} for one in replicas
                ],
                "deployment_config": {
                    "ray_actor_options": {
                        "runtime_env": {"env_vars": {REVISION_VARIABLE: str(entry.revision)}}
                    }
                },
            }
        },
    }
