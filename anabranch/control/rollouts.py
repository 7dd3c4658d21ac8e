"""A rollout as a value, and what may happen to it. Pure: time comes in, nothing is applied.

A rollout goes through its steps, each a share of the traffic. It leaves a step once it has held
for its time, and the last look at the metrics passed where there is an analysis. Looks go on while
it is paused, so that a candidate that turns bad is still found out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from anabranch.specs.models import Rollout

Phase: TypeAlias = Literal["running", "paused", "promoted", "aborted"]
PausedBy: TypeAlias = Literal["user", "gate", "inconclusive", "step"]
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
    """Where a rollout stands. Times are Unix times or lengths, in seconds."""

    revision: int
    plan: Rollout
    phase: Phase = "running"
    step: int = 0
    """Index into the plan's steps."""
    since: float = 0.0
    """When the step began to hold, or went on after a pause."""
    held: float = 0.0
    """How long the step had held before ``since``."""
    looked_at: float = 0.0
    """When the metrics were last looked at, or the rollout began."""
    verdict: Verdict | None = None
    """What the last look in this step said; None before the first."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed looks by metric, over the whole rollout."""
    errors: dict[str, int] = field(default_factory=dict)
    """Looks in a row that found no value, by metric."""
    paused_by: PausedBy | None = None
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether it may still move traffic."""
        return self.phase in ("running", "paused")

    @property
    def weight(self) -> float:
        """The candidate's share in this step, in percent."""
        return self.plan.steps[self.step]

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
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RolloutState:
        """Read what ``to_json`` wrote."""
        raise NotImplementedError


Move: TypeAlias = Literal["look", "step", "promote", "pause"]


def begin(revision: int, plan: Rollout, at: float) -> RolloutState:
    """A rollout in its first step."""
    return RolloutState(revision, plan, since=at, looked_at=at)


def next_move(state: RolloutState, at: float) -> Move | None:
    """What is due now: a look at the metrics, the next step, promotion, or the pause of a step
    that nothing ends but ``resume``. None: nothing yet."""
    raise NotImplementedError


def stepped(state: RolloutState, at: float) -> RolloutState:
    """The rollout at the beginning of its next step."""
    return replace(state, step=state.step + 1, since=at, held=0.0, verdict=None)


def paused(state: RolloutState, by: PausedBy, reason: str, at: float) -> RolloutState:
    """Stop holding; the time held so far counts when it goes on."""
    raise NotImplementedError


def resumed(state: RolloutState, at: float) -> RolloutState:
    """Go on; a step that waited for this has held long enough."""
    raise NotImplementedError


def looked(state: RolloutState, found: list[Measurement], at: float) -> RolloutState:
    """Take a look's measurements into account: counts, verdict, and what follows from them.

    The phase becomes "aborted" where a metric failed or found no value too often, with the reason
    as ``failed (1) > failure_limit (0)`` beside the comparison; "paused" by "inconclusive" where
    nothing failed and something was inconclusive; and "running" again where all passed after such
    a pause.
    """
    raise NotImplementedError
