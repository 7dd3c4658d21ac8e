from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.watching.looks import LONGEST_PAUSE_S, WatchLooks

A, B = "models:/a@x", "models:/b@x"


def looks(**every: float) -> WatchLooks:
    one = WatchLooks(random.Random(7))
    one.keep({{"a": A, "b": B}[name]: seconds for name, seconds in every.items()}, 0.0)
    return one


def test_what_is_new_is_due_at_once_and_again_after_its_time() -> None:
    one = looks(a=30, b=5)
    assert one.due(0.0) == [A, B]
    for reference in (A, B):
        one.succeeded(reference, "pin", 0.0, 1.0, 1e9)
    assert one.due(4.9) == [] and one.next_due() == 5.0
    assert one.due(5.0) == [B] and one.due(30.0) == [B, A]
    assert one.next_due([B]) == 30.0 and one.next_due([A, B]) is None


def test_a_look_that_took_longer_than_its_time_does_not_pile_up() -> None:
    one = looks(a=5)
    one.succeeded(A, "pin", 0.0, 60.0, 1e9)
    assert one.next_due() == 60.0


def test_an_older_look_does_not_count() -> None:
    one = looks(a=5, b=5)
    assert one.found([A], -1.0) == {}
    one.succeeded(A, "pin", 2.0, 3.0, 1e9)
    assert one.found([A, B], 1.0) == {A: "pin"}
    assert one.found([A], 2.0) == {}
    one.failed(A, 9.0)
    assert one.found([A], 1.0) == {A: "pin"}


def test_failures_put_off_the_next_look_up_to_a_bound() -> None:
    one, now, pauses = looks(a=5), 0.0, []
    for _ in range(12):
        one.failed(A, now)
        due = one.next_due()
        assert due is not None
        pauses.append(due - now)
        now = due
    assert 2.5 <= pauses[0] <= 5 and 5 <= pauses[1] <= 10
    assert all(LONGEST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S for pause in pauses[5:])
    one.succeeded(A, "pin", now, now, 1e9)
    one.failed(A, now)
    assert (one.next_due() or 0) - now <= 5


def test_what_nobody_watches_is_forgotten() -> None:
    one = looks(a=5, b=5)
    one.keep({B: 1.0}, 2.0)
    assert one.of(A) is None and one.due(9.0) == [B]
    one.succeeded(A, "pin", 3.0, 3.0, 1e9)
    one.failed(A, 3.0)
    assert one.found([A], 0.0) == {}


def test_a_shorter_time_counts_from_now_on() -> None:
    one = looks(a=3600)
    one.succeeded(A, "pin", 0.0, 0.0, 1e9)
    one.keep({A: 5.0}, 100.0)
    assert one.next_due() == 105.0


@given(st.lists(st.booleans(), max_size=30), st.floats(1, 1e5))
def test_the_next_look_is_never_further_than_the_longest_pause(
    outcomes: list[bool], every: float
) -> None:
    one, now = looks(a=every), 0.0
    for succeeds in outcomes:
        if succeeds:
            one.succeeded(A, "pin", now, now, 1e9)
        else:
            one.failed(A, now)
        due = one.next_due()
        assert due is not None and now < due <= now + max(every, LONGEST_PAUSE_S)
        now = due
