from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.lifecycle.operations import Intent, Member, RevisionState, Situation
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store, Stored
from anabranch.control.traffic.tables import Catalogue, Find, Outline, build, first, grace, policy
from anabranch.graph.plan.plan import Signature
from anabranch.router.table import RoutingTable
from anabranch.specs.models import InputSpec, Rollout, Traffic
from tests.control.stores import new_store


def outline(number: int, **traffic: Any) -> Outline:
    shape = InputSpec(datatype="FP32", shape=[-1, number])
    return Outline(Signature({"x": shape}, {}, 1.0), Traffic.model_validate(traffic), False)


def finder(outlines: Mapping[int, Outline]) -> Find:
    return outlines.get


def situation(states: dict[int, RevisionState], **fields: Any) -> Situation:
    members = {number: Member(number, state) for number, state in states.items()}
    return Situation("digits", members=members, **fields)


KNOWN = {number: outline(number, grace=f"{number}s") for number in range(1, 6)}


def table(now: Situation, outlines: Mapping[int, Outline] = KNOWN) -> RoutingTable | None:
    return build(Stored(now, 7), outlines.get, ())


def test_every_revision_that_is_up_can_be_reached() -> None:
    now = situation(
        {1: "live", 2: "warm", 3: "ready", 4: "ready", 5: "deploying"},
        stable=1, weights={1: 90.0, 3: 10.0}, mirrors={4: 25.0},
    )  # fmt: skip
    assert table(now) == RoutingTable(
        "digits", 7, 1, {1: 90.0, 3: 10.0}, {4: 25.0},
        {number: KNOWN[number].signature for number in (1, 2, 3, 4)},
        KNOWN[3].policy,
    )  # fmt: skip


def test_the_first_revision_is_alone_while_it_is_on_its_way() -> None:
    now = situation({2: "deploying", 3: "pending"})
    assert first(now) == 2
    assert table(now) == RoutingTable(
        "digits", 7, 2, {2: 100.0}, {}, {2: KNOWN[2].signature}, KNOWN[2].policy
    )


@pytest.mark.parametrize(
    "now",
    [
        situation({}),
        situation({1: "deploying"}, state="deleting"),
        situation({}, state="deleted"),
    ],
)
def test_where_nothing_is_routed_there_is_no_table(now: Situation) -> None:
    assert table(now) is None


def test_a_revision_that_does_not_compile_does_not_take_the_others_with_it() -> None:
    now = situation(
        {1: "live", 2: "ready", 3: "ready"},
        stable=1, weights={1: 50.0, 2: 50.0}, mirrors={3: 10.0},
    )  # fmt: skip
    found = table(now, {1: KNOWN[1]})
    assert found is not None
    assert (found.weights, found.mirrors, set(found.revisions)) == ({1: 50.0}, {}, {1})
    assert found.policy == KNOWN[1].policy


@pytest.mark.parametrize("weights", [{1: 100.0}, {1: 100.0, 2: 0.0}])
def test_without_any_weight_left_there_is_no_table(weights: dict[int, float]) -> None:
    now = situation({1: "live", 2: "ready"}, stable=1, weights=weights)
    assert table(now, {2: KNOWN[2]}) is None


def test_the_newest_arm_has_the_say_whatever_its_weight() -> None:
    now = situation({1: "live", 2: "ready"}, stable=1, weights={1: 100.0, 2: 0.0})
    found = table(now)
    assert found is not None
    assert found.policy == KNOWN[2].policy
    assert policy([], finder(KNOWN)) == Traffic()


@pytest.mark.parametrize(
    ("phase", "metric", "expected"),
    [
        ("running", "prediction_shift", True),
        ("paused", "prediction_shift", True),
        ("aborted", "prediction_shift", False),
        ("running", "error_rate", False),
    ],
)
def test_distributions_are_kept_while_a_rollout_looks_at_them(
    phase: Any, metric: str, expected: bool
) -> None:
    plan = {
        "steps": [10],
        "analysis": {"interval": "1s", "metrics": [{"metric": metric, "max": 1}]},
    }
    state = RolloutState(2, Rollout.model_validate(plan), phase)
    now = situation({1: "live", 2: "ready"}, stable=1, weights={1: 90.0, 2: 10.0}, rollout=state)
    found = table(now)
    assert found is not None
    assert found.sketch is expected


def test_a_rollout_without_an_analysis_keeps_none() -> None:
    state = RolloutState(2, Rollout.model_validate({"steps": [10]}))
    now = situation({1: "live", 2: "ready"}, stable=1, weights={1: 90.0, 2: 10.0}, rollout=state)
    found = table(now)
    assert found is not None
    assert not found.sketch


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({1: 100.0}, {2: 100.0}, 2.0),
        ({1: 90.0, 3: 10.0}, {1: 100.0}, 3.0),
        ({3: 100.0}, {2: 100.0}, 3.0),
        ({}, {}, 600.0),
        ({9: 1.0}, {}, 600.0),
    ],
)
def test_grace_is_that_of_the_newest_arm_before_or_after(
    before: dict[int, float], after: dict[int, float], expected: float
) -> None:
    assert grace(before, after, finder(KNOWN), 600.0) == expected


def test_grace_of_zero_is_not_the_default() -> None:
    find = finder({1: outline(1, grace="0s"), 2: outline(2)})
    assert grace({1: 1.0}, {}, find, 600.0) == 0.0
    assert grace({2: 1.0}, {}, find, 600.0) == 600.0


SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: digits}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    a: {type: transformer, component: "components.py:A", inputs: {x: x}}
    b: {type: transformer, component: "components.py:A", inputs: {x: a}, placement: {isolate: true}}
  outputs: {y: b}
  traffic: {grace: 3s}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield one
    one.close()


def test_the_catalogue_knows_each_revision_after_the_first_look(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Settings.from_env({"ANABRANCH_HOME": str(tmp_path)}))
    store.ensure_revision("digits", SPEC, "d")
    store.ensure_revision("digits", "kind: Nonsense", "d", intent=Intent("mirror"), force=True)
    find = Catalogue(store, Releases(settings)).of("digits")
    found = find(1)
    assert found is not None
    assert (found.remote, set(found.signature.inputs)) == (True, {"x"})
    assert found.policy == Traffic.model_validate({"grace": "3s"})
    assert find(2) is None
    monkeypatch.setattr(store, "revision", None)
    assert find(1) is found
    assert find(2) is None
