"""Takes a node's inputs from a frame and hands them to its component.

Specialised for the common shapes: this runs for every node of every request.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, NoReturn

from anabranch.components.annotations import FIRST_RESULT
from anabranch.components.contract import Bound, Context
from anabranch.errors import InvalidRequest, NodeError
from anabranch.graph.calls.values import Convert, identity
from anabranch.graph.execute.run import Frame
from anabranch.graph.execute.steps import Invoke

Parameter = tuple[str, int, Convert]
MAX_RESULTS = 1_000_000
"""Most results of a stream that are joined."""


def invoker(bound: Bound, parameters: Sequence[Parameter], listed: bool) -> Invoke:
    """A function of a frame and a context that calls the component."""
    if listed:
        return _with_list(bound, parameters)
    if bound.wants_context:
        return _with_context(bound, parameters)
    if any(convert is not identity for _, _, convert in parameters):
        return _with_conversions(bound, parameters)
    return _plain(bound, parameters)


def _plain(bound: Bound, parameters: Sequence[Parameter]) -> Invoke:
    call = bound.call
    pairs = [(key, slot) for key, slot, _ in parameters]
    if len(pairs) != 1:
        return lambda frame, context: call(**{key: frame[slot] for key, slot in pairs})
    key, slot = pairs[0]
    if _comes_first(call, key):
        return lambda frame, context: call(frame[slot])
    return lambda frame, context: call(**{key: frame[slot]})


def _with_conversions(bound: Bound, parameters: Sequence[Parameter]) -> Invoke:
    call = bound.call
    if len(parameters) != 1:
        return lambda frame, context: call(
            **{key: convert(frame[slot]) for key, slot, convert in parameters}
        )
    key, slot, convert = parameters[0]
    if _comes_first(call, key):
        return lambda frame, context: call(convert(frame[slot]))
    return lambda frame, context: call(**{key: convert(frame[slot])})


def _comes_first(call: Callable[..., Any], key: str) -> bool:
    """Return whether an argument may be given by its place, which is quicker than by its name."""
    try:
        parameters = inspect.signature(call, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return False
    first = next(iter(parameters), None)
    return first is not None and first.name == key and first.kind is first.POSITIONAL_OR_KEYWORD


def _with_context(bound: Bound, parameters: Sequence[Parameter]) -> Invoke:
    call = bound.call

    def invoke(frame: Frame, context: Context) -> Any:
        values = {key: convert(frame[slot]) for key, slot, convert in parameters}
        return call(**values, context=context)

    return invoke


def _with_list(bound: Bound, parameters: Sequence[Parameter]) -> Invoke:
    call, wants_context = bound.call, bound.wants_context

    def invoke(frame: Frame, context: Context) -> Any:
        values = [convert(frame[slot]) for _, slot, convert in parameters]
        return call(values, context=context) if wants_context else call(values)

    return invoke


def joining(node: str, invoke: Invoke, join: Callable[[list[Any]], Any]) -> Invoke:
    """Return a function that asks a node that streams for all of its results, and joins them.

    How long the first of them has taken is a measure of the node.
    """

    async def whole(frame: Frame, context: Context) -> Any:
        results: list[Any] = []
        started = time.perf_counter()
        async with aclosing(invoke(frame, context)) as values:
            async for value in values:
                if len(results) >= MAX_RESULTS:
                    raise NodeError(node, f"it yielded more than {MAX_RESULTS} results")
                if not results:
                    with suppress(ValueError):  # of more measures than a request may have
                        context.measure(FIRST_RESULT, time.perf_counter() - started, "timer")
                results.append(value)
        return join(results)

    return whole


def refusing(node: str) -> Invoke:
    """Return a function that refuses to run a node that streams, where one answer is asked for."""

    def refuse(frame: Frame, context: Context) -> NoReturn:
        raise InvalidRequest(
            f"node {node!r} streams its answer: ask generate_stream, or ModelStreamInfer over gRPC"
        )

    return refuse
