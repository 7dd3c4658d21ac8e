"""Heads in processes of their own: every revision but the one that a router carries.

``HeadReplica`` is the deployment ``head`` of the application ``<graph>.r<N>.head`` and evaluates
the whole graph of its revision; ``RemoteHead`` is how a router reaches it.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from ray import serve

from anabranch.components.contract import Context
from anabranch.graph.counts import Counts
from anabranch.graph.executor import HeadExecutor
from anabranch.graph.learners import learners
from anabranch.graph.lowering.here import counts_here
from anabranch.graph.lowering.hosting import Handle, Hosted
from anabranch.graph.lowering.multiplexing import parameter_of
from anabranch.graph.lowering.notices import counted
from anabranch.graph.lowering.policy import REQUESTS
from anabranch.graph.lowering.segments import (
    HandleCall,
    ask,
    is_over,
    longest_call,
    received,
    shipped,
)
from anabranch.graph.lowering.sending import sender_for
from anabranch.graph.lowering.streams import Piece, ask_stream, pieces
from anabranch.graph.lowering.tracing import entered, hop, within
from anabranch.graph.plan import HEAD
from anabranch.router.core import Array, Evaluated, Head, Verdict
from anabranch.router.learning import Learning
from anabranch.router.local import LocalHead
from anabranch.router.polling import ControllerSource
from anabranch.router.table import app_name
from anabranch.router.warmup import warm_up
from anabranch.specs.models import Compare
from anabranch.telemetry.registry import Distribution
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.trace_settings import TraceSettings
from anabranch.telemetry.tracing import recorded

Outputs = tuple[str, ...] | None
"""The outputs that are asked for; None for all."""


class HostedHead:
    """A revision's head, loaded from the bundle in the working folder.

    The other segments are in the Serve application ``segments_app``.
    """

    def __init__(self, hosted: Hosted, segments_app: str) -> None:
        self.plan = plan = hosted.loaded.plan
        self._hosted = hosted
        counts = counts_here()
        calls = {
            segment.name: HandleCall(
                segment.name,
                serve.get_deployment_handle(segment.name, segments_app),
                longest_call(plan, segment),
                parameter_of(plan, segment),
                counts.hop(segment.name),
            )
            for segment in plan.segments[1:]
            if segment.name not in plan.signature.explainers
        }
        self._sender = sender_for(plan, segments_app)
        offer = None if self._sender is None else self._sender.offer
        self._executor = HeadExecutor(plan, hosted.bound, calls, counted(), counts, offer)
        self.head = LocalHead(self._executor)
        self._learning = Learning(learners(plan, hosted.bound), ControllerSource(plan.name))

    @classmethod
    async def start(cls, spec: str, segments_app: str) -> HostedHead:
        """Load the head of ``spec``, let it learn, and warm it up. Raises StartError."""
        hosted = await Hosted.start(spec, HEAD)
        found = cls(hosted, segments_app)
        await found._learning.start()
        warmup = hosted.loaded.graph.spec.warmup
        if warmup is not None:
            await warm_up(found.head, found.plan, warmup, hosted.loaded.root)
        hosted.is_ready(HEAD)
        return found

    def sampler(self) -> Sampler:
        """Which requests a router that carries the revision traces."""
        settings, telemetry = TraceSettings.from_env(), self._hosted.loaded.graph.spec.telemetry
        asked = None if telemetry is None else telemetry.trace
        return Sampler(settings.ratio if asked is None else asked.share, settings.exported)

    async def check_health(self) -> None:
        """Raise StartError, naming the node, if a component says that it is unwell."""
        await self._hosted.check_health(self._executor.stuck)

    async def unload(self) -> None:
        """Let threads go and components release what they hold."""
        await self._learning.close()
        if self._sender is not None:
            await asyncio.to_thread(self._sender.close)
        self.head.close()
        await self._hosted.unload()


class HeadReplica:
    """One replica of a revision's head; evaluates the whole graph on request."""

    async def __init__(self, spec: str, segments_app: str) -> None:  # type: ignore[misc]
        self._hosted = await HostedHead.start(spec, segments_app)
        self._requests = 0

    async def infer(
        self,
        inputs: Mapping[str, Array],
        outputs: Outputs,
        context: Context,
        remaining: float | None,
    ) -> Evaluated:
        """Return outputs by name, and the seconds that they took.

        ``remaining`` is the time left, in seconds, on the caller's clock.
        """
        self._requests += 1
        here = received(context, remaining)
        if here.trace is None:
            return await self._hosted.head.run(inputs, here, outputs)
        with entered(here.trace, "segment", HEAD) as recording:
            return await self._hosted.head.run(inputs, within(here, recording), outputs)

    def stream(
        self,
        inputs: Mapping[str, Array],
        outputs: Outputs,
        context: Context,
        remaining: float | None,
    ) -> AsyncGenerator[Piece, None]:
        """Give result after result of a graph that may stream, each with the seconds so far."""
        self._requests += 1
        here = received(context, remaining)
        if here.trace is None:
            return pieces(self._hosted.head.stream(inputs, here, outputs))
        recording = entered(here.trace, "segment", HEAD)
        found = self._hosted.head.stream(inputs, within(here, recording), outputs)
        return pieces(recorded(recording, found))

    async def compare(
        self,
        inputs: Mapping[str, Array],
        outputs: Outputs,
        context: Context,
        remaining: float | None,
        expected: Mapping[str, Array],
        rule: Compare,
    ) -> Verdict:
        """Evaluate likewise; return how that compares with the outputs that are ``expected``.

        So what goes back is small, whatever the size of the outputs.
        """
        self._requests += 1
        here = received(context, remaining)
        if here.trace is None:
            return await self._hosted.head.compare(inputs, here, outputs, expected, rule)
        with entered(here.trace, "segment", HEAD) as recording:
            here = within(here, recording)
            return await self._hosted.head.compare(inputs, here, outputs, expected, rule)

    async def check_health(self) -> None:
        """Serve's health check: that of the components."""
        await self._hosted.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        return {REQUESTS: self._requests}

    async def __del__(self) -> None:
        hosted = getattr(self, "_hosted", None)
        if hosted is not None:
            await hosted.unload()


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
