"""Metrics of rollouts: phase, share, and the measurements that judged them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from anabranch.control.lifecycle.operations import Situation
from anabranch.control.lifecycle.rollouts import Measurement, Phase
from anabranch.telemetry.definitions import ROLLOUT_STATE, ROLLOUT_STEP, ROLLOUT_VERDICTS
from anabranch.telemetry.registry import REGISTRY, Registry


class RolloutMetrics:
    """The metrics of all rollouts."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry

    def see(self, situations: Iterable[Situation]) -> None:
        """Show where the latest rollout of each graph stands.

        Graphs without one have all phases at 0, so that Prometheus has seen the 0 before the 1,
        however soon a rollout is over.
        """
        states: dict[tuple[str, str], float] = {}
        steps: dict[tuple[str, str], float] = {}
        for now in situations:
            state = now.rollout
            for phase in get_args(Phase):
                states[now.graph, phase] = state is not None and phase == state.phase
            if state is not None and state.active:
                steps[now.graph, str(state.revision)] = state.weight
        self._registry.show(ROLLOUT_STATE, states)
        self._registry.show(ROLLOUT_STEP, steps)

    def judged(self, graph: str, found: Iterable[Measurement]) -> None:
        """Count the verdicts of a look."""
        for one in found:
            self._registry.number(ROLLOUT_VERDICTS, graph, one.metric, one.verdict).value += 1
