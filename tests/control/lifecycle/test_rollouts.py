from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle.rollouts import (
    Measurement,
    Move,
    RolloutState,
    Verdict,
    approved,
    begin,
    looked,
    next_move,
    overall,
    paused,
    resumed,
    stepped,
)
from anabranch.specs.models import Rollout

START = 1000.0
JUDGED = {"interval": "10s", "metrics": [{"metric": "error_rate", "max": 0.01}]}


def plan(**fields: Any) -> Rollout:
    return Rollout.model_validate({"steps": [10, 50], **fields})


def judged(**limits: Any) -> Rollout:
    return plan(analysis=JUDGED | limits)


def found(verdict: Verdict, metric: str = "error_rate") -> Measurement:
    return Measurement(metric, verdict, f"{metric} was {verdict}")


def after(state: RolloutState, *verdicts: Verdict, interval: float = 10.0) -> RolloutState:
    """The state after looks with these verdicts, an interval apart."""
    for verdict in verdicts:
        state = looked(state, [found(verdict)], state.looked_at + interval)
    return state


APPROVED = {"role": "operator"}
HELD = plan(hold="20s")
ASKING = begin(3, plan(hold="20s", approve=APPROVED), START)
BY_HAND = begin(3, plan(approve=APPROVED), START)
MANUAL = plan()
LOOKED = begin(3, judged(), START)
LONG = begin(3, plan(hold="25s", analysis=JUDGED), START)

MOVES: dict[str, tuple[RolloutState, float, Move | None]] = {
    "held too short": (begin(3, HELD, START), 19.9, None),
    "held long enough": (begin(3, HELD, START), 20, "step"),
    "last step held": (stepped(begin(3, HELD, START), START), 20, "promote"),
    "no hold at all": (begin(3, plan(hold="0s"), START), 0, "step"),
    "a step by hand": (begin(3, MANUAL, START), 0, "pause"),
    "held too short to ask for an approval": (ASKING, 19.9, None),
    "held long enough to ask for an approval": (ASKING, 20, "ask"),
    "asked for an approval": (paused(ASKING, "approval", "", START + 20), 100, None),
    "approved": (approved(paused(ASKING, "approval", "", START + 20), START + 50), 50, "step"),
    "the next step once one was approved": (stepped(approved(ASKING, START), START), 20, "ask"),
    "the last step approved": (approved(stepped(ASKING, START), START), 20, "promote"),
    "paused by hand while it waits, and resumed": (
        resumed(paused(paused(ASKING, "approval", "", START + 20), "user", "", START), START + 30),
        30,
        "ask",
    ),
    "a step that nothing but an approval ends": (BY_HAND, 0, "ask"),
    "such a step, approved": (approved(BY_HAND, START), 0, "step"),
    "a step by hand, resumed": (
        resumed(paused(begin(3, MANUAL, START), "step", "", START), START), 0, "step",
    ),
    "the last by hand, resumed": (
        resumed(paused(stepped(begin(3, MANUAL, START), START), "step", "", START), START),
        0,
        "promote",
    ),
    "the next step by hand": (
        stepped(resumed(paused(begin(3, MANUAL, START), "step", "", START), START), START),
        0,
        "pause",
    ),
    "a step by hand, paused by its user and resumed": (
        resumed(paused(begin(3, MANUAL, START), "user", "", START), START), 0, "step",
    ),
    "no look due": (LOOKED, 9.9, None),
    "a look due": (LOOKED, 10, "look"),
    "a look long due": (LOOKED, 1e6, "look"),
    "the clock was put back a little": (LOOKED, -1, None),
    "the clock was put back": (LOOKED, -3600, "look"),
    "a look before a step": (replace(after(LONG, "pass"), held=100), 20, "look"),
    "looked, hold is one interval": (after(LOOKED, "pass"), 10, "step"),
    "looked, held too short": (after(LONG, "pass", "pass"), 20, None),
    "looked, held": (after(LONG, "pass", "pass"), 25, "step"),
    "held, not looked yet": (replace(LONG, since=START - 100), 5, None),
    "held, failed": (after(begin(3, judged(failure_limit=9), START), "fail"), 15, None),
    "held, error": (after(LOOKED, "error"), 15, None),
    "passed before it failed": (
        after(begin(3, judged(failure_limit=9), START), "pass", "fail"), 25, None,
    ),
    "passed after it failed": (
        after(begin(3, judged(failure_limit=9), START), "fail", "pass"), 25, "step",
    ),
    "paused by its user": (paused(after(LOOKED, "pass"), "user", "", START + 10), 12, None),
    "paused, a look due": (paused(after(LOOKED, "pass"), "user", "", START + 10), 20, "look"),
    "paused by its gate": (paused(begin(3, HELD, START), "gate", "", START), 1000, None),
    "inconclusive": (after(LOOKED, "inconclusive"), 15, None),
    "inconclusive, a look due": (after(LOOKED, "inconclusive"), 20, "look"),
    "time of a wait is not held": (after(LONG, "inconclusive", "pass", "pass"), 34.9, None),
    "held before and after a wait": (after(LONG, "inconclusive", "pass", "pass"), 35, "step"),
    "passes in the step before count for nothing": (
        stepped(after(LOOKED, "pass"), START + 10), 19, None,
    ),
    "first look of the next step": (stepped(after(LOOKED, "pass"), START + 10), 20, "look"),
    "aborted": (after(LOOKED, "fail"), 1000, None),
    "promoted": (replace(begin(3, HELD, START), phase="promoted"), 1000, None),
}  # fmt: skip


