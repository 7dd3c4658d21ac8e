from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from anabranch.control.lifecycle.operations import (
    LINGER,
    Change,
    Intent,
    Member,
    Moment,
    Situation,
    aborted,
    approved,
    arrived,
    asked,
    created,
    deleted,
    expired,
    failed,
    gone,
    loaded,
    looked,
    mirrored,
    paused,
    preferred,
    promoted,
    redeployed,
    repeated,
    resumed,
    rolled_back,
    split,
    started,
    stepped,
    unloaded,
)
from anabranch.control.lifecycle.rollouts import Measurement, RolloutState
from anabranch.errors import Conflict, Forbidden, InvalidRequest, NotFound
from anabranch.specs.models import Approval, Rollout
from tests.control.machine import LifecycleMachine
from tests.examples import examples

AT, GRACE = 1000.0, 30.0
MOMENT = Moment(AT, GRACE)
Step: TypeAlias = Callable[[Situation], Change]
PLAN = Rollout.model_validate(
    {
        "steps": [10, 50],
        "analysis": {"interval": "10s", "metrics": [{"metric": "error_rate", "max": 0.01}]},
        "webhooks": ["http://127.0.0.1:9/hook"],
    }
)
AGREEING = Rollout.model_validate({"steps": [10, 50], "hold": "1s", "mirror": 100})
ROLLOUT = Intent("rollout", rollout=PLAN)
PASS = Measurement("error_rate", "pass", "0 <= 0.01", 0.0, 0.01, 100)
FAIL = Measurement("error_rate", "fail", "0.2 > 0.01", 0.2, 0.01, 100)
UNSURE = Measurement("error_rate", "inconclusive", "no samples")


def after(*operations: Step, now: Situation | None = None) -> Situation:
    """The situation after some operations, as the store keeps it."""
    now = now or Situation("digits")
    for operation in operations:
        situation = operation(now).situation
        kept = {n: m for n, m in situation.members.items() if m.state not in ("retired", "failed")}
        now = replace(situation, members=kept)
    return now


def deploy(number: int, intent: Intent | None = None) -> Step:
    return lambda now: created(now, number, intent or Intent())


def arrive(number: int, at: float = AT) -> Step:
    return lambda now: arrived(now, Moment(at, GRACE), number)


def up(number: int, intent: Intent | None = None) -> Step:
    """Deploy a revision and bring it up."""

    def both(now: Situation) -> Change:
        coming = created(now, number, intent or Intent())
        change = arrived(coming.situation, MOMENT, number)
        return replace(change, notes=(*coming.notes, *change.notes))

    return both


def promote(number: int) -> Step:
    return lambda now: promoted(now, MOMENT, number)


def abort(now: Situation) -> Change:
    return aborted(now, MOMENT, "no good")


def delete(now: Situation) -> Change:
    return deleted(now, MOMENT)


def end(now: Situation) -> Change:
    return gone(now, MOMENT)


def share(weights: Mapping[int, float]) -> Step:
    return lambda now: split(now, MOMENT, weights)


def copy(mirrors: Mapping[int, float]) -> Step:
    return lambda now: mirrored(now, MOMENT, mirrors)


def look(*found: Measurement, at: float = AT) -> Step:
    return lambda now: looked(now, Moment(at, GRACE), list(found))


def states(now: Situation) -> dict[int, str]:
    return {number: member.state for number, member in sorted(now.members.items())}


def kinds(change: Change) -> list[tuple[int | None, str]]:
    return [(note.revision, note.kind) for note in change.notes]


def paused_by_user(now: Situation) -> Change:
    return paused(now, MOMENT, "user", "")


CANARY = Intent("canary", 10.0)
MIRROR = Intent("mirror", 25.0)
ONE = after(up(1))
TWO = after(up(2, CANARY), now=ONE)
COPIED = after(up(2, MIRROR), now=ONE)
ROLLED = after(up(2, ROLLOUT), now=ONE)
WARM = after(up(2), now=ONE)


# Deploying


def test_a_new_revision_is_pending() -> None:
    change = created(Situation("digits"), 1, CANARY)
    assert change.situation.members == {1: Member(1, intent=CANARY)}
    assert change.situation.coming == (1,) and change.situation.up == frozenset()
    assert [(note.kind, note.message) for note in change.notes] == [
        ("revision_created", "canary 10 %")
    ]


@pytest.mark.parametrize(
    ("intent", "text"),
    [
        (Intent(), ""),
        (Intent("canary", 0.5), "canary 0.5 %"),
        (Intent("mirror", 100.0), "mirror 100 %"),
        (ROLLOUT, "rollout 10, 50 %"),
    ],
)
def test_an_event_says_what_a_revision_is_for(intent: Intent, text: str) -> None:
    assert created(ONE, 2, intent).notes[-1].message == text


@pytest.mark.parametrize("intent", [Intent(), ROLLOUT])
def test_what_takes_over_supersedes_what_is_on_its_way(intent: Intent) -> None:
    now = after(deploy(2, CANARY), deploy(3, CANARY), deploy(4, MIRROR), now=ONE)
    change = created(now, 5, intent)
    members = change.situation.members
    assert states(change.situation) == {
        1: "live", 2: "failed", 3: "failed", 4: "failed", 5: "pending"
    }  # fmt: skip
    assert {members[n].reason for n in now.coming} == {"superseded by revision 5"}
    assert kinds(change) == [*((n, "deploy_failed") for n in now.coming), (5, "revision_created")]


