"""Monitors as a Serve deployment: apart from the request path, and behind everything on it."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from anabranch.components.contract import Bound
from anabranch.graph.compile.loading import Loaded
from anabranch.graph.monitor.metrics import MonitorMetrics, looked
from anabranch.graph.monitor.windows import Monitoring, Result, Turn, load_monitors
from anabranch.graph.observe.monitor_copies import Seen
from anabranch.graph.plan.plan import MONITORS
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.calls.handle import Handle
from anabranch.serve.heartbeat import SLOW_PATIENCE_S, start_heartbeat
from anabranch.serve.identity import here
from anabranch.serve.replicas.base import ComponentReplica, Hosted
from anabranch.serve.replicas.explainer import step_aside
from anabranch.telemetry.activity import ACTIVITY

MOST_WAITING = 8
"""Calls that may wait for the monitors; further ones are refused."""
STUCK_S = 120.0
"""A look that takes longer does not come back: a new process helps."""
TELL_S = 5.0
"""Longest time that the controller's answer is waited for."""
RETRY_S = 1.0
"""Time before it is told again what it has not heard."""
AGAIN_S = 10.0
"""Time after which the controller is told again, though nothing has changed: it may be new."""
FOLDER = "monitors"
"""In the engine's home: what monitors must not forget."""

logger = logging.getLogger("anabranch.monitors")


class MonitorReplica(ComponentReplica):
    """The one replica of all monitors of a revision.

    ``peers`` are the other deployments of the application, named for the same reason as in
    ``SegmentReplica``.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: str, peers: list[Handle]
    ) -> None:
        del peers
        monitors: list[Monitoring] = []

        async def load(loaded: Loaded) -> Mapping[str, Bound]:
            kept = here().folder(FOLDER)
            monitors.extend(await asyncio.to_thread(load_monitors, loaded.plan, loaded.root, kept))
            return {}

        self._hosted = hosted = await Hosted.start(spec, MONITORS, load)
        hosted.is_ready(MONITORS)
        self._monitors = monitors
        self._shown = [MonitorMetrics(*here(), monitor) for monitor in monitors]
        self._teller = Teller([monitor.result() for monitor in monitors])
        # Before the thread that works is there, so that it holds for that.
        step_aside()
        self._worker = ThreadPoolExecutor(1, "anabranch-monitors")
        self._waiting: list[tuple[float, Future[None]]] = []
        self._teller.start()
        start_heartbeat(SLOW_PATIENCE_S)

    async def watch(self, data: bytes, seconds: float) -> Literal["taken", "full", "late"]:
        """Look at values that a ``Sender`` has packed, and return what became of them.

        ``full`` where too many calls wait, and ``late`` where the turn of the values has not come
        after ``seconds``: nobody looks at them then. Values whose turn has come are ``taken``,
        however long it takes to look at them.
        """
        self._waiting = [one for one in self._waiting if not one[1].done()]
        if len(self._waiting) >= MOST_WAITING:
            return "full"
        work = self._worker.submit(self._look, data)
        self._waiting.append((time.monotonic(), work))
        looked = asyncio.wrap_future(work)
        try:
            await asyncio.wait([looked], timeout=seconds)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if not looked.done():
            return "late" if work.cancel() else "taken"
        looked.result()
        return "taken"

    def _look(self, data: bytes) -> None:
        values: Sequence[Seen] = pickle.loads(data)
        news = [
            monitor
            for monitor, shown in zip(self._monitors, self._shown, strict=True)
            if looked(monitor, shown, values)
        ]
        ACTIVITY.mark()
        if news:
            turns = [turn for monitor in news for turn in monitor.turns()]
            self._teller.tell([monitor.result() for monitor in self._monitors], turns)

    def _stuck(self) -> str | None:
        since = next((at for at, work in self._waiting if not work.done()), None)
        late = since is not None and time.monotonic() - since > STUCK_S
        text = f"its monitors have looked at the same rows for {STUCK_S:g}s"
        return text if late else None

    async def _close(self) -> None:
        self._teller.close()
        self._worker.shutdown(wait=False, cancel_futures=True)


class Teller:
    """Tells the controller what monitors know, from a thread; says again what it has not heard."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = results
        self._controller = ControllerActor()
        self._turns: list[Turn] = []
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anabranch-teller", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End soon."""
        self._closed.set()
        self._news.set()

    def tell(self, results: Sequence[Result], turns: Sequence[Turn]) -> None:
        """Tell soon what is known now; ``turns`` are to become events."""
        with self._lock:
            self._results = results
            self._turns += turns
        self._news.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            if self._once():
                self._news.wait(AGAIN_S)
                self._news.clear()
            else:
                self._closed.wait(RETRY_S)

    def _once(self) -> bool:
        with self._lock:
            results, turns = self._results, tuple(self._turns)
        graph, revision = here()
        try:
            self._controller.ask("monitored", graph, int(revision), results, turns, timeout=TELL_S)
        except Exception as error:
            logger.info("the controller was not told: %s: %s", type(error).__name__, error)
            return False
        with self._lock:
            del self._turns[: len(turns)]
        return True
