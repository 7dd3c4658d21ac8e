"""What is to run on each machine, and the steps that lead there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.nodes.ingress import AGENT, FACES, Steps, named, steps, wanted
from anabranch.control.nodes.node import INGRESS, Node
from anabranch.control.settings.ingress import Ingress
from anabranch.serve.replicas.edge import EDGE_ACTOR
from tests.control.nodes.machines import HEAD, THREE, TWO, numbered

ON_HEAD = {*FACES, "anabranch-controller", "digits", "digits.r3"}
"""What runs that is no other machine's."""


def names(*kinds: str, of: str = "2" * 12) -> set[str]:
    return {f"{kind}.{of}" for kind in kinds}


def test_a_machine_that_joins_gets_an_agent_and_what_takes_requests() -> None:
    found = steps(wanted([HEAD, TWO], Ingress()), ON_HEAD, [HEAD, TWO])
    assert found == Steps([(kind, TWO) for kind in (AGENT, *FACES)], [], [])


@pytest.mark.parametrize(("ingress", "taken"), [("head", ()), ("edge=yes", FACES)])
def test_only_some_machines_take_requests(ingress: str, taken: tuple[str, ...]) -> None:
    found = wanted([HEAD, TWO, THREE], Ingress.parse(ingress))
    assert set(found) == names(AGENT, *taken) | names(AGENT, of="3" * 12)


@pytest.mark.parametrize("fields", [{"labels": {INGRESS: "false"}}, {"state": "draining"}])
def test_a_machine_that_will_not_or_goes_takes_none(fields: dict[str, Any]) -> None:
    assert set(wanted([HEAD, numbered(2, **fields)], Ingress())) == names(AGENT)


def test_what_belonged_to_a_machine_that_is_gone_stops_the_edge_first() -> None:
    running = {*ON_HEAD, *names(AGENT, *FACES), *names(AGENT, *FACES, of="3" * 12)}
    found = steps(wanted([HEAD, TWO], Ingress()), running, [HEAD, TWO])
    assert found.start == [] == found.close
    assert found.stop[0].startswith("anabranch-edge.")
    assert set(found.stop) == names(AGENT, *FACES, of="3" * 12)


def test_a_machine_that_is_drained_keeps_what_is_behind_its_edge_until_that_has_closed() -> None:
    going = numbered(2, state="draining")
    nodes = [HEAD, going, THREE]
    before = {*ON_HEAD, *wanted([HEAD, TWO, THREE], Ingress())}
    names_then = wanted(nodes, Ingress())
    edge = named(EDGE_ACTOR, going)
    assert steps(names_then, before, nodes) == Steps([], [], [(edge, going)])
    found = steps(names_then, before - {edge}, nodes)
    assert (found.start, set(found.stop), found.close) == ([], names(*FACES) - {edge}, [])


MACHINES = st.sets(st.integers(2, 9)).map(lambda some: [HEAD, *(numbered(one) for one in some)])


@given(MACHINES, MACHINES, st.sampled_from([Ingress(), Ingress(every=False)]))
def test_the_steps_lead_there_and_nothing_is_left_to_do(
    before: list[Node], after: list[Node], ingress: Ingress
) -> None:
    now = {*ON_HEAD, *wanted(before, Ingress())}
    names = wanted(after, ingress)
    for _ in range(2):  # what is behind an edge goes after it
        found = steps(names, now, after)
        started = {named(kind, node) for kind, node in found.start}
        now = (now - {*found.stop, *(name for name, _ in found.close)}) | started
    assert now == {*ON_HEAD, *names}
    assert steps(names, now, after) == Steps([], [], [])
