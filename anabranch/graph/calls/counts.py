"""Counts of the nodes that a process runs, of one revision of one graph.

Only requests of clients and copies of them count. What warms a graph up, and what an explanation
asks the model, thousands of times, does not (``Context.is_traffic``); nor does anything in a
notebook, where there are no counts at all. All of it is counted on the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from anabranch.components.annotations import Measure
from anabranch.components.contract import Bound, Context
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import REGISTRY, Distribution, Registry
from anabranch.telemetry.trace import Trace


class NodeCounts:
    """Counts of one node."""

    __slots__ = ("_failures", "_labels", "_registry", "duration", "in_flight", "queue")

    def __init__(self, registry: Registry, graph: str, revision: str, node: str) -> None:
        self._registry = registry
        self._labels = graph, revision, node
        self.duration = registry.distribution(definitions.NODE_DURATION, *self._labels)
        self.in_flight = registry.number(definitions.NODE_IN_FLIGHT, *self._labels)
        self.queue: Distribution | None = None

    def answered(self, seconds: float, context: Context | None = None) -> None:
        """Count a call that took so long; a traced request's is an example of such calls."""
        self.duration.observe(seconds)
        if context is not None and context.trace is not None:
            self.witness(seconds, context.trace)

    def witness(self, seconds: float, trace: Trace) -> None:
        """Keep a traced call that took so long as an example of such calls."""
        self.duration.witness(seconds, trace.trace_id, time.time())

    def failed(self, error: BaseException) -> None:
        """Count a call that failed."""
        kind = type(error).__name__
        self._registry.number(definitions.NODE_ERRORS, *self._labels, kind).value += 1

    def waited(self, seconds: float) -> None:
        """Count a request that waited so long for its turn."""
        if self.queue is None:
            self.queue = self._registry.distribution(definitions.QUEUE_DURATION, *self._labels)
        self.queue.observe(seconds)

    def batch(self, requests: int, rows: int) -> None:
        """Count a call with a batch."""
        for metric, size in (
            (definitions.BATCH_REQUESTS, requests),
            (definitions.BATCH_SIZE, rows),
        ):
            self._registry.distribution(metric, *self._labels).observe(size)


@runtime_checkable
class Counting(Protocol):
    """A built-in that counts by itself, beside its calls and what it measures."""

    def count_into(self, registry: Registry, labels: tuple[str, str, str]) -> None:
        """Count in cells with these labels (graph, revision, node) from now on."""


class Counts:
    """Counts of the nodes of one revision in this process."""

    def __init__(self, graph: str, revision: str, registry: Registry = REGISTRY) -> None:
        self._graph = graph
        self._revision = revision
        self._registry = registry

    def node(self, name: str) -> NodeCounts:
        """The counts of a node."""
        return NodeCounts(self._registry, self._graph, self._revision, name)

    def hand_out(self, bound: Mapping[str, Bound]) -> None:
        """Let built-ins count that do so by themselves."""
        for name, each in bound.items():
            if isinstance(each.instance, Counting):
                each.instance.count_into(self._registry, (self._graph, self._revision, name))

    def routed(self, router: str, route: str) -> None:
        """Count a request that a router sent along a route."""
        labels = self._graph, self._revision, router, route
        self._registry.number(definitions.ROUTE_REQUESTS, *labels).value += 1

    def recovered(self, node: str, action: str) -> None:
        """Count what followed a failure of a node: the ``Notice`` of executors."""
        labels = self._graph, self._revision, node, action
        self._registry.number(definitions.NODE_RECOVERIES, *labels).value += 1

    def measured(self, measure: Measure) -> None:
        """Add a number that a component has measured."""
        labels = self._graph, self._revision, measure.node, measure.name
        if measure.kind == "timer":
            self._registry.distribution(definitions.CUSTOM_DURATION, *labels).observe(measure.value)
        elif measure.kind == "counter":
            self._registry.number(definitions.CUSTOM_COUNTER, *labels).value += measure.value
        else:
            self._registry.number(definitions.CUSTOM_GAUGE, *labels).value = measure.value

    def hop(self, segment: str) -> Distribution:
        """The times of calls to a segment."""
        labels = self._graph, self._revision, segment
        return self._registry.distribution(definitions.HOP_DURATION, *labels)
