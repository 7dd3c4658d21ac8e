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
from anabranch.graph.calls.places import CallPlaces, PlacedCall
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
        pool = self._pool
        if pool is None:
            pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="anabranch-node")
            self._pool = pool
        return pool

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
        """Calls in threads that are under way, waited for or not."""
        self._places = CallPlaces(self.places)
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
        """Have a call made in a thread; None where it is to be made here and now."""
        if self._places.take(one):
            self._begin(one)
        try:
            done: Done | None = await one.answer
            if done is None and not self._is_here:
                # The component has gone back to threads meanwhile.
                one.is_for_loop, one.answer = False, one.answer.get_loop().create_future()
                self._begin(one)
                done = await one.answer
        except asyncio.CancelledError:
            self._give_up(one)
            raise
        else:
            if done is None:
                self._give_back()
            return done
        finally:
            del one  # its error holds this frame, which would hold the error

    async def free(self) -> None:
        """Wait for a turn among the calls: a thread may be in the component then."""
        turn = PlacedCall()
        if not self._places.take(turn):
            try:
                await turn.answer
            except asyncio.CancelledError:
                self._give_up(turn)
                raise
        self._give_back()

    @property
    def _is_here(self) -> bool:
        """Whether a call that has its place runs on the loop."""
        return self.pace.inline

    def _begin(self, one: PlacedCall) -> None:
        """On the loop: have a call that has a place made in a thread."""
        if not one.is_turn:
            self.calls.add(one.work)
        self._start(one)

    def _start(self, one: PlacedCall) -> None:
        """Have a call that has a place made in a thread; asked for on the loop, or by a thread.

        It has the error where no thread can be started.
        """
        loop = one.answer.get_loop()
        if one.is_turn:
            loop.call_soon_threadsafe(one.turn_to_loop)
            return
        try:
            one.future = self._lanes.pool.submit(one.context.run, self._timed, one.work.run)
        except RuntimeError as error:
            loop.call_soon_threadsafe(self._failed, one, error)
            return
        if one.work.given_up is not None:  # since a thread gave it the place
            one.future.cancel()
        # The place is free when the thread is done, not when the caller has given up waiting.
        one.future.add_done_callback(partial(self._hand_back, one))

    def _timed(self, call: Callable[[], Any]) -> Done:
        PULSE.called[0] = self.number
        started = clock()
        value = called(self.node, partial(PULSE.beaten, call))
        return Done(value, clock() - started, started)

    def _hand_back(self, one: PlacedCall, done: Future[Done]) -> None:
        """Have the loop take the result, and the next call begin; in the thread that is done.

        The next one has to wait for the loop where the component may move there after this one.
        Nothing is done where the loop has ended before the call.
        """
        following = self._places.next() if self._may_follow(done) else None
        with suppress(RuntimeError):
            one.answer.get_loop().call_soon_threadsafe(self._over, one, done, following)
            if following is not None:
                self._start(following)

    def _may_follow(self, done: Future[Done]) -> bool:
        """Return whether the next call may begin in a thread, whatever the loop learns of this one.

        After a call that was slow or has failed, as ``CallPace`` counts, a component stays in
        threads. A call that is cancelled before it begins is so while the pool's lock is held.
        """
        if done.cancelled():
            return False
        return done.exception() is not None or done.result().seconds > self._fast

    def _over(self, one: PlacedCall, done: Future[Done], following: PlacedCall | None) -> None:
        """Give a result to the caller, if it still waits; its place has gone to ``following``."""
        self._is_out(one)
        if done.cancelled():
            one.answer.cancel()
        elif (error := done.exception()) is not None:
            self._failed(one, error)
        else:
            # First: a component that moves to the loop now does so with the place of this call.
            self._learn(done.result().seconds)
            if not one.answer.done():
                one.answer.set_result(done.result())
        if following is None:
            self._give_back()
        elif not following.is_turn:
            self.calls.add(following.work)

    def _failed(self, one: PlacedCall, error: BaseException) -> None:
        self._is_out(one)
        if not one.answer.done():
            one.answer.set_exception(error)

    def _is_out(self, one: PlacedCall) -> None:
        self.calls.discard(one.work)
        one.future = None  # which knows the call, too

    def _give_back(self) -> None:
        """Give a place to the next call, in a thread or on the loop, or have it free."""
        following = self._places.next()
        if following is None:
            self._places.free += 1
        elif self._is_here:
            following.turn_to_loop()
        else:
            self._begin(following)

    def _give_up(self, one: PlacedCall) -> None:
        """Do without a call that nobody waits for; what runs in a thread is interrupted."""
        if self._places.withdraw(one):
            return
        if one.is_for_loop or one.is_turn:
            self._give_back()
            return
        one.work.given_up = time.monotonic()
        if one.future is not None:
            one.future.cancel()
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
