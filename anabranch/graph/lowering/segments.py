"""A segment as a Serve deployment, and the call that reaches it from the head's process."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

from anabranch.components.contract import Context
from anabranch.graph.executor import SegmentExecutor
from anabranch.graph.lowering.attempts import attempting
from anabranch.graph.lowering.failures import translated
from anabranch.graph.lowering.here import counts_here
from anabranch.graph.lowering.hosting import Handle, Hosted
from anabranch.graph.lowering.notices import counted
from anabranch.graph.lowering.policy import REQUESTS
from anabranch.graph.lowering.sending import sender_for
from anabranch.graph.lowering.streams import Piece, ask_stream, pieces
from anabranch.graph.lowering.tracing import entered, hop, within
from anabranch.graph.plan import Plan, Segment
from anabranch.telemetry.registry import Distribution
from anabranch.telemetry.tracing import recorded

SLACK = 0.01
"""Seconds by which timers and clocks of two processes may differ."""


class SegmentReplica:
    """One replica of a segment: loads the segment's nodes and evaluates them on request.

    ``peers`` are the other segments of the revision. A Serve application is what its first
    deployment refers to, and segments never call each other, so they are only named here.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: str, segment: str, peers: list[Handle]
    ) -> None:
        del peers
        self._hosted = hosted = await Hosted.start(spec, segment)
        plan = hosted.loaded.plan
        here = hosted.segment(segment)
        self._sender = sender_for(plan)
        offer = None if self._sender is None else self._sender.offer
        self._executor = SegmentExecutor(plan, here, hosted.bound, counted(), counts_here(), offer)
        self._requests = 0
        hosted.is_ready(segment)

    async def evaluate(
        self,
        values: Mapping[str, Any],
        wants: tuple[str, ...],
        context: Context,
        remaining: float | None,
    ) -> Mapping[str, Any]:
        """Evaluate ``wants``; ``remaining`` is the time left, in seconds, on the caller's clock."""
        self._requests += 1
        here = received(context, remaining)
        if here.trace is None:
            return await self._executor.run(values, wants, here)
        with entered(here.trace, "segment", self._executor.segment.name) as recording:
            return await self._executor.run(values, wants, within(here, recording))

    async def streaming(self) -> frozenset[str]:
        """The nodes here that stream."""
        return self._executor.streaming

    def stream(
        self, values: Mapping[str, Any], want: str, context: Context, remaining: float | None
    ) -> AsyncGenerator[Piece, None]:
        """The values of a node that streams; ``remaining`` is as in ``evaluate``."""
        self._requests += 1
        here = received(context, remaining)
        if here.trace is None:
            return pieces(self._executor.stream(values, want, here))
        recording = entered(here.trace, "segment", self._executor.segment.name)
        found = self._executor.stream(values, want, within(here, recording))
        return pieces(recorded(recording, found))

    async def check_health(self) -> None:
        """Serve's health check: that of the components."""
        await self._hosted.check_health(self._executor.stuck)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        return {REQUESTS: self._requests}

    async def __del__(self) -> None:
        hosted = getattr(self, "_hosted", None)
        if hosted is not None:
            if self._sender is not None:
                await asyncio.to_thread(self._sender.close)
            await hosted.unload()


class HandleCall:
    """A ``SegmentCall`` through a Serve handle.

    ``timeout`` is how long a call may take at most, in seconds. ``multiplex`` is the parameter of
    the request whose value says what model is asked: its requests go where it is loaded. Calls that
    are answered count in ``hops``.
    """

    def __init__(
        self,
        segment: str,
        handle: Handle,
        timeout: float = math.inf,
        multiplex: str | None = None,
        hops: Distribution | None = None,
    ) -> None:
        self._segment = segment
        self._hops = hops
        self._timeout = timeout
        self._multiplex = multiplex
        self._evaluate = handle.evaluate
        self._handle = handle
        self._streaming: frozenset[str] | None = None

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        """Evaluate ``wants`` in the segment; cancelling this cancels it there."""
        if context.trace is None:
            return await self._call(values, wants, context)
        with hop(context.trace, self._segment) as recording:
            return await self._call(values, wants, within(context, recording))

    async def _call(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        sent = dict(values), wants, shipped(context), context.remaining()
        started = time.monotonic()

        def is_late() -> bool:
            return time.monotonic() - started >= self._timeout - SLACK or is_over(context)

        method = self._method(context)
        found: Mapping[str, Any] = await ask(self._segment, method, *sent, is_late=is_late)
        if self._hops is not None and context.is_traffic:
            self._hops.observe(time.monotonic() - started)
        return found

    def _method(self, context: Context) -> Any:
        """The method to call: of any replica, or of one that has the model that is asked."""
        model = context.parameters.get(self._multiplex) if self._multiplex is not None else None
        if not isinstance(model, str) or not model:
            return self._evaluate
        return self._handle.options(multiplexed_model_id=model).evaluate

    async def streaming(self) -> frozenset[str]:
        """The nodes of the segment that stream: always the same, so it is asked once."""
        if self._streaming is None:
            self._streaming = await ask(self._segment, self._handle.streaming)
        return self._streaming

    def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a node that streams; closing the iterator cancels it there."""
        if context.trace is None:
            return self._call_stream(values, want, context)
        recording = hop(context.trace, self._segment)
        found = self._call_stream(values, want, within(context, recording))
        return recorded(recording, found)

    def _call_stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        sent = dict(values), want, shipped(context), context.remaining()
        return ask_stream(self._segment, self._handle.options(stream=True).stream, *sent)


def _never() -> bool:
    return False


async def ask(name: str, method: Handle, *args: Any, is_late: Callable[[], bool] = _never) -> Any:
    """Call a method of a replica through its handle; cancelling this cancels it there.

    Errors of Ray become ours, in which the callee goes by ``name``. ``is_late`` tells, when the
    call is cancelled, whether that is so because the replica took too long.
    """
    with translated(name), attempting(is_late):
        response = method.remote(*args)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise


def is_over(context: Context) -> bool:
    """Whether the time of a request is over, or as good as over."""
    remaining = context.remaining()
    return remaining is not None and remaining <= SLACK


def longest_call(plan: Plan, segment: Segment) -> float:
    """How long a call to a segment may take, in seconds, whatever time the request has."""
    timeout = plan.nodes[segment.name].spec.timeout if len(segment.nodes) == 1 else None
    return math.inf if timeout is None else timeout.seconds


def shipped(context: Context) -> Context:
    """A context as it crosses processes: plain data, and no deadline, for clocks differ."""
    return replace(context, deadline=None, headers=dict(context.headers))


def received(context: Context, remaining: float | None) -> Context:
    """A context that was shipped, with a deadline after ``remaining`` seconds by the clock here."""
    return replace(context, deadline=None if remaining is None else time.monotonic() + remaining)


def actor_options(segment: Segment, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Ray actor options of a segment's replicas.

    A segment that asks for no CPU reserves none, so that a laptop fits many graphs: Ray only
    counts CPUs, it does not fence them.
    """
    wanted = segment.resources
    options: dict[str, Any] = {"num_cpus": 0, "runtime_env": dict(runtime_env)}
    if wanted is not None:
        named = {
            "num_cpus": wanted.cpu,
            "num_gpus": wanted.gpu,
            "memory": None if wanted.memory is None else int(wanted.memory),
            "accelerator_type": wanted.accelerator,
        }
        options |= {name: value for name, value in named.items() if value is not None}
    return options
