"""Threads that nobody waits for are interrupted, and nothing else ever is."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from anabranch.components.contract import Bound
from anabranch.graph.calls.interrupt import GRACE, STUCK, CallInterrupted, InterruptibleCall, stuck
from anabranch.graph.calls.lanes import MAX_THREADS, Lane, Lanes


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as one:
        yield one


def spin(started: threading.Event, swallow: bool = False) -> None:
    started.set()
    while True:
        try:
            time.perf_counter()
        except Exception:
            if not swallow:
                raise


@pytest.mark.parametrize("swallow", [False, True])
def test_an_endless_loop_is_interrupted(pool: ThreadPoolExecutor, swallow: bool) -> None:
    started = threading.Event()
    call = InterruptibleCall(lambda: spin(started, swallow))
    done = pool.submit(call.run)
    assert started.wait(60)
    call.interrupt()
    with pytest.raises(CallInterrupted):
        done.result(60)


def test_a_call_that_is_not_interrupted_returns_and_raises_as_it_is() -> None:
    assert InterruptibleCall(lambda: 3).run() == 3
    with pytest.raises(ZeroDivisionError):
        InterruptibleCall(lambda: 1 // 0).run()


def test_an_interrupt_before_and_after_the_call_hits_nothing(pool: ThreadPoolExecutor) -> None:
    early, late = InterruptibleCall(lambda: 1), InterruptibleCall(lambda: 2)
    early.interrupt()
    assert pool.submit(early.run).result(60) == 1
    assert pool.submit(late.run).result(60) == 2
    late.interrupt()
    assert pool.submit(sum, range(100_000)).result(60) == 4_999_950_000


def test_python_does_not_go_on_looking_for_an_exception_that_has_arrived() -> None:
    """Python 3.11 would, and then never begin a call that is traced."""
    script = """
import sys, threading
from anabranch.graph.calls.interrupt import CallInterrupted, InterruptibleCall

def spin():
    started.set()
    while True:
        pass

def run(call):
    try:
        call.run()
    except CallInterrupted:
        print("interrupted")

for number in range(3):
    started = threading.Event()
    call = InterruptibleCall(spin)
    thread = threading.Thread(target=run, args=[call])
    thread.start()
    started.wait()
    call.interrupt()
    thread.join()
sys.settrace(lambda *about: None)
(lambda: print("traced"))()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [*["interrupted"] * 3, "traced"]


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns so often that calls are met at any moment, also on a busy machine."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_an_exception_never_arrives_outside_of_its_call(pool: ThreadPoolExecutor) -> None:
    """Calls are interrupted at random moments, many of them just as they end."""
    draw = random.Random(1)
    stray: list[BaseException] = []

    def job(call: InterruptibleCall) -> str:
        try:
            try:
                call.run()
                found = "returned"
            except CallInterrupted:
                found = "interrupted"
            sum(index for index in range(300))
        except BaseException as error:
            stray.append(error)
            raise
        return found

    def work(seconds: float) -> None:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            pass

    found: list[str] = []
    for _ in range(300):
        calls = [InterruptibleCall(partial(work, draw.random() / 300)) for _ in range(4)]
        jobs = [pool.submit(job, call) for call in calls]
        time.sleep(draw.random() / 1000)
        for call in calls:
            call.interrupt()
        found += [one.result(60) for one in jobs]
        assert not any(call._lock.locked() for call in calls)
    assert stray == []
    assert set(found) == {"returned", "interrupted"}


def test_stuck_is_what_was_given_up_long_ago() -> None:
    calls = [InterruptibleCall(lambda: None) for _ in range(3)]
    assert stuck(calls, 100.0) == 0
    calls[0].given_up, calls[1].given_up = 100.0, 101.0
    assert stuck(calls, 100.0 + STUCK) == 0
    assert stuck(calls, 100.5 + STUCK) == 1
    assert stuck(calls, 102.0 + STUCK) == 2


def lane_of(lanes: Lanes, node: str, places: int = 1) -> Lane:
    class Component:
        max_concurrency = places

    return Lane(Bound(node=node, instance=Component(), call=lambda: None), lanes)


async def given_up(lane: Lane, work: Callable[[], Any]) -> None:
    """Make a call and give it up once it runs."""
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    def begin() -> Any:
        loop.call_soon_threadsafe(started.set)
        return work()

    task = asyncio.create_task(lane.call(begin))
    await started.wait()
    task.cancel()
    await asyncio.wait({task})


def test_a_lane_interrupts_what_was_given_up_and_goes_on() -> None:
    async def main() -> float:
        lanes = Lanes()
        lane = lane_of(lanes, "a")
        started = time.perf_counter()
        await given_up(lane, lambda: spin(threading.Event()))
        assert await lane.call(lambda: 7) == 7
        seconds = time.perf_counter() - started
        assert not lane.calls
        lanes.close()
        return seconds

    # It would never end by itself, and has its grace.
    assert asyncio.run(main()) >= GRACE * 0.9


@pytest.mark.parametrize(
    ("places", "held", "expected"),
    [(1, 1, "node 'a': calls that were given up 30s ago still hold its threads"), (2, 1, None)],
)
def test_a_lane_whose_places_are_all_stuck_says_so(
    places: int, held: int, expected: str | None
) -> None:
    async def main() -> str | None:
        lanes, release = Lanes(), threading.Event()
        lane = lane_of(lanes, "a", places)
        for _ in range(held):
            await given_up(lane, lambda: release.wait(60))
        assert lanes.stuck() is None
        for call in lane.calls:
            call.given_up = time.monotonic() - STUCK - 1
        found = lanes.stuck()
        release.set()
        lanes.close()
        return found

    assert asyncio.run(main()) == expected


def test_lanes_whose_shared_threads_are_all_stuck_say_so() -> None:
    async def main() -> str | None:
        lanes, release = Lanes(), threading.Event()
        lane = lane_of(lanes, "a", MAX_THREADS + 1)
        other = lane_of(lanes, "b")
        for _ in range(MAX_THREADS):
            await given_up(lane, lambda: release.wait(60))
        for call in lane.calls:
            call.given_up = time.monotonic() - STUCK - 1
        found = lanes.stuck()
        release.set()
        assert await other.call(lambda: 1) == 1
        lanes.close()
        return found

    assert str(asyncio.run(main())).startswith("node 'a': ")
