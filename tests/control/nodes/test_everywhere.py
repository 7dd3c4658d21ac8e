"""Machines are asked, and one that does not answer keeps nobody waiting again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anabranch.control.nodes.everywhere import AGAIN_S, Everywhere
from anabranch.control.nodes.files import MachineFiles
from anabranch.control.nodes.ingress import AGENT, named
from anabranch.control.nodes.node import Node
from anabranch.control.observe.ended import EndedProcess
from anabranch.serve.heartbeat import HUNG
from tests.clock import Clock
from tests.control.nodes.machines import HEAD, THREE, TWO, numbered

SLOW = EndedProcess("1-1", HUNG, "shop", "2", "slow", 3.5, "")


class Agent:
    """Answers each call with the machine's processes, or not at all."""

    def __init__(self, *ended: EndedProcess) -> None:
        self.ended = list(ended)
        self.is_away = False
        self.calls: list[tuple[object, ...]] = []

    async def call(self, method: str, *arguments: object, timeout: float | None = None) -> Any:
        self.calls.append((method, *arguments))
        assert timeout is not None
        if self.is_away:
            raise TimeoutError
        return self.ended


class Cluster:
    def __init__(self, folder: Path, present: Sequence[Node]) -> None:
        self.present = present
        self.agents = {
            named(AGENT, TWO): Agent(SLOW),
            named(AGENT, THREE): Agent(),
        }
        self.clock = Clock()
        own = MachineFiles(lambda: folder, None)
        self.everywhere = Everywhere(own, lambda: self.present, self.agents.__getitem__, self.clock)

    @property
    def two(self) -> Agent:
        return self.agents[named(AGENT, TWO)]


def test_all_machines_tell_by_their_names_and_are_told_what_was_heard(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, [HEAD, TWO, THREE])
    found = asyncio.run(cluster.everywhere.ended({"m2": {"0-1"}}))
    assert found == {"m2": [SLOW]}
    assert cluster.two.calls == [("ask", "ended", {"0-1"})]


def test_a_single_machine_has_no_name(tmp_path: Path) -> None:
    assert asyncio.run(Cluster(tmp_path, []).everywhere.ended({})) == {}


def test_a_machine_that_did_not_answer_is_left_alone_for_a_while(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, [HEAD, TWO])

    def ask() -> Any:
        return asyncio.run(cluster.everywhere.ask(TWO, "ended", ()))

    cluster.two.is_away = True
    assert ask() is None
    cluster.two.is_away = False
    assert ask() is None and len(cluster.two.calls) == 1
    cluster.clock.now += AGAIN_S
    assert ask() == [SLOW]


def test_an_agent_of_a_machine_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, [HEAD, TWO])
    asyncio.run(cluster.everywhere.ended({}))
    cluster.present = [HEAD]
    asyncio.run(cluster.everywhere.ended({}))
    assert len(cluster.two.calls) == 1
    assert cluster.everywhere._agents == {}


def test_machines_of_one_name_are_told_apart_by_their_addresses(tmp_path: Path) -> None:
    twin = numbered(4, name="m2")
    cluster = Cluster(tmp_path, [HEAD, TWO, twin])
    assert list(cluster.everywhere.machines) == ["m1", "10.0.0.2", "10.0.0.4"]
