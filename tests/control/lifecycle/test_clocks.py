from __future__ import annotations

from dataclasses import replace

import pytest

from anabranch.control.lifecycle.clocks import is_ahead, timely
from anabranch.control.lifecycle.operations import Member, Moment, Situation
from anabranch.control.lifecycle.rollouts import Phase, RolloutState, next_move
from anabranch.specs.models import Rollout

AT, GRACE, HOLD = 1_000_000.0, 600.0, 120.0
PLAN = Rollout.model_validate({"steps": [10, 50], "hold": "2m"})
TWO_HOURS = 7200.0


def rolling(since: float, phase: Phase = "running") -> Situation:
    """A rollout whose step began then, beside a revision that was replaced just before."""
    return Situation(
        "digits",
        stable=2,
        members={
            1: Member(1, "warm", expires_at=since + GRACE),
            2: Member(2, "live", live_at=since),
            3: Member(3, "ready"),
        },
        weights={2: 90.0, 3: 10.0},
        rollout=RolloutState(3, PLAN, phase=phase, since=since, looked_at=since),
    )


def test_a_step_that_began_in_the_future_holds_from_now_on() -> None:
    before = rolling(AT + TWO_HOURS)
    assert before.rollout is not None
    assert next_move(before.rollout, AT + HOLD) is None
    change = timely(before, Moment(AT, GRACE))
    after = change.situation
    assert after.rollout is not None
    assert next_move(after.rollout, AT + HOLD - 1) is None
    assert next_move(after.rollout, AT + HOLD) == "step"
    assert after.members[1].expires_at == AT + GRACE
    assert after.members[2].live_at == AT
    (note,) = change.notes
    assert (note.kind, note.message) == (
        "clock_put_back", "the clock was put back by 7200s or more: counting anew",
    )  # fmt: skip
    assert not is_ahead(after, AT)


@pytest.mark.parametrize("since", [AT, AT - 5, AT - TWO_HOURS])
def test_what_began_before_now_stays_as_it_is(since: float) -> None:
    now = rolling(since)
    assert not is_ahead(now, AT)
    assert timely(now, Moment(AT, GRACE)).situation == now
    assert timely(now, Moment(AT, GRACE)).notes == ()


def test_a_rollout_that_is_over_is_no_sign() -> None:
    now = rolling(AT - 5)
    assert now.rollout is not None
    over = replace(now, rollout=replace(now.rollout, phase="aborted", since=AT + TWO_HOURS))
    assert not is_ahead(over, AT)


def test_a_graph_without_any_start_is_timely() -> None:
    assert not is_ahead(Situation("digits", members={1: Member(1)}), AT)
