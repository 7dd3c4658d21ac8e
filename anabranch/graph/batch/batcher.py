"""Gathers the requests of one node and calls its component with many at once.

What goes together and when is decided in ``batching``. A batch runs in a task of its own, so a
request that is given up harms none of the others in it. One that fails is halved until the
requests that fail alone are found; only they get the error, and all others their own answers.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anabranch.components.contract import Bound, Context
from anabranch.errors import AnabranchError, DeadlineExceeded, Unavailable
from anabranch.graph.batch.batching import (
    Batch,
    BatchLimits,
    Hold,
    Rank,
    Waiting,
    due,
    halves,
    level,
    next_batch,
    rank,
    refuses,
    total,
)
from anabranch.graph.batch.experience import BatchOutcome, Room, Service
from anabranch.graph.batch.rows import Values, group_of, rows_of, split, stacked
from anabranch.graph.calls.counts import NodeCounts
from anabranch.graph.calls.lanes import Lane
from anabranch.graph.calls.values import arrays_of
from anabranch.telemetry.logs import NODE, REQUESTS
from anabranch.telemetry.span import Attribute
from anabranch.telemetry.tracing import SpanRecording


@dataclass(slots=True, eq=False)
class BatchEntry(Waiting):
    """A request that waits, with its inputs, and where its value or error goes."""

    values: Values
    context: Context
    result: asyncio.Future[Any]
    at: float
    """When it came, on the monotonic clock, in seconds."""
    is_traffic: bool
    recording: SpanRecording | None = None
    """The span of its node, where the request is traced."""

    def settle(self, found: Any) -> None:
        """Hand over a value, or the error to raise; nobody may want it any more."""
        if not self.result.done():
            self.result.set_result(found)


class Batcher:
    """The queue of one node, and the batches of it that are under way.

    While one is, requests gather; the component gets further calls beside it, as many as its
    ``max_concurrency`` says, only for full batches.
    """

    def __init__(
        self, bound: Bound, lane: Lane, limits: BatchLimits, counts: NodeCounts | None = None
    ) -> None:
        self._node = bound.node
        self._call = bound.call
        self._lane = lane
        self._slots = max(1, int(getattr(bound.instance, "max_concurrency", 1)))
        self._limits = limits
        self._counts = counts
        self._room = Room(limits.max_size)
        self._service = Service()
        self._groups: dict[Hashable, list[BatchEntry]] = {}
        self._requests = self._rows = self._number = 0
        self._running: dict[asyncio.Task[None], Sequence[BatchEntry]] = {}
        self._given_up: set[asyncio.Task[None] | None] = set()
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None

    async def submit(
        self, values: Values, context: Context, recording: SpanRecording | None = None
    ) -> Any:
        """Return the component's result for one request: an array, or a dict of arrays.

        ``recording`` is the span of the node, where the request is traced.
        Raises NodeError, Unavailable where no more may wait, and DeadlineExceeded where the
        request's time is over before its turn.
        """
        entry = self._entry(values, context)
        entry.recording = recording
        group = group_of(values)
        insort(self._groups.setdefault(group, []), entry, key=_rank)
        self._requests += 1
        self._rows += entry.rows
        self._pump_soon()
        try:
            found = await entry.result
        except asyncio.CancelledError:
            self._give_up(group, entry)
            raise
        if isinstance(found, AnabranchError):
            raise found
        return found

    def _entry(self, values: Values, context: Context) -> BatchEntry:
        rows = rows_of(self._node, values)
        priority = level(context.parameters)
        if self._pumping and self._refuses(rows):
            # Many have come at once, and what may start has not yet.
            self._pump()
        if self._refuses(rows):
            raise self._full()
        self._number += 1
        now = time.monotonic()
        return BatchEntry(
            rows=rows,
            rank=rank(now, priority, self._number),
            due=due(now, context.deadline, self._limits),
            deadline=context.deadline,
            values=values,
            context=context,
            result=asyncio.get_running_loop().create_future(),
            at=now,
            is_traffic=context.is_traffic,
        )

    def _refuses(self, rows: int) -> bool:
        return refuses(self._requests, self._rows, rows, self._limits)

    def _full(self) -> Unavailable:
        rows = self._rows + sum(map(total, self._running.values()))
        return Unavailable(
            f"node {self._node!r} has its queue full: {self._requests} requests with "
            f"{self._rows} rows wait (batching.max_queue says how many may); try again later",
            self._service.retry_after(rows, self._slots),
        )

    def _pump_soon(self) -> None:
        """Pump once all of the requests that are there already have come to the queue."""
        if not self._pumping and self._may_start():
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Start what is to be started now, and come back when the next batch is due."""
        self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._groups and self._may_start():
            limits, now = replace(self._limits, max_size=self._room.rows), time.monotonic()
            found = next_batch(self._groups, now, limits, busy=bool(self._running))
            if isinstance(found, Hold):
                self._come_back(found, now)
                return
            self._start(found)

    def _may_start(self) -> bool:
        if not self._running:
            return True
        return len(self._running) < self._slots and self._rows >= self._room.rows

    def _come_back(self, hold: Hold, now: float) -> None:
        if hold.until is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(hold.until - now, self._pump)

    def _start(self, batch: Batch[BatchEntry]) -> None:
        queue = self._groups[batch.group]
        self._forget(batch.group, queue, 0, len(batch.take) + len(batch.late))
        for each in batch.late:
            each.settle(self._late())
        if batch.take:
            task = asyncio.get_running_loop().create_task(self._run(batch.take))
            self._running[task] = batch.take
            task.add_done_callback(self._ended)

    def _forget(self, group: Hashable, queue: list[BatchEntry], start: int, end: int) -> None:
        self._requests -= end - start
        self._rows -= total(queue[start:end])
        del queue[start:end]
        if not queue:
            del self._groups[group]

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A batch is through. What it has left behind, if it broke off, gets no answer."""
        self._given_up.discard(task)
        for each in self._running.pop(task):
            each.settle(Unavailable(f"node {self._node!r} has stopped"))
        if not task.cancelled():
            task.result()
        self._pump()

    def _give_up(self, group: Hashable, entry: BatchEntry) -> None:
        """Take a request that nobody waits for out of the queue, or end what runs for it alone."""
        queue = self._groups.get(group, [])
        index = bisect_left(queue, entry.rank, key=_rank)
        if index < len(queue) and queue[index] is entry:
            self._forget(group, queue, index, index + 1)
            return
        for task, batch in self._running.items():
            if entry in batch and all(each.result.done() for each in batch):
                self._given_up.add(task)
                task.cancel()

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"node {self._node!r} was not free before the time of the request was over"
        )

    async def _run(self, batch: Sequence[BatchEntry]) -> None:
        started = time.monotonic()
        if self._counts is not None:
            for each in batch:
                if each.is_traffic:
                    self._counts.waited(started - each.at)
        for each in batch:
            if each.recording is not None:
                each.recording.waited(f"queue {self._node}", {"anabranch.node": self._node})
        try:
            await self._solve(batch)
        except asyncio.CancelledError:
            if asyncio.current_task() not in self._given_up:
                raise
            # The component is not free before its thread is done, and until then others gather.
            await self._lane.free()
        self._service.note(total(batch), time.monotonic() - started)

    async def _solve(self, batch: Sequence[BatchEntry]) -> None:
        """Answer every request of a batch, halving it while it fails.

        One guilty request among n takes at most 1 + 2 log2(n) calls. Where requests keep failing
        alone, one after the other and alike, the rest is called one by one.
        """
        parts, outcome = [batch], BatchOutcome()
        while parts:
            part = self._wanted(parts.pop())
            if not part:
                continue
            try:
                found = await self._together(part)
            except AnabranchError as error:
                parts += self._failed(part, error, outcome)
            else:
                outcome.succeed()
                for each, value in zip(part, found, strict=True):
                    each.settle(value)
        self._room.learn(outcome)

    def _wanted(self, part: Sequence[BatchEntry]) -> list[BatchEntry]:
        now = time.monotonic()
        for each in part:
            if each.deadline is not None and each.deadline <= now:
                each.settle(self._late())
        return [each for each in part if not each.result.done()]

    def _failed(
        self, part: Sequence[BatchEntry], error: AnabranchError, outcome: BatchOutcome
    ) -> list[Sequence[BatchEntry]]:
        """Return the parts to call after a part has failed, the last one first."""
        outcome.fail(len(part), total(part), error)
        if len(part) == 1 or isinstance(error, (Unavailable, DeadlineExceeded)):
            for each in part:
                each.settle(error)
            return []
        if outcome.is_hopeless:
            return [(each,) for each in reversed(part)]
        return list(reversed(halves(part)))

    async def _together(self, part: Sequence[BatchEntry]) -> list[Any]:
        """One call for all of a part; what it returns, split."""
        traced = [each.recording for each in part if each.recording is not None]
        if not traced:
            return await self._called(part)
        with self._recording(part, traced):
            return await self._called(part)

    def _recording(
        self, part: Sequence[BatchEntry], traced: Sequence[SpanRecording]
    ) -> SpanRecording:
        """The span of a call: below the first request's, and linked to all of them."""
        about: dict[str, Attribute] = {
            "anabranch.node": self._node,
            "anabranch.batch.requests": len(part),
            "anabranch.batch.rows": total(part),
        }
        places = [recording.trace for recording in traced]
        batch = SpanRecording(places[0], f"batch {self._node}", about, links=places)
        for recording in traced:
            recording.link(batch.trace)
        return batch

    async def _called(self, part: Sequence[BatchEntry]) -> list[Any]:
        REQUESTS.set(tuple(each.context for each in part))
        NODE.set(self._node)
        sizes = [each.rows for each in part]
        requests = [each.values for each in part]

        def call() -> list[Any]:
            return self._split(self._call(**stacked(requests)), sizes)

        async def awaited() -> list[Any]:
            return self._split(await self._call(**stacked(requests)), sizes)

        traffic = [each for each in part if each.is_traffic]
        counts = self._counts if traffic else None
        if counts is not None:
            counts.batch(len(traffic), total(traffic))
        work = awaited if self._lane.is_async else call
        found: list[Any] = await self._lane.call(work, counts=counts)
        return found

    def _split(self, value: Any, sizes: Sequence[int]) -> list[Any]:
        return split(self._node, arrays_of(self._node, value), sizes)


def _rank(entry: BatchEntry) -> Rank:
    return entry.rank