@pytest.mark.parametrize("case", MOVES)
def test_what_is_due(case: str) -> None:
    state, at, move = MOVES[case]
    assert next_move(state, START + at) == move


def test_a_pause_does_not_count_as_holding() -> None:
    state = paused(begin(3, HELD, START), "user", "wait", START + 15)
    assert (state.phase, state.paused_by, state.reason) == ("paused", "user", "wait")
    state = resumed(state, START + 500)
    assert (state.phase, state.paused_by, state.reason) == ("running", None, "")
    assert next_move(state, START + 504.9) is None
    assert next_move(state, START + 505) == "step"


def test_a_second_pause_takes_over_and_counts_nothing_twice() -> None:
    state = paused(begin(3, HELD, START), "gate", "no", START + 15)
    state = paused(state, "user", "wait", START + 100)
    assert (state.paused_by, state.held) == ("user", 15)


def test_resuming_what_runs_loses_no_time() -> None:
    state = resumed(begin(3, HELD, START), START + 15)
    assert next_move(state, START + 20) == "step"


def test_a_gate_is_asked_again_after_resume() -> None:
    state = paused(begin(3, HELD, START), "gate", "no", START + 20)
    assert next_move(resumed(state, START + 60), START + 60) == "step"


def test_a_step_begins_with_nothing_but_the_counts_of_failures() -> None:
    state = after(begin(3, judged(failure_limit=3), START), "fail", "pass")
    state = stepped(state, START + 20)
    assert state == replace(
        begin(3, judged(failure_limit=3), START + 20), step=1, failures={"error_rate": 1},
        found=state.found,
    )  # fmt: skip
    assert [one.verdict for one in state.found] == ["pass"]


@pytest.mark.parametrize("limit", range(3))
def test_more_failures_than_the_limit_abort(limit: int) -> None:
    state = begin(3, judged(failure_limit=limit), START)
    for _ in range(limit):
        state = after(state, "fail", "pass")  # passes in between do not help
        assert state.phase == "running"
    state = after(state, "fail")
    assert state.phase == "aborted"
    text = f"failed ({limit + 1}) > failure_limit ({limit}): error_rate was fail"
    assert state.reason == text


def test_failures_count_over_all_steps_and_by_metric() -> None:
    state = begin(3, judged(failure_limit=1), START)
    state = looked(state, [found("fail", "a"), found("pass", "b")], START + 10)
    state = stepped(after(state, "pass"), START + 20)
    state = looked(state, [found("pass", "a"), found("fail", "b")], START + 30)
    assert (state.phase, state.failures) == ("running", {"a": 1, "b": 1})
    state = looked(state, [found("fail", "a"), found("pass", "b")], START + 40)
    assert state.phase == "aborted"


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_more_errors_in_a_row_than_the_limit_abort(limit: int) -> None:
    state = begin(3, judged(consecutive_error_limit=limit), START)
    for verdict in ("pass", "inconclusive", "pass"):
        state = after(state, *["error"] * limit, verdict)
        assert (state.phase == "aborted", state.errors) == (False, {})
    state = after(state, *["error"] * (limit + 1))
    assert state.phase == "aborted"
    text = f"errors in a row ({limit + 1}) > consecutive_error_limit ({limit})"
    assert state.reason == f"{text}: error_rate was error"


def test_a_metric_that_was_not_looked_at_keeps_its_counts() -> None:
    state = begin(3, judged(failure_limit=5), START)
    state = looked(state, [found("error", "promql"), found("pass")], START + 10)
    state = looked(state, [found("fail")], START + 20)
    assert state.errors == {"promql": 1}


def test_a_rollout_waits_from_an_inconclusive_look_to_one_that_passes() -> None:
    state = after(LOOKED, "inconclusive")
    for verdict in ("inconclusive", "error", "inconclusive"):
        assert (state.phase, state.paused_by, state.waiting_since) == ("running", None, START + 10)
        state = after(state, verdict)
    state = after(state, "pass")
    assert (state.phase, state.waiting_since, state.held) == ("running", None, 10.0)


def test_a_failed_look_within_the_limit_ends_a_wait() -> None:
    state = after(begin(3, judged(failure_limit=1), START), "inconclusive", "fail")
    assert (state.phase, state.waiting_since, state.held) == ("running", None, 10.0)
    assert next_move(state, START + 29) is None


