"""Rules over several fields of a rollout."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.specs.models import METRICS
from anabranch.specs.sections.rollout import rollout_rules
from tests.strategies import json_values, rollouts

LATENCIES = [f"{name}_{part}" for name in ("latency", "ttft") for part in ("p50", "p95", "p99")]
SHARES = ["error_rate", "agreement", "prediction_shift"]


def of(rollout: Any) -> list[str]:
    return [f"{'.'.join(map(str, path))}: {message}" for path, message in rollout_rules(rollout)]


def of_metric(**metric: Any) -> list[str]:
    prefix = "analysis.metrics.0"
    found = of({"analysis": {"interval": "1s", "metrics": [metric]}})
    assert all(line.startswith(prefix) for line in found)
    return [line.removeprefix(prefix).removeprefix(".") for line in found]


@pytest.mark.parametrize(
    ("steps", "problems"),
    [
        ([5], []),
        ([0, 0.5, 50, 100], []),
        ([5, 5], ["steps.1: must be more than the step before it, 5"]),
        ([50, 5, 25, 25.0],
         ["steps.1: must be more than the step before it, 50",
          "steps.3: must be more than the step before it, 25"]),
        ([5, "x", 1, True, 0], []),
        ("5", []),
        ([10**400, 1], [f"steps.1: must be more than the step before it, 1{'0' * 58}…"]),
    ],
)  # fmt: skip
def test_steps_rise(steps: Any, problems: list[str]) -> None:
    assert of({"steps": steps}) == problems


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"analysis": {"interval": "0s"}}, ["analysis.interval: must be more than 0"]),
        ({"analysis": {"interval": "1us"}}, []),
        ({"analysis": {"interval": 0}}, []),
        ({"hold": "0s"}, []),
    ],
)
def test_times(fields: dict[str, Any], problems: list[str]) -> None:
    assert of(fields) == problems


@pytest.mark.parametrize("mirror", [0, 0.0])
def test_agreement_needs_copies(mirror: float) -> None:
    metrics = [{"metric": "error_rate", "max": 0}, {"metric": "agreement", "min": 0.9}]
    analysis = {"interval": "1s", "metrics": metrics}
    assert of({"analysis": analysis, "mirror": mirror}) == [
        "mirror: `agreement` is judged on copies; remove this, or make it more than 0"
    ]
    assert of({"analysis": analysis, "mirror": 1}) == []
    assert of({"analysis": analysis}) == []
    assert of({"analysis": {**analysis, "metrics": metrics[:1]}, "mirror": mirror}) == []


NEEDED = ": needs `max` or `min`, the limit to hold"
QUERY = "query: only the metric promql has a query"
RATE = "must be a share from 0 to 1, such as 0.01, or a multiple of stable, such as 1.2x"
SHARE = "must be a share from 0 to 1, such as 0.01"
NUMBER = "must be a number, or a multiple of stable, such as 1.2x"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_needs_a_limit(name: str) -> None:
    more = {"promql": {"query": "up"}, "significance": {"of": "error_rate"}}.get(name, {})
    assert of_metric(metric=name, **more) == [NEEDED]
    assert of_metric(metric=name, maxi=1, **more) == []
    assert of_metric(metric=name, max=None, **more) == [NEEDED]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("field", ["min", "max"])
@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        (0, {*SHARES, "reward", "drift", "promql", "significance", "tokens_per_second"}),
        (0.5, {*SHARES, "reward", "drift", "promql", "significance", "tokens_per_second"}),
        (-0.5, {"reward", "promql", "significance"}),
        (1.0, {*SHARES, "reward", "drift", "promql", "tokens_per_second"}),
        (1.01, {"reward", "drift", "promql", "tokens_per_second"}),
        (-1, {"reward", "promql"}),
        ("1.2x", {"error_rate", "reward", "promql", "tokens_per_second", *LATENCIES}),
        ("250ms", {*LATENCIES}),
    ],
)
def test_which_limits_suit_which_metric(
    name: str, field: str, limit: float | str, allowed: set[str]
) -> None:
    worse = {"max": "error_rate", "min": "reward"}[field]
    more = {"promql": {"query": "up"}, "significance": {"of": worse}}.get(name, {})
    found = of_metric(metric=name, **{field: limit}, **more)
    assert [line.split(":")[0] for line in found] == ([] if name in allowed else [field])


@pytest.mark.parametrize(
    ("metric", "problems"),
    [
        ({"metric": "latency_p99", "max": 250},
         ["max: 250 has no unit: write a latency with its unit, such as 250ms, or a multiple of "
          "stable, such as 1.2x"]),
        ({"metric": "latency_p99", "max": "99999999999h"},
         ["max: 99999999999h is over the limit of 365d"]),
        ({"metric": "error_rate", "max": 5}, [f"max: {RATE}"]),
        ({"metric": "error_rate", "max": "5s", "min": -1}, [f"min: {RATE}", f"max: {RATE}"]),
        ({"metric": "agreement", "min": "1.2x"}, [f"min: {SHARE}"]),
        ({"metric": "prediction_shift", "max": 2}, [f"max: {SHARE}"]),
        ({"metric": "promql", "query": "up", "max": "5s"}, [f"max: {NUMBER}"]),
        ({"metric": "promql", "max": 5}, [": the metric promql needs `query`"]),
        ({"metric": "promql", "max": 5, "qery": "up"}, []),
        ({"metric": "error_rate", "max": 1, "query": "up"}, [QUERY]),
        ({"metric": "error_rate", "query": "up"}, [NEEDED, QUERY]),
        ({"metric": "error_rate", "min": 0.5, "max": 0.25}, ["min: min 0.5 is more than max 0.25"]),
        ({"metric": "latency_p50", "min": "1s", "max": "999ms"},
         ["min: min 1s is more than max 999ms"]),
        ({"metric": "latency_p50", "min": "2x", "max": "1x"}, ["min: min 2x is more than max 1x"]),
        ({"metric": "latency_p50", "min": "2x", "max": "1s"}, []),
        ({"metric": "latency_p50", "min": "1s", "max": "1000ms"}, []),
        ({"metric": "significance", "of": "reward", "min": -0.02, "error": 0.01}, []),
        ({"metric": "significance", "of": "reward", "max": 0.02},
         ["max: a candidate is worse beyond `min`; give that, and not `max`"]),
        ({"metric": "significance", "of": "error_rate", "min": 0, "max": 0},
         ["min: a candidate is worse beyond `max`; give that, and not `min`"]),
        ({"metric": "significance", "max": 0.01},
         [": the metric significance needs `of`, either error_rate or reward"]),
        ({"metric": "significance", "of": "error_rate"}, [NEEDED]),
        ({"metric": "error_rate", "max": 0.01, "of": "reward", "error": 0.05},
         ["of: only the metric significance has `of`",
          "error: only the metric significance has `error`"]),
        ({"metric": "error_rte", "max": "5s", "query": "up"}, []),
        ({"metric": "error_rte"}, [NEEDED]),
        ({"metric": ["error_rate"], "max": 5}, []),
        ({"max": 5}, []),
    ],
)  # fmt: skip
def test_metrics(metric: dict[str, Any], problems: list[str]) -> None:
    assert of_metric(**metric) == problems


@pytest.mark.parametrize("limit", [True, [], {}, "soon", "1.2", float("nan"), 10**400, None])
def test_what_is_no_limit_is_left_to_the_model(limit: Any) -> None:
    assert of_metric(metric="error_rate", max=limit, min=0) == []


@given(rollouts)
def test_valid_rollouts_break_none(rollout: dict[str, Any]) -> None:
    assert of(rollout) == []


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "steps": json_values,
            "mirror": json_values,
            "analysis": json_values
            | st.fixed_dictionaries({"interval": json_values, "metrics": st.lists(json_values)})
            | st.builds(
                lambda name, low, high: {"metrics": [{"metric": name, "min": low, "max": high}]},
                st.sampled_from(METRICS),
                json_values,
                json_values,
            ),
        },
    )
)
def test_anything_is_judged_or_left_alone(rollout: dict[str, Any]) -> None:
    for line in of(rollout):
        assert len(line) < 300
        assert line.isprintable()
