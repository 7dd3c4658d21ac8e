from __future__ import annotations

from dataclasses import replace

from anabranch.control.lifecycle.changes import changed
from anabranch.control.lifecycle.operations import Member, Situation
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.specs.models import Rollout

NOW = Situation(
    "digits", "present", 1, {1: Member(1, "live"), 2: Member(2, "ready")}, {1: 90.0, 2: 10.0}
)


def test_what_stays_is_left_out() -> None:
    assert changed(NOW, NOW) == {}
    weighed = changed(NOW, replace(NOW, weights={1: 50.0, 2: 50.0}))
    assert weighed == {
        "before": {"weights": {"1": 90.0, "2": 10.0}},
        "after": {"weights": {"1": 50.0, "2": 50.0}},
    }


def test_revisions_have_their_states_and_none_before_they_were_there() -> None:
    members = {1: Member(1, "warm"), 2: Member(2, "ready"), 3: Member(3)}
    found = changed(NOW, replace(NOW, members=members))
    assert found == {
        "before": {"revisions": {"1": "live", "3": None}},
        "after": {"revisions": {"1": "warm", "3": "pending"}},
    }


def test_a_rollout_has_its_step_and_who_paused_it() -> None:
    state = RolloutState(2, Rollout(steps=[10.0, 50.0]))
    paused = replace(state, phase="paused", paused_by="user", step=1)
    found = changed(replace(NOW, rollout=state), replace(NOW, rollout=paused, state="unloaded"))
    assert found["before"]["rollout"] == {
        "revision": 2, "phase": "running", "step": 1, "weight": 10.0, "paused_by": None,
    }  # fmt: skip
    assert found["after"] == {
        "state": "unloaded",
        "rollout": {
            "revision": 2, "phase": "paused", "step": 2, "weight": 50.0, "paused_by": "user",
        },
    }  # fmt: skip
    assert changed(NOW, replace(NOW, rollout=state))["before"] == {"rollout": None}
