"""Machines that answer for an earlier start of the engine join one after the other."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from anabranch.control.nodes.node import ClusterLook
from anabranch.control.nodes.turns import LONGEST_S, SETTLED_S, JoinTurns
from anabranch.errors import Unavailable
from tests.clock import Clock
from tests.control.nodes.machines import node

NOBODY = ClusterLook((node("head", is_head=True),))
ONE = ClusterLook((*NOBODY.nodes, node("one")))


class Asking:
    """Machines that ask, and the graphs that are starting."""

    def __init__(self) -> None:
        self.graphs: Collection[str] | None = ()
        self.clock = Clock()
        self.turns = JoinTurns(lambda: self.graphs, self.clock)

    def refusal(self, name: str, look: ClusterLook = NOBODY) -> str:
        """Ask for a machine; why it has to ask again, empty where it has its turn."""
        try:
            self.turns.take(f"m-{name}", name, look)
        except Unavailable as error:
            return str(error)
        return ""


@pytest.fixture
def asking() -> Asking:
    return Asking()


def test_a_machine_waits_for_graphs_but_not_for_ever(asking: Asking) -> None:
    asking.graphs = None
    assert "until graphs are up: all" in asking.refusal("one")
    asking.graphs = {"shop", "fruit"}
    assert "until graphs are up: fruit, shop" in asking.refusal("one")
    asking.clock.now += LONGEST_S - 1
    assert asking.refusal("one")
    asking.clock.now += 1
    assert not asking.refusal("one")


def test_the_next_one_waits_until_the_one_before_is_back_and_graphs_have_started_there(
    asking: Asking,
) -> None:
    assert not asking.refusal("one")
    assert not asking.refusal("one")  # its ticket was lost
    assert "until 'one' has joined again" in asking.refusal("two")
    assert asking.refusal("two", ONE)
    asking.clock.now += SETTLED_S
    asking.graphs = {"shop"}
    assert "until graphs are up: shop" in asking.refusal("two", ONE)
    asking.graphs = ()
    assert not asking.refusal("two", ONE)


def test_a_machine_that_does_not_come_back_is_waited_for_a_while(asking: Asking) -> None:
    assert not asking.refusal("one")
    asking.clock.now += LONGEST_S - 1
    assert asking.refusal("two")
    asking.clock.now += 1
    assert not asking.refusal("two")
    assert asking.refusal("three")


def test_each_turn_has_its_own_time_to_wait_for_graphs(asking: Asking) -> None:
    asking.graphs = {"shop"}
    assert asking.refusal("one")
    asking.clock.now += LONGEST_S
    assert not asking.refusal("one")
    asking.clock.now += LONGEST_S
    assert "graphs are up" in asking.refusal("two")
