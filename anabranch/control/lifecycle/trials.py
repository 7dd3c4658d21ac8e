"""The metric ``significance`` of rollouts: whether a candidate's difference is beyond a limit.

Both answers need evidence of their own: against "at most the limit" and against "at least the
limit". Without either the rollout waits. Evidence is gathered over the whole rollout, a look at a
time, so it does not matter that shares and means change from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from anabranch.control.lifecycle.rollouts import Measurement, Verdict
from anabranch.control.lifecycle.significance import MIN_BLOCK, Evidence, Observations, Pair, Trial
from anabranch.router.measure.tally import Tally
from anabranch.specs.models import Metric

ERROR = 0.05
"""The error of a metric that gives none."""


def evidence_after(
    metrics: Iterable[tuple[str, Metric]],
    before: Mapping[str, Trial],
    candidate: Tally,
    stable: Tally,
) -> dict[str, Trial]:
    """Return the evidence of all metrics of this kind after more counts of both arms."""
    return {
        name: (before.get(name) or trial_of(metric)).plus(*_COUNTS[metric.of](candidate, stable))
        for name, metric in metrics
        if metric.of is not None
    }


def trial_of(metric: Metric) -> Trial:
    """Return the evidence before any count."""
    limit = metric.max if metric.max is not None else metric.min
    assert isinstance(limit, float | int)
    return Trial(Evidence("at_most", float(limit)), Evidence("at_least", float(limit)))


def measured(metric: Metric, trial: Trial, min_samples: int, name: str) -> Measurement:
    """Judge a difference by the evidence that it is beyond its limit, or within it."""
    seen, limit = trial.at_most.all, trial.at_most.difference
    samples = int(min(seen.a.number, seen.b.number))
    blank = Measurement(name, "inconclusive", "", seen.difference, limit, samples)
    of = f"{name}: {metric.of} of candidate minus stable"
    if trial.outside:
        text = f"{name}: {trial.outside} rewards are not from 0 to 1, as this metric needs them"
        return replace(blank, verdict="error", message=text)
    enough = max(MIN_BLOCK, min_samples)
    if samples < enough or seen.difference is None:
        text = f"{of}: {samples} samples of the lesser arm, {enough - samples} missing"
        return replace(blank, message=text)
    verdict, text = _decided(metric, trial, limit)
    found = f"{of} {seen.difference:.4g} {text}, over {samples} samples of the lesser arm"
    return replace(blank, verdict=verdict, message=found)


def _decided(metric: Metric, trial: Trial, limit: float) -> tuple[Verdict, str]:
    error = ERROR if metric.error is None else metric.error
    if metric.max is not None:
        bound, beyond, within, (yes, no) = "max", trial.at_most, trial.at_least, ("<=", ">")
    else:
        bound, beyond, within, (yes, no) = "min", trial.at_least, trial.at_most, (">=", "<")
    if beyond.rejects(error):
        return "fail", f"{no} {bound} {limit:.4g} (p {beyond.p_value:.2g} <= error {error:g})"
    if within.rejects(error):
        return "pass", f"{yes} {bound} {limit:.4g} (p {within.p_value:.2g} <= error {error:g})"
    least = min(beyond.p_value, within.p_value)
    return (
        "inconclusive",
        f"not decided, {bound} {limit:.4g} (p {least:.2g} > error {error:g})",
    )


def _errors(candidate: Tally, stable: Tally) -> tuple[Pair, int]:
    return Pair(*(Observations(one.requests, one.errors) for one in (candidate, stable))), 0


def _rewards(candidate: Tally, stable: Tally) -> tuple[Pair, int]:
    both = candidate.rewards, stable.rewards
    return Pair(*(Observations(one.count, one.total) for one in both)), sum(
        one.outside for one in both
    )


_COUNTS: Mapping[str, Callable[[Tally, Tally], tuple[Pair, int]]] = {
    "error_rate": _errors,
    "reward": _rewards,
}
"""Observations of both arms, and how many of them are not from 0 to 1."""
