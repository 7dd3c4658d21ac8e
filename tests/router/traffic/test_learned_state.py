from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from anabranch.components.bandits import State
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.learners import LearningRouter, learners
from anabranch.router import following as following_module
from anabranch.router.traffic.learned_state import Learning, Lessons
from tests.control.learners import spec
from tests.waiting import eventually

ROUTES = ("a", "b")


class Told:
    """A source whose lessons a test sets."""

    def __init__(self) -> None:
        self.lessons = Lessons(0)
        self.away = False
        self.asked = 0
        self._changed = asyncio.Event()

    def tell(self, states: Mapping[tuple[str, str], str]) -> None:
        self.lessons = Lessons(self.lessons.version + 1, states)
        self._changed.set()
        self._changed = asyncio.Event()

    async def learned(self, version: int) -> Lessons:
        self.asked += 1
        while self.away or self.lessons.version == version:
            if self.away:
                raise ConnectionError
            await self._changed.wait()
        return self.lessons


def learner(strategy: str = "ucb1") -> LearningRouter:
    return learners(load_data(spec(pick={"strategy": strategy})).plan)["pick"]


def state(one: LearningRouter, best: str) -> dict[tuple[str, str], str]:
    """Lessons by which one route is by far the best."""
    found = one.empty
    for _ in range(200):
        for route in ROUTES:
            found = found.after(route, float(route == best))
    return {("pick", one.key): found.to_json()}


def test_strategies_hear_of_what_was_learned_before_they_start_and_after() -> None:
    async def run() -> None:
        one, source = learner(), Told()
        source.tell(state(one, "b"))
        following = Learning({"pick": one}, source.learned)
        await following.start()
        assert one.bandit.route() == "b"
        source.tell(state(one, "a"))
        await eventually(lambda: one.bandit.route() == "a")
        source.tell({})
        await eventually(lambda: {one.bandit.route() for _ in range(2)} == {"a", "b"})
        await following.close()

    asyncio.run(run())


def test_a_state_that_is_the_same_is_not_taken_over_again() -> None:
    async def run() -> None:
        one, source = learner(), Told()
        states = {("pick", one.key): one.empty.after("a", 0.5).after("b", 0.5).to_json()}
        source.tell(states)
        following = Learning({"pick": one}, source.learned)
        await following.start()
        assert one.bandit.route() == "a"
        source.tell({**states, ("pick", "another"): ""})
        asked = source.lessons.version
        await eventually(lambda: following._lessons.version == asked)
        assert one.bandit.route() == "b"  # it still knows where it sent the one before
        await following.close()

    asyncio.run(run())


def test_without_a_controller_strategies_go_by_their_priors_until_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following_module, "FIRST_S", 0.01)
    monkeypatch.setattr(following_module, "RETRY_S", 0.001)

    async def run() -> None:
        one, source = learner(), Told()
        source.away = True
        following = Learning({"pick": one}, source.learned)
        await following.start()
        assert {one.bandit.route() for _ in range(2)} == {"a", "b"}
        source.away = False
        source.tell(state(one, "b"))
        await eventually(lambda: {one.bandit.route() for _ in range(5)} == {"b"})
        await following.close()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "{}", State.empty(("a", "c")).to_json()])
def test_a_state_that_cannot_be_read_changes_nothing(text: str) -> None:
    async def run() -> None:
        one, source = learner(), Told()
        source.tell(state(one, "b"))
        following = Learning({"pick": one}, source.learned)
        await following.start()
        source.tell({("pick", one.key): text})
        await eventually(lambda: following._lessons.version == source.lessons.version)
        assert one.bandit.route() == "b"
        await following.close()

    asyncio.run(run())


def test_where_nothing_learns_nobody_is_asked() -> None:
    async def run() -> None:
        told = Told()
        following = Learning({}, told.learned)
        await following.start()
        await following.close()
        assert told.asked == 0

    asyncio.run(run())
