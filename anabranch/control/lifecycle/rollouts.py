"""A rollout as a value, and what may happen to it. Pure: time comes in, nothing is applied.

A rollout goes through its steps, each a share of the traffic. It leaves a step once it has held
for its time, and the last look at the metrics passed where there is an analysis. Looks go on while
it is paused, so that a candidate that turns bad is still found out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from anabranch.control.lifecycle.significance import Trial
from anabranch.specs.models import Rollout

Phase: TypeAlias = Literal["running", "paused", "promoted", "aborted"]
PausedBy: TypeAlias = Literal["user", "gate", "step", "approval", "refusal"]
Verdict: TypeAlias = Literal["pass", "fail", "inconclusive", "error"]


@dataclass(frozen=True)
class Measurement:
    """One look at one metric. ``message`` shows the comparison that made the verdict."""

    metric: str
    verdict: Verdict
    message: str
    value: float | None = None
    limit: float | None = None
    """The limit as a number of the metric's unit, also where it is relative to stable."""
    samples: int = 0


@dataclass(frozen=True)
class RolloutState:
    """The state of a rollout. Times are Unix times or lengths, in seconds."""

    revision: int
    plan: Rollout
    phase: Phase = "running"
    step: int = 0
    """Index into the plan's steps."""
    since: float = 0.0
    """When the step began to hold, or went on after a pause or a wait."""
    held: float = 0.0
    """How long the step had held before ``since``."""
    looked_at: float = 0.0
    """When the last look at the metrics was due, or the step began."""
    verdict: Verdict | None = None
    """Verdict of the last look in this step; None before the first."""
    waiting_since: float | None = None
    """When the first look was inconclusive since one that passed or failed; such time is not held.
    """
    failures: dict[str, int] = field(default_factory=dict)
    """Failed looks by metric, over the whole rollout."""
    errors: dict[str, int] = field(default_factory=dict)
    """Looks in a row that found no value, by metric."""
    found: tuple[Measurement, ...] = ()
    """Measurements of the last look, also of one in a step before."""
    evidence: dict[str, Trial] = field(default_factory=dict)
    """Evidence of the metrics of the kind significance by name, over the whole rollout."""
    released: bool = False
    """Whether the step waits for no ``resume`` any more, where it would."""
    paused_by: PausedBy | None = None
    paused_at: float | None = None
    """When it was paused; None while it is not."""
    reason: str = ""
    author: str = ""
    """The actor that has deployed the revision."""
    approved: bool = False
    """Whether somebody has let this step be left, where the plan asks for that."""

    @property
    def active(self) -> bool:
        """Whether it may still move traffic."""
        return self.phase in ("running", "paused")

    @property
    def weight(self) -> float:
        """The candidate's share in this step, in percent."""
        return self.plan.steps[self.step]

    @property
    def hold(self) -> float | None:
        """How long a step lasts at least, in seconds; None where ``resume`` ends it."""
        if self.plan.hold is not None:
            return self.plan.hold.seconds
        return self.plan.analysis.interval.seconds if self.plan.analysis else None

    @property
    def is_last(self) -> bool:
        """Whether promotion comes next."""
        return self.step + 1 >= len(self.plan.steps)

    @property
    def mirror(self) -> float:
        """Share of the traffic that is copied to the candidate, in percent."""
        if self.plan.mirror is not None:
            return self.plan.mirror
        metrics = self.plan.analysis.metrics if self.plan.analysis else ()
        return 100.0 if any(one.metric == "agreement" for one in metrics) else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-able data that ``from_json`` reads back."""
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        return data | {
            "plan": self.plan.model_dump(mode="json", exclude_defaults=True),
            "found": [asdict(one) for one in self.found],
            "evidence": {name: trial.to_json() for name, trial in self.evidence.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RolloutState:
        """Read what ``to_json`` wrote."""
        plan = Rollout.model_validate(data["plan"])
        found = tuple(Measurement(**one) for one in data.get("found", ()))
        evidence = {
            name: Trial.from_json(trial) for name, trial in data.get("evidence", {}).items()
        }
        return cls(**{**data, "plan": plan, "found": found, "evidence": evidence})


Move: TypeAlias = Literal["look", "step", "promote", "pause", "ask"]


def begin(revision: int, plan: Rollout, at: float, author: str = "") -> RolloutState:
    """A rollout in its first step, of a revision that the actor ``author`` has deployed."""
    return RolloutState(revision, plan, since=at, looked_at=at, author=author)


def next_move(state: RolloutState, at: float) -> Move | None:
    """Return the move that is due: a look at the metrics, the next step, promotion, to ask for an
    approval of one of these two, or the pause of a step that nothing ends but ``resume``. None: no
    move is due yet.
    """
    if not state.active:
        return None
    if _look_is_due(state, at):
        return "look"
    if state.phase == "paused":
        return None
    asks = state.plan.approve is not None
    if state.hold is None and not state.released and not asks:
        return "pause"
    if _time_held(state, at) < (state.hold or 0.0) or not _is_cleared(state):
        return None
    if asks and not state.approved:
        return "ask"
    return "promote" if state.is_last else "step"


def _look_is_due(state: RolloutState, at: float) -> bool:
    """Also where the clock was put back by more than an interval: better now than in an hour."""
    analysis = state.plan.analysis
    return analysis is not None and abs(at - state.looked_at) >= analysis.interval.seconds


def _is_cleared(state: RolloutState) -> bool:
    return state.plan.analysis is None or state.verdict == "pass"


def _time_held(state: RolloutState, at: float) -> float:
    """How long the step has held, without pauses and waits; a clock put back takes nothing away."""
    holds = state.phase == "running" and state.waiting_since is None
    return state.held + (max(0.0, at - state.since) if holds else 0.0)


def stepped(state: RolloutState, at: float) -> RolloutState:
    """The rollout at the beginning of its next step; its first look comes an interval later."""
    return replace(
        state, step=state.step + 1, since=at, held=0.0, looked_at=at, verdict=None,
        waiting_since=None, released=False, approved=False,
    )  # fmt: skip


def paused(state: RolloutState, by: PausedBy, reason: str, at: float) -> RolloutState:
    """Stop holding; the time held so far counts when it goes on."""
    held = _time_held(state, at)
    return replace(
        state, phase="paused", paused_by=by, paused_at=at, reason=reason, held=held, since=at
    )


def resumed(state: RolloutState, at: float) -> RolloutState:
    """Go on; a step that waited for this has held long enough."""
    released = state.released or state.hold is None
    held = _time_held(state, at)
    return replace(
        state, phase="running", paused_by=None, paused_at=None, reason="", held=held, since=at,
        released=released,
    )  # fmt: skip


def approved(state: RolloutState, at: float) -> RolloutState:
    """Go on to the next step, or the promotion, as somebody has let it."""
    return replace(resumed(state, at), approved=True)


def looked(
    state: RolloutState,
    found: list[Measurement],
    at: float,
    evidence: dict[str, Trial] | None = None,
) -> RolloutState:
    """Take a look's measurements into account: counts, verdict, and what follows from them.

    The phase becomes "aborted" where a metric failed or found no value too often, with the reason
    as ``failed (1) > failure_limit (0)`` beside the comparison. Where nothing failed and something
    was inconclusive, the rollout waits: it stays as it is, and its step does not hold meanwhile.
    """
    counted = replace(
        state,
        looked_at=_on_time(state, at),
        verdict=overall(found),
        failures=_failures(state, found),
        errors=_errors(state, found),
        found=tuple(found),
        evidence=state.evidence if evidence is None else evidence,
    )
    excess = next(_excesses(counted, found), None)
    if excess is not None:
        return replace(counted, phase="aborted", paused_by=None, paused_at=None, reason=excess)
    is_waiting, waited = counted.verdict == "inconclusive", counted.waiting_since is not None
    if is_waiting == waited or counted.verdict == "error":
        return counted
    since = at if is_waiting else None
    return replace(counted, held=_time_held(counted, at), since=at, waiting_since=since)


def _on_time(state: RolloutState, at: float) -> float:
    """When a look at ``at`` was due, so that looks do not drift; the time it was if that is long
    past or to come.
    """
    assert state.plan.analysis is not None
    interval = state.plan.analysis.interval.seconds
    due = state.looked_at + interval
    return due if 0 <= at - due < interval / 2 else at


_WEIGHTS: tuple[Verdict, ...] = ("fail", "inconclusive", "error", "pass")


def overall(found: Iterable[Measurement]) -> Verdict:
    """Return the verdict of a look: its weightiest measurement's; inconclusive without any."""
    worst = weightiest(found)
    return worst.verdict if worst is not None else "inconclusive"