def test_pauses_and_waits_may_overlap() -> None:
    state = paused(after(LONG, "inconclusive"), "user", "", START + 12)
    state = resumed(state, START + 17)
    assert (state.waiting_since, state.held) == (START + 10, 10.0)
    state = looked(state, [found("pass")], START + 20)
    assert (state.waiting_since, state.held, state.since) == (None, 10.0, START + 20)


@pytest.mark.parametrize("by", ["user", "gate", "step"])
@pytest.mark.parametrize("verdict", ["pass", "inconclusive", "error"])
def test_no_look_ends_the_pause_of_someone_else(by: Any, verdict: Verdict) -> None:
    state = after(paused(LOOKED, by, "wait", START), verdict)
    assert (state.phase, state.paused_by, state.reason) == ("paused", by, "wait")
    assert state.verdict == verdict


@pytest.mark.parametrize("by", ["user", "gate", "step"])
def test_a_paused_candidate_that_turns_bad_is_aborted(by: Any) -> None:
    state = after(paused(LOOKED, by, "wait", START), "fail")
    assert (state.phase, state.paused_by) == ("aborted", None)


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        ([], "inconclusive"),
        (["pass"], "pass"),
        (["pass", "error"], "error"),
        (["error", "inconclusive", "pass"], "inconclusive"),
        (["inconclusive", "pass", "fail", "error"], "fail"),
    ],
)
def test_the_weightiest_verdict_decides(verdicts: list[Verdict], says: Verdict) -> None:
    assert overall(map(found, verdicts)) == says


@pytest.mark.parametrize(
    ("late", "next_due"), [(0, 20), (0.3, 20), (4.9, 20), (5, 25), (1000, 1020), (-3610, -3590)]
)
def test_looks_do_not_drift(late: float, next_due: float) -> None:
    state = looked(LOOKED, [found("error")], START + 10 + late)
    assert next_move(state, START + next_due - 0.1) is None
    assert next_move(state, START + next_due) == "look"


def test_a_look_that_measured_nothing_has_the_rollout_wait() -> None:
    assert looked(LOOKED, [], START + 10).waiting_since == START + 10


AGREEING = JUDGED | {"metrics": [{"metric": "agreement", "min": 0.9}]}


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({}, 0.0),
        ({"mirror": 25}, 25.0),
        ({"analysis": JUDGED}, 0.0),
        ({"analysis": AGREEING}, 100.0),
        ({"analysis": AGREEING, "mirror": 5}, 5.0),
    ],
)
def test_copies_are_sent_where_they_are_judged(fields: dict[str, Any], share: float) -> None:
    assert begin(3, plan(**fields), START).mirror == share


VERDICTS = st.sampled_from(["pass", "fail", "inconclusive", "error"])
DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 30)),
        st.tuples(st.just("look"), VERDICTS),
        st.tuples(st.just("pause"), st.sampled_from(["user", "gate", "step"])),
        st.tuples(st.just("resume"), st.none()),
    ),
    max_size=40,
)
PLANS = st.builds(
    lambda hold, limits, steps: Rollout.model_validate(
        {
            "steps": steps,
            **({"hold": hold} if hold else {}),
            **({"analysis": JUDGED | limits} if limits is not None else {}),
        }
    ),
    st.sampled_from([None, "0s", "5s", "25s"]),
    st.none()
    | st.fixed_dictionaries(
        {"failure_limit": st.integers(0, 3), "consecutive_error_limit": st.integers(0, 3)}
    ),
    st.lists(st.integers(0, 100), min_size=1, max_size=4),
)


@given(PLANS, DOINGS)
def test_it_is_never_moved_on_without_a_pass_in_the_step(
    chosen: Rollout, doings: list[tuple[str, Any]]
) -> None:
    state, at, passed = begin(3, chosen, START), START, False
    for kind, detail in doings:
        if kind == "wait":
            at += detail
        elif kind == "look" and state.active and chosen.analysis:
            state = looked(state, [found(detail)], at)
            passed = detail == "pass"
        elif kind == "pause" and state.active:
            state = paused(state, detail, "", at)
        elif kind == "resume" and state.phase == "paused":
            state = resumed(state, at)
        move = next_move(state, at)
        if move in ("step", "promote"):
            assert state.phase == "running"
            assert passed or chosen.analysis is None
            assert (move == "promote") == (state.step == len(chosen.steps) - 1)
        if move == "step":
            state, passed = stepped(state, at), False
        assert state.phase != "aborted" or next_move(state, at + 1e9) is None
        assert RolloutState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_a_state_from_before_a_field_existed_can_be_read() -> None:
    data = begin(3, HELD, START).to_json()
    del data["released"], data["found"], data["waiting_since"]
    assert RolloutState.from_json(data) == begin(3, HELD, START)