@pytest.mark.parametrize(
    ("first", "intent"), [(CANARY, CANARY), (CANARY, MIRROR), (Intent(), MIRROR)]
)
def test_what_comes_beside_supersedes_nothing(first: Intent, intent: Intent) -> None:
    now = after(deploy(2, first), deploy(3, intent), now=ONE)
    assert now.coming == (2, 3)


@pytest.mark.parametrize(
    ("intent", "text"),
    [
        (Intent("canary", 100.5), "a canary takes 0 to 100 percent, got 100.5"),
        (Intent("canary", -1), "a canary takes 0 to 100 percent, got -1"),
        (Intent("canary", math.nan), "got nan"),
        (Intent("mirror", 0.0), "a mirror takes above 0 to 100 percent, got 0.0"),
        (Intent("mirror", math.inf), "got inf"),
        (Intent("shadow"), "no intent 'shadow'; there are: replace, canary, mirror, rollout"),  # type: ignore[arg-type]
        (Intent("rollout"), "a rollout needs one"),
        (Intent("canary", 5, PLAN), "a plan is for a rollout"),
    ],
)
def test_an_intent_that_makes_no_sense_is_refused(intent: Intent, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        created(ONE, 2, intent)


def test_a_canary_cannot_take_from_a_rollout() -> None:
    with pytest.raises(Conflict, match="the rollout of revision 2 moves the weights of 'digits'"):
        created(ROLLED, 3, CANARY)
    coming = after(deploy(2, ROLLOUT), now=ONE)
    with pytest.raises(Conflict, match="revision 2 of graph 'digits' is on its way to be rolled"):
        created(coming, 3, CANARY)
    assert created(ROLLED, 3, MIRROR).situation.coming == (3,)


def test_a_canary_would_lose_its_share_to_a_replacement_on_its_way() -> None:
    coming = after(deploy(2), now=ONE)
    with pytest.raises(Conflict, match="revision 2 of graph 'digits' is on its way to become the"):
        created(coming, 3, CANARY)
    first = after(deploy(1), deploy(2, CANARY), arrive(1), arrive(2))
    assert first.stable == 1 and first.weights == {1: 90.0, 2: 10.0}


def test_deploying_brings_a_deleted_graph_back() -> None:
    for now in (after(delete, now=TWO), after(delete, end, now=TWO)):
        back = after(up(3), now=now)
        assert (back.state, back.stable, back.weights) == ("present", 3, {3: 100.0})


def test_redeploying_brings_a_deleted_graph_back() -> None:
    for now in (after(delete, now=ONE), after(delete, end, now=ONE)):
        change = redeployed(now, MOMENT, 1)
        assert change.situation.state == "present" and kinds(change) == [(1, "redeployed")]
        assert after(arrive(1), now=change.situation).stable == 1


# On its way


def test_only_a_pending_revision_starts() -> None:
    now = after(deploy(2), now=ONE)
    change = started(now, MOMENT, 2)
    assert states(change.situation)[2] == "deploying" and kinds(change) == [(2, "deploy_started")]
    for number in (1, 2, 7):
        assert started(change.situation, MOMENT, number) == Change(change.situation)


def test_only_a_revision_on_its_way_fails() -> None:
    for now in (
        after(deploy(2), now=ONE),
        after(deploy(2), lambda n: started(n, MOMENT, 2), now=ONE),
    ):
        change = failed(now, MOMENT, 2, "no file")
        assert change.situation.members[2] == Member(2, "failed", reason="no file")
        assert [(n.kind, n.message) for n in change.notes] == [("deploy_failed", "no file")]
    for number in (1, 7):
        assert failed(ONE, MOMENT, number, "no") == Change(ONE)


@pytest.mark.parametrize("intent", [Intent(), CANARY, MIRROR, ROLLOUT])
def test_the_first_revision_goes_live_whatever_it_is_for(intent: Intent) -> None:
    change = arrived(after(deploy(1, intent)), MOMENT, 1)
    now = change.situation
    assert (now.stable, now.weights, now.mirrors, now.rollout) == (1, {1: 100.0}, {}, None)
    assert now.members[1].live_at == AT and kinds(change) == [(1, "promoted")]


def test_arrival_is_told_once() -> None:
    for number in (1, 7):
        assert arrived(ONE, MOMENT, number) == Change(ONE)


def test_a_replacement_takes_all_traffic_and_leaves_the_old_one_warm() -> None:
    change = arrived(after(deploy(2), now=ONE), MOMENT, 2)
    now = change.situation
    assert (now.stable, now.weights) == (2, {2: 100.0}) and kinds(change) == [(2, "promoted")]
    old = now.members[1]
    assert (old.state, old.reason, old.expires_at) == ("warm", "replaced by revision 2", AT + GRACE)


@pytest.mark.parametrize(("grace", "stays"), [(0.0, LINGER), (1.0, LINGER), (600.0, 600.0)])
def test_a_replaced_revision_lingers_until_no_router_sends_to_it(
    grace: float, stays: float
) -> None:
    now = arrived(after(deploy(2), now=ONE), Moment(AT, grace), 2).situation
    assert now.members[1].expires_at == AT + stays


def test_a_canary_takes_its_share_from_all_arms() -> None:
    assert TWO.weights == {1: 90.0, 2: 10.0} and states(TWO) == {1: "live", 2: "ready"}
    assert TWO.candidate == 2
    three = after(up(3, Intent("canary", 50.0)), now=TWO)
    assert three.weights == {1: 45.0, 2: 5.0, 3: 50.0} and three.candidate == 3


@pytest.mark.parametrize(("percent", "weights"), [(0.0, {1: 100, 2: 0}), (100.0, {1: 0, 2: 100})])
def test_a_canary_of_nothing_and_of_all(percent: float, weights: dict[int, float]) -> None:
    assert after(up(2, Intent("canary", percent)), now=ONE).weights == weights


@pytest.mark.parametrize("weight", [1e-300, 1e300, 3.0])
def test_a_canary_beside_arms_of_any_weight(weight: float) -> None:
    now = after(share({1: weight}), up(2, CANARY), now=ONE)
    assert now.weights == {1: pytest.approx(90.0), 2: 10.0}


def test_a_mirror_gets_copies_and_no_weight() -> None:
    change = up(2, MIRROR)(ONE)
    now = change.situation
    assert (now.weights, now.mirrors, states(now)[2]) == ({1: 100.0}, {2: 25.0}, "ready")
    assert kinds(change)[1:] == [(2, "ready"), (None, "mirrors_changed")]


# Promotion and its reverse


def test_promotion_keeps_mirrors_and_cools_arms() -> None:
    now = after(up(3, MIRROR), up(4, CANARY), promote(4), now=TWO)
    assert states(now) == {1: "warm", 2: "warm", 3: "ready", 4: "live"}
    assert (now.weights, now.mirrors) == ({4: 100.0}, {3: 25.0})


def test_a_promoted_mirror_is_one_no_longer() -> None:
    now = after(promote(2), now=COPIED)
    assert (now.stable, now.mirrors, now.members[2].expires_at) == (2, {}, None)


def test_promoting_a_warm_revision_is_a_rollback() -> None:
    change = promoted(WARM, Moment(AT + 5, GRACE), 1)
    now = change.situation
    assert (now.stable, now.weights, states(now)) == (1, {1: 100.0}, {1: "live", 2: "warm"})
    assert now.members[1] == Member(1, "live", live_at=AT + 5)
    assert kinds(change) == [(1, "promoted")]


def test_going_back_gives_up_what_is_on_its_way() -> None:
    """Or it would overtake the rollback."""
    for intent in (Intent(), ROLLOUT, CANARY, MIRROR):
        now = after(deploy(3, intent), now=WARM)
        change = rolled_back(now, Moment(AT + 5, GRACE), 1)
        reason = "superseded by the rollback to revision 1"
        assert kinds(change) == [(3, "deploy_failed"), (1, "promoted")]
        assert change.situation.members[3].reason == reason
        later = after(arrive(3), now=change.situation)
        assert (later.stable, later.weights) == (1, {1: 100.0})


def test_going_back_to_the_stable_one_calls_off_a_deploy() -> None:
    change = rolled_back(after(deploy(3), now=WARM), MOMENT, 2)
    assert states(change.situation) == {1: "warm", 2: "live", 3: "failed"}


def test_going_back_to_what_is_down_ends_a_rollout_at_once() -> None:
    """Until it is up, the candidate must not get more and more."""
    change = rolled_back(ROLLED, MOMENT, 9)
    now = change.situation
    assert now.coming == (9,) and now.weights == {1: 100.0} and states(now)[2] == "warm"
    assert kinds(change) == [(9, "redeployed"), (2, "rollout_aborted"), (2, "aborted")]
    assert state_of(now).reason == "rollback to revision 9"
    assert after(arrive(9), now=now).stable == 9
    assert kinds(rolled_back(TWO, MOMENT, 9)) == [(9, "redeployed")]


def test_what_somebody_promotes_is_not_overtaken_by_an_older_one() -> None:
    now = after(deploy(2), up(3, MIRROR), now=ONE)
    change = preferred(now, MOMENT, 3)
    assert kinds(change) == [(2, "deploy_failed"), (3, "promoted")]
    assert change.situation.members[2].reason == "superseded by the promotion of revision 3"
    assert after(arrive(2), now=change.situation).stable == 3


def test_what_is_newer_than_what_somebody_promotes_still_comes() -> None:
    now = after(lambda n: preferred(n, MOMENT, 2), now=after(deploy(3), now=TWO))
    assert (now.stable, now.coming) == (2, (3,))


def test_a_rollout_that_ends_well_does_not_call_off_a_rollback() -> None:
    now = after(lambda n: redeployed(n, MOMENT, 9), promote(2), now=ROLLED)
    assert (now.stable, now.coming) == (2, (9,))


def test_promoting_the_stable_one_with_all_traffic_changes_nothing() -> None:
    assert promoted(ONE, Moment(AT + 5, GRACE), 1) == Change(ONE)


def test_promoting_the_stable_one_takes_the_others_out() -> None:
    now = promoted(TWO, Moment(AT + 5, GRACE), 1).situation
    assert (now.stable, now.weights, states(now)[2]) == (1, {1: 100.0}, "warm")
    assert now.members[1].live_at == AT


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (2, Conflict, r"revision 2 of graph 'digits' is pending; up are: r1 \(live\)"),
        (7, NotFound, r"revision 7 of graph 'digits' does not run; up are: r1 \(live\)"),
    ],
)
@pytest.mark.parametrize("operation", [promote, lambda n: share({n: 1}), lambda n: copy({n: 1})])
def test_what_does_not_run_takes_no_traffic(
    operation: Callable[[int], Step], number: int, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        operation(number)(after(deploy(2), now=ONE))


def test_aborting_gives_all_back_to_the_stable_one() -> None:
    now = after(up(3, MIRROR), up(4, CANARY), now=TWO)
    change = abort(now)
    assert change.situation.weights == {1: 100.0} and change.situation.mirrors == {3: 25.0}
    assert states(change.situation) == {1: "live", 2: "warm", 3: "ready", 4: "warm"}
    assert change.situation.members[4].reason == "aborted: no good"
    assert kinds(change) == [(2, "aborted"), (4, "aborted")]


def test_aborting_also_when_the_stable_one_had_nothing() -> None:
    assert abort(after(share({2: 1}), now=TWO)).situation.weights == {1: 100.0}


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (Situation("digits"), "has no live revision to go back to"),
        (ONE, "nothing to abort: revision 1 of 'digits' has all traffic"),
        (COPIED, "nothing to abort"),
    ],
)
def test_nothing_to_abort(now: Situation, text: str) -> None:
    with pytest.raises(Conflict, match=text):
        abort(now)


