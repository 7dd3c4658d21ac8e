"""Tells Serve and Prometheus which models a replica holds; Serve sends a model's requests there.

Serve's own ``serve.multiplexed`` keeps the models itself, one load at a time, and gives one away
while a request may still use it; so only its way of telling where models are is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ray import serve
from ray.serve._private.common import RequestRoutingInfo
from ray.serve.context import _get_global_client

from anabranch.components.contract import Bound
from anabranch.components.models.multiplex import Multiplexed
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.serve.identity import here
from anabranch.specs.models import Predictor
from anabranch.telemetry import definitions
from anabranch.telemetry.activity import ACTIVITY, Pace
from anabranch.telemetry.registry import REGISTRY, Registry

logger = logging.getLogger("anabranch.graph")

INTERVAL_S = 0.1
"""Time between two looks at what is loaded, while requests come."""
REST_S = 30.0
"""Longest time between two looks."""
SUMS = {
    "hits": definitions.MULTIPLEX_HITS,
    "misses": definitions.MULTIPLEX_MISSES,
    "failures": definitions.MULTIPLEX_FAILURES,
    "evictions": definitions.MULTIPLEX_EVICTIONS,
    "load_seconds": definitions.MULTIPLEX_LOAD_SECONDS,
}
"""The metrics of the sums of a ``CacheTally``."""


def parameter_of(plan: Plan, segment: Segment) -> str | None:
    """The request parameter by which a segment's requests should find a replica; None for any."""
    for name in segment.nodes:
        spec = plan.nodes[name].spec
        if isinstance(spec, Predictor) and spec.multiplex is not None:
            return spec.multiplex.parameter
    return None


class Multiplexing:
    """Tells of the multiplexed nodes of one replica for as long as it runs."""

    def __init__(self, bound: Mapping[str, Bound]) -> None:
        self._nodes = {
            name: each.instance
            for name, each in bound.items()
            if isinstance(each.instance, Multiplexed)
        }
        self._told: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; does nothing where no node is multiplexed."""
        if self._nodes:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Stop telling."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        pace = Pace(ACTIVITY, INTERVAL_S, REST_S)
        while True:
            await pace.next()
            try:
                self._tell()
                for name, node in self._nodes.items():
                    show(name, node)
            except Exception as error:
                logger.warning("what models are loaded was not told: %s", error)

    def _tell(self) -> None:
        """Tell Serve which models are here, where that has changed."""
        loaded = frozenset(name for node in self._nodes.values() for name in node.loaded)
        if loaded == self._told:
            return
        with suppress(serve.exceptions.RayServeException):
            replica = serve.get_replica_context().replica_id
            info = RequestRoutingInfo(replica, multiplexed_model_ids=sorted(loaded))
            client: Any = _get_global_client()
            client.record_request_routing_info(info)
        self._told = loaded


def show(name: str, node: Multiplexed, registry: Registry = REGISTRY) -> None:
    """Take the sums of one node as they are now."""
    labels = (*here(), name)
    registry.number(definitions.MULTIPLEX_LOADED, *labels).value = len(node.loaded)
    for key, total in asdict(node.tally).items():
        registry.number(SUMS[key], *labels).value = total
