"""Rewards that are counted and learned from in the process that decided."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anabranch.errors import InvalidRequest
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.learners import LearningRouter, learners
from anabranch.router.standalone import rewards
from anabranch.router.standalone.rewards import StandaloneRewards
from anabranch.router.traffic.decisions import Decision
from anabranch.router.traffic.feedback import RewardEntry, RewardOutcome


def learning(strategy: str = "epsilon_greedy", **args: Any) -> dict[str, LearningRouter]:
    half = {"type": "transformer", "method": "cast", "args": {"datatype": "FP64"}}
    nodes = {name: half | {"inputs": {"x": "x"}} for name in ("a", "b")}
    choose = {"type": "router", "strategy": strategy, "routes": ["a", "b"], "args": args}
    document = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "nodes": {**nodes, "choose": choose},
            "outputs": {"y": "choose"},
        },
    }
    return learners(load_data(document).plan)


def entry(id: str, route: str, reward: float, token: str = "", revision: int = 1) -> RewardEntry:
    return RewardEntry(Decision(id, revision, {"choose": route}), reward, token or id)


def given(source: StandaloneRewards, *entries: RewardEntry) -> list[Any]:
    return list(asyncio.run(source.reward(entries)))


def test_a_reward_counts_once_for_an_id_and_again_for_its_own_token() -> None:
    source = StandaloneRewards()
    assert given(source, entry("q", "a", 1.0, "t")) == [RewardOutcome(True, 1.0)]
    assert given(source, entry("q", "a", 0.0, "u")) == [RewardOutcome(False, 1.0)]
    assert given(source, entry("q", "a", 1.0, "t")) == [RewardOutcome(True, 1.0)]


def test_a_router_learns_and_goes_on_with_that_in_the_next_revision() -> None:
    source, first = StandaloneRewards(), learning()
    source.teach(1, first)
    given(source, *(entry(str(number), "b", 1.0) for number in range(5)))
    state = source._states["choose"]
    assert state != first["choose"].empty
    source.teach(2, learning())
    assert source._states["choose"] == state
    given(source, entry("late", "a", 1.0, revision=1))
    assert source._states["choose"] == state  # of a revision that has gone
    source.teach(3, learning(epsilon=0.5))
    assert source._states["choose"] == first["choose"].empty


def test_what_no_strategy_can_learn_from_is_refused_and_does_not_count() -> None:
    source = StandaloneRewards()
    source.teach(1, learning("thompson"))
    (refused,) = given(source, entry("q", "a", 7.0))
    assert isinstance(refused, InvalidRequest) and "'choose' cannot learn" in str(refused)
    assert given(source, entry("q", "a", 1.0, "u")) == [RewardOutcome(True, 1.0)]


def test_only_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "MAX_TAKEN", 2)
    source = StandaloneRewards()
    given(source, *(entry(id, "a", 1.0) for id in "pqr"))
    assert given(source, entry("p", "a", 0.0, "u"), entry("r", "a", 0.0, "u")) == [
        RewardOutcome(True, 0.0), RewardOutcome(False, 1.0),
    ]  # fmt: skip
