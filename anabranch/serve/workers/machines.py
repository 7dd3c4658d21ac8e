"""Has work done on each machine of the cluster: by a task of Ray, in a process on that machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.serve.workers.environment import runtime_environment

logger = logging.getLogger("anabranch.serve")

T = TypeVar("T")

PERIOD_S = 3600.0
"""Longest time between two rounds on a machine, in seconds."""
_WAIT_S = 30.0
"""Longest time to wait for a machine; it is asked again with the next round."""


class _Done(NamedTuple):
    """What was there when a machine last did its work, and when that was."""

    names: frozenset[str]
    at: float


class MachineRounds:
    """Rounds of ``work``, a function of a module, over the machines that are there."""

    def __init__(self, work: Callable[[T], None]) -> None:
        environment = runtime_environment()
        self._work: Any = ray.remote(num_cpus=0, max_retries=0, runtime_env=environment)(work)
        self._done: dict[str, _Done] = {}

    def round(self, argument: T, names: frozenset[str]) -> None:
        """Have ``work(argument)`` done where one of ``names`` has gone since, or an hour has.

        Blocks for half a minute at most. A machine where it fails is asked again.
        """
        now = time.monotonic()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = {node["NodeID"] for node in nodes if node["Alive"]}
        still = {
            node: _Done(names, done.at)
            for node, done in self._done.items()
            if node in alive and done.names <= names and now - done.at < PERIOD_S
        }
        tasks = {self._begun(node, argument): node for node in alive - still.keys()}
        ended, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=_WAIT_S)
        for task in ended:
            try:
                ray.get(task)
            except ray.exceptions.RayError as error:
                logger.warning("machine %s cannot tidy up: %s", tasks[task], error)
            else:
                still[tasks[task]] = _Done(names, now)
        for task in late:
            ray.cancel(task, force=True)
        self._done = still

    def _begun(self, node: str, argument: object) -> Any:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return self._work.options(scheduling_strategy=there).remote(argument)
