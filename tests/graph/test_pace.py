"""When a synchronous component moves between threads and the loop, as a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.graph.pace import FAST, FIRST_STREAK, LONGEST_STREAK, SLOW, WINDOW, Pace


def fast(pace: Pace, times: int) -> None:
    for _ in range(times):
        pace.in_thread(FAST, others_running=False)


def demote(pace: Pace, now: float) -> None:
    pace.on_loop(2 * SLOW, now)
    pace.on_loop(2 * SLOW, now + WINDOW / 2)


def test_a_component_starts_in_threads() -> None:
    assert not Pace().inline


def test_it_moves_to_the_loop_after_a_streak_of_fast_calls() -> None:
    pace = Pace()
    fast(pace, FIRST_STREAK - 1)
    assert not pace.inline
    assert pace.in_thread(FAST, others_running=False)
    assert pace.inline


def test_a_slow_call_ends_the_streak() -> None:
    pace = Pace()
    fast(pace, FIRST_STREAK - 1)
    pace.in_thread(2 * FAST, others_running=False)
    fast(pace, FIRST_STREAK - 1)
    assert not pace.inline


def test_it_waits_until_no_other_call_is_in_a_thread() -> None:
    pace = Pace()
    for _ in range(10):
        assert not pace.in_thread(FAST, others_running=True)
    assert pace.in_thread(FAST, others_running=False)


def test_one_slow_call_on_the_loop_is_forgiven() -> None:
    pace = Pace()
    fast(pace, FIRST_STREAK)
    assert not pace.on_loop(2 * SLOW, now=10.0)
    assert not pace.on_loop(2 * SLOW, now=10.1 + WINDOW)
    assert pace.inline


def test_two_within_the_window_send_it_back() -> None:
    pace = Pace()
    fast(pace, FIRST_STREAK)
    assert not pace.on_loop(2 * SLOW, now=10.0)
    assert pace.on_loop(2 * SLOW, now=10.0 + WINDOW)
    assert not pace.inline


def test_each_time_it_must_be_fast_for_twice_as_long() -> None:
    pace = Pace()
    needed = FIRST_STREAK
    for round_ in range(12):
        fast(pace, needed - 1)
        assert not pace.inline
        fast(pace, 1)
        assert pace.inline
        demote(pace, now=100.0 * round_)
        needed = min(2 * needed, LONGEST_STREAK)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200))
def test_it_never_moves_to_the_loop_on_a_slow_call(calls: list[tuple[float, bool]]) -> None:
    pace = Pace()
    for seconds, others in calls:
        if pace.inline:
            break
        moved = pace.in_thread(seconds, others)
        assert not moved or (seconds <= FAST and not others)
