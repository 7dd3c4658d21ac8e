"""The monitors of a revision that are in this process: one thread looks at what they watch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from anabranch.graph.monitor.metrics import MonitorMetrics, looked
from anabranch.graph.monitor.windows import Monitoring, Turn, load_monitors
from anabranch.graph.observe.monitor_copies import MOST, MOST_BYTES, Seen
from anabranch.graph.plan.plan import MONITORS, Plan
from anabranch.telemetry.outlet import Outlet

logger = logging.getLogger("anabranch.monitors")


class StandaloneMonitors:
    """Looks at watched values; findings go to the metrics, and turns of drift to the log.

    What monitors have gathered is lost with the process.
    """

    def __init__(self, graph: str, revision: int, monitors: Sequence[Monitoring]) -> None:
        self._monitors = [(one, MonitorMetrics(graph, str(revision), one)) for one in monitors]
        self._outlet: Outlet[Seen] = Outlet(graph, MONITORS, self._look, MOST, MOST_BYTES)
        self.offer = self._outlet.offer

    @classmethod
    def load(cls, plan: Plan, revision: int, root: Path) -> Self:
        """Load the monitors of a plan; raises LoadError with the name of one that cannot be."""
        return cls(plan.name, revision, load_monitors(plan, root, None))

    def close(self) -> None:
        """Look at what is there, for a moment at most."""
        self._outlet.close(0.5)

    def _look(self, values: Sequence[Seen]) -> None:
        for monitor, shown in self._monitors:
            if looked(monitor, shown, values):
                for turn in monitor.turns():
                    logger.warning("%s", _said(turn))


def _said(turn: Turn) -> str:
    if not turn.began:
        return f"monitor {turn.monitor!r}: the drift has ended (score {turn.score:.3g})"
    names = ", ".join(feature.name for feature in turn.features) or "the whole"
    return f"monitor {turn.monitor!r}: drift of {names} has begun (score {turn.score:.3g})"
