"""Graphs that stream: a predictor yields its results one by one, and so does the graph.

What a node streams goes straight to the graph's outputs, through routers at most: whatever else
read it would have to wait for its end. The code of a node says whether it streams, so this is
checked when that is loaded, and a process asks another once which of its nodes do.

A stream is pulled: its node goes on only when the next result is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from anabranch.components.contract import Bound, Context
from anabranch.errors import AnabranchError, InvalidRequest, LoadError
from anabranch.graph.calls.counts import NodeCounts
from anabranch.graph.calls.generators import within
from anabranch.graph.calls.guard import awaited, called
from anabranch.graph.calls.lanes import Lane, clock
from anabranch.graph.calls.values import Convert, Skipped, identity, route_converter
from anabranch.graph.execute.run import Frame
from anabranch.graph.execute.schedule import StepFactory, closure
from anabranch.graph.plan.plan import Plan, PlannedNode
from anabranch.graph.plan.vertices import Vertices, pick_of, vertex_of
from anabranch.specs.models import NodeBase
from anabranch.telemetry.logs import NODE, REQUESTS
from anabranch.telemetry.tracing import SpanRecording

Values = Mapping[str, Any]
"""Values by vertex."""
_END: Any = object()
"""In place of a result, once a component has yielded its last."""


def check_streams(plan: Plan, bound: Mapping[str, Bound]) -> None:
    """Raise LoadError, naming node and reader, if what a node streams goes anywhere else."""
    for name, each in bound.items():
        if each.is_stream:
            _check_readers(plan, name, name)
            _check_policy(name, plan.nodes[name].spec)
            _check_certain(plan.nodes[name])


def _check_readers(plan: Plan, streaming: str, read: str) -> None:
    for node in plan.nodes.values():
        reads = [vertex_of(ref) for ref in node.inputs.values()]
        reads += [vertex_of(node.fallback)] if node.fallback else []
        if read in reads:
            raise LoadError(
                streaming,
                f"it streams, so only outputs of the graph and routers may read it, "
                f"and {node.name!r} does",
            )
        if read in node.routes:
            _check_readers(plan, streaming, node.name)


def _check_policy(name: str, spec: NodeBase) -> None:
    has = {
        "retries": bool(spec.retries),
        "on_error": spec.on_error != "fail",
        "timeout": spec.timeout is not None,
        "batching": spec.batching is not None,
        "optional_outputs": getattr(spec, "optional_outputs", None) is not None,
        "quorum": getattr(spec, "quorum", None) is not None,
    }
    for field, is_there in has.items():
        if is_there:
            raise LoadError(name, f"it streams, and `{field}` is for nodes that do not; remove it")


def _check_certain(node: PlannedNode) -> None:
    if node.is_conditional:
        said = "it streams, so every value that it needs must be in each request"
        raise LoadError(node.name, f"{said}, and one may be absent")


def streaming_of(bound: Mapping[str, Bound]) -> dict[str, bool]:
    """Return the nodes that stream, and whether their results can be joined."""
    return {name: each.join is not None for name, each in bound.items() if each.is_stream}


class SegmentStreams(Protocol):
    """Streams of a segment in another process."""

    async def streaming(self) -> Mapping[str, bool]:
        """The nodes of the segment that stream, and whether their results can be joined."""

    def stream(self, values: Values, want: str, context: Context) -> AsyncGenerator[Any, None]:
        """The values of a node that streams, given the values of other vertices."""


class Evaluates(Protocol):
    """The part of an evaluator that streams need."""

    def frame(self, given: Values) -> Frame:
        """A frame that holds the given values."""

    async def fill(
        self, frame: Frame, given: Values, wants: Sequence[str], context: Context
    ) -> None:
        """Evaluate what of ``wants`` the frame does not hold yet."""

    def see(self, frame: Frame, given: Values, context: Context) -> None:
        """Let monitors look at a frame that began with the given values."""

    def count(self, context: Context) -> None:
        """Add the measures of components to the metrics of this process."""


class Streams:
    """Evaluates vertices, of which one may stream."""

    def __init__(
        self,
        vertices: Vertices,
        bound: Mapping[str, Bound],
        calls: Mapping[str, Any],
        steps: StepFactory,
        evaluator: Evaluates,
    ) -> None:
        self._vertices = vertices
        self._bound = bound
        self._calls: Mapping[str, SegmentStreams] = calls
        self._steps = steps
        self._evaluator = evaluator

    async def run(
        self, given: Values, wants: Sequence[str], context: Context
    ) -> AsyncGenerator[Values, None]:
        """All of ``wants`` at once; if one of them streams, then further values of that one.

        Raises InvalidRequest if several do. Closing the iterator closes the component's.
        """
        REQUESTS.set((context,))
        try:
            async with aclosing(self._evaluate(given, wants, context)) as found:
                async for values in found:
                    yield values
        finally:
            self._evaluator.count(context)

    async def _evaluate(
        self, given: Values, wants: Sequence[str], context: Context
    ) -> AsyncGenerator[Values, None]:
        frame = self._evaluator.frame(given)
        found = {want: await self._resolve(frame, given, want, context) for want in wants}
        streaming = [want for want in wants if await self._streams(found[want][0])]
        if len(streaming) > 1:
            names = " and ".join(repr(found[want][0]) for want in streaming)
            raise InvalidRequest(f"nodes {names} both stream; ask for outputs of one of them")
        node = found[streaming[0]][0] if streaming else None
        sources = self._sources(node, given) if node else []
        rest = [want for want in wants if want not in streaming]
        await self._evaluator.fill(frame, given, [*rest, *sources], context)
        self._evaluator.see(frame, given, context)
        first = self._read(frame, rest)
        if node is None:
            yield first
            return
        want, convert = streaming[0], found[streaming[0]][1]
        async with aclosing(self._source(frame, node, sources, context)) as values:
            async for value in values:
                yield {**first, want: convert(value)}
                first = {}

    def _read(self, frame: Frame, names: Sequence[str]) -> Values:
        return {name: frame[self._vertices.slots[name]] for name in names}

    async def _resolve(
        self, frame: Frame, given: Values, vertex: str, context: Context
    ) -> tuple[str, Convert]:
        """The node behind the routers that a vertex leads through, and how its value comes out."""
        nodes = self._vertices.plan.nodes
        routers: list[PlannedNode] = []
        while vertex in nodes and nodes[vertex].type == "router" and vertex not in given:
            pick = pick_of(vertex)
            await self._evaluator.fill(frame, given, [pick], context)
            if isinstance(frame[self._vertices.slots[pick]], Skipped):
                break
            routers.insert(0, nodes[vertex])
            context.path[vertex] = frame[self._vertices.slots[pick]]
            route = str(context.path[vertex])
            if self._steps.counts is not None and context.is_traffic:
                self._steps.counts.routed(vertex, route)
            vertex = route
        return vertex, _through(nodes.get(vertex), routers)

    async def are_refused(self) -> bool:
        """Return whether a node streams whose results cannot be joined, here or elsewhere."""
        known: list[Mapping[str, bool]] = [streaming_of(self._bound)]
        known += [await call.streaming() for call in self._calls.values()]
        return not all(joins for one in known for joins in one.values())

    async def _streams(self, vertex: str) -> bool:
        if vertex in self._bound:
            return self._bound[vertex].is_stream
        home = self._vertices.home.get(vertex)
        return home is not None and vertex in await self._calls[home].streaming()

    def _sources(self, node: str, given: Values) -> list[str]:
        """Return the vertices that a node needs; of a remote node, those outside its segment."""
        vertices = self._vertices
        home = vertices.home.get(node)
        inside = {name for name in closure(vertices, [node], given) if _at(vertices, name) == home}
        inside = inside if home else {node}
        needs = [need for name in sorted(inside) for need in vertices.needs[name]]
        return [need for need in dict.fromkeys(needs) if need not in inside]

    def _source(
        self, frame: Frame, node: str, sources: Sequence[str], context: Context
    ) -> AsyncGenerator[Any, None]:
        home = self._vertices.home.get(node)
        if home is not None:
            return self._calls[home].stream(self._read(frame, sources), node, context)
        invoke, finish, lane = self._steps.source(node)
        NODE.set(node)
        if context.trace is None:
            values = called(node, partial(invoke, frame, context))
            return self._counted(node, _results(lane, values, finish), context)
        recording = SpanRecording(context.trace, f"node {node}", {"anabranch.node": node})
        inner = replace(context, trace=recording.trace)
        values = called(node, partial(invoke, frame, inner))
        results = _results(lane, values, finish)
        return within(recording, self._counted(node, results, context))

    def _counted(
        self, node: str, results: AsyncGenerator[Any, None], context: Context
    ) -> AsyncGenerator[Any, None]:
        counts = self._steps.node_counts(node) if context.is_traffic else None
        return results if counts is None else within(_counting(counts, context), results)


def _at(vertices: Vertices, name: str) -> str | None:
    return vertices.home.get(name)


def _through(node: PlannedNode | None, routers: Sequence[PlannedNode]) -> Convert:
    """The conversions of all routers that a node's value goes through, the nearest first."""
    converts = []
    for router in routers:
        if node is not None:
            converts.append(route_converter(router, node))
        node = router
    converts = [convert for convert in converts if convert is not identity]
    if not converts:
        return identity

    def convert(value: Any) -> Any:
        for one in converts:
            value = one(value)
        return value

    return convert


async def _results(
    lane: Lane, values: AsyncGenerator[Any, None], finish: Convert
) -> AsyncGenerator[Any, None]:
    """Yield a component's results, checked; raise its exceptions as errors that name the node."""
    try:
        while (value := await awaited(lane, partial(anext, values, _END))) is not _END:
            yield called(lane.node, partial(finish, value))
            # A component that never waits must not hold the loop.
            await asyncio.sleep(0)
    finally:
        await awaited(lane, values.aclose)


@contextmanager
def _counting(counts: NodeCounts, context: Context) -> Iterator[None]:
    """Count a stream as one call from its first result to its last."""
    started = clock()
    counts.in_flight.value += 1
    try:
        yield
    except AnabranchError as error:
        counts.failed(error)
        raise
    else:
        counts.answered(clock() - started, context)
    finally:
        counts.in_flight.value -= 1
