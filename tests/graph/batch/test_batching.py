"""What goes together and when: the pure decisions of batching, as tables and as properties."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest
from anabranch.graph.batch.batching import (
    DEFAULT_LEVEL,
    LOWEST_LEVEL,
    STEP,
    Batch,
    BatchLimits,
    Hold,
    Waiting,
    due,
    halves,
    level,
    limits_of,
    next_batch,
    rank,
    refuses,
)
from anabranch.specs.models import NodeBase

NOW = 100.0
Queues: TypeAlias = dict[Hashable, list[Waiting]]


def waiting(
    number: int,
    rows: int = 1,
    came: float = 0.0,
    priority: int = DEFAULT_LEVEL,
    held: float = 0.0,
    time: float | None = None,
) -> Waiting:
    """A request that came ``came`` seconds after NOW, to be answered within ``time``."""
    at = NOW + came
    deadline = None if time is None else at + time
    return Waiting(rows, rank(at, priority, number), at + held, deadline)


def decide(
    groups: Queues,
    size: int = 8,
    *,
    now: float = NOW,
    busy: bool = False,
    most: int | None = None,
) -> tuple[str, list[int]] | float | None:
    """The group and the numbers of those that go; or until when to hold."""
    found = next_batch(groups, now, BatchLimits(size, max_queue=most), busy)
    if isinstance(found, Hold):
        return found.until
    return str(found.group), [each.rank[1] for each in found.take]


ONES = [waiting(number) for number in range(10)]
HELD = [waiting(number, held=0.01) for number in range(3)]


@pytest.mark.parametrize(
    ("groups", "size", "expected"),
    [
        ({"g": ONES[:1]}, 8, ("g", [0])),
        ({"g": ONES[:3]}, 8, ("g", [0, 1, 2])),
        ({"g": ONES}, 8, ("g", [0, 1, 2, 3, 4, 5, 6, 7])),
        ({"g": ONES}, 1, ("g", [0])),
        # Rows count, not requests; the order is kept, so what follows does not jump ahead.
        ({"g": [waiting(0, 3), waiting(1, 4), waiting(2, 2), waiting(3)]}, 8, ("g", [0, 1])),
        ({"g": [waiting(0, 3), waiting(1, 5), waiting(2)]}, 8, ("g", [0, 1])),
        # One with more rows than the size goes alone, and is waited for by those before it.
        ({"g": [waiting(0, 9), waiting(1)]}, 8, ("g", [0])),
        ({"g": [waiting(0), waiting(1, 9)]}, 8, ("g", [0])),
        # Groups do not mix; the one whose first request came first goes.
        ({"g": ONES[3:5], "h": ONES[1:3]}, 8, ("h", [1, 2])),
        # Priority goes before age.
        ({"g": [ONES[0]], "h": [waiting(9, priority=1)]}, 8, ("h", [9])),
        ({}, 8, None),
    ],
)
def test_when_the_component_is_free(groups: Queues, size: int, expected: Any) -> None:
    assert decide(groups, size) == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"g": ONES[:7]}, None),
        ({"g": ONES}, ("g", [0, 1, 2, 3, 4, 5, 6, 7])),
        ({"g": ONES[:2], "h": [waiting(11, 8)]}, ("h", [11])),
        ({"g": [waiting(0, 5), waiting(1, 5)]}, ("g", [0])),
        ({"g": HELD}, None),
    ],
)
def test_beside_another_call_only_full_batches_go(groups: Queues, expected: Any) -> None:
    assert decide(groups, busy=True) == expected


def test_what_is_held_goes_when_it_is_due_full_or_in_the_way() -> None:
    later: Queues = {"g": [*HELD, waiting(3, came=0.005, held=0.01)]}
    assert decide(later, now=NOW + 0.006) == NOW + 0.01
    assert decide(later, now=NOW + 0.01) == ("g", [0, 1, 2, 3])
    assert decide(later, 4, now=NOW + 0.006) == ("g", [0, 1, 2, 3])
    assert decide(later, now=NOW + 0.006, most=4) == ("g", [0, 1, 2, 3])
    assert decide(later, now=NOW + 0.006, most=5) == NOW + 0.01


def test_a_group_that_is_due_does_not_wait_for_one_that_is_not() -> None:
    groups: Queues = {"g": HELD, "h": [waiting(8, came=0.001, held=0.02), waiting(9, came=0.002)]}
    assert decide(groups, now=NOW + 0.003) == ("h", [8, 9])


def test_those_whose_time_is_over_do_not_count() -> None:
    queue = [waiting(0, 5, time=1), waiting(1, 2), waiting(2, 5, time=1), waiting(3, 3)]
    found = next_batch({"g": queue}, NOW + 1, BatchLimits(5), busy=False)
    assert found == Batch("g", (queue[1], queue[3]), (queue[0], queue[2]), full=True)
    none = next_batch({"g": queue[:1]}, NOW + 1, BatchLimits(5), busy=True)
    assert none == Batch("g", (), (queue[0],), full=False)


def test_none_waits_for_ever_behind_a_higher_priority() -> None:
    """The lowest priority goes before all that come some seconds later."""
    low = waiting(0, priority=LOWEST_LEVEL)
    lead = STEP * (LOWEST_LEVEL - 1)
    before = waiting(1, came=lead - 0.01, priority=1)
    after = waiting(2, came=lead + 0.01, priority=1)
    assert sorted([low, before, after], key=lambda each: each.rank) == [before, low, after]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, DEFAULT_LEVEL),
        ({"priority": 0}, DEFAULT_LEVEL),
        ({"priority": 1}, 1),
        ({"priority": 9}, LOWEST_LEVEL),
        ({"priority": 2**64 - 1}, LOWEST_LEVEL),
    ],
)
def test_levels_of_priority(parameters: dict[str, Any], expected: int) -> None:
    assert level(parameters) == expected


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None, [1], "x" * 10_000])
def test_priorities_that_are_none(value: Any) -> None:
    with pytest.raises(
        InvalidRequest, match="parameter 'priority' must be a whole number"
    ) as found:
        level({"priority": value})
    assert len(str(found.value)) < 300


@pytest.mark.parametrize(
    ("requests", "rows", "more", "limits", "expected"),
    [
        # As many rows as one batch has, unless the spec says otherwise.
        (0, 0, 999, BatchLimits(8), False),
        (7, 7, 1, BatchLimits(8), False),
        (8, 8, 1, BatchLimits(8), True),
        (1, 5, 4, BatchLimits(8), True),
        (8, 8, 0, BatchLimits(8), False),
        # Then requests count, whatever they hold.
        (99, 9999, 999, BatchLimits(8, max_queue=100), False),
        (100, 100, 1, BatchLimits(8, max_queue=100), True),
        (0, 0, 1, BatchLimits(8, max_queue=1), False),
        (1, 1, 1, BatchLimits(8, max_queue=1), True),
    ],
)
def test_how_many_may_wait(
    requests: int, rows: int, more: int, limits: BatchLimits, expected: bool
) -> None:
    assert refuses(requests, rows, more, limits) is expected


def test_nothing_is_held_for_more_than_half_of_its_time() -> None:
    limits = BatchLimits(8, max_delay=0.01)
    assert due(NOW, None, limits) == NOW + 0.01
    assert due(NOW, NOW + 1, limits) == NOW + 0.01
    assert due(NOW, NOW + 0.004, limits) == pytest.approx(NOW + 0.002)
    node = NodeBase.model_validate(
        {"batching": {"max_size": 4, "max_delay": "1s"}, "timeout": "500ms"}
    )
    assert limits_of(node) == BatchLimits(4, 0.25)


# Properties.

TIMES = st.floats(0, 2)
REQUESTS = st.tuples(
    st.sampled_from("abc"), st.integers(0, 12), TIMES, st.integers(1, LOWEST_LEVEL),
    TIMES | st.none(),
)  # fmt: skip


@given(st.lists(REQUESTS, max_size=40), st.integers(1, 8), TIMES, st.booleans(), st.booleans())
def test_nothing_is_lost_doubled_or_mixed(
    requests: list[tuple[str, int, float, int, float | None]],
    size: int,
    delay: float,
    busy: bool,
    crowded: bool,
) -> None:
    """Drain a queue, as the batcher does: every decision keeps the promises of the module."""
    limits = BatchLimits(size, delay, len(requests) or 1 if crowded else None)
    groups: Queues = {}
    for number, (group, rows, came, priority, time) in enumerate(requests):
        one = waiting(number, rows, came, priority, time=time)
        one.due = due(NOW + came, one.deadline, limits)
        groups.setdefault(group, []).append(one)
    for queue in groups.values():
        queue.sort(key=lambda each: each.rank)
    left, now = len(requests), NOW + 2
    while groups:
        found = next_batch(groups, now, limits, busy)
        if isinstance(found, Hold):
            if busy:
                busy = False
                continue
            assert found.until is not None and found.until > now
            now = found.until
            continue
        queue = groups[found.group]
        gone = len(found.take) + len(found.late)
        assert gone > 0
        # A prefix of its queue: first come, first served within a priority.
        assert sorted([*found.take, *found.late], key=lambda each: each.rank) == queue[:gone]
        rows = sum(each.rows for each in found.take)
        assert rows <= size or len(found.take) == 1
        assert all(each.deadline is not None and each.deadline <= now for each in found.late)
        assert all(each.deadline is None or each.deadline > now for each in found.take)
        if not found.full and found.take:
            assert not busy
            assert gone == len(queue)
            assert crowded or min(each.due for each in found.take) <= now
        del queue[:gone]
        if not queue:
            del groups[found.group]
        left -= gone
    assert left == 0


@given(st.lists(st.integers(), min_size=2, max_size=100))
def test_halves(numbers: list[int]) -> None:
    part = [waiting(number) for number in numbers]
    one, two = halves(part)
    assert [*one, *two] == part and one and two
    assert abs(len(one) - len(two)) <= 1
