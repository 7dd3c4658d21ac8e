"""Refused attempts: the metric counts all of them, and the log tells of them within its bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.access.actor import ACTOR, ENGINE, Actor
from anabranch.control.observe.refusals import (
    BURST,
    EVERY_S,
    MAX_ADDRESSES,
    MAX_APART,
    Attempts,
    Refusals,
)
from anabranch.telemetry.definitions import ACCESS_REFUSED
from anabranch.telemetry.registry import Registry
from tests.control.actors import ANN, BOB
from tests.control.stores import new_store
from tests.examples import examples
from tests.waiting import until


class Setting:
    """Refusals in a time that tests set; nothing is written."""

    def __init__(self) -> None:
        self.now = 0.0
        self.registry = Registry()
        self.refusals = Refusals(Unused(), self.registry, lambda: self.now)

    def add(self, actor: Actor, message: str = "no") -> None:
        self.refusals.add(actor, "forbidden", message, "digits")

    def due(self, seconds: float = 0.0) -> list[Attempts]:
        """What the log is told so many seconds later."""
        self.now += seconds
        return self.refusals.due()


class Unused:
    def log(self, *_: object) -> None:
        raise AssertionError


def caller(number: int) -> Actor:
    return Actor("key", "ann", f"192.0.2.{number}")


def test_attempts_from_an_address_are_one_event_with_their_number() -> None:
    setting = Setting()
    for message in ("first", "second"):
        setting.add(ANN, message)
    setting.add(BOB)
    assert setting.due() == [
        Attempts(ANN, "digits", "forbidden", "second", 2),
        Attempts(BOB, "digits", "forbidden", "no"),
    ]
    assert setting.due() == []
    counted = setting.registry.number(ACCESS_REFUSED, "control", "forbidden")
    assert counted.value == 3


def test_of_many_addresses_the_most_persistent_have_events_of_their_own() -> None:
    setting = Setting()
    for number in range(MAX_APART + 5):
        for _ in range(1 + (number == 7)):
            setting.add(caller(number))
    first, *others, last = setting.due()
    assert (first.actor, first.count, len(others)) == (caller(7), 2, MAX_APART - 2)
    assert (last.actor, last.count, last.addresses) == (Actor("anonymous"), 6, 6)
    assert last.message == "6 attempts from 6 addresses; one of them: no"


def test_addresses_beyond_the_bound_are_counted_together() -> None:
    setting = Setting()
    for number in range(MAX_ADDRESSES + 3):
        setting.add(Actor("anonymous", "", str(number)))
    assert sum(one.count for one in setting.due()) == MAX_ADDRESSES + 3


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 100)), max_size=60))
def test_all_attempts_are_told_and_the_log_is_not_flooded(seconds: list[tuple[int, float]]) -> None:
    setting, told, asked = Setting(), 0, 0
    events: list[float] = []
    for attempts, pause in seconds:
        for number in range(attempts):
            setting.add(caller(number))
        asked += attempts
        found = setting.due(pause)
        told += sum(one.count for one in found)
        events += [setting.now] * len(found)
        assert len(found) <= MAX_APART
        assert len(events) <= BURST + setting.now / EVERY_S + 1e-6
    assert told + sum(one.count for one in setting.due(10 * EVERY_S)) == asked


def test_the_log_tells_who_was_refused(tmp_path: Path) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    refusals = Refusals(store, Registry())

    async def scenario() -> None:
        refusals.add(ANN, "unauthenticated", "this key is not known")
        task = asyncio.create_task(refusals.run())
        await asyncio.to_thread(until, store.events)
        assert ACTOR.get() == ENGINE
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    (event,) = store.events()
    assert (event.kind, event.graph, event.actor) == ("refused", "", ANN)
    assert event.message == "this key is not known"
    assert event.data == {"count": 1, "reason": "unauthenticated", "addresses": 1}
    store.close()