def test_redeploying_brings_a_revision_that_is_down_back_to_replace() -> None:
    now = after(up(3), lambda n: expired(n, Moment(AT + 99, GRACE)), deploy(4), now=WARM)
    assert sorted(now.members) == [3, 4]
    change = redeployed(now, MOMENT, 1)
    assert states(change.situation) == {1: "pending", 3: "live", 4: "failed"}
    assert kinds(change) == [(4, "deploy_failed"), (1, "redeployed")]
    assert after(arrive(1), now=change.situation).stable == 1


@pytest.mark.parametrize(
    ("now", "number", "text"),
    [
        (ONE, 1, "revision 1 of graph 'digits' is live, not down"),
        (WARM, 1, "is warm, not down"),
        (after(deploy(2), now=ONE), 2, "is pending, not down"),
    ],
)
def test_redeploying_what_is_not_down(now: Situation, number: int, text: str) -> None:
    with pytest.raises(Conflict, match=text):
        redeployed(now, MOMENT, number)


def test_redeploying_is_never_refused_for_a_rollout() -> None:
    """Going back must work at any time; the rollout ends when the revision is up."""
    now = after(lambda n: redeployed(n, MOMENT, 9), arrive(9), now=ROLLED)
    assert now.stable == 9 and now.rollout is not None and now.rollout.phase == "aborted"


