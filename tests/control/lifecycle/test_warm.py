from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle.operations import LINGER, Member, Moment, Situation, expired
from anabranch.control.lifecycle.warm import beyond, hastened

AT = 1000.0
MOMENT = Moment(AT, 600.0)


def graph(name: str, expiries: Mapping[int, float]) -> Situation:
    """A graph whose revisions of these numbers are warm until then, beside the stable one."""
    warm = {
        number: Member(number, "warm", reason="replaced", expires_at=expires)
        for number, expires in expiries.items()
    }
    return Situation(name, stable=99, members={99: Member(99, "live"), **warm}, weights={99: 100.0})


def test_those_whose_time_ends_first_go_whatever_graph_they_are_of() -> None:
    graphs = [graph("a", {1: AT + 100, 3: AT + 400}), graph("b", {2: AT + 200, 1: AT + 300})]
    assert beyond(graphs, 4, AT) == []
    assert beyond(graphs, 2, AT) == [("a", 1), ("b", 2)]
    assert beyond(graphs, 0, AT) == [("a", 1), ("b", 2), ("b", 1), ("a", 3)]


def test_one_that_goes_early_says_so_and_only_once() -> None:
    now = graph("a", {1: AT + 100})
    change = hastened(now, MOMENT, 1, 7)
    member = change.situation.members[1]
    why = "more than 7 revisions of the engine were warm"
    assert (member.state, member.expires_at) == ("warm", AT + LINGER)
    assert member.reason == f"replaced; gone early: {why}"
    assert [(note.kind, note.revision, note.message) for note in change.notes] == [
        ("warm_limit", 1, why)
    ]
    assert hastened(change.situation, MOMENT, 1, 7).notes == ()
    later = replace(MOMENT, at=AT + LINGER)
    assert expired(change.situation, later).situation.members[1].state == "retired"


def test_what_is_not_warm_stays() -> None:
    now = graph("a", {1: AT + 100})
    for number in (99, 5):
        assert hastened(now, MOMENT, number, 0).situation == now


@given(
    st.lists(st.dictionaries(st.integers(1, 9), st.floats(AT, AT + 600), max_size=6), max_size=4),
    st.integers(0, 12),
)
def test_no_more_are_left_than_may_be_and_none_goes_for_nothing(
    found: list[dict[int, float]], most: int
) -> None:
    graphs = {f"g{number}": graph(f"g{number}", one) for number, one in enumerate(found)}
    for name, number in beyond(graphs.values(), most, AT):
        graphs[name] = hastened(graphs[name], MOMENT, number, most).situation
    assert beyond(graphs.values(), most, AT) == []
    stays = sum(
        member.state == "warm" and (member.expires_at or 0) > AT + LINGER
        for one in graphs.values()
        for member in one.members.values()
    )
    total = sum(map(len, found))
    soon = sum(expires <= AT + LINGER for one in found for expires in one.values())
    assert stays == min(total - soon, most) if total > most else stays == total - soon
