"""Sessions of the console."""

from __future__ import annotations

import pytest

from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.table import KnownKey
from anabranch.control.access.sessions import (
    MOST,
    MOST_OF_KEY,
    SESSION_S,
    Sessions,
    shown_as,
)
from tests.clock import Clock

ADA = KnownKey(Identity("key", "ada"))


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


def known(sessions: Sessions, *halves: str, keys: tuple[str, ...] = ("a",)) -> KnownKey | None:
    return sessions.known(dict.fromkeys(keys, ADA)).get(digest_of(shown_as(*halves)))


def test_a_session_acts_as_its_key_and_has_an_end(sessions: Sessions) -> None:
    halves = sessions.begin("a", ADA)
    assert all(len(half) == 43 for half in halves)
    assert known(sessions, *halves) == KnownKey(ADA.identity, 1000.0 + SESSION_S)


def test_it_ends_with_its_key_at_the_latest(sessions: Sessions) -> None:
    halves = sessions.begin("a", KnownKey(ADA.identity, 1007.0))
    assert known(sessions, *halves) == KnownKey(ADA.identity, 1007.0)


def test_once_its_key_is_revoked_it_does_not_come_back(sessions: Sessions) -> None:
    halves = sessions.begin("a", ADA)
    assert known(sessions, *halves, keys=("b",)) is None
    assert known(sessions, *halves, keys=("a",)) is None


def test_halves_of_different_sessions_fit_none(sessions: Sessions) -> None:
    one, other = sessions.begin("a", ADA), sessions.begin("a", ADA)
    assert known(sessions, one[0], other[1]) is known(sessions, other[0], one[1]) is None


def test_a_logout_ends_one_session(sessions: Sessions) -> None:
    one, other = sessions.begin("a", ADA), sessions.begin("a", ADA)
    sessions.end(shown_as(*one))
    sessions.end("nothing of this kind")
    assert known(sessions, *one) is None and known(sessions, *other)


def test_sessions_of_a_key_are_bounded(sessions: Sessions) -> None:
    other = sessions.begin("b", ADA)
    made = [sessions.begin("a", ADA) for _ in range(MOST_OF_KEY + 1)]
    found = [known(sessions, *halves, keys=("a", "b")) for halves in (other, *made)]
    assert [one is not None for one in found] == [True, False, *[True] * MOST_OF_KEY]


def test_all_sessions_are_bounded(sessions: Sessions) -> None:
    keys = [str(number) for number in range(MOST + 1)]
    first, *_ = [sessions.begin(key, ADA) for key in keys]
    assert len(sessions.known(dict.fromkeys(keys, ADA))) == MOST
    assert known(sessions, *first, keys=tuple(keys)) is None


def test_those_that_are_over_make_room(sessions: Sessions, clock: Clock) -> None:
    for _ in range(MOST_OF_KEY):
        sessions.begin("a", ADA)
    clock.now += SESSION_S
    sessions.begin("a", ADA)
    assert len(sessions.known({"a": ADA})) == 1
