"""The heads that a router reaches: the one it carries, and the others through Serve handles."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from ray import serve

from anabranch.components.contract import Context
from anabranch.graph.calls.counts import Counts
from anabranch.graph.plan.plan import HEAD
from anabranch.router.core import Array, Evaluated, Head, Verdict
from anabranch.router.table import app_name
from anabranch.serve.calls.attempts import Handle
from anabranch.serve.calls.handle import ask, is_over, shipped
from anabranch.serve.calls.streams import ask_stream
from anabranch.serve.calls.tracing import hop, within
from anabranch.specs.models import Compare
from anabranch.telemetry.registry import Distribution
from anabranch.telemetry.tracing import recorded

Outputs = tuple[str, ...] | None
"""The outputs that are asked for; None for all."""


class RemoteHead:
    """A ``Head`` in a ``HeadReplica``, through its Serve handle.

    A call waits for a replica where there is none; it is the caller who gives it a time. Calls that
    are answered count in ``hops``.
    """

    def __init__(self, revision: int, handle: Handle, hops: Distribution | None = None) -> None:
        self._hops = hops
        self._name = f"r{revision}.{HEAD}"
        self._infer: Any = handle.infer
        self._compare: Any = handle.compare
        self._handle = handle
        shut_down_with(self, handle)

    async def run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        """Evaluate the graph's outputs, or only those named; cancelling this cancels it there."""
        if context.trace is None:
            return await self._run(inputs, context, outputs)
        with hop(context.trace, self._name) as recording:
            return await self._run(inputs, within(context, recording), outputs)

    async def _run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        sent = _sent(inputs, context, outputs)
        started = time.monotonic()
        found: Evaluated = await ask(
            self._name, self._infer, *sent, is_late=lambda: is_over(context)
        )
        self._hopped(started)
        return found

    def _hopped(self, started: float) -> None:
        if self._hops is not None:
            self._hops.observe(time.monotonic() - started)

    def stream(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> AsyncGenerator[Evaluated, None]:
        """Evaluate a graph that may stream; closing the iterator cancels it there."""
        method = self._handle.options(stream=True).stream
        if context.trace is None:
            return ask_stream(self._name, method, *_sent(inputs, context, outputs))
        recording = hop(context.trace, self._name)
        sent = _sent(inputs, within(context, recording), outputs)
        return recorded(recording, ask_stream(self._name, method, *sent))

    async def compare(
        self,
        inputs: Mapping[str, Array],
        context: Context,
        outputs: Sequence[str] | None,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate likewise, and compare there with the outputs that are ``expected``."""
        if context.trace is None:
            return await self._verdict(inputs, context, outputs, expected, rule)
        with hop(context.trace, self._name) as recording:
            here = within(context, recording)
            return await self._verdict(inputs, here, outputs, expected, rule)

    async def _verdict(
        self,
        inputs: Mapping[str, Array],
        context: Context,
        outputs: Sequence[str] | None,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        sent = _sent(inputs, context, outputs)
        started = time.monotonic()
        verdict: Verdict = await ask(self._name, self._compare, *sent, dict(expected), rule)
        self._hopped(started)
        return verdict


def shut_down_with(owner: object, handle: Handle) -> None:
    """Shut a handle down once its owner is gone, on the loop that runs now."""
    weakref.finalize(owner, _let_go, asyncio.get_running_loop(), handle)


def _let_go(loop: asyncio.AbstractEventLoop, handle: Handle) -> None:
    """Stop what Serve does for a handle ten times a second, for as long as it is not told to.

    Called wherever Python finds that nobody calls any more.
    """
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: loop.create_task(handle.shutdown_async()))


def _sent(
    inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
) -> tuple[dict[str, Array], Outputs, Context, float | None]:
    asked = None if outputs is None else tuple(outputs)
    return dict(inputs), asked, shipped(context), context.remaining()


class Heads:
    """The heads that a router reaches: the one it carries, and the others through handles.

    It must be called on the loop that makes the calls, for Serve ties a handle to it. Serve asks
    for the replicas behind a handle as soon as there is one, so the first call need not.
    """

    def __init__(self, graph: str, carried: int, head: Head) -> None:
        self._graph = graph
        self._carried = carried
        self._head = head

    def __call__(self, revision: int) -> Head:
        """The head of a revision, whether or not its application is there yet."""
        if revision == self._carried:
            return self._head
        application = app_name(self._graph, "head", revision)
        handle = serve.get_deployment_handle(
            HEAD, application, _check_exists=False, _record_telemetry=False
        )
        hops = Counts(self._graph, str(revision)).hop(HEAD)
        return RemoteHead(revision, handle, hops)
