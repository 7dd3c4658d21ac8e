"""The demand-driven executor: one evaluator for notebooks, routers and segment replicas.

A request asks for outputs; a vertex runs only if something asked asks for it, and once per
request. Each set of wanted vertices is compiled once into a *schedule*, a list of steps in order
of evaluation; a request copies a frame of empty slots and runs the steps over it. A slot holds a
value, or a future where the value is still being made. A step whose inputs are values runs at
once; one that waits for a future becomes a task. So a graph of fast synchronous nodes runs as a
plain loop, and one with slow or remote nodes runs as a data-flow, with everything that leaves the
process started before the rest.

Routers are two vertices: the *pick*, which decides, and the *join*, which evaluates the schedule of
the node that was picked and takes over its value.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from anabranch.components.contract import Bound, Context
from anabranch.errors import InvalidRequest
from anabranch.graph.calls.cache_status import GRAPH
from anabranch.graph.calls.counts import Counts
from anabranch.graph.calls.generators import each, once
from anabranch.graph.calls.interrupt import STUCK
from anabranch.graph.calls.lanes import Lanes
from anabranch.graph.calls.tasks import LeftBehind, Tasks
from anabranch.graph.calls.values import (
    UNSET,
    Convert,
    Skipped,
    accessor,
    identity,
    protect,
)
from anabranch.graph.execute.cached import NO_CACHES, CachedGraph, Caches, ValueCache
from anabranch.graph.execute.feedback import FeedbackTakers, takers
from anabranch.graph.execute.policy import Notice, unnoticed
from anabranch.graph.execute.run import Run, Schedule, Step
from anabranch.graph.execute.schedule import StepFactory, closure, ordered, units
from anabranch.graph.execute.streaming import Streams, streaming_of
from anabranch.graph.observe.monitor_copies import Observer, Offer
from anabranch.graph.observe.recorded_values import ValueRecorder
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.graph.plan.vertices import Vertices, shared
from anabranch.specs.excerpts import hint
from anabranch.telemetry.logs import NODE, REQUESTS

MAX_LEFT_BEHIND = 100
"""Calls that may go on for long though they were cancelled."""
MAX_SCHEDULES = 256
"""Schedules kept for different sets of requested outputs."""

Array = np.ndarray[Any, Any]
# A method of what is imported, and a function in an attribute, are looked up anew by each call.
_set_node, _set_requests = NODE.set, REQUESTS.set
Take = tuple[str, int, Convert]
"""An output, its place among the values that come back, and how to get it out of there."""


class SegmentCall(Protocol):
    """A call to one segment from another process: the seam for node calls."""

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        """Evaluate ``wants`` (vertices of the segment) given the ``values`` of other vertices.

        Values are arrays, dicts of arrays, or for a router that decides there the name of a route;
        or ``Skipped``, for a value that is not there.
        """


class Evaluator:
    """Evaluates vertices of a plan; those without a ``Bound`` here are given or called."""

    def __init__(
        self,
        plan: Plan,
        bound: Mapping[str, Bound],
        calls: Mapping[str, SegmentCall],
        orchestrates: bool,
        notice: Notice = unnoticed,
        counts: Counts | None = None,
        offer: Offer | None = None,
        threads_only: Collection[str] = (),
        caches: Caches = NO_CACHES,
    ) -> None:
        self._vertices = Vertices(plan, bound, calls, orchestrates)
        if counts is not None:
            counts.hand_out(bound)
        watched = None if offer is None else Observer(plan, self._vertices, bound, offer)
        self._observer = watched or None
        self._recorder = ValueRecorder(plan, self._vertices, bound) or None
        self._is_watched = bool(self._observer or self._recorder)
        # To take a reward may take long, and a component is in one call at a time: in a thread.
        self._lanes = Lanes({*threads_only, *takers(bound)})
        self._left_behind = LeftBehind()
        self._steps = StepFactory(
            self._vertices, bound, calls, self._lanes, self._lazily, notice, counts, caches
        )
        self._needs_tasks = bool(calls) or self._steps.guarded
        self._empty: list[Any] = [UNSET] * len(self._vertices.slots)
        self._schedule = lru_cache(MAX_SCHEDULES)(self._compile)
        self._streams = Streams(self._vertices, bound, calls, self._steps, self)
        self.feedback = FeedbackTakers(plan, bound, calls, self._steps.lanes)

    async def evaluate(
        self, given: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> list[Any]:
        """The values of ``wants``, in order, given the values of other vertices."""
        _set_requests((context,))
        slots, frame, schedule = self._vertices.slots, self._empty.copy(), self._schedule
        for name, value in given.items():
            frame[slots[name]] = value
        steps = schedule(wants, frozenset(given))
        if self._lanes.off_loop or self._needs_tasks:
            await self._run(steps, frame, context)
            for name in wants:
                frame[slots[name]] = _settled(frame[slots[name]])
        else:
            for step in steps:
                if frame[step.slot] is UNSET:
                    step.inline(frame, context)
        _set_node("")
        if context.annotations.uncounted:
            self.count(context)
        if self._is_watched:
            self.see(frame, given, context)
        return [frame[slots[name]] for name in wants]

    def stream(
        self, given: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """The values of ``wants`` by name, and if one of them streams, its further ones."""
        return self._streams.run(given, wants, context)

    def count(self, context: Context) -> None:
        """Add the measures of components to the metrics of this process."""
        for measure in context.annotations.to_count():
            if self._steps.counts is not None and context.is_traffic:
                self._steps.counts.measured(measure)

    async def only_streams(self) -> bool:
        """Return whether a node streams, whose results cannot be joined, here or elsewhere."""
        return await self._streams.are_refused()

    def frame(self, given: Mapping[str, Any]) -> list[Any]:
        """A frame of empty slots, but for the values of some vertices."""
        slots, frame = self._vertices.slots, self._empty.copy()
        for name, value in given.items():
            frame[slots[name]] = value
        return frame

    async def fill(
        self, frame: list[Any], given: Mapping[str, Any], wants: Sequence[str], context: Context
    ) -> None:
        """Evaluate what of ``wants`` a frame lacks that began with ``given``."""
        await self._run(self._schedule(tuple(wants), frozenset(given)), frame, context)
        frame[:] = map(_settled, frame)

    def see(self, frame: list[Any], given: Mapping[str, Any], context: Context) -> None:
        """Let monitors, and the log, look at the frame of a request."""
        if self._observer is not None:
            self._observer.see(frame, given, context)
        if self._recorder is not None and context.annotations.values is not None:
            self._recorder.take(frame, given, context.annotations.values)

    @property
    def seen(self) -> Mapping[str, int]:
        """The nodes that monitors watch here, or that the log is to have, and their slots."""
        watched = {} if self._observer is None else self._observer.seen
        return watched if self._recorder is None else {**watched, **self._recorder.seen}

    async def made(
        self, frame: list[Any], given: Mapping[str, Any], wants: Sequence[str], context: Context
    ) -> None:
        """Evaluate as ``evaluate`` does, in a frame that began with ``given``."""
        REQUESTS.set((context,))
        await self.fill(frame, given, wants, context)
        NODE.set("")
        self.count(context)
        self.see(frame, given, context)

    def from_cache(self, cache: ValueCache) -> CachedGraph:
        """Return what evaluates likewise, and keeps values."""
        return CachedGraph(cache, self, self._vertices.slots)

    @property
    def off_loop(self) -> int:
        """How many components do not run on the event loop just now."""
        return self._lanes.off_loop

    @property
    def stuck(self) -> str | None:
        """Why this process should be replaced, naming nodes; None where all is well."""
        if self._left_behind.older(STUCK) >= MAX_LEFT_BEHIND:
            return f"{MAX_LEFT_BEHIND} calls or more go on that were cancelled {STUCK:g}s ago"
        return self._lanes.stuck()

    def close(self) -> None:
        """Let the threads go."""
        self._lanes.close()

    async def _run(self, steps: Sequence[Step], frame: list[Any], context: Context) -> None:
        tasks = Tasks(self._left_behind)
        await tasks.run(Run(frame, context, tasks).start(steps))

    def _compile(self, wants: tuple[str, ...], given: frozenset[str]) -> tuple[Step, ...]:
        """The schedule for ``wants``: the steps that they need without condition, in order."""
        vertices = self._vertices
        needed = closure(vertices, wants, given)
        order = ordered(vertices, units(vertices, needed), given)
        return tuple(self._steps.build(unit, wants, needed) for unit in order)

    def _lazily(self, want: str) -> Schedule:
        """The schedule of a branch, compiled when first taken."""
        given = self._vertices.inputs

        def schedule() -> Sequence[Step]:
            return self._schedule((want,), given)

        return schedule


def _there(values: Mapping[str, Any]) -> dict[str, Array]:
    """Return the outputs that are not absent."""
    return {name: value for name, value in values.items() if not isinstance(value, Skipped)}


def _settled(value: Any) -> Any:
    return value.result() if isinstance(value, asyncio.Future) else value


def _name_columns(context: Context, sources: Mapping[str, str]) -> None:
    """Give the graph's outputs the names of columns that their sources have."""
    found = {output: context.names_of(source) for output, source in sources.items()}
    context.names.update({output: names for output, names in found.items() if names})


