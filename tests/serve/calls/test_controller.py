"""How a router reaches the controller, which may be away at any time."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from anabranch.router.measure.tally import Report
from anabranch.serve.calls import controller
from anabranch.serve.calls.controller import ControllerSource, NamedActor


class FakeMethod:
    def __init__(self, actor: FakeActor, name: str) -> None:
        self._actor, self._name = actor, name

    async def remote(self, *args: Any) -> Any:
        self._actor.calls.append((self._name, *args))
        if self._actor.error is not None:
            raise self._actor.error
        return "answer"


class FakeActor:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> FakeMethod:
        return FakeMethod(self, name)


class FakeRay:
    """Finds one actor after the other; an exception among them is raised."""

    def __init__(self, *found: Any) -> None:
        self._found = iter(found)
        self.asked: list[tuple[str, str]] = []

    def get_actor(self, name: str, namespace: str) -> Any:
        self.asked.append((name, namespace))
        found = next(self._found)
        if isinstance(found, Exception):
            raise found
        return found


def test_while_nobody_can_say_where_the_controller_is_only_one_thread_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's GCS may be away for long, and threads are few."""
    back, asked = threading.Event(), 0

    class Away:
        def get_actor(self, name: str, namespace: str) -> Any:
            nonlocal asked
            asked += 1
            assert back.wait(60)
            return FakeActor()

    monkeypatch.setattr(controller, "ray", Away())

    async def main() -> None:
        actor = NamedActor("somebody")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await actor.call("next", timeout=0.01)
        waiting = asyncio.ensure_future(actor.call("next", timeout=60))
        await asyncio.sleep(0)
        back.set()
        assert await waiting == "answer"

    asyncio.run(main())
    assert asked == 1


async def answered(source: ControllerSource, generation: int) -> Any:
    """Poll until there is an answer, as a follower does."""
    while True:
        with suppress(ConnectionError, TimeoutError, ValueError):
            return await source.next(generation)


def test_the_controller_is_found_again_whenever_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead, alive = FakeActor(ConnectionError("died")), FakeActor()
    fake = FakeRay(ValueError("no such actor"), dead, ValueError("not yet"), alive)
    monkeypatch.setattr(controller, "ray", fake)
    source = ControllerSource("demo", "one")

    async def main() -> list[Any]:
        return [await answered(source, 0), await answered(source, 5)]

    assert asyncio.run(main()) == ["answer", "answer"]
    assert set(fake.asked) == {("anabranch-controller", "anabranch")}
    assert dead.calls == [("table", "demo", "one", 0, None)]
    assert alive.calls == [("table", "demo", "one", 0, None), ("table", "demo", "one", 5, None)]
    assert source.breaks == 3


def test_a_router_that_ends_tells_a_controller_that_was_away_and_again_once_others_have_asked_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead, alive = FakeActor(ConnectionError("died")), FakeActor()
    monkeypatch.setattr(controller, "ray", FakeRay(dead, alive))
    monkeypatch.setattr(controller, "_AGAIN_S", 0)
    asyncio.run(ControllerSource("demo", "one").leave())
    assert dead.calls == [("leave", "demo", "one")]
    assert alive.calls == [("leave", "demo", "one")] * 2


def test_a_router_that_ends_tells_a_controller_that_is_there_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive = FakeActor()
    monkeypatch.setattr(controller, "ray", FakeRay(alive))
    asyncio.run(ControllerSource("demo", "one").leave())
    assert alive.calls == [("leave", "demo", "one")]


@pytest.mark.parametrize("patience", [600, 0])
def test_a_router_ends_though_its_controller_has_gone_or_stays_away(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = FakeActor(ConnectionError("died"))
    ends = ValueError("no such actor")
    monkeypatch.setattr(controller, "ray", FakeRay(away, ends) if patience else FakeRay(away))
    monkeypatch.setattr(controller, "_AGAIN_S", 0)
    monkeypatch.setattr(controller, "ASK_S", patience)
    asyncio.run(ControllerSource("demo", "one").leave())
    assert away.calls == [("leave", "demo", "one")]


def test_a_report_that_did_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    dead, alive = FakeActor(ConnectionError("died")), FakeActor()
    monkeypatch.setattr(controller, "ray", FakeRay(dead, alive))
    source = ControllerSource("demo", "one")

    async def main() -> None:
        with pytest.raises(ConnectionError):
            await source.report(Report())
        await source.report(Report())

    asyncio.run(main())
    assert alive.calls == [("report", "demo", "one", Report())]


def test_a_poll_that_nobody_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    polls = 0

    class Lost(FakeActor):
        def __getattr__(self, name: str) -> Any:
            return self

        async def remote(self, *args: Any) -> Any:
            nonlocal polls
            polls += 1
            if polls == 1:
                await asyncio.Event().wait()
            return "answer"

    monkeypatch.setattr(controller, "ray", FakeRay(Lost(), Lost()))
    monkeypatch.setattr(controller, "POLL_S", 0.01)
    assert asyncio.run(answered(ControllerSource("demo", "one"), 0)) == "answer"
    assert polls == 2
