"""Metrics of the jobs that the engine runs: rows that are kept, by graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.telemetry.definitions import JOB_ROWS
from anabranch.telemetry.registry import REGISTRY, Registry


class JobMetrics:
    """Counts what the progress of jobs tells."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry

    def progressed(self, graph: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Count the rows that were kept between two documents of ``JobProgress`` of one job.

        Where a job goes on that another has begun, counting begins with its first document.
        """
        base = before or (now if now.get("resumed") else {})
        failed = now.get("failed", 0) - base.get("failed", 0)
        answered = now.get("done", 0) - base.get("done", 0) - failed
        for outcome, rows in (("answered", answered), ("failed", failed)):
            self._registry.number(JOB_ROWS, graph, outcome).value += max(0, rows)