# Weights and mirrors


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({1: 70, 2: 30}, {1: 70.0, 2: 30.0}),
        ({2: 1}, {1: 0.0, 2: 1.0}),
        ({1: 99.95, 2: 0.05}, {1: 99.95, 2: 0.05}),
        ({1: 1, 2: 0}, {1: 1.0, 2: 0.0}),
        ({1: 1e300}, {1: 1e300, 2: 0.0}),
    ],
)
def test_weights_are_relative(weights: dict[int, float], expected: dict[int, float]) -> None:
    change = split(TWO, MOMENT, weights)
    assert change.situation.weights == expected
    assert all(isinstance(weight, float) for weight in change.situation.weights.values())
    assert kinds(change) == [(None, "weights_changed")]


def test_a_weight_wakes_a_warm_revision() -> None:
    now = split(WARM, MOMENT, {1: 50, 2: 50}).situation
    assert now.members[1] == Member(1, "ready", live_at=AT)


def test_the_same_weights_change_nothing() -> None:
    assert split(TWO, MOMENT, {1: 90, 2: 10}) == Change(TWO)


@pytest.mark.parametrize("weight", [-1, -1e-300, math.nan, math.inf, -math.inf, 1e301, 10**400])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(InvalidRequest, match=r"a weight is a number from 0 to 1e\+300, got r2="):
        split(TWO, MOMENT, {1: 0.5, 2: weight})


@pytest.mark.parametrize(
    "weights",
    [{}, {1: 0}, {1: 0, 2: 0}, {1: 1e300, 2: 1e300}, {1: 5e-324}, {1: 10**300, 2: 10**300}],
)
def test_a_sum_that_cannot_be_shared_is_refused(weights: dict[int, float]) -> None:
    with pytest.raises(InvalidRequest, match="the sum of the weights must be from 1e-300 to 1e"):
        split(TWO, MOMENT, weights)


def test_a_rollout_alone_moves_weights() -> None:
    with pytest.raises(Conflict, match="abort or promote it first"):
        split(ROLLED, MOMENT, {1: 1})


def test_mirrors_are_set_one_by_one() -> None:
    now = after(up(3, MIRROR), copy({2: 50}), now=COPIED)
    assert now.mirrors == {2: 50.0, 3: 25.0}
    assert mirrored(now, MOMENT, {2: 50}) == Change(now)
    assert mirrored(now, MOMENT, {}) == Change(now)


