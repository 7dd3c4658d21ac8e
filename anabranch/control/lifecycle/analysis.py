"""The verdict on a candidate: a pure function of a metric, its limits and a window of counts.

| metric | value | samples |
|---|---|---|
| error_rate | errors / requests of the arm | requests |
| latency_p50, _p95, _p99 | quantile of the arm's evaluation times, in seconds | requests |
| ttft_p50, _p95, _p99 | quantile of the times to the first token, in seconds | streams |
| tokens_per_second | completion tokens / seconds of evaluation | answers with tokens |
| agreement | copies that agreed / copies that were answered or failed | those copies |
| prediction_shift | distance between the arms' distributions of outputs | those of the lesser arm |
| reward | mean of the rewards for the arm's answers | rewards |
| drift | highest score of a window of the candidate's monitors, drift above 1 | rows of windows |
| significance | candidate minus stable, over the whole rollout | those of the lesser arm |
| promql | what Prometheus answers | requests and copies of the candidate |

Fewer samples than ``min_samples``, no value, or one that is not a number: inconclusive. A limit
that is a multiple of stable needs as much of the stable arm, in the same window. A value that
equals its limit passes.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from anabranch.control.lifecycle.rollouts import Measurement, Verdict, weightiest
from anabranch.control.lifecycle.significance import Trial
from anabranch.control.lifecycle.trials import measured, trial_of
from anabranch.router.measure.sketch import shift
from anabranch.router.measure.tally import MirrorTally, Report, Tally
from anabranch.specs.limits import parse_limit
from anabranch.specs.models import Analysis, Limit, Metric


@dataclass(frozen=True)
class DriftScore:
    """The highest score of a revision's monitors in some time, over so many rows of windows."""

    score: float | None = None
    rows: int = 0


NO_DRIFT = DriftScore()
"""Where no window was full."""


@dataclass(frozen=True)
class External:
    """The answer of a server outside: a value, none, or the error."""

    value: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Outside:
    """A metric's value for the candidate, and for the stable revision where a limit needs it."""

    candidate: External
    stable: External = External()


@dataclass(frozen=True)
class AnalysisWindow:
    """Counts since the last look that counted. ``external`` is by name of the metric."""

    candidate: Tally
    stable: Tally
    mirror: MirrorTally
    external: Mapping[str, Outside] = field(default_factory=dict)
    drift: DriftScore = NO_DRIFT
    """Of the candidate's monitors."""
    evidence: Mapping[str, Trial] = field(default_factory=dict)
    """By name of the metric, over the whole rollout."""


def window_between(
    before: Report, after: Report, candidate: int, stable: int, drift: DriftScore = NO_DRIFT
) -> AnalysisWindow:
    """Return the counts of two revisions between two reports, with ``drift`` meanwhile."""
    return AnalysisWindow(
        after.arm(candidate).minus(before.arm(candidate)),
        after.arm(stable).minus(before.arm(stable)),
        after.mirror(candidate).minus(before.mirror(candidate)),
        drift=drift,
    )


def named(metrics: Iterable[Metric]) -> list[tuple[str, Metric]]:
    """Metrics by names that are theirs alone: ``error_rate``, and ``error_rate 2`` for the next."""
    seen: Counter[str] = Counter()
    found = []
    for metric in metrics:
        seen[metric.metric] += 1
        count = seen[metric.metric]
        found.append((metric.metric if count == 1 else f"{metric.metric} {count}", metric))
    return found


def judge(
    metrics: Iterable[tuple[str, Metric]], window: AnalysisWindow, analysis: Analysis
) -> list[Measurement]:
    """One look at several metrics, each by its name."""
    return [measure(metric, window, analysis, name) for name, metric in metrics]


def measure(
    metric: Metric, window: AnalysisWindow, analysis: Analysis, name: str = ""
) -> Measurement:
    """One look at one metric, under its own name if none is given."""
    if metric.of is not None:
        trial = window.evidence.get(name or metric.metric) or trial_of(metric)
        return measured(metric, trial, analysis.min_samples, name or metric.metric)
    return _Look(name or metric.metric, _GAUGES[metric.metric], window, analysis).at(metric)


@dataclass(frozen=True)
class _Reading:
    """A value and how many samples it rests on; ``error`` says why there is none."""

    value: float | None
    samples: int
    error: str = ""


_Read: TypeAlias = Callable[[AnalysisWindow, str], _Reading]


@dataclass(frozen=True)
class _Gauge:
    """How to read a metric of either arm, and how to write what was read."""

    candidate: _Read
    stable: _Read
    of: str = "requests"
    shown: Callable[[float], str] = "{:.4g}".format


