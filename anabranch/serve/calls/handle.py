"""Calls to a segment through its Serve handle."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

from anabranch.components.contract import Context
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.serve.calls.attempts import Handle, attempting
from anabranch.serve.calls.failures import translated
from anabranch.serve.calls.streams import ask_stream
from anabranch.serve.calls.tracing import hop, within
from anabranch.telemetry.registry import Distribution
from anabranch.telemetry.tracing import recorded

SLACK = 0.01
"""Seconds by which timers and clocks of two processes may differ."""


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
    """Return whether the time of a request is over, or as good as over."""
    remaining = context.remaining()
    return remaining is not None and remaining <= SLACK


def longest_call(plan: Plan, segment: Segment) -> float:
    """Return how long a call to a segment may take, in seconds, whatever time the request has."""
    timeout = plan.nodes[segment.name].spec.timeout if len(segment.nodes) == 1 else None
    return math.inf if timeout is None else timeout.seconds


def shipped(context: Context) -> Context:
    """A context as it crosses processes: plain data, and no deadline, for clocks differ."""
    return replace(context, deadline=None, headers=dict(context.headers))


def received(context: Context, remaining: float | None) -> Context:
    """A context that was shipped, with a deadline after ``remaining`` seconds by the clock here."""
    return replace(context, deadline=None if remaining is None else time.monotonic() + remaining)
