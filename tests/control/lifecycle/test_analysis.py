from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle.analysis import (
    AnalysisWindow,
    DriftScore,
    External,
    Outside,
    judge,
    measure,
    named,
    window_between,
)
from anabranch.control.lifecycle.rollouts import Verdict
from anabranch.router.measure.tally import MirrorTally, Report, Tally
from anabranch.specs.models import METRICS, Analysis, Metric


def tally(good: int = 0, bad: int = 0, ms: float = 10.0, classes: Mapping[int, int] = {}) -> Tally:
    found = Tally(outputs={"label": dict(classes)} if classes else {})
    for _ in range(good):
        found.record(ms / 1e3)
    for _ in range(bad):
        found.fail("NodeError", ms / 1e3)
    return found


def spoken(answers: int = 0, tokens: int = 10, ms: float = 100.0) -> Tally:
    """Streams of so many tokens each, the first of which comes after a tenth of the time."""
    found = tally(answers, ms=ms)
    for _ in range(answers):
        found.tokens.first.add(ms / 1e4)
        found.tokens.add(3, tokens, ms / 1e3)
    return found


def copies(agreed: int, differed: int = 0, failed: int = 0) -> MirrorTally:
    sent = agreed + differed + failed
    return MirrorTally(
        selected=sent, sent=sent, compared=agreed + differed, agreed=agreed, errors=failed
    )


def window(
    candidate: Tally | None = None,
    stable: Tally | None = None,
    mirror: MirrorTally | None = None,
    outside: Outside | None = None,
) -> AnalysisWindow:
    external = {} if outside is None else {"promql": outside}
    return AnalysisWindow(
        candidate or tally(), stable or tally(), mirror or MirrorTally(), external
    )


def metric(name: str, **limits: Any) -> Metric:
    query = {"query": "up"} if name == "promql" else {}
    return Metric.model_validate({"metric": name, **limits, **query})


QUANTILES = ("latency", "ttft")
"""Beginnings of the names of metrics that are quantiles of times."""


def analysis(min_samples: int = 1) -> Analysis:
    return Analysis.model_validate(
        {
            "interval": "10s",
            "min_samples": min_samples,
            "metrics": [{"metric": "error_rate", "max": 0.01}],
        }
    )


def told(candidate: float | None, stable: float | None = None, requests: int = 5) -> AnalysisWindow:
    """What Prometheus told of two arms with so many requests each."""
    answer = Outside(External(candidate), External(stable))
    return window(tally(requests), tally(requests), outside=answer)


def paid(*rewards: float) -> Tally:
    """An arm with these rewards for its answers."""
    found = tally(len(rewards))
    for reward in rewards:
        found.rewards.add(reward, None)
    return found


def drifting(score: float, rows: int) -> AnalysisWindow:
    """What the candidate's monitors have found."""
    return replace(window(tally(5)), drift=DriftScore(score, rows))


