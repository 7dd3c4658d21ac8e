"""The heads that a router reaches: the one it carries, and the others in processes of their own."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from anabranch.components.contract import Context, NodeFeedback
from anabranch.graph.calls.counts import Counts
from anabranch.graph.plan.plan import HEAD
from anabranch.router.inference.contract import Array, Evaluated, Head, Verdict
from anabranch.router.table import app_name
from anabranch.serve.calls.membership import ServeMembership
from anabranch.serve.calls.remote_segment import is_over
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.calls.tracing import hop
from anabranch.specs.models import Compare
from anabranch.telemetry.registry import Distribution

Outputs = tuple[str, ...] | None
"""The outputs that are asked for; None for all."""


class RemoteHead:
    """A ``Head`` in the replicas of ``HeadReplica``.

    ``takes_feedback`` is false: what components elsewhere take is known once they were asked, and
    that is not worth a decision for each request.

    A call waits for a replica where there is none; it is the caller who gives it a time. Calls that
    are answered count in ``hops``.
    """

    takes_feedback = False

    def __init__(self, replicas: ReplicaCalls, hops: Distribution | None = None) -> None:
        self._hops = hops
        self._replicas = replicas
        self._may_take_feedback = True
        closed_with(self, replicas)

    def obstacle(self) -> str:
        """Return why no output can be computed; empty where replicas can be asked, or woken."""
        return f"{self._replicas.name} has no healthy replica" if self._replicas.is_down else ""

    async def run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        """Evaluate the graph's outputs, or only those named; cancelling this cancels it there."""
        with hop(context, self._replicas.name) as inner:
            sent = _sent(inputs, inner, outputs)
            started = time.monotonic()
            found: Evaluated = await self._replicas.call(
                "infer", *sent, is_late=lambda: is_over(context)
            )
            self._hopped(started)
        return found

    def _hopped(self, started: float) -> None:
        if self._hops is not None:
            self._hops.observe(time.monotonic() - started)

    async def stream(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> AsyncGenerator[Evaluated, None]:
        """Evaluate a graph that may stream; closing the iterator cancels it there."""
        # The iterator holds this head, which must not go before its stream has ended.
        with hop(context, self._replicas.name) as inner:
            sent = _sent(inputs, inner, outputs)
            async with aclosing(self._replicas.stream("stream", *sent)) as results:
                async for result in results:
                    yield result

    async def only_streams(self) -> bool:
        """Return whether ``run`` refuses the graph, since a node of it streams."""
        found: bool = await self._replicas.call("only_streams")
        return found

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to one replica, unless no component of the graph takes any."""
        if self._may_take_feedback:
            self._may_take_feedback = await self._replicas.call("feedback", given)
        return self._may_take_feedback

    async def compare(
        self,
        inputs: Mapping[str, Array],
        context: Context,
        outputs: Sequence[str] | None,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate likewise, and compare there with the outputs that are ``expected``."""
        with hop(context, self._replicas.name) as inner:
            sent = _sent(inputs, inner, outputs)
            started = time.monotonic()
            verdict: Verdict = await self._replicas.call("compare", *sent, dict(expected), rule)
            self._hopped(started)
        return verdict


def closed_with(owner: object, replicas: ReplicaCalls) -> None:
    """Close the calls of replicas once their owner is gone, on the loop that runs now."""
    weakref.finalize(owner, _let_go, asyncio.get_running_loop(), replicas)


def _let_go(loop: asyncio.AbstractEventLoop, replicas: ReplicaCalls) -> None:
    """Called wherever Python finds that nobody calls any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(replicas.close)


def _sent(
    inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
) -> tuple[dict[str, Array], Outputs, Context]:
    return dict(inputs), None if outputs is None else tuple(outputs), context


class Heads:
    """The heads that a router reaches: the one it carries, and the others elsewhere.

    It must be called on the loop that makes the calls. Connections are made as soon as there is a
    replica, so the first call need not.
    """

    def __init__(self, graph: str, carried: int, head: Head) -> None:
        self._graph = graph
        self._carried = carried
        self._head = head

    def __call__(self, revision: int) -> Head:
        """The head of a revision, whether or not its application is there yet."""
        if revision == self._carried:
            return self._head
        name = f"r{revision}.{HEAD}"
        membership = ServeMembership(name, HEAD, app_name(self._graph, "head", revision))
        hops = Counts(self._graph, str(revision)).hop(HEAD)
        return RemoteHead(ReplicaCalls(name, membership, call_secret()), hops)
