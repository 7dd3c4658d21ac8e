"""Verdicts by evidence: of a limit that is broken, that holds, or that is not decided yet."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.control.lifecycle.analysis import named
from anabranch.control.lifecycle.rollouts import Measurement
from anabranch.control.lifecycle.trials import evidence_after, measured, trial_of
from anabranch.router.measure.tally import Tally
from anabranch.specs.models import Metric


def metric(of: str = "error_rate", **fields: Any) -> Metric:
    return Metric.model_validate({"metric": "significance", "of": of, **fields})


def failing(share: float) -> Tally:
    """A look's counts of an arm."""
    return Tally(requests=200, errors=round(200 * share))


def paid(reward: float) -> Tally:
    found = Tally(requests=200)
    for _ in range(200):
        found.rewards.add(reward, None)
    return found


def judged(
    given: Metric, candidate: Tally, stable: Tally, looks: int = 20, min_samples: int = 1
) -> Measurement:
    metrics = named([given])
    evidence = {"significance": trial_of(given)}
    for _ in range(looks):
        evidence = evidence_after(metrics, evidence, candidate, stable)
    return measured(given, evidence["significance"], min_samples, "significance")


@pytest.mark.parametrize(
    ("given", "candidate", "stable", "verdict", "words"),
    [
        (metric(max=0.02), failing(0.05), failing(0.05), "pass", "0 <= max 0.02 (p "),
        (
            metric(max=0.0),
            failing(0.05),
            failing(0.05),
            "inconclusive",
            "0 not decided, max 0 (p 1",
        ),
        (metric(max=0.02), failing(0.15), failing(0.05), "fail", "0.1 > max 0.02 (p "),
        (metric(max=0.0), failing(0.01), failing(0.05), "pass", "-0.04 <= max 0 (p "),
        (metric("reward", min=-0.1), paid(0.5), paid(0.5), "pass", "0 >= min -0.1 (p "),
        (metric("reward", min=-0.1), paid(0.2), paid(0.5), "fail", "-0.3 < min -0.1 (p "),
        (metric("reward", min=0), paid(0.5), paid(0.2), "pass", "0.3 >= min 0 (p "),
    ],
)
def test_verdicts(given: Metric, candidate: Tally, stable: Tally, verdict: str, words: str) -> None:
    found = judged(given, candidate, stable)
    assert found.verdict == verdict
    assert found.message.startswith(f"significance: {given.of} of candidate minus stable {words}")
    assert found.message.endswith("over 4000 samples of the lesser arm")
    assert (found.limit, found.samples) == (given.max if given.min is None else given.min, 4000)


def test_a_smaller_error_needs_more_evidence() -> None:
    given = {error: metric(max=0.02, error=error) for error in (0.2, 0.05, 0.001)}
    metrics = named([given[0.05]])
    evidence = {"significance": trial_of(given[0.05])}
    failed_at: dict[float, int] = {}
    for look in range(40):
        evidence = evidence_after(metrics, evidence, failing(0.1), failing(0.05))
        for error, one in given.items():
            found = measured(one, evidence["significance"], 1, "significance")
            if found.verdict == "fail":
                failed_at.setdefault(error, look)
    assert failed_at[0.2] < failed_at[0.05] < failed_at[0.001]


@pytest.mark.parametrize(("min_samples", "missing"), [(1, 10), (500, 500)])
def test_without_samples_it_says_how_many_are_missing(min_samples: int, missing: int) -> None:
    found = judged(metric(max=0.02), Tally(), failing(0.5), 3, min_samples)
    assert found.verdict == "inconclusive"
    assert found.message.endswith(f"0 samples of the lesser arm, {missing} missing")


def test_rewards_that_are_not_from_0_to_1_are_an_error() -> None:
    found = judged(metric("reward", min=0), paid(0.5), paid(7.0), 1)
    assert (found.verdict, found.samples) == ("error", 0)
    assert found.message == (
        "significance: 200 rewards are not from 0 to 1, as this metric needs them"
    )


def test_other_metrics_have_no_evidence() -> None:
    metrics = named([Metric(metric="error_rate", max=0.1)])
    assert evidence_after(metrics, {}, failing(0.1), failing(0.1)) == {}
