"""The retry budget and the pauses before retries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.graph.execute.budget import (
    FIRST_PAUSE,
    LARGEST,
    LONGEST_PAUSE,
    PER_REQUEST,
    START,
    RetryBudget,
    pause,
)


def taken(budget: RetryBudget, most: int = 10_000) -> int:
    return next(count for count in range(most) if not budget.take())


def test_a_node_starts_with_a_few_retries() -> None:
    budget = RetryBudget()
    assert taken(budget) == START
    assert not budget.take()


def test_five_requests_pay_for_a_retry() -> None:
    budget = RetryBudget()
    taken(budget)
    for _ in range(PER_REQUEST - 1):
        budget.request()
        assert not budget.take()
    budget.request()
    assert budget.take()


def test_what_can_be_saved_up_is_bounded() -> None:
    budget = RetryBudget()
    for _ in range(100_000):
        budget.request()
    assert taken(budget) == LARGEST


@given(st.lists(st.booleans(), max_size=2000))
def test_whatever_happens_retries_are_a_fifth_of_the_requests(events: list[bool]) -> None:
    budget, requests, retries = RetryBudget(), 0, 0
    for is_request in events:
        if is_request:
            budget.request()
            requests += 1
        else:
            retries += budget.take()
        assert retries <= START + 0.2 * requests


@pytest.mark.parametrize(
    ("retry", "draw", "remaining", "expected"),
    [
        (0, 0.0, None, 0.0),
        (0, 0.5, None, FIRST_PAUSE / 2),
        (1, 0.5, None, FIRST_PAUSE),
        (3, 0.5, 10.0, FIRST_PAUSE * 4),
        (9, 0.5, None, LONGEST_PAUSE / 2),
        (1000, 0.5, None, LONGEST_PAUSE / 2),
        (0, 0.5, FIRST_PAUSE / 2, None),
        (0, 0.0, 0.0, None),
        (0, 0.0, 0.001, 0.0),
    ],
)
def test_pauses(retry: int, draw: float, remaining: float | None, expected: float | None) -> None:
    assert pause(retry, draw, remaining) == expected


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 100))
def test_a_pause_ends_before_the_request_does(
    retry: int, draw: float, remaining: float | None
) -> None:
    found = pause(retry, draw, remaining)
    if found is not None:
        assert 0 <= found < LONGEST_PAUSE
        assert remaining is None or found < remaining