WHY = "no connection"
CASES: dict[str, tuple[Metric, AnalysisWindow, int, Verdict, str]] = {
    # --- what is measured
    "no failures": (
        metric("error_rate", max=0.01), window(tally(10)), 1,
        "pass", "error_rate 0 <= max 0.01, over 10 requests",
    ),
    "at the limit": (
        metric("error_rate", max=0.1), window(tally(9, 1)), 1,
        "pass", "error_rate 0.1 <= max 0.1, over 10 requests",
    ),
    "over the limit": (
        metric("error_rate", max=0.01), window(tally(4, 1)), 1,
        "fail", "error_rate 0.2 > max 0.01, over 5 requests",
    ),
    "quick": (
        metric("latency_p95", max="250ms"), window(tally(9, 1, ms=100)), 1,
        "pass", "latency_p95 100.2 ms <= max 250 ms, over 10 requests",
    ),
    "slow": (
        metric("latency_p50", max="1s"), window(tally(10, ms=2000)), 1,
        "fail", "latency_p50 2.014 s > max 1 s, over 10 requests",
    ),
    "the slow tail": (
        metric("latency_p99", max="1s"), window(tally(97).plus(tally(3, ms=2000))), 1,
        "fail", "latency_p99 2.014 s > max 1 s, over 100 requests",
    ),
    "quick to begin": (
        metric("ttft_p95", max="50ms"), window(spoken(9)), 1,
        "pass", "ttft_p95 9.845 ms <= max 50 ms, over 9 streams",
    ),
    "slow to begin": (
        metric("ttft_p50", max="1.2x"), window(spoken(4, ms=200), spoken(4)), 1,
        "fail", "ttft_p50 20.23 ms > max 11.81 ms = 1.2x of stable 9.845 ms, over 4 streams",
    ),
    "no stream": (
        metric("ttft_p99", max="1s"), window(tally(5)), 1,
        "inconclusive", "ttft_p99: 0 streams < min_samples (1), 1 missing",
    ),
    "as fast as stable": (
        metric("tokens_per_second", min="0.9x"), window(spoken(4, 19), spoken(4, 20)), 1,
        "pass",
        "tokens_per_second 190 >= min 180 = 0.9x of stable 200, over 4 answers with tokens",
    ),
    "no tokens": (
        metric("tokens_per_second", min=20), window(tally(5)), 1,
        "inconclusive", "tokens_per_second: 0 answers with tokens < min_samples (1), 1 missing",
    ),
    "slower than stable": (
        metric("tokens_per_second", min="0.9x"), window(spoken(4, 10), spoken(4, 20)), 1,
        "fail",
        "tokens_per_second 100 < min 180 = 0.9x of stable 200, over 4 answers with tokens",
    ),
    "copies agree": (
        metric("agreement", min=0.9), window(mirror=copies(9, 1)), 1,
        "pass", "agreement 0.9 >= min 0.9, over 10 copies",
    ),
    "copies that failed do not agree": (
        metric("agreement", min=0.9), window(mirror=copies(9, 0, 2)), 1,
        "fail", "agreement 0.8182 < min 0.9, over 11 copies",
    ),
    "equal outputs": (
        metric("prediction_shift", max=0.1),
        window(tally(4, classes={0: 2, 1: 2}), tally(8, classes={0: 4, 1: 4})), 1,
        "pass", "prediction_shift 0 <= max 0.1, over 4 requests",
    ),
    "other outputs": (
        metric("prediction_shift", max=0.1),
        window(tally(4, classes={0: 4}), tally(2, classes={1: 2})), 1,
        "fail", "prediction_shift 1 > max 0.1, over 2 requests",
    ),
    "well rewarded": (
        metric("reward", min="0.95x"), window(paid(1, 0.9), paid(1, 1)), 1,
        "pass", "reward 0.95 >= min 0.95 = 0.95x of stable 1, over 2 rewards",
    ),
    "rewarded less": (
        metric("reward", min=0.5), window(paid(1, -0.5)), 1,
        "fail", "reward 0.25 < min 0.5, over 2 rewards",
    ),
    "few rewards": (
        metric("reward", min=0.5), window(paid(1, 1).plus(tally(100))), 3,
        "inconclusive", "reward: 2 rewards < min_samples (3), 1 missing",
    ),
    "few rewards of stable": (
        metric("reward", min="1x"), window(paid(1, 1), tally(100)), 1,
        "inconclusive", "reward: of stable, 0 rewards < min_samples (1), 1 missing",
    ),
    "a multiple of less than nothing": (
        metric("reward", min="0.95x"), window(paid(-1), paid(-2)), 1,
        "inconclusive", "reward: min 0.95x of stable -2, which is below zero",
    ),
    "Prometheus is content": (
        metric("promql", min=2), told(2), 1,
        "pass", "promql 2 >= min 2, over 5 requests",
    ),
    "Prometheus is not": (
        metric("promql", min=2), told(1.5), 1,
        "fail", "promql 1.5 < min 2, over 5 requests",
    ),
    "Prometheus, of copies": (
        metric("promql", max=2),
        window(mirror=copies(2, 1, 1), outside=Outside(External(1))), 4,
        "pass", "promql 1 <= max 2, over 4 requests",
    ),
    # --- two limits
    "between": (
        metric("promql", min=1, max=2), told(1.5), 1,
        "pass", "promql 1.5 <= max 2, over 5 requests",
    ),
    "above both": (
        metric("promql", min=1, max=2), told(3), 1,
        "fail", "promql 3 > max 2, over 5 requests",
    ),
    "below both": (
        metric("promql", min=1, max=2), told(0), 1,
        "fail", "promql 0 < min 1, over 5 requests",
    ),
    "a failure outweighs a limit that is not known": (
        metric("promql", min=1, max="2x"), told(0), 1,
        "fail", "promql 0 < min 1, over 5 requests",
    ),
    "a limit that is not known outweighs a pass": (
        metric("promql", min=1, max="2x"), told(1), 1,
        "inconclusive", "promql: of stable, no value over 5 requests",
    ),
    "no limit": (
        metric("error_rate"), window(tally(5)), 1,
        "inconclusive", "error_rate: it has neither max nor min",
    ),
    # --- limits relative to stable
    "a little slower": (
        metric("latency_p95", max="1.2x"), window(tally(9, ms=11), tally(9)), 1,
        "pass", "latency_p95 11.1 ms <= max 11.81 ms = 1.2x of stable 9.845 ms, over 9 requests",
    ),
    "three times slower": (
        metric("latency_p95", max="1.2x"), window(tally(9, ms=30), tally(9)), 1,
        "fail", "latency_p95 30.18 ms > max 11.81 ms = 1.2x of stable 9.845 ms, over 9 requests",
    ),
    "as many errors": (
        metric("error_rate", max="1x"), window(tally(9, 1), tally(18, 2)), 1,
        "pass", "error_rate 0.1 <= max 0.1 = 1x of stable 0.1, over 10 requests",
    ),
    "any error is too many where stable has none": (
        metric("error_rate", max="2x"), window(tally(999, 1), tally(10)), 1,
        "fail", "error_rate 0.001 > max 0 = 2x of stable 0, over 1000 requests",
    ),
    "no error beside none": (
        metric("error_rate", max="2x"), window(tally(9), tally(9)), 1,
        "pass", "error_rate 0 <= max 0 = 2x of stable 0, over 9 requests",
    ),
    "stable without requests": (
        metric("latency_p95", max="1.2x"), window(tally(9)), 1,
        "inconclusive", "latency_p95: of stable, 0 requests < min_samples (1), 1 missing",
    ),
    "stable with few requests": (
        metric("error_rate", max="1.2x"), window(tally(50), tally(49)), 50,
        "inconclusive", "error_rate: of stable, 49 requests < min_samples (50), 1 missing",
    ),
    "Prometheus, relative": (
        metric("promql", max="1.5x"), told(3, 2), 1,
        "pass", "promql 3 <= max 3 = 1.5x of stable 2, over 5 requests",
    ),
    "Prometheus, relative, too much": (
        metric("promql", max="1.5x"), told(3.1, 2), 1,
        "fail", "promql 3.1 > max 3 = 1.5x of stable 2, over 5 requests",
    ),
    "Prometheus knows nothing of stable": (
        metric("promql", max="1.5x"), told(3, None), 1,
        "inconclusive", "promql: of stable, no value over 5 requests",
    ),
    "no number for stable": (
        metric("promql", max="1.5x"), told(3, math.nan), 1,
        "inconclusive", "promql: of stable, the value is not a number",
    ),
    "nothing times infinity": (
        metric("promql", max="0x"), told(3, math.inf), 1,
        "inconclusive", "promql: max is not a number = 0x of stable inf",
    ),
    "Prometheus fails for stable": (
        metric("promql", max="1.5x"),
        window(tally(5), tally(5), outside=Outside(External(3), External(error=WHY))), 1,
        "error", "promql: of stable, no connection",
    ),
    "agreement is relative already": (
        metric("agreement", min="1x"), window(tally(5), tally(5), copies(5)), 1,
        "inconclusive", "agreement: of stable, 0 copies < min_samples (1), 1 missing",
    ),
    "a shift is relative already": (
        metric("prediction_shift", max="1x"),
        window(tally(5, classes={1: 5}), tally(5, classes={1: 5})), 1,
        "inconclusive", "prediction_shift: of stable, 0 requests < min_samples (1), 1 missing",
    ),
    # --- nothing to go by
    "no requests": (
        metric("error_rate", max=0.01), window(stable=tally(100)), 1,
        "inconclusive", "error_rate: 0 requests < min_samples (1), 1 missing",
    ),
    "few requests, all failed": (
        metric("error_rate", max=0.01), window(tally(0, 49)), 50,
        "inconclusive", "error_rate: 49 requests < min_samples (50), 1 missing",
    ),
    "just enough requests": (
        metric("error_rate", max=0.01), window(tally(50)), 50,
        "pass", "error_rate 0 <= max 0.01, over 50 requests",
    ),
    "no latencies": (
        metric("latency_p95", max="1s"), window(), 1,
        "inconclusive", "latency_p95: 0 requests < min_samples (1), 1 missing",
    ),
    "no copies": (
        metric("agreement", min=0.9), window(tally(10), tally(10)), 1,
        "inconclusive", "agreement: 0 copies < min_samples (1), 1 missing",
    ),
    "few copies": (
        metric("agreement", min=0.9), window(mirror=copies(1, 1, 1)), 4,
        "inconclusive", "agreement: 3 copies < min_samples (4), 1 missing",
    ),
    "no outputs": (
        metric("prediction_shift", max=0.1), window(tally(5), tally(5)), 1,
        "inconclusive", "prediction_shift: no value over 5 requests",
    ),
    "no outputs of stable": (
        metric("prediction_shift", max=0.1), window(tally(5, classes={1: 5})), 1,
        "inconclusive", "prediction_shift: 0 requests < min_samples (1), 1 missing",
    ),
    "few outputs of stable": (
        metric("prediction_shift", max=0.1),
        window(tally(9, classes={1: 9}), tally(2, classes={2: 2})), 3,
        "inconclusive", "prediction_shift: 2 requests < min_samples (3), 1 missing",
    ),
    "as in the reference": (
        metric("drift", max=1), drifting(1.0, 400), 1,
        "pass", "drift 1 <= max 1, over 400 rows of windows",
    ),
    "drift": (
        metric("drift", max=1), drifting(2.5, 400), 1,
        "fail", "drift 2.5 > max 1, over 400 rows of windows",
    ),
    "no window yet": (
        metric("drift", max=1), window(tally(5)), 1,
        "inconclusive", "drift: 0 rows of windows < min_samples (1), 1 missing",
    ),
    "Prometheus knows nothing": (
        metric("promql", max=1), told(None), 1,
        "inconclusive", "promql: no value over 5 requests",
    ),
    "Prometheus, without requests": (
        metric("promql", max=1), told(0, requests=0), 1,
        "inconclusive", "promql: 0 requests < min_samples (1), 1 missing",
    ),
    "no number": (
        metric("promql", max=1), told(math.nan), 1,
        "inconclusive", "promql: the value is not a number",
    ),
    "Prometheus was not asked": (
        metric("promql", max=1), window(tally(5)), 1,
        "inconclusive", "promql: no value over 5 requests",
    ),
    "Prometheus fails": (
        metric("promql", max=1), window(tally(5), outside=Outside(External(error=WHY))), 1,
        "error", "promql: no connection",
    ),
    "Prometheus fails, without requests": (
        metric("promql", max=1), window(outside=Outside(External(error=WHY))), 1,
        "error", "promql: no connection",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_verdict(case: str) -> None:
    chosen, seen, min_samples, verdict, message = CASES[case]
    found = measure(chosen, seen, analysis(min_samples))
    assert (found.verdict, found.message) == (verdict, message)
    assert found.metric == chosen.metric


def test_every_metric_and_every_verdict_is_in_the_table() -> None:
    """That of significance, which goes by more than a window, is in test_trials.py."""
    metrics = [name for name in METRICS if name != "significance"]
    assert {case[0].metric for case in CASES.values()} == set(metrics)
    by_metric = {name: {c[3] for c in CASES.values() if c[0].metric == name} for name in metrics}
    for name, verdicts in by_metric.items():
        wanted = {"pass", "fail", "inconclusive"} | ({"error"} if name == "promql" else set())
        if name.startswith(QUANTILES):
            assert verdicts <= wanted
        else:
            assert verdicts == wanted
    for kind in QUANTILES:
        found = {case[3] for case in CASES.values() if case[0].metric.startswith(kind)}
        assert found == {"pass", "fail", "inconclusive"}


def test_the_evidence_has_the_numbers() -> None:
    found = measure(metric("error_rate", max="2x"), window(tally(3, 1), tally(9, 1)), analysis(4))
    assert (found.value, found.limit, found.samples) == (0.25, 0.2, 4)
    found = measure(metric("error_rate", max=0.1), window(tally(3)), analysis(4))
    assert (found.value, found.limit, found.samples) == (None, None, 3)


@pytest.mark.parametrize(
    ("value", "verdict"), [(math.inf, "fail"), (-math.inf, "pass"), (1.0, "pass")]
)
def test_infinities_are_compared_and_not_kept(value: float, verdict: Verdict) -> None:
    found = measure(metric("promql", max=1), told(value), analysis())
    assert found.verdict == verdict
    assert found.value == (value if math.isfinite(value) else None)


def test_metrics_of_one_kind_keep_apart() -> None:
    metrics = named(
        [
            metric("error_rate", max=0.5),
            metric("promql", max=1),
            metric("error_rate", max="2x"),
            metric("promql", max=5),
        ]
    )
    names = ["error_rate", "promql", "error_rate 2", "promql 2"]
    assert [name for name, _ in metrics] == names
    external = {"promql": Outside(External(0)), "promql 2": Outside(External(9))}
    seen = AnalysisWindow(tally(9, 1), tally(10), MirrorTally(), external)
    found = judge(metrics, seen, analysis())
    assert [one.metric for one in found] == names
    assert [one.verdict for one in found] == ["pass", "pass", "fail", "fail"]
    assert all(one.message.startswith(f"{one.metric} ") for one in found)


def test_a_window_is_what_came_between_two_sums() -> None:
    before = Report({1: tally(5), 2: tally(1, 1)}, {2: copies(3)})
    after = Report({1: tally(9), 2: tally(1, 4), 3: tally(7)}, {2: copies(3, 2)})
    seen = window_between(before, after, candidate=2, stable=1)
    assert (seen.candidate.requests, seen.candidate.errors) == (3, 3)
    assert (seen.stable.requests, seen.mirror.compared, seen.mirror.agreed) == (4, 2, 0)
    empty = window_between(before, after, candidate=8, stable=9)
    assert (empty.candidate, empty.stable, empty.mirror) == (Tally(), Tally(), MirrorTally())


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.floats(0, 1), st.booleans())
def test_error_rate_is_exact(
    good: int, bad: int, enough: int, limit: float, at_least: bool
) -> None:
    bound = "min" if at_least else "max"
    chosen = metric("error_rate", **{bound: limit})
    found = measure(chosen, window(Tally(requests=good + bad, errors=bad)), analysis(enough))
    if good + bad < enough:
        assert found.verdict == "inconclusive"
    else:
        rate = bad / (good + bad)
        holds = rate >= limit if at_least else rate <= limit
        assert found.verdict == ("pass" if holds else "fail")
