"""Metrics of a monitor's findings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from anabranch.graph.monitor.windows import Monitoring, Result
from anabranch.graph.observe.monitor_copies import Seen
from anabranch.telemetry.definitions import (
    MONITOR_ALARMS,
    MONITOR_DRIFT,
    MONITOR_ERRORS,
    MONITOR_FEATURE_SCORE,
    MONITOR_OUTLIERS,
    MONITOR_QUANTILE,
    MONITOR_ROWS,
    MONITOR_SCORE,
)
from anabranch.telemetry.registry import MAX_FEATURES, REGISTRY, FeatureLabels, Registry

logger = logging.getLogger("anabranch.monitors")


class MonitorMetrics:
    """The metrics of one monitor of a revision."""

    def __init__(
        self, graph: str, revision: str, monitor: Monitoring, registry: Registry = REGISTRY
    ) -> None:
        self._labels = (graph, revision, monitor.name)
        self._registry = registry
        self._features = FeatureLabels()
        self._counters = {
            "rows": registry.number(MONITOR_ROWS, *self._labels),
            "outliers": registry.number(MONITOR_OUTLIERS, *self._labels),
            "alarms": registry.number(MONITOR_ALARMS, *self._labels),
            "errors": registry.number(MONITOR_ERRORS, *self._labels),
        }
        self._before = monitor.result()

    def show(self, result: Result) -> None:
        """Show what is known after one more window."""
        for name, cell in self._counters.items():
            # What came before a restart of the process was counted there.
            cell.value += getattr(result, name) - getattr(self._before, name)
        self._before = result
        self._quantiles(result)
        if result.score is None:
            return
        self._registry.number(MONITOR_SCORE, *self._labels).value = result.score
        drift = self._registry.number(MONITOR_DRIFT, *self._labels)
        drift.value = 0.0 if result.drift_since is None else 1.0
        scores: dict[str, float] = {}
        for feature in result.features:
            if feature.score is not None:
                label = self._features.of(feature.name)
                scores[label] = max(feature.score, scores.get(label, 0.0))
        for label, score in scores.items():
            self._registry.number(MONITOR_FEATURE_SCORE, *self._labels, label).value = score

    def _quantiles(self, result: Result) -> None:
        for feature in result.features[:MAX_FEATURES]:
            for share, value in feature.quantiles.items():
                cell = (*self._labels, feature.name, f"{share:g}")
                self._registry.number(MONITOR_QUANTILE, *cell).value = value


def looked(monitor: Monitoring, shown: MonitorMetrics, values: Sequence[Seen]) -> bool:
    """Have one monitor look at values; whether there is news. It never takes others with it."""
    try:
        news = monitor.take(values)
        if news:
            shown.show(monitor.result())
    except Exception:
        logger.exception("monitor %r failed", monitor.name)
        return False
    return news