def test_a_mirror_that_ends_stays_warm_unless_it_is_an_arm() -> None:
    now = after(copy({2: 0}), now=COPIED)
    assert (now.mirrors, now.members[2].state) == ({}, "warm")
    assert now.members[2].reason == "no longer a mirror"
    both = after(copy({2: 5}), copy({2: 0}), now=TWO)
    assert both == TWO


def test_a_warm_revision_may_become_a_mirror() -> None:
    now = after(copy({1: 5}), now=WARM)
    assert (now.mirrors, now.members[1].state, now.members[1].expires_at) == (
        {1: 5.0},
        "ready",
        None,
    )


@pytest.mark.parametrize("percent", [-1, 100.5, math.nan, math.inf])
def test_a_share_of_copies_is_of_a_hundred(percent: float) -> None:
    with pytest.raises(InvalidRequest, match=r"a mirror takes 0 to 100 percent, got r2="):
        mirrored(COPIED, MOMENT, {2: percent})


def test_the_stable_one_cannot_mirror_itself() -> None:
    with pytest.raises(InvalidRequest, match="revision 1 is the stable one"):
        mirrored(COPIED, MOMENT, {1: 5})


def test_the_copies_of_a_rollout_are_its_own() -> None:
    rolled = after(up(2, Intent("rollout", rollout=AGREEING)), up(3, MIRROR), now=ONE)
    assert rolled.mirrors == {2: 100.0, 3: 25.0}
    with pytest.raises(Conflict, match="the rollout of revision 2 moves the copies"):
        mirrored(rolled, MOMENT, {2: 0})
    assert mirrored(rolled, MOMENT, {3: 0}).situation.mirrors == {2: 100.0}


# Rollouts


def state_of(now: Situation) -> RolloutState:
    assert now.rollout is not None
    return now.rollout


def test_a_rollout_begins_with_the_stable_one_and_the_new_one_alone() -> None:
    now = after(up(3, MIRROR), now=TWO)
    change = up(4, ROLLOUT)(now)
    assert change.situation.weights == {1: 90.0, 4: 10.0} and change.situation.mirrors == {3: 25.0}
    assert states(change.situation) == {1: "live", 2: "warm", 3: "ready", 4: "ready"}
    assert change.situation.members[2].reason == "revision 4 is rolled out"
    assert kinds(change)[1:] == [(4, "ready"), (4, "rollout_started")]
    note = change.notes[-1]
    assert (note.message, note.notify) == ("step 1 of 2: 10 %", ("http://127.0.0.1:9/hook",))
    assert note.data == {"step": 1, "weight": 10.0, "phase": "running"}


def test_a_rollout_ends_the_one_before_it() -> None:
    first = after(up(2, Intent("rollout", rollout=AGREEING)), now=ONE)
    change = up(3, ROLLOUT)(first)
    now = change.situation
    assert (now.weights, now.mirrors, states(now)[2]) == ({1: 90.0, 3: 10.0}, {}, "warm")
    assert kinds(change)[2:] == [(2, "rollout_aborted"), (3, "rollout_started")]


def test_steps_go_to_the_last_and_no_further() -> None:
    change = stepped(ROLLED, Moment(AT + 9, GRACE))
    now = change.situation
    assert now.weights == {1: 50.0, 2: 50.0} and state_of(now).since == AT + 9
    assert [(n.kind, n.message) for n in change.notes] == [("rollout_step", "step 2 of 2: 50 %")]
    with pytest.raises(Conflict, match="the rollout of revision 2 is in its last step"):
        stepped(now, MOMENT)


def test_a_paused_rollout_takes_no_step() -> None:
    now = after(lambda n: paused(n, MOMENT, "user", ""), now=ROLLED)
    with pytest.raises(Conflict, match="the rollout of revision 2 is paused"):
        stepped(now, MOMENT)


def test_promotion_by_its_rollout_completes_it() -> None:
    change = promoted(ROLLED, MOMENT, 2)
    assert state_of(change.situation).phase == "promoted"
    assert kinds(change) == [(2, "rollout_promoted"), (2, "promoted")]


@pytest.mark.parametrize("number", [1, 3])
def test_promotion_of_another_ends_it_with_its_copies(number: int) -> None:
    rolled = after(up(2, Intent("rollout", rollout=AGREEING)), up(3, MIRROR), now=ONE)
    change = promoted(rolled, MOMENT, number)
    now = change.situation
    assert (now.stable, now.weights, states(now)[2]) == (number, {number: 100.0}, "warm")
    assert 2 not in now.mirrors
    assert state_of(now).phase == "aborted"
    assert state_of(now).reason == f"revision {number} was promoted"
    assert kinds(change) == [(2, "rollout_aborted"), (number, "promoted")]


def test_a_replacement_arriving_ends_it_too() -> None:
    now = after(up(3), now=ROLLED)
    assert (now.stable, state_of(now).phase, states(now)[2]) == (3, "aborted", "warm")