def weightiest(found: Iterable[Measurement]) -> Measurement | None:
    """The measurement that decides; the first of several alike, None of none."""
    return min(found, key=lambda one: _WEIGHTS.index(one.verdict), default=None)


def _failures(state: RolloutState, found: list[Measurement]) -> dict[str, int]:
    new = {one.metric: 1 for one in found if one.verdict == "fail"}
    return state.failures | {name: state.failures.get(name, 0) + n for name, n in new.items()}


def _errors(state: RolloutState, found: list[Measurement]) -> dict[str, int]:
    counts = {
        one.metric: state.errors.get(one.metric, 0) + 1 if one.verdict == "error" else 0
        for one in found
    }
    return {name: count for name, count in (state.errors | counts).items() if count}


def _excesses(state: RolloutState, found: list[Measurement]) -> Iterator[str]:
    """Why the rollout ends, by metric that is over one of its limits."""
    analysis = state.plan.analysis
    assert analysis is not None
    for one in found:
        failures, errors = state.failures.get(one.metric, 0), state.errors.get(one.metric, 0)
        if one.verdict == "fail" and failures > analysis.failure_limit:
            yield (f"failed ({failures}) > failure_limit ({analysis.failure_limit}): {one.message}")
        if errors > analysis.consecutive_error_limit:
            limit = f"consecutive_error_limit ({analysis.consecutive_error_limit})"
            yield f"errors in a row ({errors}) > {limit}: {one.message}"
