"""The circuit breakers of replicas, as a table and by their promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE
from anabranch.serve.calls.breaker import Breakers

TWO = ["a", "b"]


def tripped(at: float = 0.0) -> Breakers:
    breakers = Breakers()
    for _ in range(FAILURES):
        breakers.began("a", at)
        breakers.ended("a", False, at)
    return breakers


def test_a_replica_that_fails_in_a_row_is_left_out() -> None:
    breakers = Breakers()
    for _ in range(FAILURES - 1):
        breakers.ended("a", False, 0.0)
    assert breakers.admitted(TWO, 0.0) == TWO
    breakers.ended("a", False, 0.0)
    assert breakers.admitted(TWO, 0.0) == ["b"]
    assert not breakers.are_closed


@pytest.mark.parametrize("ok", [True, None])
def test_failures_count_only_in_a_row(ok: bool | None) -> None:
    breakers = Breakers()
    for _ in range(20):
        for _ in range(FAILURES - 1):
            breakers.ended("a", False, 0.0)
        breakers.ended("a", ok, 0.0)
        if ok is None:
            break
    assert breakers.admitted(TWO, 0.0) == TWO


def test_half_open_it_gets_one_call_which_closes_it() -> None:
    breakers = tripped()
    assert breakers.admitted(TWO, FIRST_PAUSE * 0.99) == ["b"]
    assert breakers.admitted(TWO, FIRST_PAUSE) == TWO
    breakers.began("a", FIRST_PAUSE)
    assert breakers.admitted(TWO, FIRST_PAUSE) == ["b"]
    breakers.ended("a", True, FIRST_PAUSE)
    assert breakers.admitted(TWO, FIRST_PAUSE) == TWO
    assert breakers.are_closed


def test_each_failed_probe_doubles_the_pause() -> None:
    breakers, now, pauses = tripped(), 0.0, []
    for _ in range(8):
        start = now
        while breakers.admitted(TWO, now) == ["b"]:
            now += 0.25
        pauses.append(now - start)
        breakers.began("a", now)
        breakers.ended("a", False, now)
    assert pauses == [min(LONGEST_PAUSE, FIRST_PAUSE * 2**n) for n in range(8)]


def test_a_probe_that_tells_nothing_makes_room_for_the_next() -> None:
    breakers = tripped()
    breakers.began("a", FIRST_PAUSE)
    breakers.ended("a", None, FIRST_PAUSE)
    assert breakers.admitted(TWO, FIRST_PAUSE) == TWO


def test_calls_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    breakers = tripped()
    for _ in range(50):
        breakers.ended("a", False, 0.5)
    assert breakers.admitted(TWO, FIRST_PAUSE) == TWO


def test_replicas_that_are_gone_are_forgotten() -> None:
    breakers = tripped()
    breakers.keep(["b"])
    assert breakers.are_closed
    assert breakers.admitted(TWO, 0.0) == TWO


events = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from([True, False, False, False, None]), st.floats(0, 3)
    ),
    max_size=200,
)


@given(events)
def test_there_is_always_a_replica_and_the_last_one_is_never_left_out(
    events: list[tuple[str, bool | None, float]],
) -> None:
    breakers, now = Breakers(), 0.0
    for name, ok, passed in events:
        now += passed
        for replicas in (["a"], ["a", "b"], ["a", "b", "c"]):
            admitted = breakers.admitted(replicas, now)
            assert admitted
            assert set(admitted) <= set(replicas)
        assert breakers.admitted(["a"], now) == ["a"]
        breakers.began(name, now)
        breakers.ended(name, ok, now)
        if ok:
            assert name in breakers.admitted(["a", "b", "c"], now)


@given(events)
def test_a_replica_that_answers_again_is_back_within_the_longest_pause(
    events: list[tuple[str, bool | None, float]],
) -> None:
    breakers, now = Breakers(), 0.0
    for name, ok, passed in events:
        now += passed
        breakers.began(name, now)
        breakers.ended(name, ok, now)
    now += LONGEST_PAUSE
    for name in breakers.admitted("abc", now):
        breakers.began(name, now)
        breakers.ended(name, True, now)
    assert sorted(breakers.admitted("abc", now)) == ["a", "b", "c"]
