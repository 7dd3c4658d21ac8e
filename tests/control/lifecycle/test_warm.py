from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle.operations import LINGER, Member, Moment, Situation, expired
from anabranch.control.lifecycle.warm import WarmBounds, beyond, hastened

AT = 1000.0
MIB = 2**20
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
    for most, gone in {
        4: [],
        2: [("a", 1), ("b", 2)],
        0: [("a", 1), ("b", 2), ("b", 1), ("a", 3)],
    }.items():
        why = f"more than {most} revisions of the engine were warm"
        assert beyond(graphs, WarmBounds(most), AT, {}) == [(*one, why) for one in gone]


def test_they_go_until_the_memory_of_the_others_fits() -> None:
    """What is known of revisions that are not warm does not count."""
    graphs = [graph("a", {1: AT + 100, 3: AT + 400}), graph("b", {2: AT + 200})]
    memory = {("a", 1): 10 * MIB, ("b", 2): 20 * MIB, ("a", 3): 30 * MIB, ("a", 99): 500 * MIB}
    for room, gone in {60: [], 59: [("a", 1)], 50: [("a", 1)], 49: [("a", 1), ("b", 2)]}.items():
        found = beyond(graphs, WarmBounds(9, room * MIB), AT, memory)
        assert [one[:2] for one in found] == gone
    (first, second) = beyond(graphs, WarmBounds(2, 49 * MIB), AT, memory)
    assert first[2] == "more than 2 revisions of the engine were warm"
    assert second[2] == (
        "the warm revisions of the engine took 50 MiB of memory, over the limit of 49 MiB"
    )
    about_to_go = [graph("a", {1: AT + LINGER, 3: AT + 400})]
    assert beyond(about_to_go, WarmBounds(9, 30 * MIB), AT, memory) == []


def test_one_that_goes_early_says_so_and_only_once() -> None:
    now = graph("a", {1: AT + 100})
    why = "there were too many"
    change = hastened(now, MOMENT, 1, why)
    member = change.situation.members[1]
    assert (member.state, member.expires_at) == ("warm", AT + LINGER)
    assert member.reason == f"replaced; gone early: {why}"
    assert [(note.kind, note.revision, note.message) for note in change.notes] == [
        ("warm_limit", 1, why)
    ]
    assert hastened(change.situation, MOMENT, 1, why).notes == ()
    later = replace(MOMENT, at=AT + LINGER)
    assert expired(change.situation, later).situation.members[1].state == "retired"


def test_what_is_not_warm_stays() -> None:
    now = graph("a", {1: AT + 100})
    for number in (99, 5):
        assert hastened(now, MOMENT, number, "why").situation == now


@given(
    st.lists(st.dictionaries(st.integers(1, 9), st.floats(AT, AT + 600), max_size=6), max_size=4),
    st.integers(0, 12),
)
def test_no_more_are_left_than_may_be_and_none_goes_for_nothing(
    found: list[dict[int, float]], most: int
) -> None:
    graphs = {f"g{number}": graph(f"g{number}", one) for number, one in enumerate(found)}
    bounds = WarmBounds(most)
    for name, number, why in beyond(graphs.values(), bounds, AT, {}):
        graphs[name] = hastened(graphs[name], MOMENT, number, why).situation
    assert beyond(graphs.values(), bounds, AT, {}) == []
    stays = sum(
        member.state == "warm" and (member.expires_at or 0) > AT + LINGER
        for one in graphs.values()
        for member in one.members.values()
    )
    total = sum(map(len, found))
    soon = sum(expires <= AT + LINGER for one in found for expires in one.values())
    assert stays == min(total - soon, most) if total > most else stays == total - soon
