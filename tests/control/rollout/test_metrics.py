"""Rollouts as metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anabranch.control.lifecycle.operations import Situation
from anabranch.control.lifecycle.rollouts import Measurement, begin
from anabranch.control.rollout.metrics import RolloutMetrics
from anabranch.specs.models import Rollout
from anabranch.telemetry.definitions import (
    ROLLOUT_STATE,
    ROLLOUT_STEP,
    ROLLOUT_VERDICTS,
    MetricDefinition,
)
from anabranch.telemetry.registry import Registry

STATE = begin(4, Rollout.model_validate({"steps": [5, 50], "hold": "1s"}), 0.0)


def values(registry: Registry, metric: MetricDefinition) -> dict[tuple[str, ...], Any]:
    return dict(registry.snapshot().get(metric.name, {}))


def test_the_state_and_the_step_of_a_rollout_show() -> None:
    registry = Registry()
    metrics = RolloutMetrics(registry)
    now = Situation("digits", rollout=STATE)
    metrics.see([now, Situation("spam")])
    assert values(registry, ROLLOUT_STATE) == {
        ("digits", "running"): 1,
        ("digits", "paused"): 0,
        ("digits", "promoted"): 0,
        ("digits", "aborted"): 0,
        ("spam", "running"): 0,
        ("spam", "paused"): 0,
        ("spam", "promoted"): 0,
        ("spam", "aborted"): 0,
    }
    assert values(registry, ROLLOUT_STEP) == {("digits", "4"): 5}
    metrics.see([replace(now, rollout=replace(STATE, step=1, phase="paused"))])
    assert values(registry, ROLLOUT_STATE)["digits", "paused"] == 1
    assert values(registry, ROLLOUT_STATE)["digits", "running"] == 0
    assert values(registry, ROLLOUT_STEP) == {("digits", "4"): 50}


def test_one_that_is_over_has_a_state_and_no_step() -> None:
    registry = Registry()
    metrics = RolloutMetrics(registry)
    metrics.see([Situation("digits", rollout=STATE)])
    metrics.see([Situation("digits", rollout=replace(STATE, phase="promoted"))])
    assert values(registry, ROLLOUT_STATE)["digits", "promoted"] == 1
    assert values(registry, ROLLOUT_STEP) == {}
    metrics.see([])
    assert values(registry, ROLLOUT_STATE) == {}


def test_verdicts_are_counted_by_metric() -> None:
    registry = Registry()
    metrics = RolloutMetrics(registry)
    passed, failed = Measurement("error_rate", "pass", ""), Measurement("latency", "fail", "")
    metrics.judged("digits", [passed, failed])
    metrics.judged("digits", [passed])
    assert values(registry, ROLLOUT_VERDICTS) == {
        ("digits", "error_rate", "pass"): 2,
        ("digits", "latency", "fail"): 1,
    }
