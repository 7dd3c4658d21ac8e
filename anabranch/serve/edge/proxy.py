"""The edge: one HAProxy that is kept running, with the routes that its owner gives it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from anabranch.errors import EngineError, StorageError
from anabranch.files import disk_errors, replacing
from anabranch.serve.edge.asking import end_if_silent, end_if_stopped
from anabranch.serve.edge.configuration import (
    CONFIGURATION,
    ROUTES_MAP,
    STATS_SOCKET,
    STOP_S,
    EdgeOptions,
    configuration,
    without_servers,
)
from anabranch.serve.edge.counting import RefusalCounts
from anabranch.serve.edge.listener import EdgeAddress, listen
from anabranch.serve.edge.process import PID_FILE, START_S, EdgeProcess, find, spawn
from anabranch.serve.edge.routes import (
    EdgePlan,
    EdgeRoute,
    EdgeState,
    check_routes,
    plan_routes,
    server_name,
)
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls import in_force, routers

LONGEST_PATH = 97
"""Longest path of HAProxy's stats socket, in bytes."""
_EMPTY = EdgeState({}, {})
_TIDY_S = 1.0
_STEADY_S = 5.0
_PAUSES_S = (0.0, 0.1, 0.2, 0.4)
"""Before HAProxy starts again, the longest for each further end in a row. However often it ends,
connections wait for less than a second.
"""
_POLL_S = 0.005
_LAST_BREATH_S = 0.5

logger = logging.getLogger("anabranch.serve")