def test_aborting_a_rollout_keeps_its_candidate_for_inspection() -> None:
    rolled = after(up(2, Intent("rollout", rollout=AGREEING)), now=ONE)
    change = abort(rolled)
    now = change.situation
    assert (now.weights, now.mirrors) == ({1: 100.0}, {})
    assert now.members[2].expires_at == AT + GRACE
    assert (state_of(now).phase, state_of(now).reason) == ("aborted", "no good")
    assert kinds(change) == [(2, "rollout_aborted"), (2, "aborted")]


@pytest.mark.parametrize("by", ["user", "gate", "step"])
def test_pausing_and_going_on(by: Any) -> None:
    change = paused(ROLLED, MOMENT, by, "why")
    state = state_of(change.situation)
    assert (state.phase, state.paused_by, state.reason) == ("paused", by, "why")
    assert change.situation.weights == ROLLED.weights
    assert [(n.kind, n.message) for n in change.notes] == [("rollout_paused", "why")]
    assert paused(change.situation, MOMENT, by, "again") == Change(change.situation)
    change = resumed(change.situation, Moment(AT + 5, GRACE))
    assert state_of(change.situation).phase == "running"
    assert kinds(change) == [(2, "rollout_resumed")]


def test_only_the_user_and_a_refusal_pause_what_is_paused() -> None:
    """Else a look that passes would let go on what the user stopped."""
    by_user = after(lambda n: paused(n, MOMENT, "user", ""), now=ROLLED)
    assert paused(by_user, MOMENT, "gate", "refused") == Change(by_user)
    by_gate = after(lambda n: paused(n, MOMENT, "gate", "refused"), now=ROLLED)
    for by in ("user", "refusal"):
        change = paused(by_gate, MOMENT, by, "again")
        assert (state_of(change.situation).paused_by, len(change.notes)) == (by, 1)


def test_what_runs_cannot_be_resumed() -> None:
    with pytest.raises(Conflict, match="the rollout of revision 2 is not paused"):
        resumed(ROLLED, MOMENT)


@pytest.mark.parametrize(
    "operation",
    [
        lambda now: stepped(now, MOMENT),
        lambda now: paused(now, MOMENT, "user", ""),
        lambda now: resumed(now, MOMENT),
        look(PASS),
    ],
)
@pytest.mark.parametrize("now", [ONE, after(abort, now=ROLLED), after(promote(2), now=ROLLED)])
def test_without_a_rollout_nothing_moves(operation: Step, now: Situation) -> None:
    with pytest.raises(Conflict, match="no rollout of graph 'digits' is in progress"):
        operation(now)


def test_a_look_that_passes_is_logged_with_its_evidence() -> None:
    change = looked(ROLLED, Moment(AT + 10, GRACE), [PASS])
    assert state_of(change.situation).verdict == "pass"
    assert change.situation.weights == ROLLED.weights
    (note,) = change.notes
    assert (note.kind, note.message, note.notify) == ("analysis_pass", "0 <= 0.01", ())
    assert note.data["step"] == 1
    assert note.data["measurements"] == [
        {"metric": "error_rate", "verdict": "pass", "value": 0.0, "limit": 0.01, "samples": 100,
         "message": "0 <= 0.01"}
    ]  # fmt: skip


def test_a_look_that_fails_sends_all_traffic_back_at_once() -> None:
    change = looked(ROLLED, Moment(AT + 10, GRACE), [FAIL])
    now, state = change.situation, state_of(change.situation)
    assert now.weights == {1: 100.0} and now.members[2].expires_at == AT + 10 + GRACE
    assert state.phase == "aborted" and "0.2 > 0.01" in state.reason
    assert state.failures == {"error_rate": 1} and state.verdict == "fail"
    assert kinds(change) == [(2, "analysis_fail"), (2, "rollout_aborted"), (2, "aborted")]
    assert change.notes[1].message == state.reason and change.notes[1].notify


def test_a_rollout_that_waits_for_weeks_does_not_fill_the_log() -> None:
    waiting = after(look(UNSURE), now=ROLLED)
    change = looked(waiting, Moment(AT + 20, GRACE), [UNSURE])
    assert change.notes == () and state_of(change.situation).looked_at == AT + 20
    held = after(lambda n: paused(n, MOMENT, "user", ""), look(PASS), now=ROLLED)
    assert looked(held, Moment(AT + 20, GRACE), [PASS]).notes == ()
    assert kinds(looked(held, Moment(AT + 20, GRACE), [UNSURE])) == [(2, "analysis_inconclusive")]
    assert looked(held, Moment(AT + 20, GRACE), [FAIL]).notes[0].kind == "analysis_fail"


def test_the_last_look_is_kept_to_be_shown() -> None:
    now = after(look(PASS), lambda n: stepped(n, MOMENT), now=ROLLED)
    assert state_of(now).found == (PASS,)


def test_an_unsure_look_waits_and_nobody_is_called() -> None:
    """At low traffic looks are unsure and sure by turns."""
    change = looked(ROLLED, Moment(AT + 10, GRACE), [UNSURE])
    for verdict, at in ((PASS, 20), (UNSURE, 30), (PASS, 40)):
        assert state_of(change.situation).phase == "running"
        assert [note.notify for note in change.notes] == [()]
        change = looked(change.situation, Moment(AT + at, GRACE), [verdict])
    assert kinds(change) == [(2, "analysis_pass")]


