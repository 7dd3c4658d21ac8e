"""What a replica tells of the models that it holds: to Serve, which sends a model's requests there,
and to Prometheus.

Serve's own ``serve.multiplexed`` keeps the models itself, one load at a time, and gives one away
while a request may still use it; so only its way of telling where models are is used.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ray import serve
from ray.serve._private.common import RequestRoutingInfo
from ray.serve.context import _get_global_client
from ray.util import metrics

from anabranch.components.contract import Bound
from anabranch.components.multiplex import Multiplexed
from anabranch.graph.plan import Plan, Segment
from anabranch.specs.models import Predictor

logger = logging.getLogger("anabranch.graph")

INTERVAL_S = 0.1
"""Time between two looks at what is loaded."""
LABELS = ("graph", "revision", "node")
COUNTERS = {
    "hits": "Requests that found their model in memory, or on its way there.",
    "misses": "Requests that had their model loaded.",
    "failures": "Loads that failed; a model that does not exist is one.",
    "evictions": "Models that were let go to make room.",
    "load_seconds": "Time that loading took, in seconds.",
}
"""Sums of a ``CacheTally`` and what they are; each is ``anabranch_multiplex_<name>_total``."""
LOADED = "anabranch_multiplex_loaded"


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
            self._task = asyncio.get_running_loop().create_task(self._run(_Metrics()))

    def stop(self) -> None:
        """Stop telling."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, shown: _Metrics) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                self._tell()
                for name, node in self._nodes.items():
                    shown.put(name, node)
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


class _Metrics:
    def __init__(self) -> None:
        self._counters = {
            key: metrics.Counter(f"anabranch_multiplex_{key}_total", text, LABELS)
            for key, text in COUNTERS.items()
        }
        self._loaded = metrics.Gauge(LOADED, "Models in memory, or on their way there.", LABELS)
        self._last: dict[tuple[str, str], float] = {}
        self._of = {
            "graph": os.environ.get("ANABRANCH_GRAPH", ""),
            "revision": os.environ.get("ANABRANCH_REVISION", ""),
        }

    def put(self, name: str, node: Multiplexed) -> None:
        """Take the sums of one node as they are now."""
        tags = {**self._of, "node": name}
        self._loaded.set(len(node.loaded), tags)
        for key, total in asdict(node.tally).items():
            growth = total - self._last.get((name, key), 0)
            self._last[name, key] = total
            if growth > 0:
                self._counters[key].inc(growth, tags)
