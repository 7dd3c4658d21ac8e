"""Lanes: calls of one component on the loop, in a thread, or as a coroutine.

Whatever a component raises becomes a NodeError that names the node, as ``guard`` has it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from anabranch.components.contract import Bound, Context
from anabranch.errors import AnabranchError
from anabranch.graph.calls.counts import NodeCounts
from anabranch.graph.calls.guard import awaited, called, translate
from anabranch.graph.calls.interrupt import GRACE, STUCK, InterruptibleCall, stuck
from anabranch.graph.calls.pace import FAST, CallPace
from anabranch.graph.calls.places import PlacedCall, Places
from anabranch.graph.calls.values import Convert, identity
from anabranch.graph.calls.watch import WATCH
from anabranch.pulse import PULSE
from anabranch.telemetry.logs import SERVED

MAX_THREADS = 16
"""Threads per process that slow synchronous components share."""

clock = time.perf_counter


class Lanes:
    """The threads that the components of one process share, and whether all run on the loop.

    The nodes ``threads_only`` never run on the loop, however fast they are.
    """

    def __init__(self, threads_only: Collection[str] = ()) -> None:
        self.threads_only = frozenset(threads_only)
        self.off_loop = 0
        """Components that do not run on the loop just now."""
        self._pool: ThreadPoolExecutor | None = None
        self._members: list[Lane] = []

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The shared threads, started when first needed."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="anabranch-node")
        return self._pool

    def add(self, lane: Lane) -> None:
        """Count a component in; its first call is in a thread."""
        self._members.append(lane)
        self.off_loop += 1

    def stuck(self) -> str | None:
        """Why no call can be made any more, naming the nodes; None where calls can."""
        now = time.monotonic()
        counts = {lane: count for lane in self._members if (count := stuck(lane.calls, now))}
        full = [lane.node for lane, count in counts.items() if count >= lane.places]
        if not full and sum(counts.values()) >= MAX_THREADS:
            full = [lane.node for lane in counts]
        if not full:
            return None
        names = ", ".join(map(repr, full))
        return f"node {names}: calls that were given up {STUCK:g}s ago still hold its threads"

    def close(self) -> None:
        """Let the threads go; calls under way are not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class Done(NamedTuple):
    """The result of a component, the time it took, and its start, by ``clock``."""

    value: Any
    seconds: float
    started: float = 0.0