def test_a_look_without_measurements_promotes_nothing() -> None:
    change = looked(ROLLED, Moment(AT + 10, GRACE), [])
    assert state_of(change.situation).waiting_since == AT + 10
    assert kinds(change) == [(2, "analysis_inconclusive")]


# The end


def test_warm_revisions_retire_when_their_time_is_over() -> None:
    assert expired(WARM, Moment(AT + GRACE - 0.01, GRACE)) == Change(WARM)
    change = expired(WARM, Moment(AT + GRACE, GRACE))
    assert states(change.situation) == {1: "retired", 2: "live"}
    assert change.situation.members[1].expires_at is None and kinds(change) == [(1, "retired")]


def test_a_warm_revision_without_an_end_retires_at_once() -> None:
    now = replace(ONE, members={**ONE.members, 2: Member(2, "warm")})
    assert states(expired(now, Moment(0.0, GRACE)).situation)[2] == "retired"


def test_deleting_retires_all() -> None:
    change = deleted(after(deploy(3, MIRROR), now=ROLLED), MOMENT)
    now = change.situation
    assert states(now) == {1: "retired", 2: "retired", 3: "retired"}
    assert (now.state, now.stable, now.weights, now.mirrors) == ("deleting", None, {}, {})
    assert state_of(now).phase == "aborted"
    assert kinds(change) == [(2, "rollout_aborted"), (None, "delete_requested")]


def test_deleting_and_being_gone_happen_once() -> None:
    going = after(delete, now=ONE)
    assert deleted(going, MOMENT) == Change(going)
    change = gone(going, MOMENT)
    assert change.situation.state == "deleted" and kinds(change) == [(None, "deleted")]
    assert (
        deleted(change.situation, MOMENT)
        == Change(change.situation)
        == gone(change.situation, MOMENT)
    )


def test_a_graph_deployed_again_is_not_gone() -> None:
    now = after(delete, deploy(2), now=ONE)
    assert gone(now, MOMENT) == Change(now)


def test_an_unloaded_graph_keeps_all_that_it_has() -> None:
    change = unloaded(TWO, MOMENT)
    assert change.situation == replace(TWO, state="unloaded")
    assert kinds(change) == [(None, "unloaded")]
    assert unloaded(change.situation, MOMENT) == Change(change.situation)
    back = loaded(change.situation, MOMENT)
    assert back.situation == TWO and kinds(back) == [(None, "loaded")]
    assert loaded(TWO, MOMENT) == Change(TWO)