class HeadExecutor:
    """Evaluates a graph's outputs. Without ``calls``, the whole graph runs in this process.

    Nodes that are ``threads_only`` are never called on the event loop. Values are kept in
    ``caches``, where there are any.
    """

    def __init__(
        self,
        plan: Plan,
        bound: Mapping[str, Bound],
        calls: Mapping[str, SegmentCall] | None = None,
        notice: Notice = unnoticed,
        counts: Counts | None = None,
        offer: Offer | None = None,
        threads_only: Collection[str] = (),
        caches: Caches = NO_CACHES,
    ) -> None:
        self._plan = plan
        self._evaluator = Evaluator(
            plan, bound, calls or {}, True, notice, counts, offer, threads_only, caches
        )
        self._cached = GRAPH in caches
        self._evaluate = (
            self._evaluator.from_cache(caches[GRAPH]).evaluate
            if self._cached
            else self._evaluator.evaluate
        )
        self._access = {
            name: (str(ref.output), identity)
            if ref.node is None
            else (ref.node, accessor(plan.nodes[ref.node], ref))
            for name, ref in plan.outputs.items()
        }
        self._asked = lru_cache(MAX_SCHEDULES)(self._ask)
        self._all = tuple(plan.outputs)
        self._shared = frozenset(name for name in plan.inputs if shared(plan, name))
        self._absent = {
            name: Skipped(f"input {name!r} is not in the request", has_failed=False)
            for name, spec in plan.inputs.items()
            if spec.optional
        }
        self._may_lack = bool(plan.signature.optional_outputs)

    async def run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Evaluate ``outputs`` (all, if None) for one request; those that are absent are left out.

        ``inputs`` holds an array for every graph input that is not optional; its types are the
        caller's to check.
        Raises NodeError, DeadlineExceeded, Unavailable, and InvalidRequest for an unknown output.
        """
        asked, evaluate = self._asked, self._evaluate
        wants, takes = asked(self._all if outputs is None else tuple(outputs))
        given: Mapping[str, Any] = {**self._absent, **inputs} if self._absent else inputs
        if self._shared:
            given = self._protected(given)
        values = await evaluate(given, wants, context)
        if context.names:
            _name_columns(context, {name: wants[index] for name, index, _ in takes})
        found = {name: access(values[index]) for name, index, access in takes}
        return _there(found) if self._may_lack else found

    async def values(
        self, given: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> list[Any]:
        """The values of ``wants``, in order, given those of other vertices; raises as ``run``."""
        return await self._evaluator.evaluate(given, wants, context)

    def stream(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None = None
    ) -> AsyncGenerator[dict[str, Array], None]:
        """Evaluate ``outputs`` (all, if None) of a graph in which a node may stream.

        What does not stream comes with the first of the results, of which there is but one if
        nothing does. Closing the iterator closes the component's. Raises as ``run`` does.
        """
        if self._cached:  # no node of it streams
            return once(partial(self.run, inputs, context, outputs))
        wants, takes = self._asked(self._all if outputs is None else tuple(outputs))
        given = self._protected({**self._absent, **inputs})

        def taken(values: Mapping[str, Any]) -> dict[str, Array]:
            if context.names:
                _name_columns(context, {name: wants[index] for name, index, _ in takes})
            there = [take for take in takes if wants[take[1]] in values]
            return _there({name: access(values[wants[index]]) for name, index, access in there})

        return each(partial(self._evaluator.stream, given, wants, context), taken)

    @property
    def feedback(self) -> FeedbackTakers:
        """The components of the graph that take rewards."""
        return self._evaluator.feedback

    async def only_streams(self) -> bool:
        """Return whether a node streams whose results cannot be joined: ``run`` refuses it.

        Raises Unavailable where a segment cannot be asked.
        """
        return await self._evaluator.only_streams()

    def _protected(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            name: protect(value) if name in self._shared else value
            for name, value in inputs.items()
        }

    def _ask(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], list[Take]]:
        """Return the vertices that some outputs need, and how to take each output from them."""
        for name in names:
            if name not in self._access:
                raise InvalidRequest(
                    f"graph {self._plan.name!r} has no output {name!r}"
                    + hint(name, list(self._access))
                )
        wants = tuple(dict.fromkeys(self._access[name][0] for name in names))
        takes = []
        for name in names:
            vertex, access = self._access[name]
            takes.append((name, wants.index(vertex), access))
        return wants, takes

    @property
    def off_loop(self) -> int:
        """How many components do not run on the event loop just now."""
        return self._evaluator.off_loop

    @property
    def stuck(self) -> str | None:
        """Why this process should be replaced, naming nodes; None where all is well."""
        return self._evaluator.stuck

    def close(self) -> None:
        """Let the threads go."""
        self._evaluator.close()


class SegmentExecutor:
    """Evaluates vertices of one segment, in the segment's own process."""

    def __init__(
        self,
        plan: Plan,
        segment: Segment,
        bound: Mapping[str, Bound],
        notice: Notice = unnoticed,
        counts: Counts | None = None,
        offer: Offer | None = None,
        threads_only: Collection[str] = (),
        caches: Caches = NO_CACHES,
    ) -> None:
        self.segment = segment
        self._bound = bound
        self._evaluator = Evaluator(
            plan, bound, {}, False, notice, counts, offer, threads_only, caches
        )

    async def run(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> dict[str, Any]:
        """The values of ``wants``; the other half of ``SegmentCall``."""
        found = await self._evaluator.evaluate(values, wants, context)
        return dict(zip(wants, found, strict=True))

    @property
    def feedback(self) -> FeedbackTakers:
        """The components here that take rewards."""
        return self._evaluator.feedback

    @property
    def streaming(self) -> dict[str, bool]:
        """The nodes here that stream, and whether their results can be joined."""
        return streaming_of(self._bound)

    def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a node that streams, given those of other vertices."""
        return each(partial(self._evaluator.stream, values, (want,), context), itemgetter(want))

    @property
    def stuck(self) -> str | None:
        """Why this process should be replaced, naming nodes; None where all is well."""
        return self._evaluator.stuck

    def close(self) -> None:
        """Let the threads go."""
        self._evaluator.close()