class Lane:
    """Calls one component. Synchronous ones get at most ``max_concurrency`` threads at a time.

    ``max_concurrency`` is an attribute of the component and 1 unless it says otherwise, so a
    component need not be thread-safe.
    """

    queues = True
    """Whether requests wait for their turn here, and not before."""

    def __init__(self, bound: Bound, lanes: Lanes) -> None:
        self.node = bound.node
        self.is_async = bound.is_async or bound.join is not None
        self._lanes = lanes
        self.served = SERVED.get()
        """The graph and the revision of a component in a process that serves several."""
        self.number = PULSE.number(self, *self.served, bound.node)
        self._fast = 0.0 if bound.node in lanes.threads_only else FAST
        self.pace = CallPace(self._fast)
        """Of calls by single requests."""
        self.places = max(1, int(getattr(bound.instance, "max_concurrency", 1)))
        self.calls: set[InterruptibleCall] = set()
        """Calls for threads: those without a place yet, and those under way, waited for or not."""
        self._places = Places(self.places)
        lanes.add(self)

    @property
    def inline(self) -> bool:
        """True while the component runs on the loop."""
        return self.pace.inline

    def error(self, error: BaseException) -> AnabranchError:
        """The error that the rest of the engine sees for what the component raised."""
        return translate(self.node, error)

    def note(self, seconds: float, now: float) -> None:
        """Note a call on the loop that ended at ``now``, where it or the one before was slow."""
        if self.pace.on_loop(seconds, now):
            self._lanes.off_loop += 1

    async def call(
        self,
        call: Callable[[], Any],
        finish: Convert = identity,
        counts: NodeCounts | None = None,
        context: Context | None = None,
    ) -> Any:
        """Await a coroutine function, or run a synchronous one in a thread; give what it finishes.

        The call counts in ``counts``, for the request of that ``context``.
        """
        if counts is None:
            done = await self._run(call, None)
            return called(self.node, partial(finish, done.value))
        counts.in_flight.value += 1
        try:
            done = await self._run(call, counts)
            found = called(self.node, partial(finish, done.value))
        except AnabranchError as error:
            counts.failed(error)
            raise
        finally:
            counts.in_flight.value -= 1
        counts.answered(done.seconds, context)
        return found

    async def _run(self, call: Callable[[], Any], counts: NodeCounts | None) -> Done:
        asked = clock()
        if self.is_async:
            return Done(await awaited(self, call), clock() - asked)
        done = None
        if not (self._places.free and self._is_here):
            done = await self._placed(PlacedCall(call))
        if counts is not None and self.queues:
            counts.waited((clock() if done is None else done.started) - asked)
        return self._here(call) if done is None else done

    async def _placed(self, one: PlacedCall) -> Done | None:
        """Have a call made in a thread; None where it has a place and is to be made here."""
        self.calls.add(one.work)
        if self._places.take(one):
            self._start(one)
        try:
            done: Done | None = await one.answer
            if done is None and not self._is_here:
                # The component has gone back to threads meanwhile.
                one.is_for_loop, one.answer = False, one.answer.get_loop().create_future()
                self._start(one)
                done = await one.answer
        except asyncio.CancelledError:
            self._give_up(one)
            raise
        else:
            if done is None:
                self._leave(one)
            return done
        finally:
            del one  # its error holds this frame, which would hold the error

    async def free(self) -> None:
        """Wait until a thread may be in the component."""
        await self._places.any_free()

    @property
    def _is_here(self) -> bool:
        """Whether a call that has its place runs on the loop."""
        return self.pace.inline

    def _start(self, one: PlacedCall) -> None:
        """Make a call in a thread, which has a place; asked for on the loop, or by a thread."""
        one.future = self._lanes.pool.submit(one.context.run, self._timed, one.work.run)
        # The place is free when the thread is done, not when the caller has given up waiting.
        one.future.add_done_callback(partial(self._hand_back, one))

    def _timed(self, call: Callable[[], Any]) -> Done:
        PULSE.called[0] = self.number
        started = clock()
        value = called(self.node, partial(PULSE.beaten, call))
        return Done(value, clock() - started, started)

    def _hand_back(self, one: PlacedCall, done: Future[Done]) -> None:
        """In the thread: have the loop take the result, and let the next call begin.

        The next one has to wait for the loop where the component may move there after this one.
        Nothing is done with a result where the loop has ended before the call.
        """
        following = self._places.next() if self._was_slow(done) else None
        with suppress(RuntimeError):
            one.answer.get_loop().call_soon_threadsafe(self._over, one, done, following is None)
        if following is not None:
            self._start(following)

    def _was_slow(self, done: Future[Done]) -> bool:
        if done.cancelled() or done.exception() is not None:
            return False
        return done.result().seconds > self._fast

    def _over(self, one: PlacedCall, done: Future[Done], is_left: bool) -> None:
        """Give the result to the caller if it still waits, and the place back if it ``is_left``."""
        self.calls.discard(one.work)
        one.future = None  # which knows the call, too
        answer = one.answer
        if done.cancelled():
            answer.cancel()
        elif (error := done.exception()) is None:
            # Before its place goes to another thread, for calls on the loop would need it.
            self._learn(done.result().seconds)
            if not answer.done():
                answer.set_result(done.result())
        elif not answer.done():
            answer.set_exception(error)
        if is_left:
            self._give_back()

    def _leave(self, one: PlacedCall) -> None:
        """Give the place back of a call that is in no thread."""
        self.calls.discard(one.work)
        self._give_back()

    def _give_back(self) -> None:
        following = self._places.next()
        if following is None:
            self._places.left()
        elif self._is_here:
            following.is_for_loop = True
            following.answer.set_result(None)
        else:
            self._start(following)

    def _give_up(self, one: PlacedCall) -> None:
        """Do without a call that nobody waits for; what runs in a thread is interrupted."""
        if self._places.withdraw(one):
            self.calls.discard(one.work)
        elif one.is_for_loop:
            self._leave(one)
        else:
            if one.future is not None:
                one.future.cancel()
            one.work.given_up = time.monotonic()
            one.answer.get_loop().call_later(GRACE, one.work.interrupt)

    def _learn(self, seconds: float) -> None:
        """Note a call in a thread."""
        if not self.pace.inline and self.pace.in_thread(seconds):
            self._lanes.off_loop -= 1

    def _here(self, call: Callable[[], Any]) -> Done:
        """Call a component that moved to the loop while this call waited for its place."""
        if not WATCH.awake:
            WATCH.wake()
        PULSE.called[0] = self.number
        started = WATCH.since = clock()
        WATCH.lane = self
        try:
            value = called(self.node, call)
        finally:
            WATCH.lane = None
            now = clock()
            self.note(now - started, now)
        return Done(value, now - started, started)
