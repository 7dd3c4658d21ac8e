"""The process of a pool as a Serve deployment: routers of several graphs, each by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from anabranch.components.source.imports import import_for_importer
from anabranch.components.source.roots import drop
from anabranch.graph.calls.settling import settle_process
from anabranch.graph.plan.plan import HEAD
from anabranch.router.following import RETRY_S, Follower
from anabranch.router.limits import BytesUnderWay
from anabranch.router.traffic.polling import POLL_S, SEND_S
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.heartbeat import end_heartbeat
from anabranch.serve.identity import serve_as
from anabranch.serve.pools.entries import PoolTable, TenantEntry, TenantState
from anabranch.serve.pools.tenants import Tenants
from anabranch.serve.replicas.base import (
    Hosted,
    StartError,
    begin_process,
    end_process,
    start_reason,
)
from anabranch.serve.replicas.graph_router import GraphRouter
from anabranch.serve.replicas.hangs import watch_loop
from anabranch.serve.replicas.head import HostedHead
from anabranch.telemetry.outlet import line_of

POOL = "pool"
"""Name of the deployment of a pool in its Serve application."""
logger = logging.getLogger("anabranch.serve")


class PoolReplica:
    """The one process of a pool. It starts empty, and carries what the controller's table says."""

    async def __init__(self, pool: str) -> None:  # type: ignore[misc]  # Serve awaits it
        begin_process()
        import_for_importer()
        settle_process()
        watch_loop()
        self._pool = pool
        self._replica = os.urandom(8).hex()
        self._controller = ControllerActor()
        self._changed = asyncio.Event()
        self._under_way: BytesUnderWay | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="anabranch-pool-"))
        self._tenants = Tenants(self._build, self._changed.set)
        self._table = Follower(f"table of pool {pool!r}", self._next, self._tenants.apply)
        self._telling = asyncio.create_task(self._tell())
        self._table.start()

    async def check_health(self) -> None:
        """Serve's health check: that of each graph, none of which takes the others with it."""
        await self._tenants.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_table"):
            end_heartbeat()
            await self._table.close()
            await self._tenants.close()
            self._telling.cancel()
            await end_process()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _next(self, version: int) -> PoolTable | None:
        try:
            found: PoolTable | None = await self._controller.call(
                "pool", self._pool, self._replica, version, timeout=POLL_S
            )
        except Exception:
            self._changed.set()  # a controller that starts anew has to be told all
            raise
        return found

    async def _tell(self) -> None:
        """Tell the controller how the graphs are doing, whenever that has changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            states: Mapping[str, TenantState] = self._tenants.states
            try:
                await self._controller.call(
                    "tenants", self._pool, self._replica, states, timeout=SEND_S
                )
            except Exception as error:
                logger.info(
                    "the controller was not told of pool %r: %s", self._pool, line_of(error)
                )
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def _build(self, entry: TenantEntry) -> PoolTenant:
        serve_as(entry.graph, entry.revision)
        root = self._folder / os.urandom(8).hex()
        if self._under_way is None:
            self._under_way = BytesUnderWay(entry.limits.max_process, "all graphs of this process")
        try:
            return await PoolTenant.start(entry, root, self._under_way)
        except StartError as error:
            await asyncio.to_thread(_remove, root)
            raise RuntimeError(start_reason(str(error)) or str(error)) from None


class PoolTenant:
    """A graph of a pool: the very objects of a router with a process of its own."""

    def __init__(self, hosted: HostedHead, router: GraphRouter, root: Path) -> None:
        self._hosted = hosted
        self._router = router
        self._root = root

    @classmethod
    async def start(cls, entry: TenantEntry, root: Path, process: BytesUnderWay) -> PoolTenant:
        """Load a revision from its bundle, unpacked to ``root``, and answer. Raises StartError."""
        await asyncio.to_thread(_unpack, entry.bundle, root)
        hosted = await Hosted.start_beside(root / entry.spec, HEAD)
        head = await HostedHead.ready(hosted, "")
        replica = os.urandom(8).hex()
        router = GraphRouter(entry.graph, entry.revision, head, entry.limits, replica, process)
        await router.start()
        return cls(head, router, root)

    async def check_health(self) -> None:
        """Raise StartError if a component says that it is unwell."""
        await self._hosted.check_health()

    async def close(self) -> None:
        """Let its requests end, and release what it holds."""
        await self._router.close()
        await self._hosted.unload()
        await asyncio.to_thread(_remove, self._root)


def _unpack(bundle: str, root: Path) -> None:
    """Unpack a bundle of the engine, whose one folder holds the files, to ``root``."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(root.with_suffix(".new"))
    (folder,) = root.with_suffix(".new").iterdir()
    folder.rename(root)
    root.with_suffix(".new").rmdir()


def _remove(root: Path) -> None:
    drop(root)
    shutil.rmtree(root, ignore_errors=True)
