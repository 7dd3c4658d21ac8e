"""When a synchronous component moves between threads and the loop, as a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.graph.calls.pace import (
    FAST,
    FIRST_STREAK,
    LONGEST_STREAK,
    SLOW,
    VERY_SLOW,
    WINDOW,
    CallPace,
)


def fast(pace: CallPace, times: int) -> None:
    for _ in range(times):
        pace.in_thread(FAST)


def demote(pace: CallPace, now: float) -> None:
    pace.on_loop(2 * SLOW, now)
    pace.on_loop(2 * SLOW, now + 0.1)


def test_a_component_starts_in_threads() -> None:
    assert not CallPace().inline


def test_it_moves_to_the_loop_after_a_streak_of_fast_calls() -> None:
    pace = CallPace()
    fast(pace, FIRST_STREAK - 1)
    assert not pace.inline
    assert pace.in_thread(FAST)
    assert pace.inline


def test_what_counts_as_fast_may_be_less_or_nothing() -> None:
    for limit, calls in ((FAST / 5, FAST / 4), (0.0, 1e-6)):
        pace = CallPace(limit)
        assert not any(pace.in_thread(calls) for _ in range(100))


def test_a_slow_call_ends_the_streak() -> None:
    pace = CallPace()
    fast(pace, FIRST_STREAK - 1)
    pace.in_thread(2 * FAST)
    fast(pace, FIRST_STREAK - 1)
    assert not pace.inline


def promoted() -> CallPace:
    pace = CallPace()
    fast(pace, FIRST_STREAK)
    return pace


def test_slow_calls_between_fast_ones_are_the_schedulers_doing() -> None:
    pace = promoted()
    for turn in range(100):
        assert not pace.on_loop(2 * SLOW, now=0.01 * turn)
        assert not pace.on_loop(FAST, now=0.01 * turn + 0.005)


def test_two_slow_calls_in_a_row_send_it_back() -> None:
    pace = promoted()
    assert not pace.on_loop(2 * SLOW, now=10.0)
    assert pace.on_loop(2 * SLOW, now=500.0)
    assert not pace.inline


def test_two_very_slow_calls_within_the_window_send_it_back_whatever_is_between() -> None:
    pace = promoted()
    assert not pace.on_loop(2 * VERY_SLOW, now=10.0)
    assert not pace.on_loop(FAST, now=10.1)
    assert pace.on_loop(2 * VERY_SLOW, now=10.0 + WINDOW)


def test_very_slow_calls_that_are_far_apart_are_forgiven() -> None:
    pace = promoted()
    for turn in range(10):
        assert not pace.on_loop(2 * VERY_SLOW, now=turn * (WINDOW + 0.1))
        assert not pace.on_loop(FAST, now=turn * (WINDOW + 0.1) + 0.05)


def test_each_time_it_must_be_fast_for_twice_as_long() -> None:
    pace = CallPace()
    needed = FIRST_STREAK
    for round_ in range(12):
        fast(pace, needed - 1)
        assert not pace.inline
        fast(pace, 1)
        assert pace.inline
        demote(pace, now=100.0 * round_)
        needed = min(2 * needed, LONGEST_STREAK)


@given(st.lists(st.floats(0, 1), max_size=200))
def test_it_never_moves_to_the_loop_on_a_slow_call(calls: list[float]) -> None:
    pace = CallPace()
    for seconds in calls:
        if pace.inline:
            break
        assert not pace.in_thread(seconds) or seconds <= FAST
