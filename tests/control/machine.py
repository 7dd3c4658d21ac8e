"""Everything that may happen to a graph, in any order, and what must hold after each of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import (
    COMING,
    SUMS,
    UP,
    Change,
    Intent,
    Moment,
    Situation,
)
from anabranch.control.lifecycle.rollouts import Measurement, PausedBy, RolloutState
from anabranch.errors import Conflict, InvalidRequest, NotFound
from anabranch.specs.models import Rollout

GRACE = 30.0
_METRICS = [{"metric": "error_rate", "max": 0.01}, {"metric": "agreement", "min": 0.9}]
PLANS = [
    Rollout.model_validate(data)
    for data in (
        {"steps": [10, 50], "hold": "10s"},
        {"steps": [0, 100], "mirror": 50},
        {
            "steps": [5, 25, 50],
            "analysis": {"interval": "10s", "metrics": _METRICS[:1], "failure_limit": 1},
            "webhooks": ["http://127.0.0.1:9/hook"],
        },
        {"steps": [20], "analysis": {"interval": "10s", "metrics": _METRICS}},
    )
]
PICKS = st.integers(0, 5)
"""Which of those that there are, counted from the newest; or none of them."""
WRONG = st.integers(0, 12).map(lambda number: number == 12)
"""Whether to ask for what makes no sense, now and then."""
PERCENTS = st.sampled_from([0.5, 10.0, 50.0, 100.0])
BAD_PERCENTS = st.sampled_from([-1.0, 101.0, math.nan, math.inf])
INTENTS = st.one_of(
    st.just(Intent()),
    st.builds(Intent, st.sampled_from(["canary", "mirror"]), PERCENTS),
    st.builds(Intent, st.just("rollout"), rollout=st.sampled_from(PLANS)),
)
BAD_INTENTS = st.one_of(
    st.builds(Intent, st.sampled_from(["canary", "mirror", "replace"]), BAD_PERCENTS),
    st.builds(Intent, st.sampled_from(["rollout", "mirror", "shadow"]), st.just(0.0)),
    st.builds(Intent, st.just("canary"), rollout=st.sampled_from(PLANS)),
)
WEIGHTS = st.sampled_from([0, 1, 10, 90, 0.25, 1e-320, 1e299])
BAD_WEIGHTS = st.sampled_from([0, -1, math.inf, math.nan, 10**400])
FOUND = st.lists(
    st.builds(
        Measurement,
        st.sampled_from(["error_rate", "agreement"]),
        st.sampled_from(["pass", "fail", "inconclusive", "error"]),
        st.just("0.02 > 0.01"),
        st.sampled_from([None, 0.02, 1e-320]),
    ),
    max_size=2,
)
EMPTY = Situation("digits")


class LifecycleMachine(RuleBasedStateMachine):
    """Keeps the situation as the store does: what is down is only remembered as known."""

    def __init__(self) -> None:
        super().__init__()
        self.now = EMPTY
        self.at = 1000.0
        self.down: dict[int, str] = {}
        self.created = 0

    @property
    def moment(self) -> Moment:
        return Moment(self.at, GRACE)

    def do(self, operation: Callable[[Situation], Change]) -> Change | None:
        """Apply an operation; one that is refused changes nothing."""
        before = self.now
        try:
            change = operation(before)
        except (Conflict, InvalidRequest, NotFound):
            assert self.now == before
            return None
        besides = replace(change.situation, rollout=before.rollout)  # a look may be no news
        assert besides == before or change.notes, "changed without a word"
        self.keep(change)
        return change

    def keep(self, change: Change) -> None:
        after = change.situation
        assert after.members.keys() >= self.now.members.keys(), "a revision was lost"
        for number, member in after.members.items():
            if member.state in UP | COMING:
                self.down.pop(number, None)
            else:
                self.down[number] = member.state
        running = {n: one for n, one in after.members.items() if one.state in UP | COMING}
        self.now = replace(after, members=running)

    def pick(self, index: int, among: Iterable[int]) -> int:
        known = sorted(among, reverse=True)
        return known[index] if index < len(known) else 99

    @initialize(first=st.booleans())
    def begin(self, first: bool) -> None:
        if first:
            self.deploy_and_arrive(Intent())

    @rule(intent=INTENTS)
    def deploy(self, intent: Intent) -> None:
        number = self.created + 1
        if self.do(lambda now: operations.created(now, number, intent)) is not None:
            self.created = number

    @rule(intent=INTENTS)
    def deploy_and_arrive(self, intent: Intent) -> None:
        self.deploy(intent)
        self.arrive(0)

    @rule(intent=BAD_INTENTS)
    def deploy_wrongly(self, intent: Intent) -> None:
        assert self.do(lambda now: operations.created(now, self.created + 1, intent)) is None

    @precondition(lambda self: self.down)
    @rule(index=PICKS)
    def redeploy(self, index: int) -> None:
        number = self.pick(index, self.down)
        if number != 99:
            done = self.do(lambda now: operations.redeployed(now, self.moment, number))
            assert (done is not None) == (self.now.state == "present")

    @precondition(lambda self: self.now.members)
    @rule(index=PICKS)
    def redeploy_what_is_not_down(self, index: int) -> None:
        number = self.pick(index, self.now.members)
        if number != 99:
            assert self.do(lambda now: operations.redeployed(now, self.moment, number)) is None

    @rule(index=PICKS)
    def start(self, index: int) -> None:
        number = self.pick(index, self.now.members)
        self._never_refused(lambda now: operations.started(now, self.moment, number))

    @rule(index=PICKS)
    def fail(self, index: int) -> None:
        number = self.pick(index, self.now.members)
        self._never_refused(lambda now: operations.failed(now, self.moment, number, "no\0file"))

    @precondition(lambda self: self.now.coming)
    @rule(index=st.integers(0, 2))
    def arrive(self, index: int) -> None:
        if self.now.coming:
            number = self.now.coming[index % len(self.now.coming)]
            self._never_refused(lambda now: operations.arrived(now, self.moment, number))
            assert number in self.now.up

    @precondition(lambda self: self.now.stable)
    @rule(index=PICKS)
    def promote(self, index: int) -> None:
        number = self.pick(index, self.now.members)
        up = self.now.up
        done = self.do(lambda now: operations.promoted(now, self.moment, number))
        assert (done is not None) == (number in up)
        if done is not None:
            assert self.now.stable == number and self.now.weights == {number: 100.0}
            assert self.now.rollout is None or not self.now.rollout.active

    @precondition(lambda self: self.now.stable)
    @rule(index=PICKS)
    def prefer(self, index: int) -> None:
        number = self.pick(index, self.now.up)
        done = self.do(lambda now: operations.preferred(now, self.moment, number))
        if done is not None:
            assert self.now.stable == number and min(self.now.coming, default=number) >= number

    @precondition(lambda self: self.now.stable)
    @rule(index=PICKS)
    def roll_back(self, index: int) -> None:
        number = self.pick(index, [*self.now.up, *self.down])
        live, down = self.now.stable, number not in self.now.up
        if number == 99:
            return
        if self.do(lambda now: operations.rolled_back(now, self.moment, number)) is not None:
            assert self.now.coming == ((number,) if down else ())
            assert self.now.stable == (live if down else number)
            assert self.now.rollout is None or not self.now.rollout.active

    @rule()
    def abort(self) -> None:
        live = self.now.stable
        if self.do(lambda now: operations.aborted(now, self.moment, "no good")) is not None:
            assert self.now.stable == live and self.now.weights == {live: 100.0}
            assert self.now.rollout is None or not self.now.rollout.active

    @precondition(lambda self: self.now.stable)
    @rule(picked=st.dictionaries(PICKS, WEIGHTS, min_size=1, max_size=3), wrong=WRONG)
    def split(self, picked: dict[int, float], wrong: bool) -> None:
        before = set(self.now.weights)
        among = self.now.members if wrong else self.now.up
        weights = {self.pick(index, among): weight for index, weight in picked.items()}
        weights = weights if wrong else {n: w for n, w in weights.items() if n != 99}
        if self.do(lambda now: operations.split(now, self.moment, weights)) is not None:
            assert {n: w for n, w in self.now.weights.items() if w} == {
                n: w for n, w in weights.items() if w
            }
            assert set(self.now.weights) == before | set(weights)

    @precondition(lambda self: self.now.stable)
    @rule(weight=BAD_WEIGHTS, other=WEIGHTS)
    def split_wrongly(self, weight: float, other: float) -> None:
        first = self.now.stable or 0
        rest = {n: other for n in self.now.up if n != first and weight != 0}
        assert (
            self.do(lambda now: operations.split(now, self.moment, {first: weight, **rest})) is None
        )

    @precondition(lambda self: len(self.now.up) > 1)
    @rule(picked=st.dictionaries(PICKS, PERCENTS | st.just(0.0), min_size=1, max_size=3))
    def mirror(self, picked: dict[int, float]) -> None:
        others = self.now.up - {self.now.stable}
        mirrors = {self.pick(index, others): share for index, share in picked.items()}
        mirrors = {n: share for n, share in mirrors.items() if n != 99}
        if self.do(lambda now: operations.mirrored(now, self.moment, mirrors)) is not None:
            assert {n: self.now.mirrors.get(n, 0) for n in mirrors} == mirrors

    @rule(index=PICKS, share=PERCENTS, bad=BAD_PERCENTS)
    def mirror_wrongly(self, index: int, share: float, bad: float) -> None:
        number = self.pick(index, self.now.members)
        assert self.do(lambda now: operations.mirrored(now, self.moment, {number: bad})) is None
        for one in {self.now.stable or 99, 99}:
            asked = {one: share}
            assert self.do(lambda now, a=asked: operations.mirrored(now, self.moment, a)) is None

    @precondition(lambda self: self.now.rollout)
    @rule()
    def step(self) -> None:
        before = self._rollout()
        may = before.phase == "running" and not before.is_last
        done = self.do(lambda now: operations.stepped(now, self.moment))
        assert (done is not None) == may
        assert self._rollout().step == before.step + may

    @precondition(lambda self: self.now.rollout)
    @rule(by=st.sampled_from(["user", "gate", "step"]))
    def pause(self, by: PausedBy) -> None:
        before = self._rollout()
        done = self.do(lambda now: operations.paused(now, self.moment, by, "why"))
        assert (done is not None) == before.active
        if done is not None:
            says = by == "user" or before.phase == "running"
            assert self._rollout().paused_by == (by if says else before.paused_by)

    @precondition(lambda self: self.now.rollout)
    @rule()
    def resume(self) -> None:
        before = self._rollout()
        done = self.do(lambda now: operations.resumed(now, self.moment))
        assert (done is not None) == (before.phase == "paused")

    @precondition(lambda self: self.now.rollout and self.now.rollout.plan.analysis)
    @rule(found=FOUND)
    def look(self, found: list[Measurement]) -> None:
        before = self._rollout()
        done = self.do(lambda now: operations.looked(now, self.moment, found))
        assert (done is not None) == before.active
        if done is not None:
            assert self._rollout().looked_at == self.at
            # One that is paused or waits and hears what it has heard before fills no log.
            waits = before.phase == "paused" or self._rollout().waiting_since is not None
            assert done.notes or waits
            assert all(note.kind.startswith("analysis_") for note in done.notes[:1])

    def _rollout(self) -> RolloutState:
        assert self.now.rollout is not None
        return self.now.rollout

    @rule(seconds=st.sampled_from([0.0, 1.0, 29.0, 31.0]))
    def expire(self, seconds: float) -> None:
        self.at += seconds
        due = {n for n, one in self.now.members.items() if (one.expires_at or 1e9) <= self.at}
        self._never_refused(lambda now: operations.expired(now, self.moment), retires=True)
        assert not due & self.now.members.keys() and all(self.down[n] == "retired" for n in due)

    @rule(sure=WRONG)
    def delete(self, sure: bool) -> None:
        if self.created and sure:
            self._never_refused(lambda now: operations.deleted(now, self.moment), retires=True)
            assert not self.now.members

    @rule()
    def gone(self) -> None:
        self._never_refused(lambda now: operations.gone(now, self.moment))

    def _never_refused(
        self, operation: Callable[[Situation], Change], retires: bool = False
    ) -> None:
        """What the controller does to all, whatever happened in between."""
        down = {number for number, state in self.down.items() if state == "retired"}
        assert self.do(operation) is not None
        if not retires:
            assert {n for n, state in self.down.items() if state == "retired"} <= down

    @invariant()
    def no_revision_is_lost(self) -> None:
        assert self.now.members.keys() | self.down.keys() == set(range(1, self.created + 1))
        assert not self.now.members.keys() & self.down.keys()

    @invariant()
    def one_revision_is_live_or_nothing_is_up(self) -> None:
        live = [n for n, member in self.now.members.items() if member.state == "live"]
        assert live == ([] if self.now.stable is None else [self.now.stable])
        assert self.now.stable is not None or not self.now.up
        assert self.now.state == "present" or not self.now.members

    @invariant()
    def arms_run_and_have_weights(self) -> None:
        now = self.now
        states = {now.members[number].state for number in now.weights}
        assert states <= {"ready", "live"}
        assert (now.stable is None and not now.weights) or now.stable in now.weights
        if now.stable is not None:
            assert SUMS[0] <= sum(now.weights.values()) <= SUMS[1]
        assert all(isinstance(w, float) and w >= 0 for w in now.weights.values())

    @invariant()
    def mirrors_run_and_are_not_live(self) -> None:
        now = self.now
        assert {now.members[number].state for number in now.mirrors} <= {"ready"}
        assert all(0 < share <= 100 for share in now.mirrors.values())

    @invariant()
    def what_runs_has_a_part_or_an_end(self) -> None:
        for number, member in self.now.members.items():
            has_part = number in self.now.weights or number in self.now.mirrors
            assert has_part == (member.state in ("ready", "live"))
            assert (member.expires_at is not None) == (member.state == "warm")
            assert (member.live_at is not None) >= (member.state == "live")
            assert bool(member.reason) == (member.state == "warm")

    @invariant()
    def a_rollout_has_the_weight_of_its_step(self) -> None:
        state, now = self.now.rollout, self.now
        if state is None or not state.active:
            return
        assert now.stable not in (None, state.revision)
        assert now.weights == {now.stable: 100.0 - state.weight, state.revision: state.weight}
        assert now.mirrors.get(state.revision, 0.0) == state.mirror
        assert (state.phase == "paused") == (state.paused_by is not None)
