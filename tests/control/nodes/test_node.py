"""Which machines are shown, and which one a name means."""

from __future__ import annotations

import pytest

from anabranch.control.nodes.node import ClusterLook, bound_to
from anabranch.errors import Conflict, NotFound
from anabranch.serve.attachment import HOME_NODE
from tests.control.nodes.machines import TWO, node

HEAD = node("zeta", is_head=True, address="10.0.0.1")


def test_what_is_bound_to_the_head_goes_where_the_engine_s_home_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(HOME_NODE, raising=False)
    assert bound_to(HEAD) == {"node:__internal_head__": 0.001}
    assert bound_to(TWO) == {"node:10.0.0.2": 0.001}
    monkeypatch.setenv(HOME_NODE, HEAD.id)
    assert bound_to(HEAD) == {"node:10.0.0.1": 0.001}


def test_the_head_comes_first() -> None:
    look = ClusterLook((node("beta"), HEAD, node("al")))
    assert [one.name for one in look.shown()] == ["zeta", "al", "beta"]


def test_of_machines_that_are_gone_only_lost_ones_are_shown_and_the_last_time() -> None:
    left = node("left", state="left", address="10.0.1.1")
    drained = node("drained", state="drained", address="10.0.1.2")
    lost = node("lost", state="lost", address="10.0.1.3")
    before = node("lost", id="00", state="lost", address="10.0.1.3", since=9e8)
    again = node("again", state="lost", address="10.0.1.4")
    back = node("again", id="01", address="10.0.1.4", since=2e9)
    look = ClusterLook((HEAD, left, drained, lost, before, again, back))
    assert look.shown() == [HEAD, back, lost]


def test_two_machines_of_an_address_are_both_shown() -> None:
    """Such as two engines' workers behind one address; nobody hides the other."""
    one, other = node("a1", address="10.0.0.9"), node("a2", address="10.0.0.9")
    assert ClusterLook((one, other)).shown() == [one, other]


@pytest.mark.parametrize("named", ["beta", "10.0.0.4", b"beta".hex(), "m-beta"])
def test_a_machine_is_found_by_name_address_and_id(named: str) -> None:
    assert (
        ClusterLook((HEAD, node("beta"), node("al", address="10.0.0.2"))).of(named).name == "beta"
    )


def test_an_unknown_machine_is_told_with_those_there_are() -> None:
    look = ClusterLook((HEAD, node("gone", state="lost"), node("al")))
    with pytest.raises(NotFound, match="no machine of the engine is 'gone'; there are: zeta, al"):
        look.of("gone")


def test_a_name_of_two_machines_is_no_name() -> None:
    twins = ClusterLook((node("al", id="01"), node("al", id="02", address="10.0.0.9")))
    with pytest.raises(Conflict, match="by its id, 01, 02"):
        twins.of("al")
    assert twins.of("02").address == "10.0.0.9"
