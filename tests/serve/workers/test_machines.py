from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
import ray

from anabranch.serve.workers import machines
from anabranch.serve.workers.environment import runtime_environment
from anabranch.serve.workers.machines import MachineRounds

A, B, C, DEAD = (letter * 56 for letter in "abcd")
"""Ids of nodes."""
NONE: frozenset[str] = frozenset()


class Cluster:
    """Ray as ``MachineRounds`` knows it: tasks on nodes, of which some fail or are late."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.alive = [A, B]
        self.failing: set[str] = set()
        self.late: set[str] = set()
        self.ran: list[str] = []
        self.cancelled: list[str] = []

    def nodes(self) -> list[dict[str, Any]]:
        dead = {"NodeID": DEAD, "Alive": False}
        return [dead, *({"NodeID": name, "Alive": True} for name in self.alive)]

    def remote(self, **options: object) -> Any:
        expected = {"num_cpus": 0, "max_retries": 0, "runtime_env": runtime_environment()}
        assert options == expected
        return lambda work: _Task(self, work)

    def wait(self, tasks: list[str], num_returns: int, timeout: float) -> Sequence[list[str]]:
        assert num_returns == len(tasks)
        late = [task for task in tasks if task in self.late]
        return [task for task in tasks if task not in late], late

    def get(self, task: str) -> None:
        if task in self.failing:
            raise ray.exceptions.NodeDiedError("it is gone")

    def cancel(self, task: str, force: bool) -> None:
        self.cancelled.append(task)

    def took(self) -> list[str]:
        ran, self.ran = sorted(self.ran), []
        return ran


class _Task:
    def __init__(self, cluster: Cluster, work: Any) -> None:
        self._cluster, self._work = cluster, work

    def options(self, scheduling_strategy: Any) -> _Task:
        assert not scheduling_strategy.soft
        self._node = scheduling_strategy.node_id
        return self

    def remote(self, argument: object) -> str:
        self._work(argument)
        self._cluster.ran.append(self._node)
        return str(self._node)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    one = Cluster()
    monkeypatch.setattr(machines, "ray", one)
    return one


def test_machines_work_when_something_has_gone(cluster: Cluster) -> None:
    given: list[str] = []
    rounds = MachineRounds(given.append)
    rounds.round("first", frozenset("xy"))
    assert (cluster.took(), given) == ([A, B], ["first", "first"])
    for names in ("xy", "xyz"):
        rounds.round("more", frozenset(names))
        assert cluster.took() == []
    rounds.round("less", frozenset("xy"))
    assert (cluster.took(), given[2:]) == ([A, B], ["less", "less"])


def test_a_new_machine_works_at_once_and_all_do_each_hour(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = MachineRounds(lambda _: None)
    rounds.round("", NONE)
    assert cluster.took() == [A, B]
    cluster.alive = [B, C]
    rounds.round("", NONE)
    assert cluster.took() == [C]
    monkeypatch.setattr(machines, "PERIOD_S", 0.0)
    rounds.round("", NONE)
    assert cluster.took() == [B, C]


def test_where_it_fails_it_is_tried_again(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = MachineRounds(lambda _: None)
    cluster.failing, cluster.late = {A}, {B}
    with caplog.at_level(logging.WARNING, "anabranch.serve"):
        rounds.round("", NONE)
    assert f"machine {A} cannot tidy up: " in caplog.text
    assert cluster.cancelled == [B]
    assert cluster.took() == [A, B]
    cluster.failing, cluster.late = set(), set()
    rounds.round("", NONE)
    assert cluster.took() == [A, B]
    rounds.round("", NONE)
    assert cluster.took() == []
