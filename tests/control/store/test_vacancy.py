"""Machines that wait for a store without a controller, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anabranch.control.store.database import Database
from anabranch.control.store.lease import Lease
from anabranch.control.store.store import Store
from anabranch.control.store.vacancy import Vacancy
from anabranch.errors import Unavailable
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(url: str, store: Store) -> Iterator[Database]:
    """The store as a machine that waits opens it."""
    found = Database.existing(url)
    yield found
    found.close()


def test_a_store_whose_controller_beats_is_not_claimed(
    store: Store, database: Database, clock: Clock
) -> None:
    lease, vacancy = Lease(store, "a", clock=clock), Vacancy(database, 20.0, clock)
    assert lease.try_acquire()
    for _ in range(5):
        assert not vacancy.claim()
        clock.now += 19.0
        assert lease.renew()
    assert not vacancy.claim()


def test_a_silent_controller_loses_the_store_and_another_gets_it(
    store: Store, database: Database, clock: Clock
) -> None:
    lease, vacancy = Lease(store, "a", clock=clock), Vacancy(database, 20.0, clock)
    assert lease.try_acquire()
    assert not vacancy.claim()
    clock.now += 19.9
    assert not vacancy.claim()
    clock.now += 0.2
    assert vacancy.claim()
    assert not lease.renew()
    another = Lease(store, "b", clock=clock)
    assert another.try_acquire()
    vacancy.keep()
    assert another.renew()


def test_of_several_that_wait_one_claims_it(
    store: Store, url: str, database: Database, clock: Clock
) -> None:
    other = Database.existing(url)
    first, second = Vacancy(database, 20.0, clock), Vacancy(other, 20.0, clock)
    assert not first.claim()
    assert not second.claim()
    clock.now += 20.0
    assert first.claim()
    for _ in range(3):
        assert not second.claim()
        clock.now += 19.0
        first.keep()
    assert not second.claim()
    clock.now += 20.0  # the first one has failed
    assert second.claim()
    other.close()


def test_a_database_that_was_away_tells_nothing_of_the_controller(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    vacancy = Vacancy(database, 20.0, clock)
    assert not vacancy.claim()

    @contextmanager
    def away(fenced: bool) -> Iterator[None]:
        raise Unavailable("the store does not answer")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", away)
        with pytest.raises(Unavailable):
            vacancy.claim()
    clock.now += 100.0
    assert not vacancy.claim()
    clock.now += 20.0
    assert vacancy.claim()
