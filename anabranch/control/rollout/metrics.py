"""Metrics of rollouts: phase, share, and the measurements that judged them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from anabranch.control.lifecycle.operations import Situation
from anabranch.control.lifecycle.rollouts import Measurement, Phase
from anabranch.telemetry.definitions import (
    ROLLOUT_STATE,
    ROLLOUT_STEP,
    ROLLOUT_VERDICTS,
    MetricDefinition,
)
from anabranch.telemetry.registry import REGISTRY, Registry


class RolloutMetrics:
    """The metrics of all rollouts."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry
        self._shown: dict[tuple[MetricDefinition, tuple[str, ...]], float] = {}

    def see(self, situations: Iterable[Situation]) -> None:
        """Show where the latest rollout of each graph stands."""
        shown: dict[tuple[MetricDefinition, tuple[str, ...]], float] = {}
        for now in situations:
            state = now.rollout
            if state is None:
                continue
            for phase in get_args(Phase):
                shown[ROLLOUT_STATE, (now.graph, phase)] = phase == state.phase
            if state.active:
                shown[ROLLOUT_STEP, (now.graph, str(state.revision))] = state.weight
        for (metric, labels), value in shown.items():
            self._registry.number(metric, *labels).value = value
        for metric, labels in self._shown.keys() - shown.keys():
            self._registry.forget(metric, *labels)
        self._shown = shown

    def judged(self, graph: str, found: Iterable[Measurement]) -> None:
        """Count the verdicts of a look."""
        for one in found:
            self._registry.number(ROLLOUT_VERDICTS, graph, one.metric, one.verdict).value += 1
