"""A lane's calls in threads, from the queue to the end."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anabranch.components.contract import Bound
from anabranch.errors import NodeError
from anabranch.graph.calls.lanes import MAX_THREADS, Lane, Lanes
from tests.collector import without_collector
from tests.waiting import eventually


def lane_in(lanes: Lanes) -> Lane:
    """A lane with one place more than there are threads."""

    class Component:
        max_concurrency = MAX_THREADS + 1

    return Lane(Bound(node="a", instance=Component(), call=lambda: None), lanes)


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
            assert lane._limit._value == 1
        await asyncio.gather(*holding)
        assert (lane._limit._value, begun) == (lane.places, [])
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
