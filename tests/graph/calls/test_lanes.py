"""A lane's calls in threads, from the queue to the end."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import Bound
from anabranch.errors import NodeError
from anabranch.graph.calls import lanes as lanes_module
from anabranch.graph.calls.lanes import MAX_THREADS, Lane, Lanes
from anabranch.graph.calls.pace import FIRST_STREAK, CallPace
from anabranch.graph.calls.places import PlacedCall
from tests.collector import without_collector
from tests.waiting import eventually


def lane_in(lanes: Lanes, places: int = MAX_THREADS + 1) -> Lane:
    """A lane; if not told otherwise, with one place more than there are threads."""

    class Component:
        max_concurrency = places

    return Lane(Bound(node="a", instance=Component(), call=lambda: None), lanes)


def paced(lane: Lane, fast: float) -> Lane:
    """The lane, for which calls of so many seconds are fast."""
    lane._fast, lane.pace = fast, CallPace(fast)
    return lane


@contextmanager
def all_threads_held(lane: Lane) -> Iterator[list[asyncio.Task[object]]]:
    """Within, as many calls as there are threads go on."""
    release = threading.Event()
    try:
        yield [asyncio.ensure_future(lane.call(release.wait)) for _ in range(MAX_THREADS)]
    finally:
        release.set()


def test_a_call_that_is_given_up_before_it_has_a_thread_never_begins() -> None:
    async def main() -> None:
        lanes, begun = Lanes(), list[int]()
        lane = lane_in(lanes)
        with all_threads_held(lane) as holding:
            await eventually(lambda: len(lane.calls) == MAX_THREADS)
            waiting = asyncio.ensure_future(lane.call(lambda: begun.append(1)))
            await eventually(lambda: len(lane.calls) == MAX_THREADS + 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await eventually(lambda: len(lane.calls) == MAX_THREADS)
            assert lane._places.free == 1
        await asyncio.gather(*holding)
        assert (lane._places.free, begun) == (lane.places, [])
        lanes.close()

    asyncio.run(main())


def test_a_call_that_waits_for_a_thread_is_cancelled_when_the_threads_go() -> None:
    async def main() -> None:
        lanes = Lanes()
        lane = lane_in(lanes)
        with all_threads_held(lane) as holding:
            await eventually(lambda: len(lane.calls) == MAX_THREADS)
            waiting = asyncio.ensure_future(lane.call(lambda: 1))
            await eventually(lambda: len(lane.calls) == MAX_THREADS + 1)
            lanes.close()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await asyncio.gather(*holding)  # what has begun still gets its answer

    asyncio.run(main())


def test_a_thread_that_is_done_begins_the_next_slow_call_while_the_loop_is_busy() -> None:
    async def main() -> None:
        lanes, begun = Lanes(), list[int]()
        all_wait, last = threading.Event(), threading.Event()
        lane = paced(lane_in(lanes, places=1), fast=0.0)

        def work(number: int) -> int:
            all_wait.wait()
            begun.append(number)
            if number == 4:
                last.set()
            return number

        calls = [asyncio.ensure_future(lane.call(partial(work, number))) for number in range(5)]
        await asyncio.sleep(0)
        all_wait.set()
        assert last.wait(60.0), begun  # the loop does nothing else meanwhile
        assert begun == [0, 1, 2, 3, 4]
        assert await asyncio.gather(*calls) == begun
        assert (lane._places.free, lane.calls) == (1, set())
        lanes.close()

    asyncio.run(main())


def test_calls_that_wait_for_a_component_that_moves_to_the_loop_move_with_it() -> None:
    async def main() -> None:
        lanes = Lanes()
        lane = paced(lane_in(lanes, places=1), fast=60.0)
        where = await asyncio.gather(*(lane.call(threading.get_ident) for _ in range(10)))
        here = threading.get_ident()
        assert [one == here for one in where] == [False] * FIRST_STREAK + [True] * 7
        assert (lane._places.free, lane.calls) == (1, set())
        lanes.close()

    asyncio.run(main())


def test_a_call_that_is_given_up_as_its_turn_on_the_loop_comes_gives_it_to_the_next() -> None:
    async def main() -> None:
        lanes, begun = Lanes(), list[str]()
        lane = paced(lane_in(lanes, places=1), fast=60.0)
        lane.pace._streak = FIRST_STREAK - 1
        release = threading.Event()
        first = asyncio.ensure_future(lane.call(release.wait))
        second, third = (
            asyncio.ensure_future(lane.call(partial(begun.append, name)))
            for name in ("second", "third")
        )
        # Cancelled before the task of the second call wakes.
        lane_gives_back = lane._give_back
        lane._give_back = lambda: (lane_gives_back(), second.cancel())  # type: ignore[method-assign]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, third)
        assert second.cancelled()
        assert (begun, lane._places.free, lane.calls) == (["third"], 1, set())
        lanes.close()

    asyncio.run(main())


def test_a_call_that_is_given_up_as_a_thread_gives_it_its_place_never_begins() -> None:
    async def main() -> None:
        lanes, begun = Lanes(), list[str]()
        lanes._pool = ThreadPoolExecutor(1)  # nothing begins before the thread has started it
        lane = paced(lane_in(lanes, places=1), fast=0.0)
        release, has_place, is_given_up = (threading.Event() for _ in range(3))
        start, loop_thread = lane._start, threading.get_ident()

        def slowly(one: PlacedCall) -> None:
            if threading.get_ident() != loop_thread and not has_place.is_set():
                has_place.set()
                is_given_up.wait()
            start(one)

        lane._start = slowly  # type: ignore[method-assign]
        first = asyncio.ensure_future(lane.call(release.wait))
        second, third = (
            asyncio.ensure_future(lane.call(partial(begun.append, name)))
            for name in ("second", "third")
        )
        await asyncio.sleep(0)
        release.set()
        await eventually(has_place.is_set)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        is_given_up.set()
        await asyncio.gather(first, third)
        assert (begun, lane._places.free, lane.calls) == (["third"], 1, set())
        lanes.close()

    asyncio.run(main())


def test_who_waits_for_a_free_thread_has_a_turn_among_the_calls() -> None:
    async def main() -> None:
        lanes = Lanes()
        lane = paced(lane_in(lanes, places=1), fast=0.0)
        gates = [threading.Event() for _ in range(3)]
        first, second = (asyncio.ensure_future(lane.call(gate.wait)) for gate in gates[:2])
        await asyncio.sleep(0)
        free, gone = asyncio.ensure_future(lane.free()), asyncio.ensure_future(lane.free())
        await asyncio.sleep(0)
        third = asyncio.ensure_future(lane.call(gates[2].wait))
        await asyncio.sleep(0)
        gone.cancel()
        gates[0].set()
        await first
        assert not free.done()
        gates[1].set()
        await asyncio.gather(second, free)
        assert not third.done()
        gates[2].set()
        await third
        assert (gone.cancelled(), lane._places.free, lane.calls) == (True, 1, set())
        lanes.close()

    asyncio.run(main())


class Inside:
    """Counts who is in a component, and how many have been at most."""

    def __init__(self) -> None:
        self.most = self._now = self.begun = 0
        self._lock = threading.Lock()

    def work(self, is_slow: bool) -> None:
        """Be in it for a moment."""
        with self._lock:
            self._now += 1
            self.begun += 1
            self.most = max(self.most, self._now)
        if is_slow:
            time.sleep(0.0001)
        with self._lock:
            self._now -= 1


@given(
    places=st.integers(1, 3),
    fast=st.sampled_from([0.0, 0.00008, 60.0]),
    calls=st.lists(st.tuples(st.booleans(), st.sampled_from([None, 0, 1, 2, 5])), max_size=30),
)
def test_no_more_calls_than_places_are_in_a_component_and_none_is_lost(
    places: int, fast: float, calls: list[tuple[bool, int | None]]
) -> None:
    """Calls that take long or not, some of which are given up after so many turns of the loop."""

    async def given_up(call: asyncio.Future[None], turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()

    async def main() -> None:
        lanes, inside = Lanes(), Inside()
        lane = paced(lane_in(lanes, places), fast)
        asked = [asyncio.ensure_future(lane.call(partial(inside.work, slow))) for slow, _ in calls]
        ends = [
            given_up(call, turns)
            for call, (_, turns) in zip(asked, calls, strict=True)
            if turns is not None
        ]
        await asyncio.gather(*ends)
        async with asyncio.timeout(60.0):
            found = await asyncio.gather(*asked, return_exceptions=True)
        await eventually(lambda: not lane.calls)
        kept = [one for one, (_, turns) in zip(found, calls, strict=True) if turns is None]
        assert kept == [None] * len(kept)
        assert inside.most <= places
        assert len(kept) <= inside.begun <= len(calls)
        assert lane._places.free == places
        lanes.close()

    with patch.object(lanes_module, "GRACE", 60.0):  # none is interrupted as it counts
        asyncio.run(main())


def test_an_error_is_freed_with_its_last_reader() -> None:
    """Without Python's collector, which would stop all requests while it looks for circles."""

    class OwnError(Exception):
        pass

    async def main() -> None:
        lanes = Lanes()
        lane = lane_in(lanes)

        def fail() -> None:
            raise OwnError("no")

        try:
            await lane.call(fail)
        except NodeError as error:
            assert isinstance(error.__cause__, OwnError), error
            found = weakref.ref[BaseException](error)
        # The thread may be the last reader, for a moment.
        await eventually(lambda: found() is None)
        lanes.close()

    with without_collector():
        asyncio.run(main())
