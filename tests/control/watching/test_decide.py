"""What follows from a look at watched models, state by state."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent, Moment, Situation
from anabranch.control.watching.decide import Acknowledge, BackToStable, Move, decide, followed
from anabranch.control.watching.models import WatchedReference, WatchingRevision
from anabranch.specs.models import Rollout

AT = Moment(100.0, 10.0)
ROLLOUT = Intent("rollout", rollout=Rollout.model_validate({"steps": [5.0]}))
CHAMPION, OTHER = "models:/m@champion", "models:/n@champion"
MODELS = {one: WatchedReference(("a",), 30.0) for one in (CHAMPION, OTHER)}


def revision(number: int, version: int = 1, other: int = 1, digest: str = "d") -> WatchingRevision:
    pins = {CHAMPION: f"models:/m/{version}", OTHER: f"models:/n/{other}"}
    return WatchingRevision("g", number, digest, pins, MODELS)


def m(version: int) -> dict[str, str]:
    return {CHAMPION: f"models:/m/{version}"}


def n(version: int) -> dict[str, str]:
    return {OTHER: f"models:/n/{version}"}


def situation(*steps: Any) -> Situation:
    """A graph to which operations were applied; a number arrives, an intent is deployed."""
    now, number = Situation("g"), 0
    for step in steps:
        if isinstance(step, Intent):
            number += 1
            now = operations.created(now, number, step).situation
        elif isinstance(step, int):
            now = operations.arrived(now, AT, step).situation
        else:
            now = step(now, AT).situation
    return now


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        ([], None),
        ([Intent()], 1),
        ([Intent(), 1], 1),
        ([Intent(), 1, Intent()], 2),
        ([Intent(), 1, Intent(), Intent()], 3),
        ([Intent(), 1, ROLLOUT], 2),
        ([Intent(), 1, ROLLOUT, 2], 2),
        ([Intent(), 1, ROLLOUT, 2, operations.aborted], 1),
        ([Intent(), 1, ROLLOUT, 2, ROLLOUT], 3),
        ([Intent(), 1, Intent("canary", 10.0), 2], 1),
        ([Intent(), 1, Intent("mirror", 10.0)], 1),
        ([Intent(), 1, Intent(), 2, partial(operations.rolled_back, number=1)], 1),
        ([Intent(), partial(operations.failed, number=1, reason="")], None),
    ],
)
def test_what_a_graph_goes_on_from(steps: list[Any], number: int | None) -> None:
    assert followed(situation(*steps)) == number


def test_nothing_moved() -> None:
    assert decide(revision(1), revision(1), {}, m(1)) is None
    assert decide(revision(1), revision(1), m(1), {}) is None


def test_a_move_keeps_the_other_pins() -> None:
    pins = {**m(2), **n(1)}
    assert decide(revision(1), revision(1), {}, m(2)) == Move(pins, m(2))
    assert decide(revision(1), None, m(1), m(2)) == Move(pins, m(2))


def test_several_moves_are_one() -> None:
    found = {**m(2), **n(5)}
    assert decide(revision(1), revision(1), {}, found) == Move(found, found)


def test_what_was_tried_is_not_tried_again_until_it_moves() -> None:
    stable = revision(1)  # the revision with version 2 failed, or was aborted
    assert decide(stable, stable, m(2), m(2)) is None
    assert decide(stable, stable, m(2), m(3)) == Move({**m(3), **n(1)}, m(3))
    assert decide(stable, stable, m(3), m(2)) == Move({**m(2), **n(1)}, m(2))
    assert decide(stable, stable, m(2), {**m(2), **n(5)}) == Move({**m(1), **n(5)}, n(5))


def test_back_to_what_the_stable_revision_has() -> None:
    assert decide(revision(2, 2), revision(1), m(2), m(1)) == BackToStable(m(1))
    assert decide(revision(1), revision(1), m(2), m(1)) == Acknowledge(m(1))
    other = revision(2, 2, digest="other code")
    assert decide(other, revision(1), m(2), m(1)) == Move({**m(1), **n(1)}, m(1))


versions = st.integers(1, 3)


@given(st.lists(st.tuples(versions, versions), min_size=1), versions)
def test_a_decision_that_was_acted_on_is_not_made_again(
    looks: list[tuple[int, int]], start: int
) -> None:
    base = stable = revision(1, start, start)
    seen: dict[str, str] = {}
    for number, (version, other) in enumerate(looks, 2):
        found = {**m(version), **n(other)}
        decision = decide(base, stable, seen, found)
        if decision is None:
            assert {**base.pins, **seen} == found
            continue
        seen |= decision.changes
        if isinstance(decision, Move):
            base = WatchingRevision("g", number, "d", decision.pins, MODELS)
        elif isinstance(decision, BackToStable):
            base = stable
        assert base.pins == found
        assert decide(base, stable, seen, found) is None
