"""Calls of a head, or of an explainer, to the other segments of its revision."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from anabranch.components.contract import Context, NodeFeedback
from anabranch.graph.calls.annotated import taken
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.router.admission.bulkheads import Bulkhead, place_in
from anabranch.serve.calls.membership import ServeMembership
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.calls.tracing import hop
from anabranch.telemetry.registry import Distribution

SLACK = 0.01
"""Seconds by which timers and clocks of two processes may differ."""


class RemoteSegment:
    """A ``SegmentCall`` to the replicas of a segment.

    ``timeout`` is how long a call may take at most, in seconds. ``multiplex`` is the parameter of
    the request whose value says what model is asked: its requests go where it is loaded. Calls that
    are answered count in ``hops``.
    """

    def __init__(
        self,
        replicas: ReplicaCalls,
        timeout: float = math.inf,
        multiplex: str | None = None,
        hops: Distribution | None = None,
    ) -> None:
        self._replicas = replicas
        self._hops = hops
        self._timeout = timeout
        self._multiplex = multiplex
        self._streaming: Mapping[str, bool] | None = None
        self._takes_feedback = True
        self.bulkhead: Bulkhead | None = None
        """Bounds the calls under way, where some requests do not need the segment."""

    @property
    def is_down(self) -> bool:
        """Whether calls would fail at once, since no replica is healthy."""
        return self._replicas.is_down

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        """Evaluate ``wants`` in the segment; cancelling this cancels it there."""
        started = time.monotonic()

        def is_late() -> bool:
            return time.monotonic() - started >= self._timeout - SLACK or is_over(context)

        if context.trace is None and self.bulkhead is None:  # as for most, and quicker
            answer = await self._answer(values, wants, context, is_late)
        else:
            with hop(context, self._replicas.name) as inner, place_in(self.bulkhead, context):
                answer = await self._answer(values, wants, inner, is_late)
        found: Mapping[str, Any] = taken(answer, context)
        if self._hops is not None and context.is_traffic:
            self._hops.observe(time.monotonic() - started)
        return found

    def _answer(
        self,
        values: Mapping[str, Any],
        wants: tuple[str, ...],
        context: Context,
        is_late: Callable[[], bool],
    ) -> Coroutine[Any, Any, Any]:
        model = self._model(context)
        return self._replicas.call(
            "evaluate", dict(values), wants, context, model=model, is_late=is_late
        )

    def _model(self, context: Context) -> str:
        """Return the multiplexed model that is asked; empty for any."""
        model = context.parameters.get(self._multiplex) if self._multiplex is not None else None
        return model if isinstance(model, str) else ""

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to one replica of the segment, unless none of its components takes any."""
        if self._takes_feedback:
            self._takes_feedback = await self._replicas.call("feedback", given)
        return self._takes_feedback

    async def streaming(self) -> Mapping[str, bool]:
        """The nodes of the segment that stream, and whether their results can be joined.

        They are always the same, so it is asked once.
        """
        if self._streaming is None:
            self._streaming = await self._replicas.call("streaming")
        return self._streaming

    async def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a node that streams; closing the iterator cancels it there."""
        with hop(context, self._replicas.name) as inner, place_in(self.bulkhead, context):
            found = self._replicas.stream("stream", dict(values), want, inner)
            async with aclosing(found) as pieces:
                async for piece in pieces:
                    yield taken(piece, context)


def remote_segment(
    plan: Plan,
    name: str,
    application: str,
    multiplex: str | None,
    hops: Distribution | None = None,
) -> RemoteSegment:
    """Return the call to a segment of a plan in an application, whether or not it is there yet."""
    replicas = ReplicaCalls(name, ServeMembership(name, name, application), call_secret())
    return RemoteSegment(replicas, longest_call(plan, plan.segment(name)), multiplex, hops)


def is_over(context: Context) -> bool:
    """Return whether the time of a request is over, or as good as over."""
    remaining = context.remaining()
    return remaining is not None and remaining <= SLACK


def longest_call(plan: Plan, segment: Segment) -> float:
    """Return how long a call to a segment may take, in seconds, whatever time the request has."""
    timeout = plan.nodes[segment.name].spec.timeout if len(segment.nodes) == 1 else None
    return math.inf if timeout is None else timeout.seconds
