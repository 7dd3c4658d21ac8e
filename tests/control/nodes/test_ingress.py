"""What is to run on each machine, and the steps that lead there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.nodes.ingress import AGENT, FACES, Steps, named, steps, wanted
from anabranch.control.nodes.node import INGRESS, Node
from anabranch.control.settings.ingress import Ingress
from tests.control.nodes.machines import HEAD, THREE, TWO, numbered

ON_HEAD = {*FACES, "anabranch-controller", "digits", "digits.r3"}
"""What runs that is no other machine's."""


def names(*kinds: str, of: str = "2" * 12) -> set[str]:
    return {f"{kind}.{of}" for kind in kinds}


def test_a_machine_that_joins_gets_an_agent_and_what_takes_requests() -> None:
    found = steps(wanted([HEAD, TWO], Ingress()), ON_HEAD)
    assert found == Steps([(kind, TWO) for kind in (AGENT, *FACES)], [])


@pytest.mark.parametrize(("ingress", "taken"), [("head", ()), ("edge=yes", FACES)])
def test_only_some_machines_take_requests(ingress: str, taken: tuple[str, ...]) -> None:
    found = wanted([HEAD, TWO, THREE], Ingress.parse(ingress))
    assert set(found) == names(AGENT, *taken) | names(AGENT, of="3" * 12)


@pytest.mark.parametrize("fields", [{"labels": {INGRESS: "false"}}, {"state": "draining"}])
def test_a_machine_that_will_not_or_goes_takes_none(fields: dict[str, Any]) -> None:
    assert set(wanted([HEAD, numbered(2, **fields)], Ingress())) == names(AGENT)


def test_what_belonged_to_a_machine_that_is_gone_stops_the_edge_first() -> None:
    running = {*ON_HEAD, *names(AGENT, *FACES), *names(AGENT, *FACES, of="3" * 12)}
    found = steps(wanted([HEAD, TWO], Ingress()), running)
    assert found.start == []
    assert found.stop[0].startswith("anabranch-edge.")
    assert set(found.stop) == names(AGENT, *FACES, of="3" * 12)


MACHINES = st.sets(st.integers(2, 9)).map(lambda some: [HEAD, *(numbered(one) for one in some)])


@given(MACHINES, MACHINES, st.sampled_from([Ingress(), Ingress(every=False)]))
def test_the_steps_lead_there_and_nothing_is_left_to_do(
    before: list[Node], after: list[Node], ingress: Ingress
) -> None:
    running = {*ON_HEAD, *wanted(before, Ingress())}
    names = wanted(after, ingress)
    found = steps(names, running)
    started = {named(kind, node) for kind, node in found.start}
    then = (running - set(found.stop)) | started
    assert then == {*ON_HEAD, *names}
    assert steps(names, then) == Steps([], [])
