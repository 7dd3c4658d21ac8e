"""Offline work uses what other requests leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anabranch.errors import Unavailable
from anabranch.graph.batch.batching import LOWEST_LEVEL
from anabranch.graph.calls.stepping import started_outside
from anabranch.router.admission import offline
from anabranch.router.admission.admission import Admission
from anabranch.router.admission.offline import (
    LONGEST_S,
    QUIET_S,
    SHARE,
    OfflineTurns,
    is_offline,
)
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@contextmanager
def others(gate: Admission) -> Iterator[None]:
    """Another request is in progress."""
    gate.inside += 1
    gate.passed += 1
    yield
    gate.leave(0.0, 0, None)


def begins(turns: OfflineTurns, clock: Clock) -> bool:
    return turns.may_begin(clock(), clock() + LONGEST_S)


def test_without_others_all_begin_at_once(clock: Clock) -> None:
    turns = OfflineTurns(Admission("g", 10), clock)
    assert begins(turns, clock)
    turns._running = 5
    assert begins(turns, clock)


def test_beside_others_one_begins_when_none_of_them_is_in_progress(clock: Clock) -> None:
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)
    with others(gate):
        assert not begins(turns, clock)
        assert turns.may_begin(clock(), clock())  # it has waited long enough
    assert begins(turns, clock)
    turns._running = 1
    assert not begins(turns, clock)
    assert not turns.may_begin(clock(), clock())
    clock.now += QUIET_S + 0.1
    assert begins(turns, clock)


def test_others_that_came_and_went_between_two_looks_are_seen(clock: Clock) -> None:
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)
    assert begins(turns, clock)
    with others(gate):
        pass
    turns._running = 1
    assert not begins(turns, clock)


def test_after_each_time_passes_for_the_share_of_others(clock: Clock) -> None:
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)
    with others(gate):
        assert not begins(turns, clock)

    async def work() -> str:
        clock.now += 0.02
        return "answered"

    async def main() -> str:
        with gate.place():
            return await turns.run(work())

    clock.now += QUIET_S + 0.1
    with others(gate):
        assert not begins(turns, clock)
    assert asyncio.run(main()) == "answered"
    assert not begins(turns, clock)
    clock.now += 0.02 * (1 / SHARE - 1) - 0.001
    assert not begins(turns, clock)
    clock.now += 0.002
    assert begins(turns, clock)


def test_offline_requests_do_not_count_as_others_and_errors_end_them(clock: Clock) -> None:
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)

    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        with gate.place(), pytest.raises(ValueError, match="no"):
            await turns.run(fail())

    asyncio.run(main())
    assert (turns._inside, turns._running) == (0, 0)
    turns._running = 3
    assert begins(turns, clock)


def test_one_that_is_given_up_while_it_waits_never_begins(clock: Clock) -> None:
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    async def main() -> None:
        with others(gate), gate.place():
            task = asyncio.create_task(turns.run(work()))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert not begun
    assert turns._inside == 0


def test_one_that_begins_outside_of_tasks_waits_likewise(clock: Clock) -> None:
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)

    async def work() -> str:
        return "answered"

    async def main() -> str:
        with gate.place():
            with others(gate):
                running = started_outside(turns.run(work()))
                assert not running.done
            return await running

    assert asyncio.run(main()) == "answered"


def test_those_that_wait_leave_places_to_others(clock: Clock) -> None:
    gate = Admission("g", 8)
    turns = OfflineTurns(gate, clock)

    async def work() -> str:
        return "answered"

    async def ask() -> str:
        with gate.place():
            return await turns.run(work())

    async def main() -> list[str | BaseException]:
        with others(gate):
            asked = [asyncio.create_task(ask()) for _ in range(6)]
            await asyncio.sleep(0.01)
            assert gate.inside == 1 + 2
            with gate.place():
                pass
        clock.now += QUIET_S + LONGEST_S
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(main())
    assert found[:2] == ["answered", "answered"]
    assert all(isinstance(one, Unavailable) and "at most 2" in str(one) for one in found[2:])
    assert turns._came == 6


def test_one_that_waits_is_told_when_the_last_of_the_others_leaves(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "LONGEST_S", 3600.0)
    monkeypatch.setattr(offline, "QUIET_S", 3600.0)
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)
    looks = 0

    def seen(now: float, until: float) -> bool:
        nonlocal looks
        looks += 1
        return OfflineTurns.may_begin(turns, now, until)

    turns.may_begin = seen  # type: ignore[method-assign]

    async def work() -> str:
        return "answered"

    async def main() -> None:
        with gate.place():
            with others(gate):
                with others(gate):
                    task = asyncio.create_task(turns.run(work()))
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0)
                assert looks == 1, "neither time alone nor one of several that leaves is a reason"
            assert await task == "answered"  # by a clock that stands, so nothing else had it begin
        assert gate.left is None
        assert looks == 2

    asyncio.run(main())


def test_one_that_has_waited_longest_begins_when_the_one_before_has_ended(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "LONGEST_S", 3600.0)
    monkeypatch.setattr(offline, "QUIET_S", 3600.0)
    gate = Admission("g", 10)
    turns = OfflineTurns(gate, clock)

    async def main() -> None:
        end = asyncio.Event()

        async def work() -> None:
            await end.wait()

        async def ask() -> None:
            with gate.place():
                await turns.run(work())

        first = asyncio.create_task(ask())
        await asyncio.sleep(0)
        with others(gate):
            second = asyncio.create_task(ask())
            await asyncio.sleep(0)
            clock.now += 3600.0
            end.set()
            async with asyncio.timeout(30):
                await asyncio.gather(first, second)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({}, False), ({"priority": LOWEST_LEVEL}, True), ({"priority": 100}, True),
     ({"priority": 5}, False), ({"priority": "9"}, False), ({"priority": True}, False)],
)  # fmt: skip
def test_the_lowest_priority_is_offline_work(parameters: dict[str, object], expected: bool) -> None:
    assert is_offline(parameters) is expected