def test_an_unloaded_graph_comes_back_with_a_new_revision_or_goes() -> None:
    down = after(partial(unloaded, moment=MOMENT), now=TWO)
    assert after(deploy(3), now=down).state == "present"
    assert after(delete, now=down).state == "deleting"
    assert after(delete, end, now=down).state == "deleted"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (after(deploy(2), now=ONE), "revision 2 is on its way"),
        (after(deploy(1)), "revision 1 is on its way"),
        (Situation("digits"), "it has no revision"),
        (ROLLED, "rollout of revision 2 moves the traffic"),
    ],
)
def test_what_is_in_motion_cannot_be_unloaded(now: Situation, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        unloaded(now, MOMENT)


# As data


@pytest.mark.parametrize("plan", [PLAN, AGREEING])
def test_intents_come_back_from_json(plan: Rollout) -> None:
    for intent in (Intent(), CANARY, Intent("rollout", rollout=plan)):
        assert Intent.from_json(json.loads(json.dumps(intent.to_json()))) == intent


def test_an_intent_may_leave_out_what_is_usual() -> None:
    assert Intent.from_json({}) == Intent()
    assert Intent.from_json({"kind": "mirror"}) == Intent("mirror", 100.0)


def test_nothing_is_changed_in_place() -> None:
    """Situations are shared between threads."""
    before = json.dumps([ROLLED.weights, ROLLED.mirrors, states(ROLLED)])
    operations: list[Step] = [
        up(3), up(3, MIRROR), promote(1), promote(2), abort, delete, look(FAIL), look(PASS),
        partial(stepped, moment=MOMENT), lambda now: expired(now, Moment(math.inf, GRACE)),
    ]  # fmt: skip
    for operation in operations:
        operation(ROLLED)
        assert json.dumps([ROLLED.weights, ROLLED.mirrors, states(ROLLED)]) == before


@pytest.mark.hypothesis
def test_whatever_happens_in_any_order() -> None:
    run_state_machine_as_test(
        LifecycleMachine,
        settings=settings(max_examples=examples(100), stateful_step_count=40, deadline=None),
    )


MEMBERS = {
    1: Member(1, "warm"),
    2: Member(2, "live"),
    3: Member(3, "ready"),
    4: Member(4, "ready"),
    5: Member(5, "pending", Intent("canary", 5.0)),
}


@pytest.mark.parametrize(
    ("coming", "state", "expected"),
    [
        ([], "present", (5, 4, 3, 2)),
        ([Member(6, "deploying", Intent("mirror", 5.0))], "present", (6, 5, 4, 3, 2)),
        ([Member(6, "deploying")], "present", (6,)),
        (
            [Member(6, "pending", ROLLOUT), Member(7, intent=Intent("mirror", 5.0))],
            "present",
            (7, 6),
        ),
        ([], "unloaded", ()),
        ([], "deleting", ()),
    ],
)
def test_a_deploy_repeats_what_takes_part_unless_something_is_to_take_over(
    coming: list[Member], state: Any, expected: tuple[int, ...]
) -> None:
    members = MEMBERS | {member.number: member for member in coming}
    now = Situation("g", state, 2, members, {2: 100.0, 3: 0.0}, {4: 50.0})
    assert repeated(now, Intent("canary", 0.0)) == expected


@pytest.mark.parametrize(
    ("intent", "expected"),
    [
        (Intent(), (8, 7, 2)),
        (ROLLOUT, (8, 7, 2)),
        (Intent("canary", 10.0), (8, 7, 2)),
        (Intent("mirror", 10.0), (8, 7, 6, 4, 2)),
        (Intent("canary", 0.0), (8, 7, 6, 5, 4, 3, 2)),
    ],
)
def test_no_deploy_repeats_what_has_a_lesser_part_in_the_traffic(
    intent: Intent, expected: tuple[int, ...]
) -> None:
    coming = [Intent("canary", 0.0), Intent("mirror", 5.0), Intent("canary", 5.0)]
    members = MEMBERS | {n: Member(n, "pending", one) for n, one in enumerate(coming, 5)}
    members[8] = Member(8, "ready")
    state = RolloutState(8, PLAN, phase="running")
    now = Situation("g", "present", 2, members, {2: 100.0, 3: 0.0, 8: 0.0}, {4: 50.0}, state)
    assert repeated(now, intent) == expected


def test_what_a_rollback_is_to_replace_may_be_deployed_again() -> None:
    now = rolled_back(Situation("g", "present", 2, {2: Member(2, "live")}, {2: 100.0}), MOMENT, 1)
    assert repeated(now.situation, Intent()) == (1,)


# Approvals

APPROVING = PLAN.model_copy(update={"approve": Approval(role="operator")})
WAITING = after(
    up(2, Intent("rollout", rollout=APPROVING, author="key 'ann'")),
    lambda now: asked(now, MOMENT),
    now=ONE,
)


def approve(actor: str, *roles: str) -> Step:
    return lambda now: approved(now, MOMENT, actor, roles.__contains__)


def test_a_rollout_waits_and_says_for_whom_and_since_when() -> None:
    state = WAITING.rollout
    assert state is not None
    assert (state.phase, state.paused_by, state.paused_at) == ("paused", "approval", AT)
    assert state.reason == (
        "step 1 of 2 waits for an approval by an actor with the role operator, other than key 'ann'"
    )
    again = asked(WAITING, Moment(AT + 9, GRACE))
    assert (again.situation, again.notes) == (WAITING, ())


def test_another_with_the_role_approves_one_step() -> None:
    change = approve("key 'bob'", "operator")(WAITING)
    state = change.situation.rollout
    assert state is not None
    assert (state.phase, state.approved, state.reason, state.paused_at) == (
        "running", True, "", None,
    )  # fmt: skip
    (note,) = change.notes
    assert (note.kind, note.message) == ("rollout_approved", "by key 'bob'")
    assert note.notify == ("http://127.0.0.1:9/hook",)
    following = stepped(change.situation, MOMENT).situation.rollout
    assert following is not None and not following.approved


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            approve("key 'ann'", "operator"),
            "key 'ann' has deployed revision 2 .* another operator",
        ),
        (approve("key 'bob'", "deployer"), "key 'bob' may not approve .* takes the role operator"),
    ],
)
def test_the_author_and_who_lacks_the_role_may_not_approve(step: Step, text: str) -> None:
    with pytest.raises(Forbidden, match=text):
        step(WAITING)


def test_the_author_may_approve_where_the_plan_lets_them() -> None:
    plan = PLAN.model_copy(update={"approve": Approval(other_than_author=False)})
    now = after(
        up(2, Intent("rollout", rollout=plan, author="token")),
        lambda now: asked(now, MOMENT),
        approve("token", "operator"),
        now=ONE,
    )
    assert now.rollout is not None and now.rollout.approved


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            lambda now: resumed(now, MOMENT),
            "waits for an approval .* rollout digits approve`",
        ),
        (lambda now: preferred(now, MOMENT, 2), "of revision 2 .* goes on by approvals"),
        (lambda now: rolled_back(now, MOMENT, 2), "of revision 2 .* goes on by approvals"),
    ],
)
def test_nothing_else_lets_it_go_on(step: Step, text: str) -> None:
    with pytest.raises(Conflict, match=text):
        step(WAITING)
    assert kinds(abort(WAITING))[0] == (2, "rollout_aborted")
    assert preferred(WAITING, MOMENT, 1).situation.stable == 1


def test_an_approved_last_step_may_be_promoted_by_hand() -> None:
    state = WAITING.rollout
    assert state is not None
    last = replace(WAITING, rollout=replace(state, step=1))
    granted = approve("key 'bob'", "operator")(last).situation
    assert preferred(granted, MOMENT, 2).situation.stable == 2


@pytest.mark.parametrize("now", [ROLLED, after(up(2, ROLLOUT), paused_by_user, now=ONE)])
def test_what_waits_for_no_approval_takes_none(now: Situation) -> None:
    with pytest.raises(Conflict, match="waits for no approval"):
        approve("key 'bob'", "operator")(now)
