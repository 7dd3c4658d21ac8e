"""What is learnt from batches, as tables."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import NodeError
from anabranch.graph.batch.experience import LONGEST_RETRY, BatchOutcome, Room, Service

BROKEN = NodeError("a", "RuntimeError: broken")
MEMORY = NodeError("a", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")


def outcome(*calls: tuple[int, NodeError | None]) -> BatchOutcome:
    """Calls for so many requests of one row, and what came of them."""
    found = BatchOutcome()
    for requests, error in calls:
        if error is None:
            found.succeed()
        else:
            found.fail(requests, requests, error)
    return found


def test_one_guilty_request_changes_nothing() -> None:
    room = Room(64)
    room.learn(outcome((4, BROKEN), (2, None), (2, BROKEN), (1, BROKEN), (1, None)))
    assert room.rows == 64


def test_a_broken_component_gets_single_requests_until_it_works_again() -> None:
    room = Room(64)
    broken = outcome((4, BROKEN), (2, BROKEN), *[(1, BROKEN)] * 4)
    assert broken.is_hopeless
    room.learn(broken)
    assert room.rows == 1
    room.learn(outcome((1, BROKEN)))
    assert room.rows == 1
    sizes = []
    for _ in range(8):
        room.learn(outcome((room.rows, None)))
        sizes.append(room.rows)
    assert sizes == [2, 4, 8, 16, 32, 64, 64, 64]


def test_single_failures_do_not_end_batching() -> None:
    room = Room(64)
    for _ in range(100):
        room.learn(outcome((1, BROKEN)))
    assert room.rows == 64


def test_different_errors_are_not_the_components() -> None:
    room = Room(64)
    room.learn(outcome(*[(1, NodeError("a", f"row {number}")) for number in range(9)]))
    assert room.rows == 64


def test_want_of_memory_halves_the_room_and_each_time_it_takes_longer_to_grow() -> None:
    room, needed = Room(64), []
    for _ in range(4):
        room.learn(outcome((64, MEMORY), (32, None), (32, None)))
        assert room.rows == 32
        count = 0
        while room.rows < 64:
            room.learn(outcome((32, None)))
            count += 1
        needed.append(count)
    assert needed == [2, 4, 8, 16]


def test_a_request_that_takes_all_the_memory_by_itself_is_to_blame() -> None:
    room = Room(64)
    room.learn(outcome((4, MEMORY), (2, None), (2, MEMORY), (1, MEMORY), (1, None)))
    assert room.rows == 64


def test_memory_errors_of_python_count_too() -> None:
    error = NodeError("a", "MemoryError")
    error.__cause__ = MemoryError()
    room = Room(3)
    room.learn(outcome((3, error), (2, error), (1, None), (1, None), (1, None)))
    assert room.rows == 1


def test_when_to_try_again() -> None:
    service = Service()
    assert service.retry_after(10**6, 1) == 1
    service.note(10, 1.0)
    assert service.retry_after(5, 1) == 1
    assert service.retry_after(95, 1) == 10
    assert service.retry_after(95, 10) == 1
    assert service.retry_after(10**9, 1) == LONGEST_RETRY
    for _ in range(100):
        service.note(10, 0.1)
    assert service.retry_after(950, 1) == 10


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(0, 10))), st.integers(0, 10**6))
def test_it_is_always_a_sensible_number(calls: list[tuple[int, float]], rows: int) -> None:
    service = Service()
    for count, seconds in calls:
        service.note(count, seconds)
    found = service.retry_after(rows, 2)
    assert 1 <= found <= LONGEST_RETRY and not math.isnan(found)
