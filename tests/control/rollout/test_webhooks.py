from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import pytest

from anabranch.control.lifecycle.operations import Change, Note, Situation
from anabranch.control.observe.cloud_event import cloud_event
from anabranch.control.rollout import webhooks
from anabranch.control.rollout.outgoing import Caller
from anabranch.control.rollout.webhooks import ATTEMPTS, Deliveries, pause
from anabranch.control.settings.settings import Settings, WebhookForm
from anabranch.control.store.outbox import LONGEST_PAUSE
from anabranch.control.store.store import Event, Store
from anabranch.telemetry.definitions import WEBHOOK_CALLS
from anabranch.telemetry.registry import Labels, Registry
from tests.control.actors import ANN, acting
from tests.control.stores import new_store
from tests.control.web import Answer, Asked, Web, running
from tests.waiting import eventually

G = "digits"


class JumpingClock:
    """Time that jumps ahead whenever it is read, so that what is postponed is soon due."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 1e10, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    opened.ensure_revision(G, "spec", "0" * 64)
    return opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_LOOK", 0.01)
    monkeypatch.setattr(webhooks, "_REST", 0.01)
    monkeypatch.setattr(webhooks, "_RETRY", 0.01)


def happen(store: Store, kind: str, *urls: str) -> None:
    """Something that webhooks are to hear of."""

    def change(now: Situation) -> Change:
        return Change(replace(now), (Note(1, kind, "a message", {"step": 1}, tuple(urls)),))

    store.change(G, change)


def deliver(
    store: Store,
    until: Callable[[], bool],
    *prefixes: str,
    clock: JumpingClock | None = None,
    timeout: float = 60.0,
    form: WebhookForm = "json",
) -> Mapping[Labels, object]:
    """Deliver until something is so, in time, and return what was counted, by labels."""
    registry = Registry()
    settings = Settings(Path(), "", webhooks=prefixes, webhook_form=form)

    async def run() -> None:
        deliveries = Deliveries(
            store, settings, Caller(timeout), clock or JumpingClock(), registry=registry
        )
        task = asyncio.create_task(deliveries.run())
        try:
            async with asyncio.timeout(60):
                while not until():
                    assert not task.done()
                    await asyncio.sleep(0.005)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    store.close()
    return registry.snapshot().get(WEBHOOK_CALLS.name, {})


def left(store: Store) -> int:
    return len(store.outbox.due(1e12))


def failures(store: Store) -> list[Event]:
    return [event for event in store.events(G) if event.kind == "webhook_failed"]


def test_what_a_hook_is_told(store: Store) -> None:
    with running(lambda _: Answer(204)) as web:
        happen(store, "rollout_step", f"{web.url}/hook?token=x")
        deliver(store, lambda: not left(store), web.url)
    (asked,) = web.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/hook", {"token": "x"})
    (event,) = [event for event in store.events(G) if event.kind == "rollout_step"]
    assert asked.headers["content-type"] == "application/json"
    told = asked.json
    at = datetime.fromisoformat(told.pop("at"))
    assert at.timestamp() == pytest.approx(event.at, abs=0.001)
    assert told == {
        "graph": G, "revision": 1, "event": "rollout_step", "message": "a message",
        "data": {"step": 1}, "id": event.id,
    }  # fmt: skip


def test_a_hook_is_told_by_a_cloud_event_where_the_settings_say_so(store: Store) -> None:
    with running(lambda _: Answer(204)) as web:
        with acting(ANN):
            happen(store, "rollout_step", f"{web.url}/hook")
        deliver(store, lambda: not left(store), web.url, form="cloudevents")
    (asked,) = web.asked
    assert asked.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    (event,) = [event for event in store.events(G) if event.kind == "rollout_step"]
    assert asked.json == cloud_event(asdict(event))
    assert asked.json["data"]["actor"]["name"] == "ann"


def test_events_come_in_their_order(store: Store) -> None:
    kinds = [f"kind_{number}" for number in range(20)]
    with running() as web:
        for kind in kinds:
            happen(store, kind, web.url)
        deliver(store, lambda: not left(store), web.url)
    assert [asked.json["event"] for asked in web.asked] == kinds


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_hook_that_fails_is_given_up_after_some_attempts(store: Store, status: int) -> None:
    with running(lambda _: Answer(status, b"sorry", {"location": "/other"})) as web:
        happen(store, "rollout_step", f"{web.url}/hook")
        counts = deliver(store, lambda: not left(store), web.url, clock=JumpingClock(100))
    assert counts == {(G, "failed"): ATTEMPTS - 1, (G, "given_up"): 1}
    assert [asked.path for asked in web.asked] == ["/hook"] * ATTEMPTS
    (event,) = failures(store)
    reason = f"{ATTEMPTS} attempts failed; the last: status {status}: sorry"
    assert (event.revision, event.message) == (1, f"{web.url}/hook: {reason}")


def test_a_hook_that_recovers_is_told_once(store: Store) -> None:
    with running() as web:
        web.answer = lambda _: Answer(500 if len(web.asked) < ATTEMPTS else 200)
        happen(store, "rollout_step", web.url)
        counts = deliver(store, lambda: not left(store), web.url, clock=JumpingClock(100))
    assert counts == {(G, "failed"): ATTEMPTS - 1, (G, "delivered"): 1}
    assert len(web.asked) == ATTEMPTS
    assert not failures(store)


def test_what_is_postponed_is_not_tried_before(store: Store) -> None:
    with running() as web:
        other = f"{web.url}/other"
        web.answer = lambda asked: Answer(500 if asked.path == "/bad" else 200)
        happen(store, "rollout_step", f"{web.url}/bad")

        def seen() -> bool:
            if web.asked and not happened.is_set():
                happened.set()
                for _ in range(5):
                    happen(store, "rollout_step", other)
            return len(web.asked) == 6

        happened = threading.Event()
        deliver(store, seen, web.url)
    assert [asked.path for asked in web.asked] == ["/bad", *["/other"] * 5]


def test_a_hook_that_is_not_allowed_is_never_called(store: Store) -> None:
    with running() as web:
        happen(store, "rollout_step", f"{web.url}/hook")
        deliver(store, lambda: not left(store), f"{web.url}/other")
    assert not web.asked
    (event,) = failures(store)
    assert event.message.endswith("it is not below what ANABRANCH_WEBHOOKS allows")


def test_a_hook_that_hangs_holds_up_no_other(store: Store) -> None:
    def answer(asked: Asked) -> Answer:
        return web.hang(asked) if asked.path == "/slow" else Answer()

    def told() -> bool:
        return paths(web).count("/quick") == 3 and left(store) == 1

    with running() as web:
        web.answer = answer
        for _ in range(webhooks.MAX_HOOKS + 10):
            happen(store, "rollout_step", f"{web.url}/slow")
        for _ in range(3):
            happen(store, "rollout_step", f"{web.url}/quick")
        deliver(store, told, web.url, timeout=60)
        assert paths(web).count("/slow") == 1


def paths(web: Web) -> list[str]:
    return [asked.path for asked in web.asked]


def test_a_call_cut_off_by_a_crash_is_made_again(store: Store) -> None:
    with running() as web:
        web.answer = web.hang
        happen(store, "rollout_step", web.url)
        deliver(store, lambda: len(web.asked) == 1, web.url)
        web.answer = lambda _: Answer()
        deliver(store, lambda: not left(store), web.url)
    assert web.asked[0].json == web.asked[1].json


def test_a_store_that_does_not_answer_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"due": 2, "strike": 1}

    def breaking(name: str) -> None:
        method = getattr(store.outbox, name)

        def call(*args: object) -> object:
            if broken[name] > 0:
                broken[name] -= 1
                raise OSError("database is away")
            return method(*args)

        monkeypatch.setattr(store.outbox, name, call)

    for name in broken:
        breaking(name)
    with running() as web:
        happen(store, "rollout_step", web.url)
        deliver(store, lambda: broken["strike"] == 0 and not left(store), web.url)
    assert len(web.asked) == 2


def test_pauses_double_and_vary() -> None:
    chance = random.Random(1)
    for failed in range(ATTEMPTS):
        found = {pause(failed, chance) for _ in range(100)}
        assert len(found) > 50
        assert 0.5 * 2**failed <= min(found) < max(found) <= 2.0**failed < LONGEST_PAUSE


def test_a_call_that_is_put_in_while_there_is_none_is_made_when_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_REST", 3600.0)

    async def run(web: Web) -> None:
        deliveries = Deliveries(store, Settings(Path(), "", webhooks=(web.url,)))
        task = asyncio.create_task(deliveries.run())
        await asyncio.sleep(0)  # it looks, and finds nothing or what comes now
        await asyncio.to_thread(happen, store, "rollout_step", web.url)
        deliveries.wake()
        await eventually(lambda: not left(store))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with running(lambda _: Answer(204)) as web:
        asyncio.run(run(web))
        assert len(web.asked) == 1
    store.close()
