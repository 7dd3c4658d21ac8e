"""Verdicts on versions, state by state, and their tags."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent, Moment
from anabranch.control.lifecycle.rollouts import Measurement
from anabranch.control.store.store import Store
from anabranch.control.watching.verdicts import (
    ModelVerdict,
    removed,
    tags_of,
    telling,
    verdict_on,
)
from anabranch.specs.models import Rollout

AT = Moment(100.0, 10.0)
LATER = Moment(1e9, 10.0)
PLAN = {
    "steps": [5.0],
    "analysis": {"interval": "10s", "metrics": [{"metric": "error_rate", "max": 0.1}]},
}
ROLLOUT = Intent("rollout", rollout=Rollout.model_validate(PLAN))
FOUND = Measurement("error_rate", "fail", "0.5 > 0.1", 0.5, 0.1, 12)


def arrive(number: int) -> Any:
    return partial(operations.arrived, number=number)


@pytest.mark.parametrize(
    ("steps", "number", "state", "reason"),
    [
        ([Intent()], 1, "deploying", ""),
        ([Intent(), arrive(1)], 1, "live", ""),
        ([Intent(), arrive(1), Intent(), arrive(2)], 1, "replaced", "replaced by revision 2"),
        ([Intent(), arrive(1), ROLLOUT, arrive(2)], 2, "canary", ""),
        ([Intent(), arrive(1), Intent("mirror", 5.0), arrive(2)], 2, "mirror", ""),
        (
            [Intent(), arrive(1), ROLLOUT, arrive(2), partial(operations.aborted, reason="bad")],
            2, "aborted", "aborted: bad",
        ),
        (
            [Intent(), arrive(1), ROLLOUT, arrive(2), partial(operations.aborted, reason="bad"),
             operations.expired],
            2, "aborted", "aborted: bad",
        ),
        (
            [Intent(), partial(operations.failed, number=1, reason="no file")],
            1, "failed-to-load", "no file",
        ),
        ([Intent(), arrive(1), Intent(), Intent()], 2, "replaced", "superseded by revision 3"),
        (
            [Intent(), arrive(1), ROLLOUT, arrive(2), ROLLOUT, arrive(3)],
            2, "replaced", "revision 3 is rolled out",
        ),
        ([Intent(), arrive(1), operations.deleted], 1, "removed", "the graph was deleted"),
    ],
)  # fmt: skip
def test_states(store: Store, steps: list[Any], number: int, state: str, reason: str) -> None:
    for index, step in enumerate(steps):
        if isinstance(step, Intent):
            store.ensure_revision("g", "spec", f"d{index}", intent=step, force=True)
        else:
            moment = LATER if step is operations.expired else AT
            store.change("g", lambda now, step=step, moment=moment: step(now, moment))
    found = verdict_on(store.situation("g").situation, store.revision("g", number))
    assert (found.state, found.reason, found.revision) == (state, reason, number)


def test_the_analysis_of_its_rollout(store: Store) -> None:
    for intent, number in ((Intent(), 1), (ROLLOUT, 2)):
        store.ensure_revision("g", "spec", f"d{number}", intent=intent)
        store.change("g", lambda now, number=number: operations.arrived(now, AT, number))
    store.change("g", lambda now: operations.looked(now, AT, [FOUND]))
    now = store.situation("g").situation
    assert verdict_on(now, store.revision("g", 2)).analysis == (FOUND,)
    assert verdict_on(now, store.revision("g", 2)).state == "aborted"
    assert verdict_on(now, store.revision("g", 1)).analysis == ()


def test_of_several_revisions_the_one_that_is_live_tells(store: Store) -> None:
    for number in (1, 2, 3):
        store.ensure_revision("g", "spec", f"d{number}")
        if number < 3:
            store.change("g", lambda now, number=number: operations.arrived(now, AT, number))
    store.change("g", lambda now: operations.failed(now, AT, 3, "no"))
    revisions = store.revisions("g")
    assert telling(revisions).number == 2
    assert telling([one for one in revisions if one.number != 2]).number == 3


def test_tags() -> None:
    found = tags_of(ModelVerdict("team/g", 2, "aborted", "aborted: bad", (FOUND,)), {})
    rows = [{"metric": "error_rate", "verdict": "fail", "value": 0.5, "limit": 0.1, "samples": 12}]
    assert json.loads(found.pop("anabranch.analysis")) == rows
    assert json.loads(found.pop("anabranch.graph.team/g")) == {
        "state": "aborted", "revision": 2, "reason": "aborted: bad", "analysis": rows,
    }  # fmt: skip
    assert found == {
        "anabranch.graph": "team/g", "anabranch.state": "aborted", "anabranch.revision": "2",
        "anabranch.reason": "aborted: bad",
    }  # fmt: skip


def test_the_analysis_stays_with_its_revision() -> None:
    before = tags_of(ModelVerdict("g", 2, "canary", "", (FOUND,)), {})
    later = tags_of(ModelVerdict("g", 2, "replaced", "superseded"), before)
    assert later["anabranch.analysis"] == before["anabranch.analysis"]
    assert tags_of(removed("g", 2), later)["anabranch.analysis"] == before["anabranch.analysis"]
    assert tags_of(ModelVerdict("g", 3, "live"), before)["anabranch.analysis"] == "[]"


def test_numbers_alone_are_no_news() -> None:
    def tags(verdict: str, value: float, before: dict[str, str], state: Any = "canary") -> Any:
        found = replace(FOUND, verdict=verdict, value=value)
        return tags_of(ModelVerdict("g", 2, state, "", (found,)), before)

    first = tags("pass", 0.01, {})
    assert tags("pass", 0.02, first) == first
    assert '"value":0.3' in tags("fail", 0.3, first)["anabranch.analysis"]
    assert '"value":0.02' in tags("pass", 0.02, first, "live")["anabranch.analysis"]


@given(st.lists(st.builds(
    Measurement, st.text(max_size=90), st.just("pass"), st.text(), st.floats() | st.none(),
    st.floats() | st.none(), st.integers(0, 10**9),
), max_size=60), st.text(max_size=9000))  # fmt: skip
def test_tags_are_bounded_json(found: list[Measurement], reason: str) -> None:
    tags = tags_of(ModelVerdict("g", 2, "aborted", reason, tuple(found)), {})
    for key in ("anabranch.analysis", "anabranch.graph.g"):
        json.loads(tags[key], parse_constant=pytest.fail)
        assert len(tags[key]) <= 9000