class EdgeProxy:
    """Owns listening sockets and the HAProxy behind them; ``start`` makes one.

    While HAProxy is dead, connections wait in the sockets' queues for the next HAProxy, which is
    there within a second and begins with the routes of the last ``apply``.
    """

    def __init__(
        self, binary: Path, folder: Path, options: EdgeOptions, address: EdgeAddress
    ) -> None:
        self._binary, self._folder = binary, folder
        self._options, self._address = options, address
        self._api = RuntimeApi(folder / STATS_SOCKET)
        self._routes: Mapping[str, EdgeRoute] | None = None
        self._unplaced: tuple[str, ...] = ()
        self._listeners: Mapping[str, socket.socket] = {}
        self._lock = asyncio.Lock()
        self._unsettled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._watcher: asyncio.Task[None]
        self._leaver: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        binary: Path,
        folder: Path,
        options: EdgeOptions,
        address: EdgeAddress,
        routes: Mapping[str, EdgeRoute] | None = None,
    ) -> Self:
        """Return an edge that accepts connections, with all its files in ``folder``.

        A new HAProxy begins with ``routes``. An HAProxy of this folder that has lost its owner goes
        on under the new one if it was started for the same task, with the routes that it has until
        the first ``apply``, and makes room otherwise. EngineError where HAProxy cannot run,
        with its own words, and where a port is taken.
        """
        if len(str(folder / STATS_SOCKET).encode()) > LONGEST_PATH:
            raise EngineError(f"the paths of the sockets in {folder} would be too long")
        check_routes(routes or {})
        proxy = cls(binary, folder, options, address)
        proxy._routes = routes
        await proxy._begin()
        refusals = RefusalCounts(proxy._api)
        with suppress(EngineError):  # the next look is the first one
            await refusals.look()
        looks = (
            end_if_silent(proxy._api, lambda: proxy._process),
            end_if_stopped(lambda: proxy._process),
        )
        proxy._watcher = asyncio.create_task(proxy._watch())
        others = (proxy._tidy(), *looks, refusals.run())
        proxy._tasks = [proxy._watcher, *map(asyncio.create_task, others)]
        return proxy

    async def apply(self, routes: Mapping[str, EdgeRoute]) -> None:
        """Put routes in force, by the graph's name, and the gateway's servers as GATEWAY.

        Requests under way finish where they are. Graphs beyond the number of slots are left to the
        gateway, and logged, until there is room. While HAProxy is dead, its successor begins with
        the routes. EngineError where HAProxy refuses them or does not answer: tried again each
        second.
        """
        check_routes(routes)
        self._routes = dict(routes)
        process = self._process
        try:
            await self._reconcile()
        except EngineError:
            self._unsettled.set()
            if process is self._process and not await process.ends_within(_LAST_BREATH_S):
                raise

    async def give_up(self, address: str) -> None:
        """End the requests that a router has whose machine has gone; EngineError likewise.

        HAProxy itself would wait for as long as TCP does. The requests that may be sent again go
        to other routers.
        """
        name = server_name(address)
        state = await self._api.state(ROUTES_MAP)
        await self._api.break_off(one for one in state.servers if one[1] == name)

    async def stop_accepting(self) -> None:
        """Refuse new connections from now on; those that there are close after their next answer.

        HAProxy goes on with its routes, and is not started again should it end.
        """
        self._watcher.cancel()
        for listener in self._listeners.values():
            listener.shutdown(socket.SHUT_RDWR)  # for HAProxy's copy, too
        self._close_listeners()
        await self._api.stop_accepting()

    async def under_way(self) -> int:
        """Return how many requests of clients are under way; EngineError if HAProxy has ended."""
        return await self._api.under_way()

    async def close(self) -> None:
        """End HAProxy, for which requests under way have STOP_S, and remove its files."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_listeners()
        await _end(self._process)
        if self._leaver is not None:
            await self._leaver
        for name in (
            CONFIGURATION,
            ROUTES_MAP,
            PID_FILE,
            STATS_SOCKET,
            in_force.LINK,
            routers.LINK,
        ):
            (self._folder / name).unlink(missing_ok=True)

    async def _begin(self) -> None:
        orphan = find(self._folder)
        if orphan is not None and await self._is_of_use(orphan):
            self._process = orphan
            return
        if orphan is not None:
            self._leaver = asyncio.create_task(_end(orphan))
        try:
            self._process = await self._spawn(0 if orphan is None else 2 * STOP_S)
        except BaseException:
            self._close_listeners()
            if self._leaver is not None:
                await self._leaver
            raise

    async def _is_of_use(self, orphan: EdgeProcess) -> bool:
        try:
            text = (self._folder / CONFIGURATION).read_text()
            answers = await self._api.pid() == orphan.pid
        except (OSError, EngineError):
            return False
        return answers and without_servers(text) == configuration(self._options, self._address, {})

    async def _spawn(self, patience: float = 0) -> EdgeProcess:
        """Start HAProxy with the present routes, and wait until it answers."""
        if not self._listeners:
            self._listeners = await listen(self._address, self._options.connections.total, patience)
        plan = self._plan(_EMPTY)
        self._write(plan)
        self._link()
        process = spawn(self._binary, self._folder, self._listeners)
        try:
            async with asyncio.timeout(START_S):
                await self._answering(process)
        except BaseException as error:
            process.kill()
            await process.wait()
            words = process.words()
            process.close()
            if isinstance(error, TimeoutError):
                raise EngineError(f"HAProxy did not answer within {START_S}s: {words}") from None
            raise
        process.hush()
        return process

    def _write(self, plan: EdgePlan) -> None:
        """Write the files of the next HAProxy, both or none.

        Where the disk takes neither, the former ones will do, and the routes follow at run time.
        """
        table = "".join(f"{graph} {entry}\n" for graph, entry in plan.entries.items())
        text = configuration(self._options, self._address, plan.servers)
        files = (self._folder / ROUTES_MAP, self._folder / CONFIGURATION)
        try:
            with (
                disk_errors(files[1], len(table) + len(text)),
                replacing(files[0], durable=False) as routes,
                replacing(files[1], durable=False) as config,
            ):
                for draft, content in ((routes, table), (config, text)):
                    draft.write(content.encode())
                    draft.flush()
        except StorageError as error:
            if not all(file.exists() for file in files):
                raise
            self._unsettled.set()
            logger.error("HAProxy starts with the routes of its last start: %s", error)

    def _link(self) -> None:
        """Let HAProxy find its certificates in its folder."""
        tls, nodes = self._options.tls, self._options.nodes
        links = {in_force.LINK: None if tls is None else tls.folder, routers.LINK: nodes}
        for name, folder in links.items():
            if folder is not None:
                link = self._folder / name
                with disk_errors(link):
                    link.unlink(missing_ok=True)
                    link.symlink_to(folder)

    async def _answering(self, process: EdgeProcess) -> None:
        while True:
            if process.ended:
                raise EngineError(f"HAProxy ended at its start: {process.words()}")
            with suppress(EngineError):
                if await self._api.pid() == process.pid:
                    return
            await asyncio.sleep(_POLL_S)

    def _close_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners = {}

    def _plan(self, state: EdgeState) -> EdgePlan:
        far = routers.far_keywords(self._options.nodes)
        plan = plan_routes(state, self._routes or {}, self._options.slots, ROUTES_MAP, far)
        if plan.unplaced != self._unplaced:
            self._unplaced = plan.unplaced
            if plan.unplaced:
                logger.error(
                    "the edge has %s slots: the gateway serves %s",
                    self._options.slots,
                    ", ".join(plan.unplaced),
                )
        return plan

    async def _reconcile(self) -> None:
        """Lead HAProxy from the state that it is in to the present routes."""
        async with self._lock:
            plan = self._plan(await self._api.state(ROUTES_MAP))
            await self._api.run(plan.commands)
            if plan.draining or plan.leaving or plan.unplaced:
                self._unsettled.set()

    async def _tidy(self) -> None:
        """Each second while there is need, remove servers that have become idle."""
        while True:
            await self._unsettled.wait()
            await asyncio.sleep(_TIDY_S)
            self._unsettled.clear()
            try:
                async with self._lock:
                    state = await self._api.state(ROUTES_MAP)
                    await self._api.remove(self._plan(state).leaving)
                await self._reconcile()
            except EngineError as error:
                self._unsettled.set()
                logger.warning("the edge's servers cannot be tidied up yet: %s", error)

    async def _watch(self) -> None:
        """Start HAProxy again whenever it has ended, after a pause if it ends again and again."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            await self._process.wait()
            failures = 0 if loop.time() - began > _STEADY_S else failures + 1
            pause = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            logger.error("HAProxy ended; it starts again in %ss", pause)
            await asyncio.sleep(pause)
            await self._restart()

    async def _restart(self) -> None:
        async with self._lock:
            try:
                process = await self._spawn()
            except EngineError as error:
                logger.error("HAProxy cannot be started again: %s", error)
                return
            self._process.close()
            self._process = process
        if self._unsettled.is_set():
            with suppress(EngineError):  # tried again each second
                await self._reconcile()


async def _end(process: EdgeProcess) -> None:
    await process.end()
    process.close()