@dataclass(frozen=True)
class _Look:
    """A metric's look at a window."""

    name: str
    gauge: _Gauge
    window: AnalysisWindow
    analysis: Analysis

    def at(self, metric: Metric) -> Measurement:
        found = self.gauge.candidate(self.window, self.name)
        value = self._usable(found, "")
        if isinstance(value, Measurement):
            return replace(value, samples=found.samples)
        bounds = (("max", metric.max), ("min", metric.min))
        compared = [
            self._compared(value, found.samples, bound, limit)
            for bound, limit in bounds
            if limit is not None
        ]
        worst = weightiest(compared) or self._blank("inconclusive", "it has neither max nor min")
        return replace(worst, value=_finite(value), samples=found.samples)

    def _compared(self, value: float, samples: int, bound: str, limit: Limit) -> Measurement:
        """Hold a value against one of its limits."""
        relative, number = parse_limit(limit)
        text = ""
        if relative:
            base = self._usable(self.gauge.stable(self.window, self.name), "of stable, ")
            if isinstance(base, Measurement):
                return base
            if base < 0:
                below = f"{limit} of stable {self.gauge.shown(base)}, which is below zero"
                return self._blank("inconclusive", f"{bound} {below}")
            text, number = f" = {limit} of stable {self.gauge.shown(base)}", number * base
        if math.isnan(number):
            return self._blank("inconclusive", f"{bound} is not a number{text}")
        holds, yes, no = _SIDES[bound]
        passed = holds(value, number)
        sign = yes if passed else no
        shown = self.gauge.shown
        message = (
            f"{self.name} {shown(value)} {sign} {bound} {shown(number)}{text}, "
            f"over {samples} {self.gauge.of}"
        )
        return Measurement(self.name, "pass" if passed else "fail", message, limit=_finite(number))

    def _usable(self, found: _Reading, whose: str) -> float | Measurement:
        """The value that was read, or the measurement where there is none to go by."""
        enough, of = self.analysis.min_samples, self.gauge.of
        if found.error:
            return self._blank("error", f"{whose}{found.error}")
        if found.samples < enough:
            missing = f"{enough - found.samples} missing"
            return self._blank(
                "inconclusive", f"{whose}{found.samples} {of} < min_samples ({enough}), {missing}"
            )
        if found.value is None:
            return self._blank("inconclusive", f"{whose}no value over {found.samples} {of}")
        if math.isnan(found.value):
            return self._blank("inconclusive", f"{whose}the value is not a number")
        return found.value

    def _blank(self, verdict: Verdict, why: str) -> Measurement:
        return Measurement(self.name, verdict, f"{self.name}: {why}")


_SIDES: Mapping[str, tuple[Callable[[float, float], bool], str, str]] = {
    "max": (operator.le, "<=", ">"),
    "min": (operator.ge, ">=", "<"),
}
"""By limit: what a value must be to hold it, and the signs of holding and of breaking it."""


def _finite(value: float) -> float | None:
    """The number, for JSON, which has no infinity."""
    return value if math.isfinite(value) else None


def _error_rate(tally: Tally) -> _Reading:
    rate = tally.errors / tally.requests if tally.requests else None
    return _Reading(rate, tally.requests)


def _latency(share: float, tally: Tally) -> _Reading:
    return _Reading(tally.latency.quantile(share), tally.latency.total)


def _first_token(share: float, tally: Tally) -> _Reading:
    return _Reading(tally.tokens.first.quantile(share), tally.tokens.first.total)


def _tokens_per_second(tally: Tally) -> _Reading:
    return _Reading(tally.tokens.per_second, tally.tokens.answers)


def _reward(tally: Tally) -> _Reading:
    return _Reading(tally.rewards.mean, tally.rewards.count)


def _agreement(window: AnalysisWindow, _name: str) -> _Reading:
    """A copy that ended with an error did not agree."""
    mirror = window.mirror
    copies = mirror.compared + mirror.errors
    return _Reading(mirror.agreed / copies if copies else None, copies)


def _shift(window: AnalysisWindow, _name: str) -> _Reading:
    candidate, stable = window.candidate, window.stable
    lesser = min(candidate.requests, stable.requests)
    return _Reading(shift(candidate.outputs, stable.outputs), lesser)


def _drift(window: AnalysisWindow, _name: str) -> _Reading:
    return _Reading(window.drift.score, window.drift.rows)


def _of_candidate(window: AnalysisWindow, name: str) -> _Reading:
    found = window.external.get(name, _UNKNOWN).candidate
    mirror = window.mirror
    copies = mirror.compared + mirror.errors
    return _Reading(found.value, window.candidate.requests + copies, found.error)


def _of_stable(window: AnalysisWindow, name: str) -> _Reading:
    found = window.external.get(name, _UNKNOWN).stable
    return _Reading(found.value, window.stable.requests, found.error)


def _nothing(window: AnalysisWindow, name: str) -> _Reading:
    """Return an empty reading: a metric that compares with stable has no value of stable alone."""
    return _Reading(None, 0)


_UNKNOWN = Outside(External())


def _by_arm(read: Callable[[Tally], _Reading]) -> tuple[_Read, _Read]:
    return lambda window, _: read(window.candidate), lambda window, _: read(window.stable)


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms" if seconds < 1 else f"{seconds:.4g} s"


def _of_latency(share: float) -> _Gauge:
    return _Gauge(*_by_arm(partial(_latency, share)), shown=_duration)


def _of_first_token(share: float) -> _Gauge:
    return _Gauge(*_by_arm(partial(_first_token, share)), of="streams", shown=_duration)


_GAUGES: Mapping[str, _Gauge] = {
    "error_rate": _Gauge(*_by_arm(_error_rate)),
    "latency_p50": _of_latency(0.5),
    "latency_p95": _of_latency(0.95),
    "latency_p99": _of_latency(0.99),
    "ttft_p50": _of_first_token(0.5),
    "ttft_p95": _of_first_token(0.95),
    "ttft_p99": _of_first_token(0.99),
    "tokens_per_second": _Gauge(*_by_arm(_tokens_per_second), of="answers with tokens"),
    "agreement": _Gauge(_agreement, _nothing, of="copies"),
    "prediction_shift": _Gauge(_shift, _nothing),
    "reward": _Gauge(*_by_arm(_reward), of="rewards"),
    "drift": _Gauge(_drift, _nothing, of="rows of windows"),
    "promql": _Gauge(_of_candidate, _of_stable),
}
