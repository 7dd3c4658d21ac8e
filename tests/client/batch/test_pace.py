"""The window grows while nothing waits, and shrinks before others do."""

from __future__ import annotations

import asyncio
import time

from anabranch.client.batch.pace import HISTORIES, HISTORY_S, JobGate, Window


def simulated(places: int, most: int, others: int = 0, requests: int = 3000) -> Window:
    """A server with some places, ``others`` of which are taken; a request takes 10 ms of one."""
    window, now = Window(most), 0.0
    for _ in range(requests):
        queue = max(0, window.size + others - places)
        seconds = 0.01 * (1 + queue / places)
        now += seconds / window.size
        window.answered(now, seconds)
    return window


def test_the_window_fills_the_places_and_hardly_queues() -> None:
    assert 8 <= simulated(8, 64).size <= 11
    assert simulated(8, 4).size == 4


def test_the_window_leaves_places_to_others() -> None:
    assert simulated(8, 64, others=5).size <= 6
    assert simulated(1, 64).size == 1


def test_a_refusal_halves_the_window_once_for_all_that_were_under_way() -> None:
    window = Window(16)
    for at in range(2000):
        window.answered(at / 100, 0.01)
    assert window.size == 16
    window.refused(20.0, began=19.9)
    assert window.size == 8
    window.refused(20.1, began=19.95)
    assert window.size == 8
    window.refused(20.2, began=20.1)
    assert window.size == 4
    for at in range(9):
        window.refused(21.0 + at, began=20.9 + at)
    assert window.size == 1


def test_a_graph_that_has_become_slower_is_no_queue_for_ever() -> None:
    window = Window(16)
    window.answered(0.0, 0.01)
    for at in range(1, 100):
        window.answered(at * 0.1, 0.1)
    assert window.size == 1
    for at in range(int(10 * HISTORY_S * (HISTORIES + 2))):
        window.answered(10 + at * 0.1, 0.1)
    assert window.size > 4


def test_the_gate_lets_so_many_through_and_others_after_them() -> None:
    async def main() -> list[int]:
        gate, inside, seen = JobGate(8), 0, []

        async def request() -> None:
            nonlocal inside
            async with gate.place(1):
                inside += 1
                seen.append(inside)
                await asyncio.sleep(0)
                inside -= 1
                gate.answered(time.monotonic())

        await asyncio.gather(*(request() for _ in range(50)))
        return seen

    seen = asyncio.run(main())
    assert len(seen) == 50
    assert seen[0] == 1
    assert max(seen) <= 8


def test_rows_keep_their_rate() -> None:
    async def main() -> float:
        gate = JobGate(4, rate=1000.0)
        started = time.monotonic()

        async def request() -> None:
            async with gate.place(20):
                pass

        await asyncio.gather(*(request() for _ in range(6)))
        return time.monotonic() - started

    assert asyncio.run(main()) >= 0.1  # the sixth begins when five have had their time
