"""Takes what this process has counted to where it is seen: to Ray's metrics and to the controller.

A thread does so once a second while requests come, so the request path only ever adds; without any
it rests. The controller is told sums, and
of these only what has changed: what is lost is told again with the next. To a controller that does
not know the process, for it has started anew, all sums are told, and beside them those that the one
before has acknowledged; so it can go on from there.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

import ray

from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.export.ray_metrics import RayMetrics
from anabranch.telemetry.activity import ACTIVITY, Pace
from anabranch.telemetry.registry import REGISTRY, Labels, Registry, Snapshot, Value

INTERVAL_S = 1.0
"""Time between two flushes while requests come."""
REFRESH_S = 8.0
"""Longest time after which all is shown and told again, though nothing has changed; see
``refresh_s``.
"""
ASK_S = 5.0
"""Longest time that the controller's answer is waited for."""
LAST_S = 1.0
"""Longest time that the controller's answer to the last flush is waited for."""

logger = logging.getLogger("anabranch.telemetry")


Tell: TypeAlias = Callable[[str, Snapshot, Snapshot | None, bool], bool]
"""``Controller.counted``; raises where the controller is away."""
Show: TypeAlias = Callable[[Snapshot, bool], None]
"""``RayMetrics.show``."""


class Exporter:
    """Exports one registry; ``process`` is a name that no other process has, or has had."""

    def __init__(
        self,
        registry: Registry,
        show: Show,
        tell: Tell | None,
        interval: float = INTERVAL_S,
        refresh: float = REFRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._show = show
        self._tell = tell
        self._pace = Pace(ACTIVITY, interval, refresh)
        self._refresh = refresh
        self._clock = clock
        self._process = os.urandom(8).hex()
        self._told: dict[str, dict[Labels, Value]] = {}
        """Values that the controller has acknowledged, by metric and labels."""
        self._told_at = self._shown_at = -refresh
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anabranch-metrics", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Export a last time, and end; waits for that, a few seconds at most."""
        self._closing.set()
        ACTIVITY.mark()
        self._thread.join(2 * LAST_S)

    def _run(self) -> None:
        while not self._pace.next_in_thread(self._closing):
            self.flush()
        self.flush(is_last=True)

    def flush(self, is_last: bool = False) -> None:
        """Export now; what goes wrong is in the log, and is exported the next time."""
        snapshot = self._registry.snapshot()
        for work in (self._to_ray, self._to_controller):
            try:
                work(snapshot, is_last)
            except Exception as error:
                logger.info("metrics were not exported: %s: %s", type(error).__name__, error)

    def _to_ray(self, snapshot: Snapshot, is_last: bool) -> None:
        now = self._clock()
        again = now - self._shown_at >= self._refresh
        self._show(snapshot, again)
        if again:
            self._shown_at = now

    def _to_controller(self, snapshot: dict[str, dict[Labels, Value]], is_last: bool) -> None:
        news = {name: cells for name, cells in snapshot.items() if cells != self._told.get(name)}
        now = self._clock()
        if self._tell is None or not (news or is_last or now - self._told_at >= self._refresh):
            return
        if not self._tell(self._process, news, None, is_last):
            self._tell(self._process, snapshot, self._told, is_last)
        self._told, self._told_at = snapshot, now


def _through_ray() -> Tell:
    controller = ControllerActor()

    def tell(process: str, sums: Snapshot, base: Snapshot | None, is_last: bool) -> bool:
        seconds = LAST_S if is_last else ASK_S
        found: bool = controller.ask("counted", process, sums, base, is_last, timeout=seconds)
        return found

    return tell


def refresh_s() -> float:
    """Return after how many seconds all is to be shown again, so that Ray drops nothing.

    Ray takes what it was shown since it last did, every 10 seconds unless its setting
    ``metrics_report_interval_ms`` says otherwise, and drops what it has not taken for two of these
    times. So all is shown within each of them; at rest, that is an interval later than asked for.
    """
    taken_s: float = ray._config.metrics_report_interval_ms() / 1000
    return max(0.0, min(REFRESH_S, taken_s - 2 * INTERVAL_S))


_HERE: list[Exporter] = []
"""The exporter of this process, if there is one."""


def start_exporting(tells: bool = True) -> None:
    """Export this process' registry from now on, where it is one of Ray's; once is enough.

    The controller itself has nobody to tell.
    """
    if not _HERE and ray.is_initialized():
        tell = _through_ray() if tells else None
        exporter = Exporter(REGISTRY, RayMetrics().show, tell, refresh=refresh_s())
        exporter.start()
        _HERE.append(exporter)


def stop_exporting() -> None:
    """Export a last time, before the process ends; waits for that a few seconds at most."""
    while _HERE:
        _HERE.pop().close()
