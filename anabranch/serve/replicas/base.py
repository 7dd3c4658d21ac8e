"""Loads, checks and unloads the nodes that a replica hosts, and answers what Serve asks of it.

A replica has the unpacked bundle as its working folder, so that a spec's relative paths
hold. When it cannot start, the reason is raised on one marked line, which the controller picks out
of the traceback that Serve makes of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, Self

import ray

from anabranch.components.contract import Bound
from anabranch.errors import AnabranchError
from anabranch.graph.calls.settling import settle_process
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.execute.nodes import load_nodes, run_hook, unload_nodes
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.pulse import PULSE
from anabranch.serve.cache.answers import AnswerCache
from anabranch.serve.cache.opening import open_caches
from anabranch.serve.calls.tracing import show_traces
from anabranch.serve.export.exporter import start_exporting, stop_exporting
from anabranch.serve.export.logs import write_logs
from anabranch.serve.export.memory_use import MemoryUse
from anabranch.serve.export.multiplexed_models import Multiplexing
from anabranch.serve.heartbeat import end_heartbeat
from anabranch.serve.identity import here
from anabranch.serve.replicas.starts import begin_start, end_start
from anabranch.serve.scaling.policy import REQUESTS
from anabranch.serve.workers.bundles import enter_bundle, place_of
from anabranch.serve.workers.zygote import tell_used
from anabranch.telemetry.definitions import REPLICA_START
from anabranch.telemetry.registry import REGISTRY
from anabranch.telemetry.tracing import TRACES

_MARK = "anabranch cannot start: "
_MARKED = re.compile(re.escape(_MARK) + r'("(?:[^"\\\n]|\\.)*")')


Load = Callable[[Loaded], Awaitable[Mapping[str, Bound]]]
"""Constructs and loads what a replica hosts."""


class StartError(Exception):
    """A replica could not start; the text carries the reason on one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(_MARK + json.dumps(reason[:4000]))


def start_reason(text: str) -> str | None:
    """The last reason that ``text``, such as a Serve status message, carries; None without one."""
    found = _MARKED.findall(text)
    return str(json.loads(found[-1])) if found else None


def memory_of(plan: Plan, name: str) -> int:
    """Return the most bytes of memory of a segment's process; 0 where the spec does not say.

    So it is for the process of the monitors, which are no segment.
    """
    found = (one.resources for one in plan.segments if one.name == name)
    wanted = next(found, None)
    return 0 if wanted is None or wanted.memory is None else int(wanted.memory)


class Hosted:
    """The nodes of one segment, loaded from the bundle in the working folder."""

    def __init__(
        self,
        loaded: Loaded,
        bound: Mapping[str, Bound],
        started: float,
        memory: MemoryUse | None = None,
        is_alone: bool = True,
    ) -> None:
        self.loaded = loaded
        self.bound = bound
        self._started = started
        self._is_alone = is_alone
        self._memory = memory
        if memory is not None:
            memory.start()
        self._multiplexing = Multiplexing(bound)
        self._multiplexing.start()

    @classmethod
    async def start(cls, spec: str, segment: str, load: Load | None = None) -> Self:
        """Compile ``spec``, then construct and load the segment's nodes; raises StartError.

        ``load`` is what does the latter, where it takes more than the nodes themselves.
        """
        await begin_start(segment)
        started = time.monotonic()
        begin_process()
        async with _marked():
            loaded = open_graph(await asyncio.to_thread(enter_bundle) / spec)
            most = memory_of(loaded.plan, segment)
            PULSE.limit(most)
            memory = MemoryUse(segment, most) if most else None
            if load is None:
                nodes = loaded.plan.segment(segment).nodes
                bound: Mapping[str, Bound] = await load_nodes(loaded.plan, nodes, loaded.root)
            else:
                bound = await load(loaded)
            hosted = cls(loaded, bound, started, memory)
            await hosted.check_health()
        tell_used()
        settle_process()
        return hosted

    @classmethod
    async def start_beside(cls, spec: Path, segment: str) -> Self:
        """Do the same in a process that serves other graphs, whose event loop goes on meanwhile.

        ``spec`` is a path in an unpacked bundle. The process is prepared by ``begin_process``.
        """
        started = time.monotonic()
        async with _marked():
            loaded = await asyncio.to_thread(open_graph, spec)
            nodes = loaded.plan.segment(segment).nodes
            bound = await load_nodes(loaded.plan, nodes, loaded.root, in_thread=True)
            hosted = cls(loaded, bound, started, is_alone=False)
            await hosted.check_health()
        return hosted

    def is_ready(self, segment: str) -> None:
        """Count the time that it took until this replica of a segment could answer."""
        seconds = time.monotonic() - self._started
        REGISTRY.distribution(REPLICA_START, *here(), segment).observe(seconds)
        end_start(segment)

    def segment(self, name: str) -> Segment:
        """The segment of that name."""
        return self.loaded.plan.segment(name)

    async def caches(self, names: Collection[str]) -> dict[str, AnswerCache]:
        """Open the caches of nodes, as ``open_caches`` does; raises StartError."""
        async with _marked():
            return await open_caches(self.loaded, names)

    async def check_health(self, stuck: str | None = None) -> None:
        """Raise StartError, naming the node, if a component says that it is unwell.

        ``stuck`` is what an executor says of threads that do not come back: a new process helps.
        """
        async with _marked():
            await run_hook("check_health", self.bound.values(), self.loaded.root)
        if stuck is not None:
            raise StartError(stuck)

    async def unload(self) -> None:
        """Let components release what they hold; what fails is logged, not raised."""
        self._multiplexing.stop()
        if self._memory is not None:
            self._memory.stop()
        await unload_nodes(self.bound, self.loaded.root)
        if self._is_alone:
            await end_process()


def begin_process() -> None:
    """Write logs, export metrics and send spans from now on; once is enough."""
    if ray.is_initialized():  # the process is the replica's
        write_logs()
        start_exporting()
    show_traces()
    TRACES.prepare()


async def end_process() -> None:
    """Send what is left to be told."""
    await asyncio.to_thread(TRACES.close)
    await asyncio.to_thread(stop_exporting)


class _Components(Protocol):
    async def check_health(self, stuck: str | None = None) -> None: ...

    async def unload(self) -> None: ...


class ComponentReplica:
    """Base of replicas, with what Serve calls by name; they set ``_hosted`` once that is loaded."""

    _hosted: _Components
    _requests = 0
    """How many requests the replica was asked, ever."""

    async def check_health(self) -> None:
        """Serve's health check: that of the components, and of what else may be stuck."""
        await self._hosted.check_health(self._stuck())

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        return {REQUESTS: self._requests}

    async def __del__(self) -> None:
        if hasattr(self, "_hosted"):
            end_heartbeat()
            await self._close()
            await self._hosted.unload()

    def _stuck(self) -> str | None:
        """Return what does not come back, so that a new process is needed."""
        return None

    async def _close(self) -> None:
        """End what runs beside the components."""


@asynccontextmanager
async def _marked() -> AsyncIterator[None]:
    try:
        yield
    except (asyncio.CancelledError, StartError):
        raise
    except Exception as error:
        text = str(error) if isinstance(error, AnabranchError) else _named(error)
        raise StartError(place_of(text)) from None


def _named(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
